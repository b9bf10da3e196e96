"""Forgetting documents by name, and putting small files together, on real tables."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from prox_spark.errors import ConfigError, SourceError
from prox_spark.spark.removal import HOLDING
from prox_spark.spark.upkeep import forget, maintain
from tests.helpers.spark_jobs import keep_answers, page, rows_of, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]
# A line by itself, which is removed, so that it stands in an edit; a part of a line that is kept; a carried value.
SECRET = "Mallory-of-Elm-Street"
KEPT = f"Whoever reads the name of {SECRET} here reads what was to be forgotten by everybody."
COLUMNS = "doc_id string, text string, note string"


@pytest.fixture(scope="module")
def made(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three appends of a refined source, and answers to all of it.

    b is to be forgotten, n as well, which is in quarantine, and an id with blanks at its ends.
    """
    base = tmp_path_factory.mktemp("upkeep")
    source, tables = str(base / "source"), str(base / "tables")
    for rows in (
        [("a", page(1), None), ("b", page(2, SECRET, KEPT), SECRET)],
        [("c", page(3), "a note"), ("n", page(6, SECRET, "##ERROR##"), SECRET)],
        [("d", page(4), None), (" x ", page(5), None)],
    ):
        spark.createDataFrame(rows, COLUMNS).write.format("delta").mode("append").save(source)
        last = run(spark, source, tables, preflight="off")
    keep_answers(spark, tables, spark.read.format("delta").load(source), last.run_id)
    return base


@pytest.fixture
def tables(made: Path, tmp_path: Path) -> str:
    """A copy of these tables for one test."""
    shutil.copytree(made / "tables", tmp_path / "tables")
    return str(tmp_path / "tables")


def folders_with(base: str, text: str) -> set[str]:
    """Return the folders right under `base` in which a file has this text: in any value of a row, or as it is."""
    found = set()
    for path in (path for path in Path(base).rglob("*") if path.is_file()):
        if path.suffix == ".parquet":
            rows = pyarrow.parquet.ParquetFile(path).read().to_pylist()
            has = text in str(rows)
        else:
            has = text.encode() in path.read_bytes()
        if has:
            found.add(path.relative_to(base).parts[0])
    return found


def test_forgotten_documents_are_in_no_table_and_after_maintain_in_no_file(
    spark: Any, tables: str, tmp_path: Path
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("b\n\n n \nnobody\n x \n")
    staged_elsewhere = tmp_path / "elsewhere" / "key" / "refine-key" / "staged" / "run"
    staged_elsewhere.mkdir(parents=True)
    held = {"refined", "quarantine", "annotations"}
    assert folders_with(tables, SECRET) == held
    refined = {row.doc_id: row for row in rows_of(spark, tables, "refined")}
    assert SECRET in refined["b"].edits[0].removed
    assert KEPT in refined["b"].text and refined["b"].note == SECRET
    assert SECRET in rows_of(spark, tables, "quarantine")[0].carried
    done = forget(spark, tables, str(ids), checkpoints=str(tmp_path / "elsewhere"))
    assert not staged_elsewhere.exists() and staged_elsewhere.parent.exists()
    deleted = {one.table: one.deleted for one in done}
    assert deleted == {"programs": 3, "refined": 2, "quarantine": 1, "annotations": 3}
    for table in HOLDING:
        assert not {"b", "n", " x "} & {row.doc_id for row in rows_of(spark, tables, table)}
    assert {row.doc_id for row in rows_of(spark, tables, "refined")} == {"a", "c", "d"}
    last = max(rows_of(spark, tables, "runs"), key=lambda row: row.started_at)
    assert (last.command, last.counts["deleted.refined"]) == ("forget", 2)
    old = spark.read.format("delta").option("versionAsOf", 3).load(f"{tables}/refined")
    assert old.columns, "the table's past is still there"
    # A run that was killed has left what it had staged.
    staged = Path(tables) / "_progress" / "key" / "refine-key" / "staged" / "run" / "slice"
    old.where("doc_id = 'b'").coalesce(1).write.parquet(str(staged))
    assert folders_with(tables, SECRET) == held | {"_progress"}
    maintain(spark, tables, hours=0)
    assert not staged.parent.exists()
    assert folders_with(tables, SECRET) == set()
    # Not even the beginning of a text that was the smallest or largest of its file.
    log = "".join(path.read_text() for path in Path(tables).rglob("_delta_log/*.json"))
    assert "This line has quite" not in log and '"doc_id":"b"' in log.replace("\\", "")


def test_small_files_become_few_and_rows_stay(spark: Any, tables: str) -> None:
    before = {name: len(rows_of(spark, tables, name)) for name in HOLDING}
    done = {one.table: one for one in maintain(spark, tables)}
    assert done["programs"].files_after == 1 < done["programs"].files_before
    maintain(spark, tables, cluster=True, vacuum=False)
    assert spark.sql(f"DESCRIBE DETAIL delta.`{tables}/refined`").first().clusteringColumns == ["doc_id"]
    assert before == {name: len(rows_of(spark, tables, name)) for name in before}
    # Of the past so much is left as was said.
    assert len(list(Path(tables, "programs").glob("*.parquet"))) > 1
    time.sleep(2)
    maintain(spark, tables, hours=1 / 3600)
    retained = f"SHOW TBLPROPERTIES delta.`{tables}/programs` ('delta.deletedFileRetentionDuration')"
    assert spark.sql(retained).first().value == "interval 1 seconds"
    assert len(list(Path(tables, "programs").glob("*.parquet"))) == 1
    # That stays, whoever maintains the tables next, until another number is said.
    maintain(spark, tables)
    assert spark.sql(retained).first().value == "interval 1 seconds"
    maintain(spark, tables, hours=168)
    assert spark.sql(retained).first().value == "interval 604800 seconds"
    assert before == {name: len(rows_of(spark, tables, name)) for name in before}
    assert spark.conf.get("spark.databricks.delta.retentionDurationCheck.enabled", "true") == "true"


def test_what_cannot_be_done_is_said(spark: Any, tables: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(SourceError, match="no id in it"):
        forget(spark, tables, str(tmp_path / "empty.txt"))
    with pytest.raises(SourceError, match="cannot be read"):
        forget(spark, tables, str(tmp_path / "nowhere.txt"))
    with pytest.raises(SourceError, match="no tables of prox_spark"):
        maintain(spark, str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match="negative"):
        maintain(spark, tables, hours=-1)


def test_the_next_run_neither_brings_them_back_nor_fails(spark: Any, made: Path, tmp_path: Path) -> None:
    source, tables = str(made / "source"), str(made / "tables")
    (tmp_path / "ids.txt").write_text("b")
    forget(spark, tables, str(tmp_path / "ids.txt"))
    rows = [("e", page(5), None)]
    spark.createDataFrame(rows, COLUMNS).write.format("delta").mode("append").save(source)
    run(spark, source, tables, preflight="off")
    assert {row.doc_id for row in rows_of(spark, tables, "refined")} == {"a", "c", "d", "e", " x "}
