"""Failures from outside: each is one line that says what to do next, and none hides the one that came before it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import functions as F
from pyspark.sql import session

from prox_spark.errors import BusyError, ConfigError, ErrorBudgetExceeded, SchemaError, StorageError
from prox_spark.spark import slices, upkeep
from prox_spark.spark.sources import Source
from tests.helpers.spark_jobs import check_accounts, page, rows_of, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def make_source(spark: Any, path: Path, *rows: tuple[str, str]) -> str:
    frame = spark.createDataFrame(list(rows), "doc_id string, text string").coalesce(1)
    frame.write.format("delta").mode("append").save(str(path))
    return str(path)


def test_what_fails_beside_an_error_does_not_take_its_place(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_source(spark, tmp_path / "source", ("a", page(1)), ("bad", page(2, "##ERROR##")))
    write = slices.Slice._write

    def dropping(self: slices.Slice) -> None:
        write(self)
        shutil.rmtree(f"{tables}/runs")

    monkeypatch.setattr(slices.Slice, "_write", dropping)
    with pytest.raises(ErrorBudgetExceeded, match="failed on 1 of 2 documents"):
        run(spark, source, tables, preflight="off", max_error_rate=0.0)
    assert "the run has no row in runs" in caplog.text
    # The same at the end of a run that had no other error.
    with pytest.raises(ConfigError, match=r"table runs at .* is gone since the run began"):
        run(spark, source, tables, preflight="off")
    assert [row.doc_id for row in rows_of(spark, tables, "refined")] == ["a"]


def test_rows_that_cannot_be_read_and_a_failing_execute_count_against_the_budget(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps({"doc_id": f"d{n}", "text": page(n)}) for n in range(25)] + [
        f"{{no JSON {n}" for n in range(30)
    ]
    (tmp_path / "pages.jsonl").write_text("\n".join(lines))
    settings: dict[str, Any] = {"format": "jsonl", "preflight": "off"}
    source = str(tmp_path / "pages.jsonl")
    usual = slices.execute_policy
    monkeypatch.setattr(slices, "execute_policy", lambda *given: replace(usual(*given), policy="nonsense"))
    with pytest.raises(ErrorBudgetExceeded, match="EXECUTE failed on 25 of 25 documents"):
        run(spark, source, tables, max_error_rate=0.6, **settings)
    monkeypatch.undo()
    with pytest.raises(ErrorBudgetExceeded, match="30 of 55 documents of this run cannot be read"):
        run(spark, source, tables, **settings)
    done = run(spark, source, tables, max_error_rate=0.6, **settings)
    check_accounts(done)
    assert (done.counts["quarantined.malformed_record"], done.counts["already"]) == (30, 25)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB; skips where nobody lets us make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk_is_told_in_a_line(
    spark: Any, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, tables = make_source(spark, tmp_path / "source", ("a", page(1))), str(small_disk / "tables")
    write = slices.Slice._write

    def filling(self: slices.Slice) -> None:
        with pytest.raises(OSError), (small_disk / "filler").open("wb") as filler:
            while True:
                filler.write(b"x" * 65_536)
        write(self)

    monkeypatch.setattr(slices.Slice, "_write", filling)
    with pytest.raises(StorageError, match=r"^No space left on device: .*What was committed stays$"):
        run(spark, source, tables, preflight="off")
    with pytest.raises(StorageError, match=r"^No space left on device"):
        run(spark, source, str(small_disk / "others"), preflight="off")
    monkeypatch.undo()
    (small_disk / "filler").unlink()
    assert run(spark, source, tables, preflight="off").counts["refined"] == 1


@pytest.mark.parametrize("feed", [False, True])
def test_a_source_that_is_altered_while_it_is_read(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feed: bool
) -> None:
    source = make_source(spark, tmp_path / "source", ("a", page(1)))
    spark.sql(f"ALTER TABLE delta.`{source}` SET TBLPROPERTIES ('delta.enableChangeDataFeed' = {feed})")
    run(spark, source, tables, preflight="off")
    stream = Source.stream

    def altered(self: Source, *given: Any) -> Any:
        rows = stream(self, *given)
        spark.sql(f"ALTER TABLE delta.`{source}` ADD COLUMNS (url STRING)")
        spark.sql(f"INSERT INTO delta.`{source}` VALUES ('b', 'One line of text', 'u')")
        return rows

    monkeypatch.setattr(Source, "stream", altered)
    with pytest.raises(
        SchemaError, match=r"columns of .* were changed while the run read it.*Run the same command again"
    ):
        run(spark, source, tables, preflight="off")
    monkeypatch.undo()
    assert run(spark, source, tables, preflight="off", evolve=True).counts["rows"] == 1
    assert {row.doc_id: row.url for row in rows_of(spark, tables, "refined")} == {"a": None, "b": "u"}


def test_a_run_beside_forget_is_told_in_a_line(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Delta's MERGE reads the ids, another writer deletes from the files that it goes by."""
    source = make_source(spark, tmp_path / "source", ("a", page(1)), ("b", page(2)), ("c", page(3)))
    run(spark, source, tables, preflight="off")
    (tmp_path / "ids.txt").write_text("b\n")
    merging, reading, other_is_done = (tmp_path / name for name in ("merging", "reading", "done"))

    @F.udf("boolean")
    def waits(name: str) -> bool:
        if merging.exists():
            reading.touch()
            while not other_is_done.exists():
                time.sleep(0.05)
        return True

    def delete() -> None:
        while not reading.exists():
            time.sleep(0.05)
        sql(spark, f"DELETE FROM delta.`{tables}/programs` WHERE doc_id = 'c'")
        other_is_done.touch()

    sql, read_ids = session.SparkSession.sql, upkeep._read_ids

    def noticed(self: Any, statement: str, *given: Any, **more: Any) -> Any:
        if statement.startswith("MERGE INTO"):
            merging.touch()
        return sql(self, statement, *given, **more)

    monkeypatch.setattr(session.SparkSession, "sql", noticed)
    monkeypatch.setattr(upkeep, "_read_ids", lambda *given: read_ids(*given).where(waits("doc_id")))
    other = threading.Thread(target=delete, daemon=True)
    other.start()
    with pytest.raises(BusyError, match=r"another run has written to the tables at .* run again when it has ended"):
        upkeep.forget(spark, tables, str(tmp_path / "ids.txt"))
    other.join(60)
    monkeypatch.undo()
    assert upkeep.forget(spark, tables, str(tmp_path / "ids.txt"))[0].deleted == 1
