"""What a slice holds: its documents, checked, and with a change data feed which ones the source has no more."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from prox_spark.spark.check import CHANGE, JSON_TIMES, check, repeated_ids, resolve_repeated
from prox_spark.spark.sources import Source
from prox_spark.spark.work import Desk

# What a changed row was before, or a row that is gone.
TAKEN_AWAY = ("delete", "update_preimage")


@dataclass(frozen=True)
class CheckedSlice:
    """A slice's documents, checked, one row an id and text.

    rows: how many there were, if that is more. gone: ids (doc_id) that the source has no more, if it told of any.
    """

    documents: DataFrame
    rows: int | None = None
    gone: DataFrame | None = None


def check_slice(desk: Desk, rows: DataFrame) -> CheckedSlice:
    """Check a slice. The source is read once, into files: what comes after reads columns of those."""
    documents = desk.work.source.documents(rows)
    checked = desk.staged(check(documents, desk.work.settings.guards), "slice")
    gone = None
    if CHANGE in checked.columns:
        checked, gone = settle(desk, checked)
    repeated = repeated_ids(checked)
    if repeated.first() is None:
        return CheckedSlice(checked, gone=gone)
    return CheckedSlice(desk.staged(resolve_repeated(checked, repeated), "resolved"), int(checked.count()), gone)


def has_feed(spark: SparkSession, source: Source) -> bool:
    """Return whether a source is a Delta table that records its changes."""
    if source.settings.format != "delta":
        return False
    name = source.location if source.by_name else f"delta.`{source.location}`"
    rows = spark.sql(f"SHOW TBLPROPERTIES {name}").where("key = 'delta.enableChangeDataFeed'")
    row = rows.select("value").first()
    return row is not None and str(row[0]).lower() == "true"


def settle(desk: Desk, changes: DataFrame) -> tuple[DataFrame, DataFrame | None]:
    """Return what a slice of changes leaves: rows to work on, and ids that the source has no more (None: no such id).

    changes: checked documents with their kind of change, in files. A row that came and changed or went within the
    slice is counted out by its content. An id that only lost rows may have others: the source itself is asked, so that
    deleting one of two equal rows deletes no document.
    """
    rows = changes.drop(CHANGE)
    columns = [F.col(f"`{name}`") for name in rows.columns]
    lost = F.col(CHANGE).isin(*TAKEN_AWAY)
    touched = changes.where(lost).select("doc_id").distinct()
    if touched.first() is None:
        return rows, None
    touched = desk.staged(touched, "touched")
    counted = _counted(changes.join(touched, "doc_id", "left_semi"))
    counted = desk.staged(counted, "counted")
    left = counted.where("_net > 0")
    losing = counted.where("_net < 0").select("doc_id").distinct().join(left, "doc_id", "left_anti")
    losing = desk.staged(losing, "losing")
    kept = changes.join(touched, "doc_id", "left_anti").drop(CHANGE).unionByName(left.select(*columns))
    if losing.first() is None:
        return desk.staged(kept, "settled"), None
    source, spark = desk.work.source, desk.spark
    ids = source.documents(source.batch(spark)).select("doc_id").join(losing, "doc_id", "left_semi").distinct()
    there = desk.staged(ids, "still_there")
    if there.first() is not None:
        others = source.documents(source.batch(spark)).join(there, "doc_id", "left_semi")
        kept = kept.unionByName(check(others, desk.work.settings.guards).select(*columns))
    gone = desk.staged(losing.join(there, "doc_id", "left_anti"), "gone")
    return desk.staged(kept, "settled"), None if gone.first() is None else gone


def _counted(changes: DataFrame) -> DataFrame:
    """Return one row for each content of an id, with `_net`: how often it came less how often it went."""
    whole = [F.col(f"`{name}`") for name in changes.columns if name not in (CHANGE, "text", "_raw")]
    content = F.sha2(F.to_json(F.struct(*whole), JSON_TIMES).cast("binary"), 256)
    step = F.when(F.col(CHANGE).isin(*TAKEN_AWAY), -1).otherwise(1)
    same = Window.partitionBy("doc_id", "_content")
    counted = changes.withColumn("_content", content).select(
        "*",
        F.sum(step).over(same).alias("_net"),
        F.row_number().over(same.orderBy(F.col(CHANGE))).alias("_nth"),
    )
    return counted.where("_nth = 1").drop("_content", "_nth", CHANGE)
