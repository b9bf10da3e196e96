"""Sources that change: rows updated, deleted and renamed, by their change data feed and by comparing the whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from prox_spark import cli
from prox_spark.config import job_settings
from prox_spark.errors import SourceError
from prox_spark.spark import slices
from prox_spark.spark.job import plan_job
from prox_spark.spark.removal import HOLDING, remove
from tests.helpers.commands import said_by
from tests.helpers.spark_jobs import check_accounts, check_places, contents, keep_answers, page, rows_of, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def ids_in(spark: Any, tables: str) -> dict[str, set[str]]:
    """Return the ids in every table that holds documents and is there."""
    there = [name for name in HOLDING if Path(tables, name).exists()]
    return {name: {row.doc_id for row in rows_of(spark, tables, name)} for name in there}


def append(spark: Any, path: str, rows: list[tuple[str | None, str | None]], n: int = 1) -> None:
    """Append rows to a Delta table that records its changes; `n` is a column to carry."""
    frame = spark.createDataFrame([(*row, n) for row in rows], "doc_id string, text string, n int").coalesce(1)
    frame.write.format("delta").option("delta.enableChangeDataFeed", "true").mode("append").save(path)


@pytest.mark.oldest
def test_deleted_ids_are_gone_from_every_table_and_updates_are_written_anew(
    spark: Any, tables: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "source")
    rows = [("stays", page(1)), ("changes", page(2)), ("was", page(3)), ("twice", page(4)), ("one-of-two", page(11))]
    rows += [("two-texts", page(5)), ("two-texts", page(6)), ("bad", None), (None, page(7)), ("same", page(8))]
    append(spark, path, rows + [(f"d{n}", page(n) if n % 10 else None) for n in range(1_000)])
    append(spark, path, [("one-of-two", page(11))], n=2)
    first = run(spark, path, tables, preflight="off")
    check_accounts(first)
    keep_answers(spark, tables, spark.read.format("delta").load(path), first.run_id)
    there = ids_in(spark, tables)
    assert len(there["quarantine"]) == 100 + 3 and len(there["annotations"]) == 900 + 7

    before = {row.doc_id: row.n for row in rows_of(spark, tables, "refined")}
    append(spark, path, [("came-and-went", page(9)), ("came-and-changed", page(10))])
    for statement in (
        "DELETE FROM {} WHERE doc_id LIKE 'd%' OR doc_id IS NULL OR doc_id IN ('came-and-went', 'twice') OR n = 2 "
        "OR (doc_id = 'two-texts' AND text LIKE '%page 6%')",
        "UPDATE {} SET text = concat(text, '\\nOne more good line at the end of it'), "
        "doc_id = if(doc_id = 'was', 'is', doc_id) WHERE doc_id LIKE '%change%' OR doc_id = 'was'",
        "UPDATE {} SET text = text WHERE doc_id = 'same'",
        "UPDATE {} SET n = 7 WHERE doc_id = 'stays'",
    ):
        spark.sql(statement.format(f"delta.`{path}`"))
    append(spark, path, [("twice", page(4))])
    second = run(spark, path, tables, preflight="off")
    check_accounts(second)
    # The thousand, the one without an id, and the one that has another id now: what came and went was never there.
    assert second.counts["gone"] == 1_000 + 1 + 1
    left = {"stays", "changes", "is", "twice", "one-of-two", "two-texts", "came-and-changed", "same"}
    assert ids_in(spark, tables) == {
        "refined": left,
        "programs": left,
        "quarantine": {"bad"},
        "annotations": left - {"is", "came-and-changed"},
    }
    assert second.counts["deleted.annotations"] == 900 + 1
    check_places(spark, tables, left | {"bad"})
    texts = {row.doc_id: row.text for row in rows_of(spark, tables, "refined")}
    assert texts["changes"].endswith("at the end of it") and texts["came-and-changed"].endswith("at the end of it")
    assert "page 5" in texts["two-texts"]
    assert second.counts["written"] == 4  # what changed, came, has another id, or one text now
    # And what carries another value is executed again, by the program that it has: as its row was changed, or as that
    # row went whose value it had.
    assert second.counts["refined"] == 4 + 1 + (before["one-of-two"] == 2)
    after = {row.doc_id: row.n for row in rows_of(spark, tables, "refined")}
    assert (after["stays"], after["one-of-two"], after["changes"]) == (7, 1, 1)


def test_a_range_of_versions_and_comparing_the_whole(
    spark: Any, tables: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, other = str(tmp_path / "source"), str(tmp_path / "other")
    for n in range(2):
        frame = spark.createDataFrame(
            [(f"{name}{n}", page(10 + n)) for name in ("v", "also", "gone")], "doc_id string, text string"
        )
        frame.write.format("delta").option("delta.enableChangeDataFeed", "true").mode("append").save(path)
    late = job_settings(source=path, tables=tables, refiners=("scripted:noise",), from_version=1)
    assert plan_job(late, spark=spark).to_do == {"new": 3}
    ranged = run(spark, path, tables, preflight="off", from_version=1)
    assert ids_in(spark, tables)["refined"] == {"v1", "also1", "gone1"} and ranged.counts["rows"] == 3
    with pytest.raises(SourceError, match="has no version 9; its newest is 1"):
        run(spark, path, tables, preflight="off", from_version=9)
    seen = spark.read.format("delta").load(path).where("doc_id LIKE '%1'")
    keep_answers(spark, tables, seen, ranged.run_id)

    # Another source's documents are not this one's to delete, even where both have an id.
    frame = spark.createDataFrame([("o", page(20)), ("also1", page(21))], "doc_id string, text string")
    frame.write.format("delta").save(other)
    run(spark, other, tables, preflight="off")
    spark.sql(f"DELETE FROM delta.`{path}` WHERE doc_id LIKE 'gone%' OR doc_id LIKE 'also%'")
    asked = ["refine", "--source", path, "--tables", tables, "--refiner", "scripted:noise", "--preflight", "off"]
    before, runs = ids_in(spark, tables), len(rows_of(spark, tables, "runs"))
    said = said_by([*asked, "--reconcile"], capfd)
    for line in (
        "Nothing was written. A run would do this",
        "to write 1, about",
        "to delete 1 rows of programs, 1 rows of refined, 1 rows of annotations: of documents that the source has no",
        "left alone 2 documents that other sources brought",
        "To do it: the same command with --yes.",
    ):
        assert line in said
    assert (ids_in(spark, tables), len(rows_of(spark, tables, "runs"))) == (before, runs)
    assert cli.run([*asked, "--reconcile", "--yes"]) == cli.OK
    there = ids_in(spark, tables)
    assert there["refined"] == there["programs"] == {"v0", "v1", "also1", "o"}
    assert there["annotations"] == {"v1", "also1"}
    row = max(rows_of(spark, tables, "runs"), key=lambda row: row.started_at)
    assert (row.counts["gone"], row.counts["written"], row.counts["deleted.refined"]) == (1, 1, 1)

    # The feed tells of all four, and of one more: what another source has brought stays here as well.
    spark.sql(f"DELETE FROM delta.`{path}` WHERE doc_id = 'v1'")
    followed = run(spark, path, tables, preflight="off", from_version=1)
    check_accounts(followed)
    assert (followed.counts["gone"], followed.counts["deleted.refined"]) == (4, 1)
    there = ids_in(spark, tables)
    assert there["refined"] == there["programs"] == {"v0", "also1", "o"} and there["annotations"] == {"also1"}


def test_a_delete_that_ends_between_two_tables_is_finished_by_the_next_run(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, undisturbed = str(tmp_path / "source"), str(tmp_path / "undisturbed")
    append(spark, path, [(name, page(n)) for n, name in enumerate(("stays", "changes", "goes"))] + [("bad", None)])
    run(spark, path, tables, preflight="off")
    # Nothing in a directory of tables names its place.
    shutil.copytree(tables, undisturbed)
    spark.sql(f"DELETE FROM delta.`{path}` WHERE doc_id IN ('goes', 'bad')")
    spark.sql(f"UPDATE delta.`{path}` SET text = concat(text, '\\nOne more line of it') WHERE doc_id = 'changes'")
    run(spark, path, undisturbed, preflight="off")

    for table in HOLDING[:2]:

        def last(spark: Any, home: Any, ids: Any, name: str, *more: Any, table: str = table) -> int:
            deleted = remove(spark, home, ids, name, *more)
            if name == table:
                raise RuntimeError("the machine is taken away")
            return deleted

        monkeypatch.setattr(slices, "remove", last)
        with pytest.raises(Exception, match="the machine is taken away"):
            run(spark, path, tables, preflight="off")
        there = ids_in(spark, tables)
        assert "goes" not in there["programs"] and "bad" in there["quarantine"]
        assert ("goes" in there["refined"]) == (table == "programs")
    monkeypatch.undo()
    check_accounts(run(spark, path, tables, preflight="off"))
    assert contents(spark, tables) == contents(spark, undisturbed)
    assert ids_in(spark, tables)["refined"] == {"stays", "changes"}
