"""What is counted: a report a slice, in small files wherever `foreachBatch` runs, and a row of `runs` a run."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark.schemas import RUNS, ddl
from prox_spark.version import __version__

# Libraries whose version can change a result, or a speed.
LIBRARIES = ("pyspark", "delta-spark", "pyarrow", "pandas", "numpy", "tokenizers", "onnxruntime", "onnxruntime-gpu")

# The commands that put documents into tables.
JOBS = ("refine", "write", "execute", "retry", "annotate")

# What a run's row says of it until it has ended, and for good if it was killed.
NOT_ENDED = "has not ended"
# The "failure" of a slice that a run left to the next one, by its setting max_batches.
ENOUGH = "max_batches"


class Enough(Exception):
    """Ends a stream at a run's max_batches; no error of anybody's."""


# Of this process: who is told how far a run is. With Spark Connect slices run in another process and tell by reports
# only.
LISTENERS: dict[str, Callable[[str, SliceReport], None]] = {}


@dataclass(frozen=True)
class SliceReport:
    """What one slice did.

    counts: see `runs.counts`. message: a warning. failure: class name and message of the error that ended it.
    provider, device, runtime, processor: what the probe found, in the first slice of a run that writes.
    """

    slice: int
    counts: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    duplicates: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    write_seconds: float = 0.0
    execute_seconds: float = 0.0
    provider: str | None = None
    device: str | None = None
    runtime: str | None = None
    processor: str | None = None
    message: str | None = None
    failure: tuple[str, str] | None = None

    def to_json(self) -> str:
        """Return the report as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> SliceReport:
        """Return the report that `to_json` wrote."""
        value = json.loads(line)
        if value["failure"] is not None:
            value["failure"] = tuple(value["failure"])
        return cls(**value)

    def add(self, **more: Any) -> SliceReport:
        """Return the report with counts added, numbers added, and other fields set."""
        counts = Counter(self.counts)
        counts.update(more.pop("counts", {}))
        values = {k: getattr(self, k) + v if isinstance(v, (int, float)) else v for k, v in more.items()}
        return replace(self, counts=dict(counts), **values)


def write_report(spark: SparkSession, directory: str, report: SliceReport) -> None:
    """Keep a slice's report under the run's directory."""
    frame = spark.createDataFrame([(report.to_json(),)], "value STRING").coalesce(1)
    frame.write.mode("overwrite").text(f"{directory}/slice={report.slice}")


def read_reports(spark: SparkSession, directory: str) -> list[SliceReport]:
    """Return the reports of a run's slices, in order; none where there was no slice."""
    try:
        rows = spark.read.option("recursiveFileLookup", "true").text(directory)
        # Spark Connect looks for the directory only now.
        reports = [SliceReport.from_json(row["value"]) for row in rows.toLocalIterator()]
    except AnalysisException:
        return []
    return sorted(reports, key=lambda report: report.slice)


def left_one(reports: Iterable[SliceReport]) -> bool:
    """Return whether a run stopped at its max_batches."""
    return any(report.failure is not None and report.failure[0] == ENOUGH for report in reports)


def total(reports: Iterable[SliceReport]) -> SliceReport:
    """Return the sum of slices' reports; of provider, device and message the first that is known."""
    whole = SliceReport(-1)
    for report in reports:
        if left_one([report]):
            continue
        whole = whole.add(
            counts={**report.counts, "slices": 1},
            bytes=report.bytes,
            duplicates=report.duplicates,
            prompt_tokens=report.prompt_tokens,
            new_tokens=report.new_tokens,
            write_seconds=report.write_seconds,
            execute_seconds=report.execute_seconds,
            provider=whole.provider or report.provider,
            device=whole.device or report.device,
            runtime=whole.runtime or report.runtime,
            processor=whole.processor or report.processor,
            message=whole.message or report.message,
            failure=whole.failure or report.failure,
        )
    return whole


def versions(spark: SparkSession, runtime: str | None = None, processor: str | None = None) -> dict[str, str]:
    """Return the versions of what decides a result: here, and of ONNX Runtime and the processor of a worker."""
    found = {"prox_spark": __version__, "python": platform.python_version(), "spark": spark.version}
    installed = {one.name.lower(): one.version for one in metadata.distributions()}
    names = {name: name.lower().replace("-", "_") for name in LIBRARIES}
    found |= {name: installed.get(name, installed.get(other, "")) for name, other in names.items()}
    found = {name: version for name, version in found.items() if version}
    worker = {"onnxruntime (worker)": runtime, "processor (worker)": processor}
    return found | {name: value for name, value in worker.items() if value}


def runs_row(spark: SparkSession, values: dict[str, Any]) -> DataFrame:
    """Return one row of `runs`; what is not in `values` is null."""
    row = tuple(values.get(name) for name in RUNS.names)
    return spark.createDataFrame([row], ddl("runs", comments=False))


def over_this(runs: DataFrame, source: str) -> DataFrame:
    """Return the runs (run_id) that put documents of this source, as it was typed, into the tables."""
    return runs.where(F.col("command").isin(*JOBS) & is_over(source)).select("run_id")


def over_others(runs: DataFrame, source: str) -> DataFrame:
    """Return the runs (run_id) that put documents of any other source than this into the tables."""
    return runs.where(F.col("command").isin(*JOBS) & ~is_over(source)).select("run_id")


def is_over(source: str) -> Column:
    """Return whether a row of `runs` is of a run over this source, as it was typed but for slashes at its end."""
    # Spark 3.5 trims no character but the space.
    return F.regexp_replace("source", "/+$", "") == source.rstrip("/")


def last_rate(runs: DataFrame, write_key: str) -> float | None:
    """Return the bytes a second of WRITE in the last run with these refiners; None where none wrote."""
    written = F.col("counts")["bytes_written"]
    row = (
        runs.where((F.col("write_key") == write_key) & (F.col("write_seconds") > 0) & (written > 0))
        .orderBy(F.col("started_at").desc())
        .select((written / F.col("write_seconds")).alias("rate"))
        .first()
    )
    return None if row is None else float(row["rate"])


def utc_now() -> datetime:
    """Return the time, with its zone, in whole microseconds: what a TIMESTAMP column keeps of it."""
    return datetime.now(timezone.utc)
