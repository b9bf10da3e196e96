"""WET files (WARC conversion records, as Common Crawl publishes them) by Spark's text reader: no Python sees the bytes.

The reader cuts files at the blank line and `WARC/1.` that stand between two records, and reads files of many gzip
members. Whether a cut was right is known from Content-Length: a page that spells out a record boundary is put aside,
never cut in two.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField

RECORD_SEPARATOR = "\r\n\r\nWARC/1."
HEADER_END = "\r\n\r\n"
# Carried column -> WARC header.
CARRIED = {"url": "WARC-Target-URI", "warc_date": "WARC-Date", "content_languages": "WARC-Identified-Content-Language"}
WET_FIELDS = tuple(StructField(name, StringType()) for name in ("doc_id", "text", *CARRIED))


def wet_documents(rows: DataFrame) -> DataFrame:
    """Return the conversion records of rows cut at RECORD_SEPARATOR: doc_id, text, carried columns, problems."""
    cut = _records(rows)
    # Bytes, not characters: the record may be anything but UTF-8.
    start = F.octet_length("header") + F.lit(len(HEADER_END) + 1)
    said = _header("Content-Length")
    records = cut.select(
        "value",
        "header",
        F.col("value").cast("binary").substr(start, F.octet_length("value")).alias("body"),
        # What is no number is none that is there: a cast of it would end the job.
        F.when(said.rlike(r"^[0-9]{1,10}$"), said.cast("bigint")).alias("length"),
        F.lower(_header("WARC-Type")).alias("type"),
    ).where("type IS NULL OR type = 'conversion'")
    rest = F.octet_length("body") - F.col("length")
    # After the last record of a file its own end is left: two line ends.
    whole = (rest == 0) | ((rest == 4) & (F.col("body").substr(F.col("length") + 1, F.lit(4)) == F.lit(b"\r\n\r\n")))
    problem = F.when(
        ~F.coalesce(whole & F.col("type").isNotNull(), F.lit(False)),
        F.concat(
            F.lit("Content-Length is "),
            F.coalesce(F.col("length").cast("string"), F.lit("missing")),
            F.lit(", bytes there: "),
            F.octet_length("body").cast("string"),
        ),
    )
    return records.select(
        F.nullif(_header("WARC-Record-ID"), F.lit("")).alias("doc_id"),
        F.when(problem.isNull(), F.col("body").substr(F.lit(1), F.col("length").cast("int")).cast("string")).alias(
            "text"
        ),
        *[F.nullif(_header(header), F.lit("")).alias(name) for name, header in CARRIED.items()],
        F.when(problem.isNotNull(), "malformed_record").alias("_problem"),
        problem.alias("_detail"),
        F.when(problem.isNotNull(), F.col("value").cast("binary")).alias("_raw"),
    )


def wet_types(rows: DataFrame) -> DataFrame:
    """Return of rows cut at RECORD_SEPARATOR the record's `type`, and whether another record begins `inside`."""
    return _records(rows).select(
        F.lower(_header("WARC-Type")).alias("type"), F.contains("value", F.lit("\nWARC/1.")).alias("inside")
    )


def _records(rows: DataFrame) -> DataFrame:
    """Return of rows cut at RECORD_SEPARATOR the `value`, and the `header` in it."""
    return rows.where(F.trim("value") != "").select("value", F.substring_index("value", HEADER_END, 1).alias("header"))


def _header(name: str) -> Column:
    """Return the value of a header, null when it is not there."""
    return F.nullif(F.trim(F.regexp_extract("header", f"(?im)^{name}:([^\\r\\n]*)", 1)), F.lit(""))
