"""WRITE: documents in, programs out. The only stage that runs a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from prox_spark.config import HASH_ID, GrammarMode, GuardSettings
from prox_spark.errors import ConfigError, EngineError
from prox_spark.program.programs import DocumentPrograms
from prox_spark.refiner import Refiner
from prox_spark.refiner.budget import NO_BOUND, Budget
from prox_spark.schemas import CHUNK_STRUCT, PROGRAMS
from prox_spark.spark import arrow
from prox_spark.spark.refiners import RefinerSet, describe_refiners
from prox_spark.spark.worker import load_refiners, write_known

WRITTEN = (
    f"doc_id STRING, text_hash STRING, doc_program STRING, doc_score FLOAT, chunks ARRAY<{CHUNK_STRUCT}>, "
    "prompt_tokens BIGINT, new_tokens BIGINT, error STRING, language STRING"
)


@dataclass(frozen=True)
class WriteUdf:
    """The function that Spark calls with Arrow batches of doc_id, text_hash and text; it travels to the workers.

    passing: also hand the text on, as a last column, for an EXECUTE in the same plan.
    languages: pass over documents that are identified to be in another one; empty: do not identify.
    budget: what one document may take of each refiner.
    grammar: as in `Refiner.load`.
    """

    paths: tuple[str, ...]
    fingerprints: tuple[str, ...]
    device: str
    passing: bool = False
    languages: tuple[str, ...] = ()
    budget: Budget = NO_BOUND
    grammar: GrammarMode = "auto"

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the programs of the batches' documents, in order; batches out need not be batches in."""
        keys: deque[tuple[Any, Any, Any]] = deque()
        refiners: list[Refiner] = []

        def texts() -> Iterator[str]:
            for whole in batches:
                for batch in arrow.bounded(whole):
                    for doc_id, text_hash, text in zip(*batch.columns[:3], strict=True):
                        keys.append((doc_id.as_py(), text_hash.as_py(), text if self.passing else None))
                        yield text.as_py()

        stream = texts()
        first = next(stream, None)
        if first is None:
            return  # an empty partition loads no model
        refiners.extend(load_refiners(self.paths, self.fingerprints, self.device, self.budget, self.grammar))

        def again() -> Iterator[str]:
            yield first
            yield from stream

        ready: list[DocumentPrograms] = []
        size = 0
        for programs in write_known(refiners, again(), self.languages):
            ready.append(programs)
            size += 200 + sum(100 + len(c.program) + 4 * len(c.line_scores or ()) for c in programs.chunks)
            if self.passing:
                size += len(keys[len(ready) - 1][2].as_buffer() or b"")
            if len(ready) >= arrow.BATCH_ROWS or size >= arrow.BATCH_CHARS:
                yield self._batch([keys.popleft() for _ in ready], ready)
                ready, size = [], 0
        if ready:
            yield self._batch([keys.popleft() for _ in ready], ready)
        if keys:
            # Never seen. Were it to happen, a row too few would be a document lost, and programs beside the wrong ids.
            raise EngineError(f"the refiner wrote nothing for {len(keys)} documents of this task")

    def _batch(self, keys: list[tuple[Any, Any, Any]], rows: list[DocumentPrograms]) -> pa.RecordBatch:
        columns = {
            "doc_id": arrow.column([key[0] for key in keys], pa.string()),
            "text_hash": arrow.column([key[1] for key in keys], pa.string()),
            "doc_program": arrow.column([row.doc_program for row in rows], pa.string()),
            "doc_score": pa.array([row.doc_score for row in rows], pa.float32()),
            "chunks": arrow.structs([row.chunks for row in rows], arrow.CHUNK_FIELDS),
            "prompt_tokens": pa.array([row.prompt_tokens for row in rows], pa.int64()),
            "new_tokens": pa.array([row.new_tokens for row in rows], pa.int64()),
            "error": arrow.column([row.error for row in rows], pa.string()),
            "language": pa.array([row.language for row in rows], pa.string()),
        }
        if self.passing:
            columns["text"] = pa.array([key[2] for key in keys]).cast(pa.string())
        return pa.RecordBatch.from_pydict(columns)


def write_checked(
    checked: DataFrame, refiners: RefinerSet, device: str, passing: bool = False, budget: Budget = NO_BOUND
) -> DataFrame:
    """Return the programs of documents that passed CHECK (doc_id, text_hash, text): the columns of WRITTEN."""
    identified, grammar = refiners.identified, refiners.grammar
    udf = WriteUdf(refiners.paths, refiners.fingerprints, device, passing, identified, budget, grammar)
    schema = WRITTEN + (", text STRING" if passing else "")
    return checked.select("doc_id", "text_hash", "text").mapInArrow(udf, schema)


def identified(programs: DataFrame) -> Column:
    """Return the language that WRITE found; null where the rows are older than that column."""
    return F.col("language") if "language" in programs.columns else F.lit(None).cast("string")


def beside_programs(documents: DataFrame, programs: DataFrame) -> DataFrame:
    """Return documents with what EXECUTE needs of their programs; those without programs are left out.

    documents: doc_id, text_hash and whatever else. programs: rows of `programs`, of one write_key.
    """
    stored = programs.select(
        F.col("doc_id").alias("_id"),
        F.col("text_hash").alias("_hash"),
        "doc_program",
        "doc_score",
        "chunks",
        "error",
        identified(programs).alias("_identified"),
    )
    match = documents["doc_id"].eqNullSafe(stored["_id"]) & documents["text_hash"].eqNullSafe(stored["_hash"])
    return documents.join(stored, match).drop("_id", "_hash")


def as_programs(written: DataFrame, refiners: RefinerSet, run_id: str | None, written_at: Any = None) -> DataFrame:
    """Return written programs as rows of the `programs` table."""
    at = F.current_timestamp() if written_at is None else F.lit(written_at)
    rows = written.withColumns(
        {
            "write_key": F.lit(refiners.write_key),
            "refiner": F.lit(refiners.name),
            "fingerprint": F.lit(refiners.fingerprint),
            "run_id": F.lit(run_id).cast("string"),
            "written_at": at.cast("timestamp"),
        }
    )
    return rows.select(*PROGRAMS.names)


Refiners = Refiner | str | Path | Sequence[Refiner | str | Path]


def refiner_paths(refiner: Refiners) -> tuple[str, ...]:
    """Return what the workers are to load: names, paths, or of refiners of this process what they were loaded by."""
    return tuple(map(_path_of, _each(refiner)))


def grammar_of(refiner: Refiners, grammar: GrammarMode) -> GrammarMode:
    """Return what the workers are to be told of the grammar; of refiners of this process, what they were told.

    Raises ConfigError where two of them were told differently.
    """
    told = {one.grammar for one in _each(refiner) if isinstance(one, Refiner)}
    if grammar != "auto" or not told:
        return grammar
    if len(told) > 1:
        raise ConfigError(
            "one refiner was loaded with another grammar than the other; say with grammar which it is to be"
        )
    return told.pop()


def _each(refiner: Refiners) -> Sequence[Refiner | str | Path]:
    return [refiner] if isinstance(refiner, (Refiner, str, Path)) else refiner


def _path_of(refiner: Refiner | str | Path) -> str:
    if not isinstance(refiner, Refiner):
        return str(refiner)
    # A refiner of a bundle knows its directory; one of rules is loaded by its name.
    bundle = getattr(refiner, "bundle", None)
    return str(bundle.directory) if bundle is not None else refiner.name


def write_programs(
    df: DataFrame,
    refiner: Refiners,
    *,
    id_column: str = "doc_id",
    text_column: str = "text",
    device: str = "auto",
    any_language: bool = False,
    grammar: GrammarMode = "auto",
    guards: GuardSettings = GuardSettings(),
    run_id: str | None = None,
) -> DataFrame:
    """Return the programs of a DataFrame's documents: rows of the `programs` table, one a row of `df`, lazily.

    refiner: a bundle's name or path, a document bundle and a chunk bundle, or a `Refiner`; the workers load it
        themselves.
    any_language: let the refiner read documents in all languages, not only in those that it was made for.
    grammar: as in `Refiner.load`; default: as a `Refiner` was loaded.
    guards: `max_bytes` and `max_lines`; give `execute_programs` the same.

    What CHECK sets aside has no row here (`refine` and `execute_programs` give it one): a text that is null, not UTF-8
    or too large, and an id with several texts. Write the result to a table before anything else reads it: each reading
    runs the model again. Arrow batches are as the session sets them: see `refine`.
    Raises BundleError; ConfigError where two bundles do not fit together.
    """
    from prox_spark.spark.frames import checked_frame

    refiners = describe_refiners(refiner_paths(refiner), not any_language, grammar_of(refiner, grammar))
    own = [text_column] if id_column == HASH_ID else [id_column, text_column]
    documents = df.select(*[F.col(f"`{name}`") for name in own])
    checked = checked_frame(documents, id_column, text_column, guards).where("reason IS NULL")
    return as_programs(write_checked(checked, refiners, device), refiners, run_id)
