"""What every benchmark shares: sources of any size, memory of the Python workers, versions, a table and JSON."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psutil
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PACKAGES = ("pyspark", "delta-spark", "onnxruntime", "tokenizers", "pyarrow", "numpy")
LINES_A_DOCUMENT = 100
_WORDS = (
    "river town water mill bridge stone flood road otter hill century reach valley bank weir ferry timber market "
    "harvest winter record parish survey county channel meadow lock barge current upstream"
)


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; medians are printed")
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="directory for sources and tables")
    parser.add_argument("--json", type=Path, default=None, help="where to write the figures; default: WORK/NAME.json")
    return parser


def spark_arguments(description: str) -> argparse.ArgumentParser:
    """The options of a benchmark that starts Spark."""
    parser = arguments(description)
    parser.add_argument("--conf", action="append", default=[], metavar="KEY=VALUE", help="a Spark setting, to try it")
    return parser


def session(options: argparse.Namespace) -> SparkSession:
    """Spark as `prox-spark` starts it on one machine, with the settings that were given."""
    from prox_spark.spark.session import get_spark

    return get_spark(**dict(pair.split("=", 1) for pair in options.conf))


def generate(
    spark: SparkSession, path: str, gigabytes: float, lines_a_document: int = LINES_A_DOCUMENT
) -> tuple[int, int]:
    """Write a Delta table of documents (doc_id, text) with a short line every ten lines; returns documents and bytes.

    Every line is drawn from 30 words by a hash of document and line, so that no two documents are alike. A line has
    about 65 bytes, 13 tokens.
    """
    from pyspark.sql import functions as F

    vocabulary = _WORDS.split()
    words = F.array(*[F.lit(word) for word in vocabulary])

    def word(place: int) -> Any:
        return F.element_at(words, (F.abs(F.xxhash64("id", "line", F.lit(place))) % len(vocabulary) + 1).cast("int"))

    long = F.concat_ws(" ", *[word(place) for place in range(12)])
    line = F.when(F.col("line") % 10 == 9, word(0)).otherwise(long)
    documents = max(1, int(gigabytes * 1e9 / (lines_a_document * 65)))
    lines = spark.range(documents).select(
        "id", F.explode(F.sequence(F.lit(0), F.lit(lines_a_document - 1))).alias("line")
    )
    rows = (
        lines.select("id", "line", line.alias("shown"))
        .groupBy("id")
        .agg(F.array_sort(F.collect_list(F.struct("line", "shown"))).alias("lines"))
        .select(F.col("id").cast("string").alias("doc_id"), F.array_join("lines.shown", "\n").alias("text"))
    )
    rows.write.format("delta").mode("overwrite").save(path)
    counted = spark.read.format("delta").load(path).agg(F.count(F.lit(1)), F.sum(F.octet_length("text"))).first()
    assert counted is not None
    return int(counted[0]), int(counted[1])


class Watch:
    """What a block of Spark work takes, sampled every 50 ms.

    ``largest``, ``together``: peak resident memory of this process's Python workers, in MiB: of the one that held most,
    and of all at one time. ``python_seconds``, ``java_seconds``: processor time of the workers, and of Spark. On a
    machine that does other work too they tell more than wall time.
    """

    def __init__(self) -> None:
        self.largest = 0.0
        self.together = 0.0
        # Of every process by its number: whether it is a Python worker, and its seconds when it was last seen.
        self._seen: dict[int, tuple[bool, float]] = {}
        self._before: dict[int, tuple[bool, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._before = dict(self._seen)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    @property
    def python_seconds(self) -> float:
        return self._seconds(of_workers=True)

    @property
    def java_seconds(self) -> float:
        return self._seconds(of_workers=False)

    def _seconds(self, of_workers: bool) -> float:
        return sum(
            seconds - self._before.get(number, (worker, 0.0))[1]
            for number, (worker, seconds) in self._seen.items()
            if worker == of_workers
        )

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self._look()

    def _look(self) -> None:
        sizes = []
        for process in psutil.Process().children(recursive=True):
            try:
                worker = "pyspark.daemon" in process.cmdline()
                times, size = process.cpu_times(), process.memory_info().rss
            except psutil.Error:  # it ended while we looked
                continue
            self._seen[process.pid] = worker, times.user + times.system
            if worker:
                sizes.append(size)
        self.largest = max(self.largest, max(sizes, default=0) / 2**20)
        self.together = max(self.together, sum(sizes) / 2**20)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of a call, and what it returned."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def median(values: list[float]) -> str:
    """Median with the range of the values, where there are several."""
    if len(values) == 1:
        return figure(values[0])
    return f"{figure(statistics.median(values))} ({figure(min(values))}-{figure(max(values))})"


def cores() -> int:
    """Cores that this process, and so Spark's local[*], may use: under `taskset` fewer than the machine has."""
    affinity = getattr(psutil.Process(), "cpu_affinity", None)
    return len(affinity()) if affinity else psutil.cpu_count() or 1


def figure(value: float) -> str:
    """Three digits that count: 0.00402 and 12.3 alike."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def environment() -> dict[str, str]:
    """Versions and machine, as every table has them at its foot."""
    versions = {"python": platform.python_version(), "cores": str(cores())}
    installed = {found.name.lower().replace("_", "-"): found.version for found in metadata.distributions()}
    return versions | {package: installed[package] for package in PACKAGES if package in installed}


def show(name: str, columns: list[str], rows: list[list[str]], figures: Any, target: Path) -> None:
    """Print one table with the versions under it, and write the figures as JSON."""
    table = Table(title=name, caption=", ".join(f"{key} {value}" for key, value in environment().items()))
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # Wider than most terminals: a figure that is cut is none.
    Console(width=180).print(table)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"environment": environment(), "figures": figures}, indent=2) + "\n", encoding="utf-8")
    Console().print(f"figures: {target}", soft_wrap=True)
