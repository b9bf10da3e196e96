"""Documents leave every table: those that the source has no more, and those that are to be forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark.schemas import TABLES
from prox_spark.spark.tables import Tables

_VIEW = "prox_spark_removed_ids"
# Tables that hold documents.
HOLDING = tuple(name for name, table in TABLES.items() if "doc_id" in table.names)


def remove(spark: SparkSession, tables: Tables, ids: DataFrame, names: Sequence[str] = HOLDING) -> dict[str, int]:
    """Delete the rows of these ids (column doc_id, each once) from the tables that are there; returns rows by table.

    ids: read once for each table, so it must be cheap and the same at every reading (files). Done twice it finds
    nothing the second time. Older versions of the tables keep the rows until their files are removed.
    """
    deleted = {}
    ids.select("doc_id").createOrReplaceTempView(_VIEW)
    for name in names:
        if not tables.exists(spark, name):
            continue
        there = tables.read(spark, name).select("doc_id")
        if there.join(ids.select("doc_id"), "doc_id", "left_semi").select(F.lit(1)).first() is None:
            deleted[name] = 0
            continue
        # A MERGE, because Delta's DELETE takes no subquery.
        merged = spark.sql(
            f"MERGE INTO {tables.name(name)} t USING {_VIEW} s ON t.doc_id = s.doc_id WHEN MATCHED THEN DELETE"
        )
        row = merged.select("num_deleted_rows").first()
        deleted[name] = 0 if row is None else int(row[0])
    spark.catalog.dropTempView(_VIEW)
    return deleted


def deletions(ids: DataFrame, deleted: Mapping[str, int]) -> dict[str, int]:
    """Return what `runs.counts` says of a removal: ids that were in none of the tables are counted, too."""
    return {"gone": int(ids.count()), **{f"deleted.{name}": many for name, many in deleted.items() if many}}
