"""The queries behind `prox-spark diff`: two sets of tables joined by document, as a few bounded aggregates."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark.report.comparison import BothPages, Comparison, Pair, Side
from prox_spark.spark.summaries import EDITS_OF_A_PAGE, read_table, sample_page
from prox_spark.spark.tables import Tables

NAMES = 5
LONGEST_PAGE = 200_000
# A side's columns in the join; `_b` likewise.
COLUMNS = ("status", "hash", "out", "kept", "words_in")
PAGE = ("doc_id", "status", "reason", "text", "lines_in", "edits")


def compare(spark: SparkSession, tables_a: str, tables_b: str, pages: int = 5) -> Comparison:
    """Return what differs between two sets of tables (directories or schemas) over the same source.

    pages: how many of the pages that differ most are returned, whole. What reaches the driver is small whatever the
    tables hold. Raises SourceError where there are no tables, SchemaError where they are of another version.
    """
    a, b = Tables(tables_a), Tables(tables_b)
    for tables in (a, b):
        tables.need_version(spark)
    joined = _documents(spark, a, "a").join(_documents(spark, b, "b"), "doc_id", "full_outer")
    known = F.coalesce(F.col("hash_a") == F.col("hash_b"), F.lit(True))
    same = F.coalesce(F.col("out_a").eqNullSafe(F.col("out_b")) & (F.col("status_a") != "quarantined"), F.lit(True))
    rows = (
        joined.groupBy("status_a", "status_b", known.alias("known"))
        .agg(
            F.count(F.lit(1)).alias("documents"),
            F.sum(same.cast("int")).alias("same"),
            *[_sum(name) for name in ("words_in", "kept_a", "kept_b")],
        )
        .orderBy(F.desc("documents"), "status_a", "status_b")
        .take(100)
    )
    return Comparison(
        a=_side(spark, a),
        b=_side(spark, b),
        pairs=tuple(
            Pair(
                row["status_a"],
                row["status_b"],
                int(row["documents"]),
                int(row["same"]),
                (int(row["words_in"]), int(row["kept_a"]), int(row["kept_b"])),
            )
            for row in rows
            if row["known"]
        ),
        other_text=sum(int(row["documents"]) for row in rows if not row["known"]),
        pages=_pages(spark, a, b, joined.where(known), pages),
    )


def _sum(name: str) -> Column:
    value = F.greatest("words_in_a", "words_in_b") if name == "words_in" else F.col(name)
    return F.coalesce(F.sum(value.cast("bigint")), F.lit(0)).alias(name)


def _documents(spark: SparkSession, tables: Tables, side: str) -> DataFrame:
    """Return one row a document: its status, the hashes of its text before and after, words before and after."""
    refined = read_table(spark, tables, "refined")
    dropped = F.col("status") == "dropped"
    kept = F.when(dropped, 0).otherwise(F.col("words_out"))
    # Texts stay where they are: what is joined is a hash of each.
    out = F.when(~dropped, F.xxhash64("text"))
    text = F.col("text_hash").alias("hash")
    rows = refined.select("doc_id", "status", text, "words_in", out.alias("out"), kept.alias("kept"))
    aside = read_table(spark, tables, "quarantine").select("doc_id").distinct()
    both = rows.unionByName(aside.withColumn("status", F.lit("quarantined")), allowMissingColumns=True)
    return both.select("doc_id", *[F.col(name).alias(f"{name}_{side}") for name in COLUMNS])


def _side(spark: SparkSession, tables: Tables) -> Side:
    refined = read_table(spark, tables, "refined")
    names = []
    for column in ("refiner", "policy"):
        rows = refined.select(column).where(F.col(column).isNotNull()).distinct().orderBy(column).take(NAMES)
        names.append(tuple(row[column] for row in rows))
    aside = read_table(spark, tables, "quarantine").select("doc_id").distinct().count()
    return Side(tables.location, names[0], names[1], int(refined.count()) + int(aside))


def _pages(spark: SparkSession, a: Tables, b: Tables, joined: DataFrame, limit: int) -> tuple[BothPages, ...]:
    """Pages of which one side keeps most words that the other does not, by their number; the same ones every time."""
    if limit == 0:
        return ()
    both = joined.where(F.col("hash_a").isNotNull() & F.col("hash_b").isNotNull())
    both = both.where(~F.col("out_a").eqNullSafe(F.col("out_b")))
    lost = F.abs(F.col("kept_a") - F.col("kept_b"))
    chosen = both.select("doc_id", "words_in_a", "kept_a", "kept_b", lost.alias("lost"))
    fits = (F.col("chars_in") <= LONGEST_PAGE) & (F.size("edits") <= EDITS_OF_A_PAGE)
    sides = {name: read_table(spark, tables, "refined").where(fits) for name, tables in (("a", a), ("b", b))}
    # Ids alone are sorted before texts are looked up.
    for side in sides.values():
        chosen = chosen.join(side.select("doc_id"), "doc_id", "left_semi")
    chosen = chosen.orderBy(F.desc("lost"), "doc_id").limit(limit)
    for name, side in sides.items():
        chosen = chosen.join(side.select("doc_id", F.struct(*PAGE).alias(f"page_{name}")), "doc_id")
    rows = chosen.orderBy(F.desc("lost"), "doc_id").take(limit)
    return tuple(
        BothPages(
            sample_page(row["page_a"]), sample_page(row["page_b"]), row["words_in_a"], row["kept_a"], row["kept_b"]
        )
        for row in rows
    )
