"""Published filter rules as a refiner without a model: what they decide is written as programs like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from prox_spark.errors import BundleError
from prox_spark.program.operations import Normalize
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.scores import program_from_scores
from prox_spark.program.writer import write_operation
from prox_spark.refiner.refiner import RULES, Refiner, RefinerInfo
from prox_spark.refiner.rules_c4 import judge_c4, judge_c4_lines
from prox_spark.refiner.rules_gopher import judge_gopher
from prox_spark.refiner.verdict import Verdict
from prox_spark.text.lines import split_lines

VERSION = "1"
# A program is bounded in length: so many lines can all be spoken of in one.
LINES_A_CHUNK = 50
KEEP = "keep_chunk()"

_SETS: dict[str, tuple[Callable[[Sequence[str]], Verdict], str]] = {
    "c4": (judge_c4, "C4: arXiv 1910.10683, section 2.2"),
    "c4-lines": (judge_c4_lines, "C4 without its rules for documents: arXiv 1910.10683, section 2.2"),
    "gopher": (judge_gopher, "Gopher (MassiveText): arXiv 2112.11446, appendix A.1.1"),
}


class RulesRefiner(Refiner):
    """Rules of published corpora, made for English; a document known to be in another language stays as it is.

    ``rules:c4``: C4's rules for lines and for documents. ``rules:c4-lines``: those for lines alone.
    ``rules:gopher``: Gopher's rules for documents and their repetition; it drops documents and leaves lines alone.
    No token is read or written. Raises BundleError for another name.
    """

    provider = "none"
    device = "cpu"

    def __init__(self, name: str) -> None:
        rules = name.removeprefix(RULES)
        if rules not in _SETS:
            raise BundleError(f"no rules {rules!r}; there are: {', '.join(sorted(_SETS))}")
        self.judge, source = _SETS[rules]
        self.info = RefinerInfo(
            name=RULES + rules,
            version=VERSION,
            fingerprint=hashlib.sha256(f"{RULES}{rules} {VERSION}".encode()).hexdigest(),
            writes="script",
            level="both",
            languages=("en",),
            limits={"window_lines": LINES_A_CHUNK},
            card={"licence": "Apache-2.0", "source": source},
        )

    def write(self, texts: Iterable[str]) -> Iterator[DocumentPrograms]:
        """Programs of the texts, in order."""
        for text in texts:
            lines = split_lines(text)
            verdict = self.judge(lines)
            starts = range(0, len(lines), LINES_A_CHUNK)
            chunks = tuple(_chunk(verdict, number, at, len(lines)) for number, at in enumerate(starts))
            yield DocumentPrograms("drop_doc()" if verdict.drop else "keep_doc()", chunks)


def _chunk(verdict: Verdict, number: int, first: int, lines: int) -> ChunkProgram:
    after = min(first + LINES_A_CHUNK, lines)
    program = KEEP
    if verdict.remove:
        program = program_from_scores(verdict.remove[first:after], first, 0.5)
    marks = sorted({mark for line in range(first, after) for mark in verdict.delete.get(line, ())})
    if marks:
        calls = [write_operation(Normalize(mark)) for mark in marks]
        program = "\n".join(calls if program == KEEP else [program, *calls])
    return ChunkProgram(chunk=number, first_line=first, last_line=after - 1, program=program)
