"""Faults that are no kills: files half there or broken, a table that goes, a full disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prox_spark.errors import BundleError, ConfigError, SourceError
from prox_spark.spark import slices
from tests.faults.conftest import FILES
from tests.helpers.spark_jobs import contents, page, run
from tests.helpers.tiny_models import score_bundle

# Slow as well: the form of minutes (`-m "faults and not slow"`) is the kills alone.
pytestmark = [pytest.mark.faults, pytest.mark.slow]


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
        if self.report.slice == 1:
            shutil.rmtree(f"{tables}/refined")

    monkeypatch.setattr(slices.Slice, "_write", dropping)
    with pytest.raises(ConfigError, match=r"refined .* is gone"):
        again(tables)
    monkeypatch.undo()
    again(tables)
    assert contents(spark, tables) == undisturbed


def test_a_broken_data_file_is_refused_by_name_before_anything_is_written_and_a_whole_one_is_read(
    spark: Any, again: Any, source: str, undisturbed: dict[str, list[str]], tmp_path: Path
) -> None:
    path, tables = tmp_path / "parquet", str(tmp_path / "tables")
    path.mkdir()
    # The table's own files, of which each is a slice here as well.
    for n, file in enumerate(sorted(Path(source).glob("*.parquet"), key=lambda file: file.stat().st_mtime_ns)):
        shutil.copy2(file, path / f"{n}.parquet")
    last = path / f"{FILES - 1}.parquet"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    given = {"source": str(path), "format": "parquet"}
    with pytest.raises(SourceError, match=last.name):
        again(tables, **given)
    assert not Path(tables).exists()
    last.write_bytes(whole)
    again(tables, **given)
    assert contents(spark, tables) == undisturbed


def test_a_bundle_half_written_is_refused_and_writes_nothing(
    spark: Any, again: Any, tables: str, tmp_path: Path
) -> None:
    source = str(tmp_path / "source")
    spark.createDataFrame([(f"{n}", page(n)) for n in range(8)], "doc_id string, text string").write.parquet(source)
    bundle = score_bundle(tmp_path / "bundle")
    graph = bundle.graph.read_bytes()
    bundle.graph.write_bytes(graph[: len(graph) // 2])
    given = {"source": source, "format": "parquet", "batch_bytes": None, "refiners": (str(bundle.directory),)}
    with pytest.raises(BundleError, match="half copied or changed"):
        again(tables, **given)
    assert not Path(tables).exists()
    bundle.graph.write_bytes(graph)
    assert again(tables, **given).counts["written"] == 8
    again(str(tmp_path / "undisturbed"), **given)
    assert contents(spark, tables) == contents(spark, str(tmp_path / "undisturbed"))


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
