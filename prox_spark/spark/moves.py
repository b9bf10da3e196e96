"""Documents move between `refined` and `quarantine`: when they come into the one, they leave the other."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from prox_spark.spark.check import JSON_TIMES
from prox_spark.spark.tables import ACTION
from prox_spark.spark.work import Desk


def carried_json(names: Sequence[str]) -> Column:
    """Return carried columns (quoted names) as JSON, for `quarantine.carried`; null where there are none."""
    if not names:
        return F.lit(None).cast("string")
    return F.to_json(F.struct(*[F.col(name) for name in names]), JSON_TIMES)


def put_in_quarantine(desk: Desk, rows: DataFrame, purpose: str, known: bool) -> None:
    """Put rows into quarantine, in place of whatever is there under their ids; `known`: something may be there."""
    tables = desk.work.tables
    stamped = rows.withColumns({"run_id": F.lit(desk.work.run_id), "quarantined_at": F.lit(desk.at)})
    if not known:
        desk.commits.need("quarantine", desk.commits.append(stamped, "quarantine"))
        return
    staged = desk.staged(stamped, f"quarantine_{purpose}").withColumn(ACTION, F.lit("put"))
    keys = staged.select(F.col("doc_id").alias("_id"), F.col("text_hash").alias("_hash"))
    there = tables.read(desk.spark, "quarantine").select("doc_id", "text_hash")
    match = F.col("doc_id").eqNullSafe(F.col("_id"))
    old = there.join(keys.select("_id"), match, "left_semi")
    old = old.join(keys, match & F.col("text_hash").eqNullSafe(F.col("_hash")), "left_anti")
    gone = desk.staged(old.withColumn(ACTION, F.lit("delete")), "quarantine_old")
    rows = staged.unionByName(gone, allowMissingColumns=True)
    desk.commits.need("quarantine", desk.commits.merge(rows, "quarantine"))


def leaving(desk: Desk, table: str, ids: DataFrame) -> DataFrame:
    """Return what a merge needs to delete the rows of these ids from a table."""
    keys = ("doc_id", "text_hash") if table == "quarantine" else ("doc_id",)
    there = desk.work.tables.read(desk.spark, table).select(*keys)
    gone = there.join(ids.select("doc_id"), "doc_id", "left_semi").withColumn(ACTION, F.lit("delete"))
    return desk.staged(gone, f"{table}_leaving")


def take_out(desk: Desk, table: str, ids: DataFrame) -> None:
    """Delete the rows of these ids from a table."""
    desk.commits.need(table, desk.commits.merge(leaving(desk, table, ids), table))
