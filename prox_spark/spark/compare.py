"""The queries behind `prox-spark diff`: two sets of tables joined by document, as a few bounded aggregates."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark.report.comparison import BothPages, Comparison, Pair, Side
from prox_spark.spark.summaries import EDITS_OF_A_PAGE, LONGEST_PAGE, PAGE, read_table, sample_page
from prox_spark.spark.tables import Tables

NAMES = 5
# A side's columns in the join; `_b` likewise.
COLUMNS = ("status", "hash", "out", "edits", "original", "gone", "kept", "words_in")
# An edit without the chunk that it came from: chunks are cut anew for another refiner.
EDIT = ("operation", "first_line", "last_line", "start", "end", "removed", "inserted")


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
    rows = (
        joined.groupBy("status_a", "status_b", known.alias("known"))
        .agg(
            F.count(F.lit(1)).alias("documents"),
            F.sum(_same().cast("int")).alias("same"),
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


def _same() -> Column:
    """Whether both sides have the document, and made the same of it.

    A text that was only tagged is the source's: then what is told of it is compared, not the text.
    """
    there = [F.col(f"status_{side}").isNotNull() & (F.col(f"status_{side}") != "quarantined") for side in "ab"]
    tagged = F.col("original_a") | F.col("original_b")
    made = F.when(tagged, F.col("edits_a") == F.col("edits_b")).otherwise(F.col("out_a") == F.col("out_b"))
    dropped_a, dropped_b = (F.col(f"status_{side}") == "dropped" for side in "ab")
    return F.coalesce(
        there[0] & there[1] & F.when(dropped_a | dropped_b, dropped_a & dropped_b).otherwise(made), F.lit(False)
    )


def _is_whole(edit: Column) -> Column:
    return (edit["operation"] == "remove_lines") & (edit["first_line"] <= edit["last_line"])


def _sum(name: str) -> Column:
    value = F.greatest("words_in_a", "words_in_b") if name == "words_in" else F.col(name)
    return F.coalesce(F.sum(value.cast("bigint")), F.lit(0)).alias(name)


def _documents(spark: SparkSession, tables: Tables, side: str) -> DataFrame:
    """Return one row a document: its status, hashes of its text and edits, lines that went, words before and after."""
    refined = read_table(spark, tables, "refined")
    dropped = F.col("status") == "dropped"
    kept = F.when(dropped, 0).otherwise(F.col("words_out"))
    # Texts stay where they are: what is joined is a hash of each.
    out = F.when(~dropped, F.xxhash64("text"))
    whole = F.filter("edits", _is_whole)
    gone = F.flatten(F.transform(whole, lambda edit: F.sequence(edit["first_line"], edit["last_line"])))
    # A run of lines is cut in two where a chunk ends, so lines are compared, not runs.
    rest = F.transform(
        F.filter("edits", lambda edit: ~_is_whole(edit)),
        lambda edit: F.struct(*[edit[name].alias(name) for name in EDIT]),
    )
    told = F.struct(F.array_sort(gone).alias("gone"), rest.alias("rest"))
    all_lines = F.when(F.col("lines_in") > 0, F.sequence(F.lit(0), F.col("lines_in") - 1)).otherwise(F.array())
    rows = refined.select(
        "doc_id",
        "status",
        F.col("text_hash").alias("hash"),
        "words_in",
        out.alias("out"),
        F.xxhash64(F.to_json(told)).alias("edits"),
        ((F.col("status") == "refined") & (F.sha2("text", 256) == F.col("text_hash"))).alias("original"),
        F.when(F.col("chars_in") <= LONGEST_PAGE, F.when(dropped, all_lines).otherwise(gone)).alias("gone"),
        kept.alias("kept"),
    )
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
    """Pages of which most lines went on one side alone, then those with most words less; the same ones every time."""
    if limit == 0:
        return ()
    both = joined.where(F.col("hash_a").isNotNull() & F.col("hash_b").isNotNull() & ~_same())
    lines = F.size(F.array_except("gone_a", "gone_b")) + F.size(F.array_except("gone_b", "gone_a"))
    lost = F.struct(lines.alias("lines"), F.abs(F.col("kept_a") - F.col("kept_b")).alias("words"))
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
