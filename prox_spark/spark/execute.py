"""EXECUTE: documents and programs in, refined documents out. No model; a text or a program never fails the job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from prox_spark.program.execute import execute
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.refined import Guards, Refined
from prox_spark.program.scores import Thresholds
from prox_spark.schemas import EDIT_STRUCT
from prox_spark.spark import arrow

EXECUTED = (
    "doc_id STRING, text_hash STRING, text STRING, status STRING, reason STRING, partial BOOLEAN, "
    f"edits ARRAY<{EDIT_STRUCT}>, "
    "lines_in INT, lines_out INT, words_in INT, words_out INT, chars_in INT, chars_out INT"
)
COUNTS = ("lines_in", "lines_out", "words_in", "words_out", "chars_in", "chars_out")
# Fields of a chunk that EXECUTE needs; scores only where thresholds are applied to them.
CHUNK_NEEDS = ("chunk", "first_line", "last_line", "program", "truncated", "looped", "cut_line", "error")


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
            return Refined(None, "quarantined", "program_error")
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
        doc_programs = batch.column("doc_program").to_pylist()
        doc_scores = batch.column("doc_score").to_pylist()
        chunks = batch.column("chunks").to_pylist()
        errors = batch.column("error").to_pylist()
        written = batch.column("written_language").to_pylist()
        languages = batch.column("language").to_pylist()
        rows = zip(texts, doc_programs, doc_scores, chunks, errors, written, languages, strict=True)
        return [self.policy.apply(text, _programs(*row), language) for text, *row, language in rows]


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


def _programs(
    doc_program: str | None,
    doc_score: float | None,
    chunks: list[dict[str, Any]] | None,
    error: str | None,
    language: str | None,
) -> DocumentPrograms:
    programs = tuple(
        ChunkProgram(
            chunk=c["chunk"],
            first_line=c["first_line"],
            last_line=c["last_line"],
            program=c["program"] or "",
            line_scores=tuple(scores) if (scores := c.get("line_scores")) is not None else None,
            truncated=bool(c["truncated"]),
            looped=bool(c["looped"]),
            cut_line=bool(c["cut_line"]),
            error=c["error"],
        )
        for c in chunks or ()
    )
    return DocumentPrograms(doc_program, programs, doc_score=doc_score, error=error, language=language)


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
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
