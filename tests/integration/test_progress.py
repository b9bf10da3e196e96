"""Slices, resuming, sources that change, programs executed again: nothing is done twice, and nothing is left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality

from prox_spark.config import job_settings
from prox_spark.errors import ConfigError, ErrorBudgetExceeded
from prox_spark.schemas import STATUSES
from prox_spark.spark.job import plan_job
from tests.helpers.spark_jobs import (
    check_accounts,
    check_places,
    last_query,
    page,
    plans_with_python,
    rows_of,
    run,
    scanned_bytes,
    showing_paths,
    udf_rows,
)

pytestmark = pytest.mark.integration

# Differ from run to run.
PER_RUN = ["run_id", "refined_at", "written_at"]


def make_source(spark: Any, path: str, pages: list[tuple[str | None, str | None]], mode: str = "append") -> None:
    """Write pages as one file of a Delta table: with batch_bytes=1 every file is a slice."""
    frame = spark.createDataFrame(
        [(i, t, f"https://example.org/{i}") for i, t in pages], "doc_id string, text string, url string"
    )
    frame.coalesce(1).write.format("delta").mode(mode).save(path)


@pytest.fixture
def source(spark: Any, tmp_path: Path) -> str:
    """Three files: 30 documents, one twice (in the first and the last), 25 on which the refiner fails in the second."""
    path = str(tmp_path / "source")
    make_source(spark, path, [(f"a{n}", page(n)) for n in range(30)])
    make_source(spark, path, [(f"b{n}", page(n, "##ERROR##" if n < 25 else "fine line of its own")) for n in range(30)])
    make_source(spark, path, [(f"c{n}", page(n)) for n in range(29)] + [("a0", page(0))])
    return path


def source_bytes(spark: Any, source: str) -> int:
    """Return the size of a Delta table's files."""
    return int(spark.sql(f"DESCRIBE DETAIL delta.`{source}`").first().sizeInBytes)


IDS = {f"a{n}" for n in range(30)} | {f"b{n}" for n in range(30)} | {f"c{n}" for n in range(29)}


@pytest.mark.oldest
def test_stopped_and_resumed_equals_fresh_and_every_document_goes_through_python_once(
    spark: Any, source: str, tmp_path: Path
) -> None:
    stopped, fresh = str(tmp_path / "stopped"), str(tmp_path / "fresh")
    since = last_query(spark)
    with pytest.raises(ErrorBudgetExceeded, match="25 of 60 documents"):
        run(spark, source, stopped, batch_bytes=1, max_error_rate=0.1)
    failed = rows_of(spark, stopped, "runs")[0]
    assert failed.error.startswith("ErrorBudgetExceeded")
    # What was committed stays: both slices whole, every document of them in one place.
    assert len(rows_of(spark, stopped, "programs")) == 60
    check_places(spark, stopped, {name for name in IDS if name[0] != "c"})
    assert Counter(row.reason for row in rows_of(spark, stopped, "quarantine")) == {"program_error": 25}

    resumed = run(spark, source, stopped, batch_bytes=1, max_error_rate=1.0)
    assert resumed.counts["slices"] == 2
    assert resumed.counts["rows"] == 60
    check_accounts(resumed)
    check_places(spark, stopped, IDS)

    passed = udf_rows(spark, since)
    assert passed["WriteUdf"] == 89
    assert passed["ExecuteUdf"] == 89 - 25
    # Each run's preflight measures its first slice; of the second run's only failures are left.
    assert passed["MeasureUdf"] == 30
    assert set(plans_with_python(spark, since).values()) == {1}

    since = last_query(spark)
    once = run(showing_paths(spark), source, fresh, batch_bytes=1, max_error_rate=1.0)
    check_accounts(once)
    assert once.counts["slices"] == 3
    # Slices and a preflight, and the source is read once.
    assert 0 < scanned_bytes(spark, source, since) <= 1.1 * source_bytes(spark, source)
    assert once.duplicates == 1
    for table in ("programs", "refined", "quarantine"):
        one, other = (
            spark.read.format("delta").load(f"{tables}/{table}").drop(*PER_RUN, "quarantined_at")
            for tables in (stopped, fresh)
        )
        assert_df_equality(one, other, ignore_row_order=True, ignore_nullable=True)


@pytest.mark.slow
def test_a_new_checkpoint_and_max_batches_repeat_no_inference(
    spark: Any, source: str, tables: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"batch_bytes": 1, "max_error_rate": 1.0, "preflight": "off"}
    first = run(spark, source, tables, max_batches=1, **settings)
    assert first.counts["slices"] == 1 and first.counts["rows"] == 30
    rest = run(spark, source, tables, **settings)
    assert rest.counts["slices"] == 2 and rest.counts["written"] == 59

    since = last_query(spark)
    # Three files of about the same size, in slices of one and a half: a slice has what goes over its size.
    settings["batch_bytes"] = source_bytes(spark, source) // 2
    again = run(spark, source, tables, checkpoints=str(tmp_path / "elsewhere"), **settings)
    assert again.counts["slices"] == 2
    assert udf_rows(spark, since)["WriteUdf"] == 0
    assert udf_rows(spark, since)["ExecuteUdf"] == 0
    assert again.counts["already"] == 65
    check_accounts(again)
    check_places(spark, tables, IDS)
    assert len(rows_of(spark, tables, "programs")) == 89


@pytest.mark.slow
def test_an_execute_that_stops_early_goes_on(spark: Any, source: str, tables: str) -> None:
    """It looks at everything each time: what is done already must not use up its slices."""
    settings: dict[str, Any] = {"batch_bytes": 1, "max_error_rate": 1.0}
    run(spark, source, tables, "write", preflight="off", **settings)
    parts = [run(spark, source, tables, "execute", max_batches=1, **settings).counts for _ in range(4)]
    executed = [sum(counts.get(status, 0) for status in STATUSES) for counts in parts]
    assert all(executed[:3]) and executed[3] == 0
    assert len(rows_of(spark, tables, "refined")) == sum(executed)


@pytest.mark.slow
def test_going_back_to_an_earlier_policy_does_everything_again(spark: Any, tables: str, tmp_path: Path) -> None:
    path = str(tmp_path / "source")
    make_source(spark, path, [("a", page(1)), ("b", page(2))])
    for policy in ("strict", "gair", "strict"):
        done = run(spark, path, tables, policy=policy, preflight="off")
        assert done.counts["documents"] == 2 and not done.counts.get("already")
        assert {row.policy for row in rows_of(spark, tables, "refined")} == {policy}
    assert len(rows_of(spark, tables, "programs")) == 2
    assert run(spark, path, tables, policy="strict", preflight="off").counts == {}
    # What other sources are refined by is nothing to this one.
    other = str(tmp_path / "other")
    make_source(spark, other, [("c", page(3))])
    run(spark, other, tables, policy="gair", preflight="off")
    assert run(spark, path + "/", tables, policy="strict", preflight="off").counts == {}


@pytest.mark.slow
def test_documents_move_between_tables_when_the_source_changes(spark: Any, tables: str, tmp_path: Path) -> None:
    path = str(tmp_path / "source")
    make_source(
        spark,
        path,
        [("stays", page(1)), ("changes", page(2)), ("goes-bad", page(3)), ("gets-good", None), ("bad", None)],
    )
    run(spark, path, tables)
    assert {row.doc_id for row in rows_of(spark, tables, "quarantine")} == {"gets-good", "bad"}

    make_source(
        spark,
        path,
        [
            ("changes", page(20)),
            ("goes-bad", None),
            ("gets-good", page(4)),
            ("new", page(5)),
            ("bad", page(6, "##ERROR##")),
        ],
    )
    second = run(spark, path, tables)
    check_accounts(second)
    check_places(spark, tables, {"stays", "changes", "goes-bad", "gets-good", "bad", "new"})
    refined = {row.doc_id: row for row in rows_of(spark, tables, "refined")}
    assert set(refined) == {"stays", "changes", "gets-good", "new"}
    assert "page 20" in refined["changes"].text
    quarantine = {row.doc_id: row.reason for row in rows_of(spark, tables, "quarantine")}
    assert quarantine == {"goes-bad": "null_text", "bad": "program_error"}

    # An update rewrites a whole file: what did not change in it is passed over.
    spark.sql(f"UPDATE delta.`{path}` SET text = concat(text, '\\nOne more good line at the end') WHERE doc_id = 'new'")
    since = last_query(spark)
    third = run(spark, path, tables)
    assert third.counts["written"] == 1
    assert udf_rows(spark, since)["ExecuteUdf"] == 1
    check_accounts(third)
    check_places(spark, tables, {"stays", "changes", "goes-bad", "gets-good", "bad", "new"})


@pytest.mark.oldest
@pytest.mark.slow
def test_write_then_execute_then_with_other_policies(spark: Any, tables: str, tmp_path: Path) -> None:
    path = str(tmp_path / "source")
    make_source(spark, path, [(f"d{n}", page(n, "One two three four five")) for n in range(12)])
    written = run(spark, path, tables, "write", refiners=("scripted:scored",))
    assert written.counts["written"] == 12 and rows_of(spark, tables, "refined") == []
    assert written.policy_key is None

    since = last_query(spark)
    balanced = run(spark, path, tables, "execute")
    assert udf_rows(spark, since) == Counter({"ExecuteUdf": 12})
    assert balanced.counts["refined"] == 12 and balanced.provider is None
    check_accounts(balanced)

    # Scores of five words are 0.2: only the aggressive threshold, known from `runs`, removes that line.
    other = str(tmp_path / "aggressive")
    aggressive = run(spark, path, other, "execute", programs=tables, caution="aggressive")
    assert aggressive.policy_key != balanced.policy_key
    assert aggressive.write_key == balanced.write_key
    for there, kept in ((tables, True), (other, False)):
        assert all(("One two three" in row.text) == kept for row in rows_of(spark, there, "refined"))

    tagged = run(spark, path, tables, "execute", mode="tag")
    assert tagged.counts["refined"] == 12
    rows = rows_of(spark, tables, "refined")
    assert len(rows) == 12
    assert {row.text for row in rows} == {page(n, "One two three four five") for n in range(12)}
    assert all(row.lines_out < row.lines_in and row.edits for row in rows)

    again = run(spark, path, tables, "execute", mode="tag")
    assert again.nothing_new and again.counts["already"] == 12
    check_accounts(again)

    make_source(spark, path, [("later", page(99))])
    spark.sql(f"UPDATE delta.`{path}` SET url = NULL WHERE doc_id = 'd3'")
    told = job_settings(source=path, tables=tables, mode="tag")
    assert plan_job(told, "execute", spark=spark).to_do == {"carried": 1, "new": 1}
    later = run(spark, path, tables, "execute", mode="tag")
    assert (later.counts["without_programs"], later.counts["refined"], later.counts["already"]) == (1, 1, 11)
    assert {row.doc_id for row in rows_of(spark, tables, "refined") if row.url is None} == {"d3"}
    check_accounts(later)

    with pytest.raises(ConfigError, match="no programs in"):
        run(spark, path, str(tmp_path / "nothing"), "execute")


@pytest.mark.slow
def test_two_refiners_and_a_choice_of_programs(spark: Any, tables: str, tmp_path: Path) -> None:
    path = str(tmp_path / "source")
    make_source(spark, path, [("keeps", page(1)), ("drops", page(2, "##DROP##")), ("fails", page(3, "##CRASH##"))])
    both = run(spark, path, tables, refiners=("scripted:noise", "scripted:short-lines"), preflight="off")
    programs = {row.doc_id: row for row in rows_of(spark, tables, "programs")}
    assert programs["drops"].doc_program == "drop_doc()"
    # What the first drops never reached the second: its chunks are those that the first wrote.
    assert {row.refiner for row in programs.values()} == {"scripted:noise 1 + scripted:short-lines 1"}
    assert programs["fails"].error is not None
    statuses = {row.doc_id: row.status for row in rows_of(spark, tables, "refined")}
    assert statuses == {"keeps": "refined", "drops": "dropped"}
    check_accounts(both)

    run(spark, path, tables, "write", refiners=("scripted:short-lines",), preflight="off")
    with pytest.raises(ConfigError, match="programs of several refiners"):
        run(spark, path, tables, "execute")
    chosen = run(spark, path, str(tmp_path / "other"), "execute", programs=tables, write_key=both.write_key[:12])
    assert chosen.counts["dropped"] == 1
