"""Commits: two runs at once, a slice in several commits, a source read once; every document once in every table."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from prox_spark.errors import BusyError
from prox_spark.spark import commits, sizes
from prox_spark.spark.commits import APPLICATION, Commits, Overtaken
from prox_spark.spark.removal import remove
from prox_spark.spark.tables import Tables
from tests.helpers.spark_jobs import (
    check_accounts,
    check_places,
    contents,
    last_query,
    page,
    rows_of,
    run,
    scanned_bytes,
    showing_paths,
)
from tests.helpers.tiny_models import score_bundle

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
COUNTING = ROOT / "tests" / "helpers" / "counting_loads"


@pytest.fixture
def source(spark: Any, tmp_path: Path) -> str:
    """Forty documents in one file."""
    path = str(tmp_path / "source")
    rows = [(f"d{n}", page(n) if n else None) for n in range(40)]
    frame = spark.createDataFrame(rows, "doc_id string, text string").coalesce(1)
    frame.write.format("delta").save(path)
    return path


def check_once(spark: Any, tables: str) -> None:
    """Assert that every document is once in every table, wherever it belongs."""
    check_places(spark, tables, {f"d{n}" for n in range(40)})
    for name, many in (("programs", 39), ("refined", 39), ("quarantine", 1)):
        ids = Counter(row.doc_id for row in rows_of(spark, tables, name))
        assert len(ids) == many and set(ids.values()) == {1}, name


def test_two_runs_at_once_both_end_with_one_row_a_document(
    spark: Any, tables: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both, in one session, have found the same documents missing before either adds their programs."""
    both, first = threading.Barrier(2, timeout=300), threading.local()
    append = Commits.append

    def waiting(self: Commits, rows: Any, table: str) -> str:
        if table == "programs" and not hasattr(first, "came"):
            first.came = True
            both.wait()
        return append(self, rows, table)

    monkeypatch.setattr(Commits, "append", waiting)
    # The same work by two streams: they are told apart by which columns they carry, and there are none to carry.
    carried: list[dict[str, Any]] = [{}, {"carry": ()}]
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(run, spark, source, tables, preflight="off", **one) for one in carried]
        summaries = [one.result() for one in runs]
    check_once(spark, tables)
    assert sum(one.counts.get("done_again", 0) for one in summaries) >= 1
    for one in summaries:
        check_accounts(one)
    written = [row.run_id for row in rows_of(spark, tables, "programs")]
    assert len(set(written)) == 1
    assert all(row.finished_at and not row.error for row in rows_of(spark, tables, "runs"))


def test_a_run_of_another_process_that_has_looked_before_adds_nothing(
    spark: Any, tables: str, source: str, tmp_path: Path
) -> None:
    """It has found all documents missing; then this one writes and executes them."""
    given = [sys.executable, "-m", "tests.helpers.second_run", source, tables, str(tmp_path)]
    other = subprocess.Popen(given, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT)
    try:
        ends = time.monotonic() + 300
        while not (tmp_path / "waits").exists():
            assert other.poll() is None and time.monotonic() < ends, "the other run ended before it wrote programs"
            time.sleep(0.05)
        here = run(spark, source, tables, preflight="off")
        (tmp_path / "go").touch()
        assert other.wait(300) == 0
    finally:
        other.kill()
    check_accounts(here)
    check_once(spark, tables)
    assert {row.run_id for row in rows_of(spark, tables, "programs")} == {here.run_id}
    (beside,) = (row.counts for row in rows_of(spark, tables, "runs") if row.run_id != here.run_id)
    assert (beside["done_again"], beside["already"], beside.get("written", 0)) == (1, 39, 0)


def test_a_second_run_of_the_same_command_is_refused_by_name(
    spark: Any, tables: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, go_on = threading.Event(), threading.Event()
    append = Commits.append

    def waiting(self: Commits, rows: Any, table: str) -> str:
        if table == "programs":
            at_work.set()
            go_on.wait(300)
        return append(self, rows, table)

    monkeypatch.setattr(Commits, "append", waiting)
    with ThreadPoolExecutor(1) as threads:
        one = threads.submit(run, spark.newSession(), source, tables, preflight="off")
        assert at_work.wait(300)
        try:
            with pytest.raises(BusyError, match="another run of the same refine"):
                run(spark.newSession(), source, tables, preflight="off")
        finally:
            go_on.set()
        check_accounts(one.result())
    check_once(spark, tables)


def test_a_large_file_is_read_once_and_committed_in_parts(
    spark: Any, tables: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "SMALLEST_BATCH", 1_500)
    since = last_query(spark)
    done = run(showing_paths(spark), source, tables, batch_bytes=1, preflight="off")
    check_accounts(done)
    check_once(spark, tables)
    history = spark.sql(f"DESCRIBE HISTORY delta.`{tables}/programs`").collect()
    appends = [row for row in history if row.operation == "WRITE"]
    assert len(appends) == -(-done.counts["bytes_written"] // 3_000) > 2
    assert all(done.run_id in row.userMetadata for row in appends)
    whole = spark.sql(f"DESCRIBE DETAIL delta.`{source}`").first().sizeInBytes
    assert 0 < scanned_bytes(spark, source, since) <= 1.1 * whole
    assert not list(Path(tables).rglob("staged/*")), "what was staged between two commits is gone"


def test_a_run_that_ends_between_two_parts_of_a_file_goes_on_with_the_rest(
    spark: Any, tables: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = str(tmp_path / "undisturbed")
    run(spark, source, undisturbed, preflight="off")
    monkeypatch.setattr(sizes, "SMALLEST_BATCH", 1_500)
    append = Tables.append

    def last(self: Tables, rows: Any, table: str, *more: Any) -> None:
        append(self, rows, table, *more)
        if table == "programs":
            raise RuntimeError("the machine is taken away")

    monkeypatch.setattr(Tables, "append", last)
    with pytest.raises(Exception, match="the machine is taken away"):
        run(spark, source, tables, batch_bytes=1, preflight="off")
    monkeypatch.setattr(Tables, "append", append)
    first = len(rows_of(spark, tables, "programs"))
    assert 0 < first < 39 and not rows_of(spark, tables, "refined")
    rest = run(spark, source, tables, batch_bytes=1, preflight="off")
    assert rest.counts["written"] == 39 - first
    check_accounts(rest)
    assert contents(spark, tables) == contents(spark, undisturbed)


def test_a_run_that_looked_earlier_is_overtaken_whatever_other_versions_came_between(
    spark: Any, tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Tables(tables)
    home.create(spark, names=("programs",))

    def looked() -> Commits:
        one = Commits(spark, home, {}, set(), f"refine {uuid.uuid4().hex} slice 0")
        one.look(("programs",))
        return one

    def rows(name: str) -> Any:
        keys = "doc_id string, text_hash string, write_key string"
        return spark.createDataFrame([(name, "hash", "key")], keys).coalesce(1)

    # Before notes told numbers, they were those of versions.
    home.append(rows("there"), "programs", (APPLICATION, 1), f"refine {uuid.uuid4().hex} slice 0 1a2b3c4d")
    looked().append(rows("gone"), "programs")
    # Files are put together by anybody, between two runs that look; then the newest version is no run's.
    monkeypatch.setattr(commits, "NEWEST", 1)
    early = looked()
    spark.sql(f"OPTIMIZE {home.name('programs')}")
    late = looked()
    early.need("programs", early.append(rows("found missing by both"), "programs"))
    with pytest.raises(Overtaken):
        late.need("programs", late.append(rows("found missing by both"), "programs"))

    # A delete counts as well, whether it finds a row or not.
    for name in ("gone", "nobody"):
        early, late = looked(), looked()
        assert remove(spark, home, rows(name), "programs", early) == (name == "gone")
        with pytest.raises(Overtaken):
            late.need("programs", late.append(rows("read before"), "programs"))
    assert sorted(row.doc_id for row in rows_of(spark, tables, "programs")) == ["found missing by both", "there"]


def test_an_execute_beside_a_write_brings_no_deleted_document_back(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "changing")
    frame = spark.createDataFrame([(f"d{n}", page(n)) for n in range(3)], "doc_id string, text string").coalesce(1)
    frame.write.format("delta").option("delta.enableChangeDataFeed", "true").save(path)
    run(spark, path, tables, "write", preflight="off")
    append = Commits.append

    def first_a_write(self: Commits, rows: Any, table: str) -> str:
        """When all has been read, and nothing is in `refined` yet."""
        monkeypatch.undo()
        spark.sql(f"DELETE FROM delta.`{path}` WHERE doc_id = 'd1'")
        with ThreadPoolExecutor(1) as thread:
            beside = thread.submit(run, spark.newSession(), path, tables, "write", preflight="off").result()
        assert (beside.counts["gone"], beside.counts["deleted.programs"]) == (1, 1)
        return append(self, rows, table)

    monkeypatch.setattr(Commits, "append", first_a_write)
    done = run(spark, path, tables, "execute")
    check_accounts(done)
    assert (done.counts["done_again"], done.counts["without_programs"]) == (1, 1)
    check_places(spark, tables, {"d0", "d2"})


def test_over_twenty_commits_every_python_worker_loads_its_refiner_once(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = tmp_path / "loads"
    inside = spark.sparkContext.environment
    path = os.pathsep.join([str(COUNTING), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Python workers of another environment are other processes: nothing is loaded in them yet.
    for name, value in {"PYTHONPATH": path, "LOADS": str(loads)}.items():
        monkeypatch.setitem(inside, name, value)
    # Two slices, of more than ten commits each.
    monkeypatch.setattr(sizes, "SMALLEST_BATCH", 400)
    folder = tmp_path / "source"
    rows = [(f"{n}", page(n)) for n in range(84)]
    spark.createDataFrame(rows, "doc_id string, text string").repartition(2).write.parquet(str(folder))
    bundle = score_bundle(tmp_path / "bundle")
    given = {"format": "parquet", "batch_bytes": 1, "preflight": "off", "any_language": True}
    done = run(spark, str(folder), tables, "write", refiners=(str(bundle.directory),), **given)
    assert done.counts["slices"] == 2 and done.counts["written"] == 84
    history = spark.sql(f"DESCRIBE HISTORY delta.`{tables}/programs`")
    assert history.where("operation = 'WRITE'").count() > 20
    processes = loads.read_text().split()
    assert processes and len(processes) == len(set(processes)) <= 4
