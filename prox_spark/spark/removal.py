"""Documents leave every table: those that the source has no more, and those that are to be forgotten."""

from __future__ import annotations

from contextlib import nullcontext

from pyspark.sql import DataFrame, SparkSession

from prox_spark.schemas import TABLES
from prox_spark.spark.commits import Commits
from prox_spark.spark.tables import Tables, temporary_view

# Tables that hold documents; programs first: what an `execute` beside this reads before them, it has to read again.
HOLDING = tuple(name for name, table in TABLES.items() if "doc_id" in table.names)


def remove(spark: SparkSession, tables: Tables, ids: DataFrame, table: str, commits: Commits | None = None) -> int:
    """Delete the rows of these ids (column doc_id, each once) from a table, if it is there; returns how many.

    ids: read more than once, so it must be cheap and the same at every reading (files). Done twice it finds nothing the
    second time. Older versions of the table keep the rows until their files are removed.
    commits: of the slice that does it. It is then a write like the others, also where there are no such rows: a run
    that looked at the table before, and would put one of these documents there, is overtaken. Raises Overtaken.
    """
    if not tables.exists(spark, table):
        return 0
    if commits is None and tables.read(spark, table).select("doc_id").join(ids, "doc_id", "left_semi").first() is None:
        return 0
    noting = nullcontext() if commits is None else commits.statement(table)
    with temporary_view(ids.select("doc_id")) as view, noting as note:
        # A MERGE, because Delta's DELETE takes no subquery.
        merged = spark.sql(
            f"MERGE INTO {tables.name(table)} t USING {view} s ON t.doc_id = s.doc_id WHEN MATCHED THEN DELETE"
        )
    row = merged.select("num_deleted_rows").first()
    deleted = 0 if row is None else int(row[0])
    if commits is not None and not deleted:
        commits.need(table, note)
    return deleted
