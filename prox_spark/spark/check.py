"""CHECK: what Python is never to see is found by Spark's own functions, and put aside with a reason."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from prox_spark.config import GuardSettings

# Columns of a checked document; what else there is, is carried.
CHECKED = ("doc_id", "text", "text_hash", "size_bytes", "reason", "detail", "_raw")
# Names that stand beside carried columns on the way through a slice.
FLAGS = ("_done", "_here", "_replaces", "_superseded", "_there", "_written")
RESERVED = frozenset((*CHECKED, *FLAGS, "_id", "_hash", "_action", "_problem", "_detail", "_nth", "_texts"))


def is_utf8(text: Column, frame: DataFrame) -> Column:
    """Return whether a string's bytes are UTF-8; Spark keeps any bytes in a string."""
    if int(frame.sparkSession.version.split(".")[0]) >= 4:
        return F.call_function("is_valid_utf8", text)
    # Spark 3.5 has no such function; its encode goes through Java, which puts a question mark for what is not UTF-8.
    return F.encode(text, "UTF-8") == text.cast("binary")


def check(documents: DataFrame, guards: GuardSettings) -> DataFrame:
    """Return the documents with `text_hash`, `size_bytes`, and `reason` and `detail` where they cannot be refined.

    A null id, or one that is not UTF-8, becomes the row's hash. The internal columns of sources are gone, but `_raw`.
    """
    carried = [name for name in documents.columns if name not in ("doc_id", "text", "_problem", "_detail", "_raw")]
    stored = F.coalesce(F.col("text").cast("binary"), F.col("_raw"))
    id_bad = F.col("doc_id").isNotNull() & ~is_utf8(F.col("doc_id"), documents)
    size = F.octet_length("text")
    lines = size - F.octet_length(F.replace("text", F.lit("\n"), F.lit(""))) + 1
    reasons: list[tuple[Column, Column, Column]] = [
        (F.col("_problem").isNotNull(), F.col("_problem"), F.col("_detail")),
        (F.col("doc_id").isNull(), F.lit("null_id"), F.lit("the id is null; this one is the row's hash")),
        (id_bad, F.lit("null_id"), F.lit("the id is not UTF-8; this one is the row's hash")),
        (F.col("text").isNull(), F.lit("null_text"), F.lit("the text is null")),
        (size > guards.max_bytes, F.lit("too_large"), _says(size, "bytes; max_bytes is", guards.max_bytes)),
        (
            ~is_utf8(F.col("text"), documents),
            F.lit("invalid_utf8"),
            F.lit("the text's bytes are not UTF-8; they are in bytes"),
        ),
        (
            # The text is only searched where it is long enough to hold so many lines.
            F.when(size >= guards.max_lines, lines > guards.max_lines).otherwise(False),
            F.lit("too_many_lines"),
            _says(lines, "lines; max_lines is", guards.max_lines),
        ),
    ]
    found = _first_reason(reasons)
    row = F.to_json(F.struct(*[F.col(f"`{name}`") for name in carried])) if carried else F.lit("")
    hashed = F.sha2(F.concat_ws(" ", F.sha2(stored, 256), row), 256)
    unnamed = F.col("doc_id").isNull() | id_bad
    return documents.select(
        F.when(unnamed, hashed).otherwise(F.col("doc_id")).alias("doc_id"),
        F.col("text"),
        F.sha2(stored, 256).alias("text_hash"),
        F.coalesce(size, F.octet_length("_raw")).cast("bigint").alias("size_bytes"),
        found.getField("reason").alias("reason"),
        found.getField("detail").alias("detail"),
        F.col("_raw"),
        *[F.col(f"`{name}`") for name in carried],
    )


def repeated_ids(documents: DataFrame) -> DataFrame:
    """Return `doc_id` of the ids that stand in more than one row; reads no text where the source keeps columns apart."""
    return documents.where(F.col("doc_id").isNotNull()).groupBy("doc_id").count().where("count > 1").select("doc_id")


def resolve_repeated(checked: DataFrame, repeated: DataFrame) -> DataFrame:
    """Return checked rows with one row an id and text, and `duplicate_id` on those whose id has several texts.

    The row that stays of several equal ones is the one whose whole content sorts first: the same one at every reading.
    """
    single = checked.join(repeated, "doc_id", "left_anti")
    several = checked.join(repeated, "doc_id", "left_semi")
    text = F.coalesce("text_hash", F.lit(""))
    content = F.sha2(
        F.to_json(F.struct(*[F.col(f"`{name}`") for name in several.columns if name not in ("text", "_raw")])), 256
    )
    same = Window.partitionBy("doc_id", "text_hash").orderBy(content)
    texts = F.size(F.collect_set(text).over(Window.partitionBy("doc_id")))
    resolved = (
        several.withColumn("_nth", F.row_number().over(same)).withColumn("_texts", texts).where("_nth = 1").drop("_nth")
    )
    several_texts = F.col("_texts") > 1
    detail = F.concat(F.col("_texts").cast("string"), F.lit(" texts with this id in one slice"))
    resolved = resolved.withColumn(
        "detail", F.when(several_texts & F.col("reason").isNull(), detail).otherwise(F.col("detail"))
    )
    resolved = resolved.withColumn(
        "reason", F.when(several_texts, F.coalesce("reason", F.lit("duplicate_id"))).otherwise(F.col("reason"))
    )
    return single.unionByName(resolved.drop("_texts").select(*single.columns))


def _says(value: Column, words: str, limit: int) -> Column:
    return F.concat(value.cast("string"), F.lit(f" {words} {limit}"))


def _first_reason(reasons: list[tuple[Column, Column, Column]]) -> Column:
    chain: Column | None = None
    for condition, reason, detail in reasons:
        pair = F.struct(reason.alias("reason"), detail.alias("detail"))
        chain = F.when(condition, pair) if chain is None else chain.when(condition, pair)
    assert chain is not None
    return chain
