"""The queries behind a report: a few bounded aggregates over the tables, as plain data."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from prox_spark.errors import SourceError
from prox_spark.report.summary import (
    EditRow,
    QuarantineRow,
    RemovedLine,
    RunFacts,
    SamplePage,
    StatusCount,
    Summary,
)
from prox_spark.spark.tables import Tables

# A page that shows well: not a screenful of one line, not a book. Others are taken when there are none like that.
SHORT_PAGE, LONG_PAGE = 12, 150
LONGEST_LINE = 2_000
LONGEST_EDIT = 4_000
RUNS = 20
REASONS = 200
EDITS_OF_A_PAGE = 2_000
LONGEST_PAGE = 200_000
# What a page is drawn from.
PAGE = ("doc_id", "text_hash", "status", "reason", "text", "lines_in", "edits")
# Spark's own trim knows one blank, and lines of some sources end with a carriage return. A pattern that ends with `$`
# would begin anew at every blank of a long run.
_BLANKS = " \t\n\v\f\r\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def summarise(spark: SparkSession, tables: str, pages: int = 5, lines: int = 30, edits: int = 12) -> Summary:
    """Return the figures of the tables in `tables` (a directory or a schema).

    pages: pages to show before and after; lines: most removed lines; edits: largest edits. All are upper bounds: what
    reaches the driver is small whatever the tables hold. Raises SourceError when there are no tables.
    """
    there = Tables(tables)
    there.need_version(spark)
    refined, quarantine = read_table(spark, there, "refined"), read_table(spark, there, "quarantine")
    return Summary(
        tables=tables,
        runs=_runs(read_table(spark, there, "runs")),
        counts=(*_counts(refined), *_set_aside(quarantine)),
        removed_lines=_removed_lines(refined, lines),
        largest_edits=_largest_edits(refined, edits),
        pages=_pages(refined, pages),
        quarantine=_quarantine(quarantine),
    )


def read_table(spark: SparkSession, tables: Tables, name: str) -> DataFrame:
    """Return a table; raises SourceError where it is not there."""
    if not tables.exists(spark, name):
        where = tables.location
        raise SourceError(f"there is no table {name!r} in {where!r}; `prox-spark refine --tables {where} …` makes it")
    return tables.read(spark, name)


def _counts(refined: DataFrame) -> list[StatusCount]:
    figures = ("lines_in", "lines_out", "words_in", "words_out")
    totals = [F.sum(F.coalesce(F.col(name).cast("bigint"), F.lit(0))).alias(name) for name in figures]
    rows = refined.groupBy("status", "reason").agg(F.count("*").alias("documents"), *totals)
    return [StatusCount(**row.asDict()) for row in _in_order(rows)]


def _set_aside(quarantine: DataFrame) -> list[StatusCount]:
    # An id may be there for two reasons: a text that is null, and one that is not.
    once = quarantine.groupBy("doc_id").agg(F.min("reason").alias("reason"))
    rows = once.groupBy("reason").agg(F.count("*").alias("documents")).withColumn("status", F.lit("quarantined"))
    return [StatusCount(row["status"], row["reason"], row["documents"]) for row in _in_order(rows)]


def _in_order(counts: DataFrame) -> list[Row]:
    rows: list[Row] = counts.orderBy(F.desc("documents"), "status", F.col("reason").asc_nulls_first()).take(REASONS)
    return rows


def _exploded(refined: DataFrame) -> DataFrame:
    return refined.select("doc_id", F.explode("edits").alias("edit")).select("doc_id", "edit.*")


def _removed_lines(refined: DataFrame, limit: int) -> tuple[RemovedLine, ...]:
    whole = _exploded(refined).where(F.col("operation") == "remove_lines")
    each = whole.select("doc_id", F.explode(F.split("removed", "\n")).alias("line"))
    each = each.select("doc_id", F.btrim("line", F.lit(_BLANKS)).alias("line")).where(F.col("line") != "")
    rows = (
        each.groupBy(F.substring("line", 1, LONGEST_LINE).alias("line"))
        .agg(F.count("*").alias("times"), F.countDistinct("doc_id").alias("documents"))
        .orderBy(F.desc("documents"), F.desc("times"), "line")
        .take(limit)
    )
    return tuple(RemovedLine(row["line"], row["times"], row["documents"]) for row in rows)


def _largest_edits(refined: DataFrame, limit: int) -> tuple[EditRow, ...]:
    found = _exploded(refined).where(F.length("removed") > 0)
    cut = found.withColumn("removed_chars", F.length("removed")).withColumn(
        "removed", F.substring("removed", 1, LONGEST_EDIT)
    )
    rows = cut.orderBy(F.desc("removed_chars"), "doc_id", "first_line").take(limit)
    return tuple(_edit(row.asDict(), row["doc_id"]) for row in rows)


def _edit(values: dict[str, Any], doc_id: str) -> EditRow:
    return EditRow(
        operation=values["operation"] or "",
        first_line=_or(values["first_line"], 0),
        last_line=_or(values["last_line"], -1),
        removed=values["removed"] or "",
        inserted=values["inserted"] or "",
        start=values["start"],
        end=values["end"],
        chunk=values["chunk"],
        reason=values["reason"],
        doc_id=doc_id,
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _pages(refined: DataFrame, limit: int) -> tuple[SamplePage, ...]:
    """Pages that lost about half of their lines, of a length that can be read; the same ones every time."""
    if limit == 0:
        return ()
    edited = refined.where((F.size("edits") > 0) & (F.size("edits") <= EDITS_OF_A_PAGE) & F.col("text").isNotNull())
    fits = F.col("lines_in").between(SHORT_PAGE, LONG_PAGE)
    lost = F.abs(F.col("lines_out") / F.greatest(F.col("lines_in"), F.lit(1)) - 0.5)
    rows = (
        edited.where((F.col("status") == "refined") & (F.col("chars_in") <= LONGEST_PAGE))
        .orderBy(F.desc(fits), lost, "doc_id")
        .select(*PAGE)
        .take(limit)
    )
    return tuple(sample_page(row) for row in rows)


def sample_page(row: Row) -> SamplePage:
    """Return a row of `refined`, by its columns of PAGE, as a page that can be drawn."""
    edits = tuple(_edit(edit.asDict(), row["doc_id"]) for edit in row["edits"])
    original = row["text"] is not None and hashlib.sha256(row["text"].encode()).hexdigest() == row["text_hash"]
    return SamplePage(row["doc_id"], row["status"], row["reason"], row["text"], row["lines_in"], edits, original)


def _quarantine(quarantine: DataFrame) -> tuple[QuarantineRow, ...]:
    rows = (
        quarantine.groupBy("stage", "reason")
        .agg(
            F.countDistinct("doc_id").alias("documents"),
            F.min(F.struct("doc_id", F.substring("detail", 1, LONGEST_LINE).alias("detail"))).alias("example"),
            F.max(F.coalesce("size_bytes", F.lit(0))).alias("largest"),
        )
        .orderBy(F.desc("documents"), "stage", "reason")
        .take(REASONS)
    )
    return tuple(
        QuarantineRow(
            row["stage"] or "", row["reason"], row["documents"],
            row["example"]["doc_id"] or "", row["example"]["detail"] or "", row["largest"],
        )
        for row in rows
    )  # fmt: skip


def _runs(runs: DataFrame) -> tuple[RunFacts, ...]:
    names = tuple(RunFacts.__dataclass_fields__)
    rows = runs.select(*[F.col(name) for name in names]).orderBy(F.desc("started_at"), F.desc("finished_at")).take(RUNS)
    return tuple(
        RunFacts(**{name: _utc(value) for name, value in row.asDict(recursive=True).items() if value is not None})
        for row in rows
    )


def _utc(value: Any) -> Any:
    """Spark hands out times in this machine's zone, without saying so."""
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value
