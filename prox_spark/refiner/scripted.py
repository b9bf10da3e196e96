"""Refiners without a model: rules that write programs, for tests and demonstrations of everything around a refiner."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

from prox_spark.errors import BundleError
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.scores import Thresholds, program_from_scores
from prox_spark.refiner.budget import told
from prox_spark.refiner.refiner import SCRIPTED, Refiner, RefinerInfo
from prox_spark.text.lines import split_lines

VERSION = "1"
LINES_A_CHUNK = 50
MIN_WORDS = 3
THRESHOLDS = {
    "cautious": Thresholds(line=0.9, document=0.9),
    "balanced": Thresholds(line=0.5, document=0.5),
    "aggressive": Thresholds(line=0.2, document=0.2),
}
# Markers of errors that have a code.
CODED_FAILURES = {"##MEMORY##": "out_of_memory", "##TOKENIZER##": "tokenizer_failed", "##SLOW##": "too_slow"}
Rule = Callable[[Sequence[str], int, int], ChunkProgram]


class ScriptedRefiner(Refiner):
    """Deterministic rules on chunks of 50 lines.

    ``scripted:short-lines``: removes lines of one or two words (an empty line stays).
    ``scripted:scored``: the same idea with stored scores: P(remove) = 1 / words; drops a document without words.
    ``scripted:noise``: short-lines, and what goes wrong with models, where a text holds a marker: ``##BAD##`` a program
        that does not parse, ``##LOOP##`` a repeated one, ``##CUT##`` one cut off by the token limit, ``##DROP##`` drops
        the document, ``##ERROR##`` an error for the document, ``##MEMORY##``, ``##TOKENIZER##`` and ``##SLOW##`` an
        error with its code, ``##CRASH##`` raises out of ``write``.
    Tokens are counted as words. Raises BundleError for another name.
    """

    provider = "none"
    device = "cpu"

    def __init__(self, name: str) -> None:
        rules: dict[str, Rule] = {"short-lines": short_lines, "noise": noise, "scored": scored}
        rule = name.removeprefix(SCRIPTED)
        if rule not in rules:
            raise BundleError(f"no scripted refiner {rule!r}; there are: {', '.join(sorted(rules))}")
        self.rule = rules[rule]
        self.info = RefinerInfo(
            name=SCRIPTED + rule,
            version=VERSION,
            fingerprint=hashlib.sha256(f"{SCRIPTED}{rule} {VERSION}".encode()).hexdigest(),
            writes="script",
            level="both",
            thresholds=THRESHOLDS if rule == "scored" else {},
            limits={"window_lines": LINES_A_CHUNK},
            card={"licence": "Apache-2.0"},
        )

    def write(self, texts: Iterable[str]) -> Iterator[DocumentPrograms]:
        """Programs of the texts, in order."""
        for text in texts:
            if self.rule is noise and "##CRASH##" in text:
                raise RuntimeError("scripted crash: the text holds ##CRASH##")
            yield self._within(self._document(text))

    def _within(self, programs: DocumentPrograms) -> DocumentPrograms:
        most = self.budget.tokens
        if most is None or programs.prompt_tokens <= most:
            return programs
        return DocumentPrograms(None, (), error=told("too_many_tokens", f"{programs.prompt_tokens} words, not {most}"))

    def _document(self, text: str) -> DocumentPrograms:
        error = _failure(text) if self.rule is noise else None
        if error is not None:
            return DocumentPrograms(None, (), error=error)
        lines = split_lines(text)
        starts = range(0, len(lines), LINES_A_CHUNK)
        chunks = tuple(self.rule(lines[at : at + LINES_A_CHUNK], n, at) for n, at in enumerate(starts))
        dropped = self.rule is noise and "##DROP##" in text
        doc_score = None
        if self.rule is scored:
            doc_score = 1.0 if not text.split() else 0.0
            dropped = doc_score >= THRESHOLDS["balanced"].document
        return DocumentPrograms("drop_doc()" if dropped else "keep_doc()", chunks, doc_score=doc_score)


def _failure(text: str) -> str | None:
    """The error of a document that holds a marker of one."""
    if "##ERROR##" in text:
        return "scripted error: the text holds ##ERROR##"
    markers = (marker for marker in CODED_FAILURES if marker in text)
    return next((told(CODED_FAILURES[marker], f"scripted: the text holds {marker}") for marker in markers), None)


def _chunk(lines: Sequence[str], chunk: int, first: int, program: str, **more: object) -> ChunkProgram:
    return ChunkProgram(
        chunk=chunk,
        first_line=first,
        last_line=first + len(lines) - 1,
        program=program,
        prompt_tokens=sum(len(line.split()) for line in lines),
        new_tokens=len(program.split()),
        **more,  # type: ignore[arg-type]
    )


def _float32(value: float) -> float:
    """As the table keeps it, so that a threshold decides the same before and after."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def short_lines(lines: Sequence[str], chunk: int, first: int) -> ChunkProgram:
    """Remove the lines of one or two words."""
    scores = [float(0 < len(line.split()) < MIN_WORDS) for line in lines]
    return _chunk(lines, chunk, first, program_from_scores(scores, first, 0.5))


def scored(lines: Sequence[str], chunk: int, first: int) -> ChunkProgram:
    """P(remove) = 1 / words; an empty line scores 0."""
    scores = tuple(_float32(1.0 / words) if (words := len(line.split())) else 0.0 for line in lines)
    program = program_from_scores(scores, first, THRESHOLDS["balanced"].line)
    return _chunk(lines, chunk, first, program, line_scores=scores)


def noise(lines: Sequence[str], chunk: int, first: int) -> ChunkProgram:
    """``short_lines``, spoilt where a line holds a marker."""
    good = short_lines(lines, chunk, first)
    text = "\n".join(lines)
    if "##BAD##" in text:
        return _chunk(lines, chunk, first, 'import os\nremove_lines(line_start="x", line_end=)')
    if "##LOOP##" in text:
        return _chunk(lines, chunk, first, "\n".join([good.program] * 8), looped=True)
    if "##CUT##" in text:
        return _chunk(lines, chunk, first, good.program + "\nremove_lines(line_st", truncated=True)
    return good
