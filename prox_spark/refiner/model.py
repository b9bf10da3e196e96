"""A refiner with a model: documents in, prompts in batches through the engine, programs out in the documents' order."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from prox_spark.config import GrammarMode
from prox_spark.program.parser import parse_program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.scores import program_from_scores
from prox_spark.refiner.budget import code_of, describe, of_a_text, told
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.decode import DecodeEngine
from prox_spark.refiner.device import Session, default_threads, open_session
from prox_spark.refiner.guide import Guides
from prox_spark.refiner.refiner import Refiner
from prox_spark.refiner.score import LineJudge, ScoreEngine
from prox_spark.refiner.written import Engine, Written, batches
from prox_spark.text.chunks import Chunk
from prox_spark.text.lines import split_lines

# What is held at once: prompts waiting to be sorted by length, and documents waiting for their turn.
WINDOW_TOKENS = 65_536
WINDOW_DOCUMENTS = 256
# A line of any length may be a few tokens.
WINDOW_CHARS = 1 << 24
# Of one run: prompt tokens, and rows x length x length. The latter bounds attention's matrices: on a CPU, where large
# batches gain nothing, each is 9 to 20 heads x 8 MiB.
BATCH_TOKENS = {"cpu": 4_096, "cuda": 65_536}
BATCH_PAIRS = {"cpu": 1 << 21, "cuda": 1 << 25}
# Of a scoring engine on a CPU. A batch whose activations fit the processor's caches is a seventh faster than one of
# four times its size; and windows so small that the next one is tokenized while one is scored.
SCORE_BATCH_TOKENS = 512
SCORE_WINDOW_TOKENS = 16_384
# Lines that are judged together; longer documents are judged in sections.
SECTION_LINES = 4_096
# A character is this many tokens at most, in tokenizers that spell bytes.
TOKENS_A_CHAR = 4


@dataclass
class _Document:
    """A document on its way: how many of its prompts are out, what came back, and what it took so far."""

    text: str
    waiting: int = 0
    closed: bool = False
    error: str | None = None
    tokens: int = 0
    seconds: float = 0.0
    chunks: list[ChunkProgram] = field(default_factory=list)
    # Of a scoring engine: chunks whose lines have vectors and no verdict yet, and the verdicts on the sections.
    unjudged: list[tuple[Chunk, Written]] = field(default_factory=list)
    section_scores: list[float] = field(default_factory=list)

    @cached_property
    def lines(self) -> list[str]:
        """The text's lines."""
        return split_lines(self.text)

    @property
    def done(self) -> bool:
        return self.closed and not self.waiting


_Prompt = tuple[_Document, Chunk]


@dataclass
class _Window:
    """Prompts that the engine is at work on, batch by batch, and what comes back for each batch."""

    batches: list[list[_Prompt]]
    written: Iterator[list[Written]]


class ModelRefiner(Refiner):
    """A bundle with an open session. The session belongs to the process that made it; after a fork a new one is made.

    bundle: verified.
    device, device_id, threads: as in ``Refiner.load``.
    batch_size: most prompts in one run.
    grammar: as in ``Refiner.load``.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str,
        device_id: int | None = None,
        threads: int | None = None,
        batch_size: int = 16,
        grammar: GrammarMode = "auto",
    ) -> None:
        self.bundle = bundle
        self.info = bundle.info
        self.batch_size = batch_size
        self.grammar = grammar
        self._asked = (device, device_id, threads)
        self.tokenizer = bundle.tokenizer()
        self.prompt = bundle.prompt(self.tokenizer)
        self._open()

    @classmethod
    def open(
        cls,
        name_or_path: str | Path,
        device: str,
        *,
        device_id: int | None,
        threads: int | None,
        batch_size: int,
        grammar: GrammarMode = "auto",
    ) -> ModelRefiner:
        """Find, verify and open a bundle."""
        return cls(Bundle.find(name_or_path), device, device_id, threads, batch_size, grammar)

    def _open(self) -> None:
        device, device_id, threads = self._asked
        self._process = os.getpid()
        scores = self.bundle.manifest.writes == "score"
        # A prefill is too short for threads to share: scoring runs as many batches side by side instead.
        session = open_session(self.bundle.graph, device, device_id=device_id, threads=1 if scores else threads)
        self.provider, self.device = session.provider, session.device
        self.engine = self._engine(session)
        self.judge = None
        self._pool: ThreadPoolExecutor | None = None
        if scores:
            # Some hundred lines are too little work for a GPU, or for two threads.
            self.judge = LineJudge(open_session(self.bundle.line_graph, "cpu", threads=1))
            self._pool = ThreadPoolExecutor((threads or default_threads()) if session.kind == "cpu" else 1)

    def _limits(self) -> tuple[int, int, int]:
        """Most tokens of a window and of a batch, and most pairs of tokens of a batch."""
        kind = self.device.partition(":")[0]
        if self._pool is not None and kind == "cpu":
            return SCORE_WINDOW_TOKENS, SCORE_BATCH_TOKENS, BATCH_PAIRS[kind]
        return WINDOW_TOKENS, BATCH_TOKENS[kind], BATCH_PAIRS[kind]

    def _engine(self, session: Session) -> Engine:
        manifest = self.bundle.manifest
        if manifest.writes == "score":
            return ScoreEngine(session)
        most, ends = manifest.limits["max_new_tokens"], manifest.end_tokens
        by_grammar = self.info.decodes_by_grammar(self.grammar)
        guides = Guides(self.tokenizer, ends, self.dialect, self.level) if by_grammar else None
        return DecodeEngine(session, ends, most, self.tokenizer.decode, self.batch_size, guides)

    def write(self, texts: Iterable[str]) -> Iterator[DocumentPrograms]:
        """Programs of the texts, in order; holds at most two windows of prompts and documents."""
        if os.getpid() != self._process:
            self._open()
        documents: deque[_Document] = deque()
        running: deque[_Window] = deque()
        queue: list[_Prompt] = []
        tokens = opened = chars = 0
        window_tokens, *_ = self._limits()
        for text in texts:
            document = _Document(text)
            documents.append(document)
            opened += 1
            for chunk in self._chunks(text, document):
                document.waiting += 1
                queue.append((document, chunk))
                tokens += len(chunk.token_ids)
                if tokens >= window_tokens:
                    self._start(queue, running)
                    queue, tokens, opened, chars = [], 0, 0, 0
            document.closed = True
            chars += 0 if document.error else len(text)
            if opened >= WINDOW_DOCUMENTS or chars >= WINDOW_CHARS:
                self._start(queue, running)
                queue, tokens, opened, chars = [], 0, 0, 0
            while documents and documents[0].done:
                yield self._finish(documents.popleft())
        self._start(queue, running)
        while running:
            self._end(running.popleft())
        yield from (self._finish(document) for document in documents)

    def _chunks(self, text: str, document: _Document) -> Iterator[Chunk]:
        """The document's prompts; an error on the way, or a spent budget, becomes the document's."""
        most = self.budget.tokens
        # Where programs are decoded, numbers of lines and templates of chunks count as well: no length in characters
        # says how many tokens those are, and counting them is little beside decoding.
        if most is not None and (self.judge is None or len(text) * TOKENS_A_CHAR > most):
            # Counted first: nothing is run of a document that would not be run to its end.
            tokens = 0
            for chunk in self._made(text, document):
                tokens += len(chunk.token_ids)
                if tokens > most:
                    document.error = told("too_many_tokens", f"more than max_tokens, which is {most}")
        for chunk in self._made(text, document):
            document.tokens += len(chunk.token_ids)
            yield chunk

    def _made(self, text: str, document: _Document) -> Iterator[Chunk]:
        """Make the document's prompts as long as it has no error; what the tokenizer raises becomes one."""
        chunks = self.prompt.chunks(text)
        while self._goes_on(document):
            began = time.monotonic()
            try:
                chunk = next(chunks, None)
            except BaseException as error:
                if not of_a_text(error):
                    raise
                document.error = describe(error, "tokenizer_failed")
                return
            document.seconds += time.monotonic() - began
            if chunk is None:
                return
            yield chunk

    def _goes_on(self, document: _Document) -> bool:
        """Whether more is to be done for a document: it has no error, and its time is not spent."""
        most = self.budget.seconds
        if document.error is None and most is not None and document.seconds > most:
            took = f"{document.seconds:.1f} s for {document.tokens} tokens or fewer"
            document.error = told("too_slow", f"{took}, and not done; max_seconds is {most:g}")
        return document.error is None

    def _start(self, queue: list[_Prompt], running: deque[_Window]) -> None:
        """Start on the prompts of a window; wait for the one before it, so that never more than two are held."""
        chunks = [chunk for _, chunk in queue]
        ordered = [[queue[i] for i in part] for part in self._batches(chunks)]
        written = self._pool.map(self._run, ordered) if self._pool else map(self._run, ordered)
        running.append(_Window(ordered, written))
        while len(running) > (1 if self._pool else 0):
            self._end(running.popleft())

    def _end(self, window: _Window) -> None:
        """Take what was written for a window."""
        for batch, written in zip(window.batches, window.written, strict=True):
            for (document, chunk), one in zip(batch, written, strict=True):
                self._take(document, chunk, one)
        for document in {id(document): document for batch in window.batches for document, _ in batch}.values():
            self._judge(document, last=False)

    def _batches(self, chunks: Sequence[Chunk]) -> list[list[int]]:
        """Indices of the prompts that go into one run. A decoder takes them all: what ends makes room for the next."""
        if self.judge is None:
            return [list(range(len(chunks)))] if chunks else []
        _, most_tokens, most_pairs = self._limits()
        return list(batches(chunks, self.batch_size, most_tokens, most_pairs))

    def _run(self, batch: list[_Prompt]) -> list[Written]:
        """What the engine writes for a batch, but for documents that have failed; in a thread where there is a pool."""
        documents = {id(document): document for document, _ in batch}
        going = {key for key, document in documents.items() if self._goes_on(document)}
        began = time.monotonic()
        found = iter(self._written([chunk for document, chunk in batch if id(document) in going]))
        share = (time.monotonic() - began) / len(batch)
        for document, _ in batch:
            document.seconds += share
        return [next(found) if id(document) in going else Written(error=document.error) for document, _ in batch]

    def _written(self, chunks: Sequence[Chunk]) -> list[Written]:
        """Results of a batch; if it fails, of each half, down to the one prompt that the error belongs to."""
        if not chunks:
            return []
        try:
            return self.engine.run(chunks)
        except Exception as error:  # the runtime raises many kinds, none of them public
            if len(chunks) == 1:
                return [Written(error=describe(error))]
        # Not within the handler: the error's frames hold what the batch had allocated.
        half = len(chunks) // 2
        return [*self._written(chunks[:half]), *self._written(chunks[half:])]

    def _take(self, document: _Document, chunk: Chunk, written: Written) -> None:
        document.waiting -= 1
        if written.error is not None and code_of(written.error):
            document.error = written.error
        if self.judge is not None:
            document.unjudged.append((chunk, written))
            return
        program = written.program.strip(" \n")
        looped = written.error is None and parse_program(program, self.dialect).looped
        document.chunks.append(_program(chunk, written, program, looped=looped))

    def _judge(self, document: _Document, last: bool) -> None:
        """Judge the sections of a document that are whole; with ``last`` also what is left.

        A section is a run of chunks with at most SECTION_LINES lines together, so it is the same for every batch size,
        and a document with millions of lines never has the vectors of all of them at once.
        """
        if self.judge is None or document.error is not None:
            return
        section: list[tuple[Chunk, Written]] = []
        lines = 0
        for chunk, written in sorted(document.unjudged, key=lambda one: one[0].chunk):
            if section and lines + chunk.lines > SECTION_LINES:
                self._judge_section(self.judge, document, section)
                section, lines = [], 0
            section.append((chunk, written))
            lines += chunk.lines
        if last and section:
            self._judge_section(self.judge, document, section)
            section = []
        document.unjudged = section

    def _judge_section(self, judge: LineJudge, document: _Document, section: list[tuple[Chunk, Written]]) -> None:
        if document.error is not None:  # an earlier section's: nothing more is asked of the document
            return
        known = [written.line_vectors for _, written in section if written.line_vectors is not None]
        scores: tuple[float, ...] = ()
        failed = None
        if known:
            lines = document.lines[section[0][0].first_line : section[-1][0].last_line + 1]
            # A chunk that failed says nothing of its lines; the others are judged beside it.
            vectors = [
                np.zeros((chunk.lines, known[0].shape[1]), np.float32) if w.line_vectors is None else w.line_vectors
                for chunk, w in section
            ]
            try:
                scores, nothing = judge.judge(lines, np.concatenate(vectors))
                document.section_scores.append(nothing)
            except Exception as error:  # the runtime raises many kinds, none of them public
                failed = describe(error)
                if code_of(failed):
                    document.error = failed
        threshold = self.info.thresholds["balanced"].line
        for chunk, written in section:
            own, scores = scores[: chunk.lines], scores[chunk.lines :]
            why = written.error or failed
            program = "" if why else program_from_scores(own, chunk.first_line, threshold)
            found = replace(written, error=why)
            document.chunks.append(_program(chunk, found, program, scores=None if why else own))

    def _finish(self, document: _Document) -> DocumentPrograms:
        self._judge(document, last=True)
        chunks = tuple(sorted(document.chunks, key=lambda chunk: chunk.chunk))
        errors = [chunk.error for chunk in chunks if chunk.error is not None]
        if document.error is None and len(errors) == len(chunks):
            document.error = errors[0]
        if document.error is not None:
            return DocumentPrograms(None, (), error=document.error)
        prompt = sum(chunk.prompt_tokens for chunk in chunks)
        if self.info.writes == "score":
            if self.level == "chunk":
                return DocumentPrograms(None, chunks)
            score, program = self._verdict(document, bool(errors))
            if self.level == "both":
                return DocumentPrograms(program, chunks, doc_score=score)
            return DocumentPrograms(program, (), doc_score=score, doc_prompt_tokens=prompt)
        if self.level == "document":
            new = sum(chunk.new_tokens for chunk in chunks)
            return DocumentPrograms(chunks[0].program, (), doc_prompt_tokens=prompt, doc_new_tokens=new)
        return DocumentPrograms(None, chunks)

    def _verdict(self, document: _Document, unsure: bool) -> tuple[float | None, str]:
        """Score and program of the document: worth dropping only if no section of it is worth keeping."""
        if unsure:  # a chunk that could not be read may be the one worth keeping
            return None, "keep_doc()"
        score = min(document.section_scores)
        dropped = score >= self.info.thresholds["balanced"].document
        return score, "drop_doc()" if dropped else "keep_doc()"


def _program(
    chunk: Chunk, written: Written, program: str, scores: tuple[float, ...] | None = None, looped: bool = False
) -> ChunkProgram:
    return ChunkProgram(
        chunk=chunk.chunk,
        first_line=chunk.first_line,
        last_line=chunk.last_line,
        program=program,
        line_scores=scores,
        prompt_tokens=len(chunk.token_ids),
        new_tokens=len(written.tokens),
        truncated=written.truncated,
        looped=looped,
        cut_line=chunk.cut_line,
        error=written.error,
    )
