"""Faults that are no kills: files half there or broken, a table that goes, a full disk; and how often models load."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prox_spark.errors import BundleError, ConfigError, SourceError
from prox_spark.spark import slices
from tests.helpers.spark_jobs import contents, page, rows_of, run
from tests.helpers.tiny_models import score_bundle

pytestmark = pytest.mark.faults
COUNTING = Path(__file__).resolve().parents[1] / "helpers" / "counting_loads"


@pytest.fixture
def again(spark: Any, settings: dict[str, Any]) -> Any:
    """Run the job on some tables; what it is given wins over the settings of every job."""

    def go(tables: str, **more: Any) -> Any:
        return run(spark, tables=tables, **{**settings, **more})

    return go


def test_a_table_dropped_under_the_run_comes_back_whole(
    spark: Any, again: Any, tables: str, undisturbed: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = slices.Slice._write

    def dropping(self: slices.Slice) -> None:
        write(self)
        if self.report.slice == 2:
            shutil.rmtree(f"{tables}/refined")

    monkeypatch.setattr(slices.Slice, "_write", dropping)
    with pytest.raises(ConfigError, match=r"refined .* is gone"):
        again(tables)
    monkeypatch.undo()
    again(tables)
    assert contents(spark, tables) == undisturbed


def test_a_broken_data_file_stops_the_run_at_its_slice_and_a_whole_one_lets_it_go_on(
    spark: Any, again: Any, source: str, tmp_path: Path
) -> None:
    path, tables = str(tmp_path / "parquet"), str(tmp_path / "tables")
    spark.read.format("delta").load(source).write.parquet(path)
    last = max(Path(path).glob("*.parquet"), key=lambda file: (file.stat().st_mtime, file.name))
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    for checksum in Path(path).glob(".*.crc"):
        checksum.unlink()
    given = {"source": path, "format": "parquet"}
    with pytest.raises(SourceError, match=last.name):
        again(tables, **given)
    last.write_bytes(whole)
    again(tables, **given)
    refined = [row.doc_id for row in rows_of(spark, tables, "refined")]
    ids = {row.doc_id for row in spark.read.parquet(path).where("doc_id IS NOT NULL").select("doc_id").collect()}
    assert len(refined) == len(set(refined))
    assert ids <= set(refined) | {row.doc_id for row in rows_of(spark, tables, "quarantine")}


def test_a_bundle_half_written_is_refused_and_writes_nothing(again: Any, tables: str, tmp_path: Path) -> None:
    bundle = score_bundle(tmp_path / "bundle")
    graph = bundle.graph.read_bytes()
    bundle.graph.write_bytes(graph[: len(graph) // 2])
    with pytest.raises(BundleError, match="half copied or changed"):
        again(tables, refiners=(str(bundle.directory),))
    assert not Path(tables).exists()
    bundle.graph.write_bytes(graph)
    assert again(tables, refiners=(str(bundle.directory),), max_batches=1).counts["written"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KiB; skips where nobody lets us make one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk_stops_the_run_and_a_larger_one_lets_it_go_on(
    spark: Any, again: Any, small_disk: Path, undisturbed: dict[str, list[str]]
) -> None:
    tables = str(small_disk / "tables")
    with pytest.raises(Exception, match="No space left on device"):
        again(tables)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again(tables)
    assert contents(spark, tables) == undisturbed


def test_over_twenty_commits_every_python_worker_loads_its_refiner_once(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = tmp_path / "loads"
    inside = spark.sparkContext.environment
    path = os.pathsep.join([str(COUNTING), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Python workers of another environment are other processes: nothing is loaded in them yet.
    for name, value in {"PYTHONPATH": path, "LOADS": str(loads)}.items():
        monkeypatch.setitem(inside, name, value)
    folder = tmp_path / "source"
    rows = [(f"{n}", page(n)) for n in range(84)]
    spark.createDataFrame(rows, "doc_id string, text string").repartition(21).write.parquet(str(folder))
    bundle = score_bundle(tmp_path / "bundle")
    given = {"format": "parquet", "batch_bytes": 1, "preflight": "off", "any_language": True}
    done = run(spark, str(folder), tables, "write", refiners=(str(bundle.directory),), **given)
    assert done.counts["slices"] >= 20 and done.counts["written"] == 84
    processes = loads.read_text().split()
    assert processes and len(processes) == len(set(processes)) <= 4
