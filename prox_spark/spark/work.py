"""What the slices of a run share, and what each works with: files between commits, transactions, a clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession

from prox_spark.config import Command, JobSettings
from prox_spark.spark import ledger
from prox_spark.spark.commits import Commits
from prox_spark.spark.ledger import SliceReport
from prox_spark.spark.refiners import RefinerSet
from prox_spark.spark.sources import Source
from prox_spark.spark.tables import Tables

# Of an Arrow batch to Python: rows, and bytes, which one row may exceed. Batches back are bounded in `arrow`.
BATCH_ROWS = 256
BATCH_BYTES = 16 * 1024 * 1024
ROWS_SETTING = "spark.sql.execution.arrow.maxRecordsPerBatch"
BYTES_SETTING = "spark.sql.execution.arrow.maxBytesPerBatch"


def rows_a_batch(largest: int) -> int:
    """Return how many rows a batch may have when none has more than ``largest`` bytes."""
    return min(BATCH_ROWS, max(1, BATCH_BYTES // max(1, largest)))


@dataclass(frozen=True)
class Work:
    """What every slice of a run needs; it travels to wherever `foreachBatch` runs.

    programs_in: the tables whose `programs` are read (and written, but for `execute`).
    progress: directory of this stream: staged files and reports. checkpoint: its checkpoint.
    empty: tables that were made for this run and that nothing was written to yet: they need not be asked.
    so_far: reports of this run's slices, kept, like `empty`, by the process that runs them.
    numbers: of the last write of a run to each table, kept likewise: see `commits`.
    """

    settings: JobSettings
    command: Command
    run_id: str
    source: Source
    refiners: RefinerSet
    policy_key: str | None
    tables: Tables
    programs_in: Tables
    progress: str
    checkpoint: str
    empty: set[str] = field(default_factory=set)
    so_far: list[SliceReport] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def staging(self) -> str:
        """Directory of what this run writes between two commits."""
        return f"{self.progress}/staged/{self.run_id}"

    @property
    def reports(self) -> str:
        """Directory of this run's reports."""
        return f"{self.progress}/reports/{self.run_id}"


class Desk:
    """Where one slice works.

    number: of the slice; below 0 nothing is written (a plan). at: when it began, the timestamp of all its rows.
    """

    def __init__(self, spark: SparkSession, work: Work, number: int) -> None:
        self.spark = spark
        self.work = work
        self.number = number
        self.at: datetime = ledger.utc_now()
        note = f"{work.command} {work.run_id} slice {number}"
        self.commits = Commits(spark, work.tables, work.numbers, work.empty, note)
        self._set(ROWS_SETTING, str(BATCH_ROWS))
        self._set(BYTES_SETTING, str(BATCH_BYTES))

    def bound_batches(self, largest: int) -> None:
        """Bound Arrow batches by bytes where Spark (3.5) counts rows only: as if all were the largest document."""
        if int(self.spark.version.split(".")[0]) < 4:
            self._set(ROWS_SETTING, str(rows_a_batch(largest)))

    def staged(self, rows: DataFrame, name: str) -> DataFrame:
        """Write rows to files and return what was read back: evaluated once, whatever reads them how often."""
        if self.number < 0:
            return rows
        path = f"{self.work.staging}/{name}"
        # No dictionaries: ids, hashes and texts hardly repeat.
        rows.write.mode("overwrite").option("parquet.enable.dictionary", "false").parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)

    def staged_parts(self, rows: DataFrame, name: str, many: int) -> list[DataFrame]:
        """Write rows to files by their column `_part` (from 0), and return the parts: each reads its own files."""
        path = f"{self.work.staging}/{name}"
        writer = rows.write.mode("overwrite").option("parquet.enable.dictionary", "false")
        writer.partitionBy("_part").parquet(path)
        whole = self.spark.read.schema(rows.schema).parquet(path)
        return [whole.where(f"_part = {number}").drop("_part") for number in range(many)]

    def _set(self, key: str, value: str) -> None:
        try:
            self.spark.conf.set(key, value)
        except Exception:  # serverless platforms refuse settings that they choose themselves
            return
