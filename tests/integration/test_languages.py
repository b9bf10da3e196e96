"""Documents in other languages: no refiner reads them, they pass through, and a user finds out why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import prox_spark as prox
from tests.helpers.spark_jobs import LONG, check_accounts, check_places, rows_of, run

pytestmark = pytest.mark.integration

GERMAN = "Start\nDer Reiher steht minutenlang regungslos im flachen Wasser, und seine Augen folgen den Fischen.\nTeilen"
# id, text, the source's own language column: what becomes of it by default, by the column, and for any language
PAGES = [
    ("english", f"Home\n{LONG}.\nLog in", "en-GB", ("refined", "refined", "refined")),
    ("german", GERMAN, "de", ("unchanged", "unchanged", "refined")),
    ("unknown", GERMAN.replace("Teilen", "Drucken"), None, ("unchanged", "refined", "refined")),
    ("short", "Startseite\nImpressum", None, ("dropped", "dropped", "dropped")),
]


def test_other_languages_pass_through(spark: Any, tmp_path: Path) -> None:
    source = str(tmp_path / "source")
    frame = spark.createDataFrame([row[:3] for row in PAGES], "doc_id string, text string, language string")
    frame.coalesce(1).write.format("delta").save(source)
    ways: tuple[dict[str, Any], ...] = ({}, {"language_column": "language"}, {"any_language": True})
    keys = set()
    for way, more in enumerate(ways):
        tables = str(tmp_path / f"tables-{way}")
        summary = run(spark, source, tables, refiners=("rules:c4-lines",), preflight="off", **more)
        check_accounts(summary)
        check_places(spark, tables, {row[0] for row in PAGES})
        keys.add(summary.write_key)
        expected = {row[0]: row[3][way] for row in PAGES}
        refined = {row.doc_id: row for row in rows_of(spark, tables, "refined")}
        assert {name: row.status for name, row in refined.items()} == expected
        passed = {name for name, status in expected.items() if status == "unchanged"}
        assert {name for name, row in refined.items() if row.reason == "language"} == passed
        assert all(refined[name].text == text for name, text, *_ in PAGES if name in passed)
        assert summary.counts["other_language"] == len(passed)
        assert refined["german"].language == "de"  # the source's own column is carried
        programs = {row.doc_id: row for row in rows_of(spark, tables, "programs")}
        identified = {name: row.language for name, row in programs.items()}
        known = {"english": "en", "german": "de", "unknown": "de", "short": None}
        assert identified == (known if way == 0 else dict.fromkeys(known))
        assert (programs["german"].chunks == []) == (way == 0)
    assert len(keys) == 2  # what was written for all languages serves the source's own column, too


def test_frames_know_languages_and_programs_from_before_there_was_such_a_column(spark: Any) -> None:
    frame = spark.createDataFrame([row[:3] for row in PAGES], "doc_id string, text string, language string")
    expected = {row[0]: row[3][0] for row in PAGES}
    programs = prox.write_programs(frame, "rules:c4-lines")
    for found in (prox.refine(frame, "rules:c4-lines"), prox.execute_programs(frame, programs)):
        assert {row.doc_id: row.status for row in found.collect()} == expected
    old = prox.write_programs(frame, "rules:c4-lines", any_language=True).drop("language")
    found = prox.execute_programs(frame, old, refiner="rules:c4-lines", language_column="language")
    assert {row.doc_id: row.status for row in found.collect()} == {row[0]: row[3][1] for row in PAGES}


def test_execute_knows_them_from_their_programs(spark: Any, tmp_path: Path) -> None:
    source, tables = str(tmp_path / "source"), str(tmp_path / "tables")
    frame = spark.createDataFrame([row[:2] for row in PAGES], "doc_id string, text string")
    frame.coalesce(1).write.format("delta").save(source)
    run(spark, source, tables, "write", refiners=("rules:c4-lines",), preflight="off")
    assert run(spark, source, tables, "execute").counts["other_language"] == 2
    # Programs of a version that did not look at languages.
    older = spark.read.format("delta").load(f"{tables}/programs").drop("language")
    older.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(f"{tables}/programs")
    other = str(tmp_path / "other")
    assert run(spark, source, other, "execute", programs=tables).counts["other_language"] == 0
