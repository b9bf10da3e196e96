"""How much a slice, and within it a commit of programs, is to hold: about ten minutes of work."""

from __future__ import annotations

from pyspark.sql import SparkSession

from prox_spark.spark import ledger
from prox_spark.spark.work import Work

BATCH_SECONDS = 600
DEFAULT_BATCH_BYTES = 128 * 1024 * 1024
EXECUTE_BATCH_BYTES = 1024 * 1024 * 1024
SMALLEST_BATCH, LARGEST_BATCH = 16 * 1024 * 1024, 16 * 1024 * 1024 * 1024
# Text is about so much larger than the file that it came in.
UNPACKED = 2


def batch_bytes(spark: SparkSession, work: Work) -> int:
    """Return the bytes of a slice: those asked for, else ten minutes of work at the last run's rate, else a default."""
    if work.settings.batch_bytes is not None:
        return work.settings.batch_bytes
    if work.command == "execute":
        return EXECUTE_BATCH_BYTES
    rate = None
    if "runs" not in work.empty and work.tables.exists(spark, "runs"):
        rate = ledger.last_rate(work.tables.read(spark, "runs"), work.refiners.write_key)
    if rate is None:
        return DEFAULT_BATCH_BYTES
    return min(max(int(rate * BATCH_SECONDS), SMALLEST_BATCH), LARGEST_BATCH)


def parts(spark: SparkSession, work: Work, text_bytes: int) -> int:
    """Return into how many commits of programs so much text is cut.

    A stream's slice is never smaller than a file, or than a version of a change data feed, whatever its size.
    """
    if text_bytes <= UNPACKED * SMALLEST_BATCH:
        return 1
    return -(-text_bytes // (UNPACKED * max(batch_bytes(spark, work), SMALLEST_BATCH)))
