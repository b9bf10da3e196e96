"""EXECUTE: documents and programs in, refined documents out. No model; a text or a program never fails the job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, repeat

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from prox_spark.program.execute import execute
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.refined import Guards, Refined
from prox_spark.program.scores import Thresholds
from prox_spark.refiner.budget import code_of
from prox_spark.schemas import EDIT_STRUCT
from prox_spark.spark import arrow

EXECUTED = (
    "doc_id STRING, text_hash STRING, text STRING, status STRING, reason STRING, partial BOOLEAN, "
    f"edits ARRAY<{EDIT_STRUCT}>, "
    "lines_in INT, lines_out INT, words_in INT, words_out INT, chars_in INT, chars_out INT"
)
COUNTS = ("lines_in", "lines_out", "words_in", "words_out", "chars_in", "chars_out")
# Fields of a chunk that EXECUTE needs; scores only where thresholds are applied to them.
CHUNK_NEEDS = ("chunk", "first_line", "last_line", "program", "cut_line", "error")


@dataclass(frozen=True)
class ExecutePolicy:
    """How programs are executed: the part of a job's settings that EXECUTE takes to the workers."""

    policy: str = "strict"
    mode: str = "refine"
    dialect: str = "prox"
    guards: Guards = field(default_factory=Guards)
    languages: tuple[str, ...] = ()
    thresholds: Thresholds | None = None

    def apply(self, text: str, programs: DocumentPrograms, language: str | None) -> Refined:
        """Return what becomes of one document; `fallback` with the text as it was when anything at all goes wrong."""
        if programs.error is not None:
            return Refined(None, "quarantined", code_of(programs.error) or "program_error")
        try:
            refined = execute(
                text,
                programs,
                self.policy,
                dialect=self.dialect,
                guards=self.guards,
                language=language,
                languages=self.languages or None,
                thresholds=self.thresholds,
                mode=self.mode,
            )
        except Exception as error:
            return _as_it_was(text, f"execute_failed: {type(error).__name__}")
        if refined.status == "quarantined":
            # CHECK has the same limits, so this is not reached; a row that came here has one place to go.
            return _as_it_was(text, refined.reason or "limits")
        if refined.text is not None and refined.text is not text and not _encodes(refined.text):
            return _as_it_was(text, "not_utf8")
        return refined


@dataclass(frozen=True)
class ExecuteUdf:
    """The function that Spark calls with Arrow batches; it travels to the workers."""

    policy: ExecutePolicy

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield what becomes of the batches' documents, in order."""
        for whole in batches:
            for batch in arrow.bounded(whole):
                yield self.batch(batch)

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return what becomes of one batch's documents: the columns of EXECUTED."""
        rows = self._refined(batch)
        columns = {
            "doc_id": batch.column("doc_id"),
            "text_hash": batch.column("text_hash"),
            "text": pa.array([row.text for row in rows], pa.string()),
            "status": pa.array([row.status for row in rows], pa.string()),
            "reason": arrow.column([row.reason for row in rows], pa.string()),
            "partial": pa.array([row.partial for row in rows], pa.bool_()),
            "edits": arrow.structs([row.edits for row in rows], arrow.EDIT_FIELDS),
        }
        columns.update({name: arrow.column([getattr(row, name) for row in rows], pa.int32()) for name in COUNTS})
        return pa.RecordBatch.from_pydict(columns)

    def _refined(self, batch: pa.RecordBatch) -> list[Refined]:
        texts = batch.column("text").to_pylist()
        languages = batch.column("language").to_pylist()
        programs = _programs(batch)
        return [self.policy.apply(*row) for row in zip(texts, programs, languages, strict=True)]


@dataclass(frozen=True)
class MeasureUdf(ExecuteUdf):
    """EXECUTE for the preflight's sample: numbers only."""

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the columns of MEASURED."""
        rows = self._refined(batch)
        return pa.RecordBatch.from_pydict(
            {
                "changed": pa.array([row.status in ("refined", "dropped") for row in rows], pa.bool_()),
                "failed": pa.array([bool(row.errors) for row in rows], pa.bool_()),
                "words_in": pa.array([row.words_in for row in rows], pa.int64()),
                "words_out": pa.array([0 if row.status == "dropped" else row.words_out for row in rows], pa.int64()),
            }
        )


MEASURED = "changed BOOLEAN, failed BOOLEAN, words_in BIGINT, words_out BIGINT"


def execute_joined(
    joined: DataFrame, policy: ExecutePolicy, language: str | None = None, measuring: bool = False
) -> DataFrame:
    """Return what becomes of documents that stand beside their programs: the columns of EXECUTED.

    joined: doc_id, text_hash, text, doc_program, doc_score, chunks, error, `_identified` (the language that WRITE
        found), and the column `language` if one is named.
        Only these go to Python, and of the chunks only what is needed there. A document with an error has status
        `quarantined`.
    """
    names = (*CHUNK_NEEDS, "line_scores") if policy.thresholds is not None else CHUNK_NEEDS

    def chunk(value: Column) -> Column:
        return F.struct(*[value.getField(name).alias(name) for name in names])

    needed = joined.select(
        "doc_id",
        "text_hash",
        "text",
        "doc_program",
        "doc_score",
        F.transform("chunks", chunk).alias("chunks"),
        "error",
        F.col("_identified").alias("written_language"),
        (F.col(f"`{language}`") if language else F.lit(None)).cast("string").alias("language"),
    )
    return (
        needed.mapInArrow(MeasureUdf(policy), MEASURED)
        if measuring
        else needed.mapInArrow(ExecuteUdf(policy), EXECUTED)
    )


def _programs(batch: pa.RecordBatch) -> Iterator[DocumentPrograms]:
    """Yield the programs of a batch's documents, read column by column."""
    chunks = _chunks(batch.column("chunks"))
    names = ("doc_program", "doc_score", "error", "written_language")
    for doc_program, doc_score, error, language in zip(*[batch.column(n).to_pylist() for n in names], strict=True):
        yield DocumentPrograms(doc_program, next(chunks), doc_score, error, language=language)


def _chunks(lists: pa.ListArray) -> Iterator[tuple[ChunkProgram, ...]]:
    """Yield the chunks of each document; a null list gives none."""
    flat = lists.flatten()
    fields = {field.name: flat.field(n).to_pylist() for n, field in enumerate(flat.type)}
    scores = fields.get("line_scores", repeat(None))
    rows = map(_chunk, *[fields[name] for name in CHUNK_NEEDS], scores)
    for many in lists.value_lengths().to_pylist():
        yield tuple(islice(rows, many or 0))


def _chunk(
    chunk: int,
    first_line: int,
    last_line: int,
    program: str | None,
    cut_line: bool | None,
    error: str | None,
    scores: list[float] | None,
) -> ChunkProgram:
    line_scores = None if scores is None else tuple(scores)
    return ChunkProgram(chunk, first_line, last_line, program or "", line_scores, cut_line=bool(cut_line), error=error)


def _as_it_was(text: str, reason: str) -> Refined:
    lines = text.count("\n") + 1
    words = len(text.split())
    return Refined(
        text,
        "fallback",
        reason,
        lines_in=lines,
        lines_out=lines,
        words_in=words,
        words_out=words,
        chars_in=len(text),
        chars_out=len(text),
    )


def _encodes(text: str) -> bool:
    if text.isascii():
        return True  # known without looking at it
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
