"""CHECK: what Python is never to see is found by Spark's own functions, and put aside with a reason."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from prox_spark.config import GuardSettings

# How times are written as JSON: Spark's own format has milliseconds only.
JSON_TIMES = {
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}
# What became of a row, where a source tells: see `changes`.
CHANGE = "_change"
# Columns of a document as sources give it; what else there is, is carried.
DOCUMENT = ("doc_id", "text", "_problem", "_detail", "_raw", CHANGE)
# Columns of a checked document; what else there is, is carried.
CHECKED = ("doc_id", "text", "text_hash", "size_bytes", "reason", "detail", "_raw")
# Names that stand beside carried columns on the way through a slice.
FLAGS = ("_cause", "_done", "_here", "_identified", "_replaces", "_superseded", "_there", "_written")
RESERVED = frozenset(
    (
        *CHECKED,
        *FLAGS,
        CHANGE,
        "_id",
        "_hash",
        "_action",
        "_problem",
        "_detail",
        "_nth",
        "_texts",
        "_content",
        "_net",
        "_part",
    )
)


def is_utf8(text: Column, frame: DataFrame) -> Column:
    """Return whether a string's bytes are UTF-8; Spark keeps any bytes in a string."""
    if int(frame.sparkSession.version.split(".")[0]) >= 4:
        return F.call_function("is_valid_utf8", text)
    # Spark 3.5 has no such function; its encode goes through Java, which puts a question mark for what is not UTF-8.
    return F.encode(text, "UTF-8") == text.cast("binary")


def check(documents: DataFrame, guards: GuardSettings) -> DataFrame:
    """Return the documents with `text_hash`, `size_bytes`, and a `reason` where they cannot be refined.

    A null id, or one that is not UTF-8, becomes the row's hash. `detail` is what a source said of a row. The kind of
    change stays, where documents have one.
    """
    carried = [F.col(f"`{name}`") for name in documents.columns if name not in DOCUMENT]
    stored = F.coalesce(F.col("text").cast("binary"), F.col("_raw"))
    unnamed = F.col("doc_id").isNull() | ~is_utf8(F.col("doc_id"), documents)
    size = F.octet_length("text")
    reason = (
        F.when(F.col("_problem").isNotNull(), F.col("_problem"))
        .when(unnamed, "null_id")
        .when(F.col("text").isNull(), "null_text")
        .when(size > guards.max_bytes, "too_large")
        .when(~is_utf8(F.col("text"), documents), "invalid_utf8")
        # The text is only searched where it is long enough to hold so many lines.
        .when((size >= guards.max_lines) & (line_count(F.col("text")) > guards.max_lines), "too_many_lines")
    )
    row = F.to_json(F.struct(*carried)) if carried else F.lit("")
    hashed = F.sha2(F.concat_ws(" ", F.sha2(stored, 256), row).cast("binary"), 256)
    return documents.select(
        F.when(unnamed, hashed).otherwise(F.col("doc_id")).alias("doc_id"),
        F.col("text"),
        F.sha2(stored, 256).alias("text_hash"),
        F.coalesce(size, F.octet_length("_raw")).cast("bigint").alias("size_bytes"),
        reason.alias("reason"),
        F.col("_detail").alias("detail"),
        F.col("_raw"),
        *carried,
        *[F.col(name) for name in documents.columns if name == CHANGE],
    )


def line_count(text: Column) -> Column:
    """Return how many lines a text has."""
    return F.octet_length(text) - F.octet_length(F.replace(text, F.lit("\n"), F.lit(""))) + 1


def explain(guards: GuardSettings) -> Column:
    """Return the reason of checked rows in words, with the numbers."""
    size = F.col("size_bytes").cast("string")
    lines = line_count(F.col("text")).cast("string")
    said = (
        F.when(F.col("reason") == "too_large", F.concat(size, F.lit(f" bytes; max_bytes is {guards.max_bytes}")))
        .when(F.col("reason") == "too_many_lines", F.concat(lines, F.lit(f" lines; max_lines is {guards.max_lines}")))
        .when(F.col("reason") == "null_id", "the id is null or not UTF-8; this one is the row's hash")
        .when(F.col("reason") == "null_text", "the text is null")
        .when(F.col("reason") == "invalid_utf8", "the text's bytes are not UTF-8; they are in bytes")
        .when(F.col("reason") == "duplicate_id", "several texts have this id in one slice")
    )
    return F.coalesce("detail", said)


def repeated_ids(documents: DataFrame) -> DataFrame:
    """Return `doc_id` of the ids that stand in more than one row; reads no text where columns are kept apart."""
    return documents.where(F.col("doc_id").isNotNull()).groupBy("doc_id").count().where("count > 1").select("doc_id")


def resolve_repeated(checked: DataFrame, repeated: DataFrame) -> DataFrame:
    """Return checked rows with one row an id and text, and `duplicate_id` on those whose id has several texts.

    The row that stays of several equal ones is the one whose whole content sorts first: the same one at every reading.
    """
    single = checked.join(repeated, "doc_id", "left_anti")
    several = checked.join(repeated, "doc_id", "left_semi")
    text = F.coalesce("text_hash", F.lit(""))
    columns = [F.col(f"`{name}`") for name in several.columns if name not in ("text", "_raw")]
    content = F.sha2(F.to_json(F.struct(*columns), JSON_TIMES).cast("binary"), 256)
    same = Window.partitionBy("doc_id", "text_hash").orderBy(content)
    texts = F.size(F.collect_set(text).over(Window.partitionBy("doc_id")))
    resolved = several.select("*", F.row_number().over(same).alias("_nth"), texts.alias("_texts")).where("_nth = 1")
    reason = F.coalesce("reason", F.when(F.col("_texts") > 1, "duplicate_id"))
    resolved = resolved.withColumn("reason", reason).select(*[F.col(f"`{name}`") for name in checked.columns])
    return single.select(*[F.col(f"`{name}`") for name in checked.columns]).unionByName(resolved)
