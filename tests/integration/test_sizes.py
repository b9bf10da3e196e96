"""How much a slice and a commit hold: files up to so many bytes, and how many bytes are ten minutes of work."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from prox_spark.config import job_settings
from prox_spark.spark.job import PLAN, prepare, refiners_to_write
from prox_spark.spark.ledger import runs_row
from prox_spark.spark.sizes import (
    DEFAULT_BATCH_BYTES,
    EXECUTE_BATCH_BYTES,
    LARGEST_BATCH,
    SMALLEST_BATCH,
    UNPACKED,
    batch_bytes,
    parts,
)
from prox_spark.spark.sources import open_source
from prox_spark.spark.tables import Tables
from tests.helpers.spark_jobs import page

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def make_files(spark: Any, path: str, kind: str, files: int) -> None:
    """Write files of four pages each, all of one size."""
    rows = [(f"d{n}", page(10 + n)) for n in range(4 * files)]
    frame = spark.createDataFrame(rows, "doc_id string, text string").coalesce(1)
    frame.write.format(kind).option("maxRecordsPerFile", "4").save(path)


@pytest.mark.oldest
@pytest.mark.parametrize(("kind", "slices"), [("delta", [12, 12]), ("parquet", [8, 8, 8])])
def test_slices_are_cut_by_bytes_at_whole_files(spark: Any, tmp_path: Path, kind: str, slices: list[int]) -> None:
    """Six files in slices of two and a half: Delta takes the file that goes over, Spark's own reader leaves it."""
    path = str(tmp_path / "source")
    make_files(spark, path, kind, 6)
    sizes = [file.stat().st_size for file in Path(path).glob("*.parquet")]
    assert len(sizes) == 6 and max(sizes) < 1.1 * min(sizes)
    source = open_source(spark, job_settings(source=path, format=kind, tables=str(tmp_path / "tables")))
    cut: list[int] = []
    stream = source.stream(spark, int(2.5 * max(sizes))).writeStream.trigger(availableNow=True)
    stream = stream.option("checkpointLocation", str(tmp_path / "checkpoint"))
    stream.foreachBatch(lambda rows, number: cut.append(rows.count())).start().awaitTermination()
    assert cut == slices


def test_a_slice_is_ten_minutes_of_work_at_the_rate_of_the_last_run_that_wrote(
    spark: Any, tables: str, tmp_path: Path
) -> None:
    make_files(spark, str(tmp_path / "source"), "parquet", 1)
    asked = job_settings(source=str(tmp_path / "source"), format="parquet", tables=tables, refiners=("scripted:noise",))
    usual = prepare(spark, asked, "refine", PLAN)
    slow, fast = (
        replace(usual, refiners=refiners_to_write(asked.model_copy(update={"refiners": (f"scripted:{name}",)})))
        for name in ("scored", "short-lines")
    )
    small = replace(usual, settings=asked.model_copy(update={"batch_bytes": 7}))
    assert batch_bytes(spark, usual) == DEFAULT_BATCH_BYTES, "no run yet, and no tables"

    home, began = Tables(tables), datetime(2026, 1, 1, tzinfo=timezone.utc)
    home.create(spark, names=("runs",))
    runs = (
        (usual, 50_000_000, 10.0),
        (usual, 10_000_000, 10.0),  # the last of these refiners that wrote
        (slow, 1_000, 10.0),
        (fast, 10**12, 10.0),
        (usual, 0, 0.0),
    )
    rows = [
        runs_row(
            spark,
            {
                "run_id": str(n),
                "command": "refine",
                "started_at": began + timedelta(hours=n),
                "counts": {"bytes_written": many},
                "write_seconds": seconds,
                "write_key": one.refiners.write_key,
            },
        )
        for n, (one, many, seconds) in enumerate(runs)
    ]
    home.append(reduce(lambda some, more: some.union(more), rows), "runs")
    assert batch_bytes(spark, usual) == 1_000_000 * 600
    assert batch_bytes(spark, slow) == SMALLEST_BATCH
    assert batch_bytes(spark, fast) == LARGEST_BATCH
    assert batch_bytes(spark, small) == 7
    assert batch_bytes(spark, replace(usual, command="execute")) == EXECUTE_BATCH_BYTES

    # Commits of programs: of as much text as makes up a slice's files, and never of less than the smallest slice's.
    most = UNPACKED * 600_000_000
    assert [parts(spark, usual, many) for many in (1, most, most + 1, 3 * most)] == [1, 1, 2, 3]
    assert [parts(spark, small, many * UNPACKED * SMALLEST_BATCH) for many in (1, 4)] == [1, 4]
