"""What the slices of a run share, and what each works with: files between commits, transactions, a clock."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from pyspark.sql import DataFrame, SparkSession

from prox_spark.config import Command, JobSettings
from prox_spark.spark import ledger
from prox_spark.spark.ledger import SliceReport
from prox_spark.spark.refiners import RefinerSet
from prox_spark.spark.sources import Source
from prox_spark.spark.tables import Tables

ARROW_SETTINGS = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(16 * 1024 * 1024),
}


@dataclass(frozen=True)
class Work:
    """What every slice of a run needs; it travels to wherever `foreachBatch` runs.

    programs_in: the tables whose `programs` are read (and written, but for `execute`).
    progress: directory of this stream: staged files and reports. checkpoint: its checkpoint.
    empty: tables that were made for this run and that nothing was written to yet: they need not be asked.
    so_far: reports of this run's slices, kept, like `empty`, by the process that runs them.
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
        for key, value in ARROW_SETTINGS.items():
            self._set(key, value)

    def staged(self, rows: DataFrame, name: str) -> DataFrame:
        """Write rows to files and return what was read back: evaluated once, whatever reads them how often."""
        if self.number < 0:
            return rows
        path = f"{self.work.progress}/staged/{name}"
        # No dictionaries: ids, hashes and texts hardly repeat.
        rows.write.mode("overwrite").option("parquet.enable.dictionary", "false").parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)

    def transaction(self, purpose: str) -> tuple[str, int]:
        """Return application id and version of an append: this stream for this purpose, this slice."""
        return f"prox_spark {self._stream_id} {purpose}", self.number

    @cached_property
    def _stream_id(self) -> str:
        """Spark's id of this stream, new with every new checkpoint."""
        line = self.spark.read.text(f"{self.work.checkpoint}/metadata").first()
        return str(json.loads(line[0])["id"]) if line else self.work.run_id

    def _set(self, key: str, value: str) -> None:
        try:
            self.spark.conf.set(key, value)
        except Exception:  # serverless platforms refuse settings that they choose themselves
            return
