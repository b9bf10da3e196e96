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
    source, tables, other = (str(tmp_path / name) for name in ("source", "tables", "other"))
    frame = spark.createDataFrame([row[:3] for row in PAGES], "doc_id string, text string, language string")
    frame.coalesce(1).write.format("delta").save(source)
    summary = run(spark, source, tables, refiners=("rules:c4-lines",), preflight="off")
    check_accounts(summary)
    check_places(spark, tables, {row[0] for row in PAGES})
    assert summary.counts["other_language"] == 2
    refined = {row.doc_id: row for row in rows_of(spark, tables, "refined")}
    assert {name: row.status for name, row in refined.items()} == {row[0]: row[3][0] for row in PAGES}
    assert {name for name, row in refined.items() if row.reason == "language"} == {"german", "unknown"}
    assert refined["german"].text == GERMAN and refined["german"].language == "de"  # the source's own column is carried
    programs = {row.doc_id: row for row in rows_of(spark, tables, "programs")}
    identified = {name: row.language for name, row in programs.items()}
    assert identified == {"english": "en", "german": "de", "unknown": "de", "short": None}
    assert programs["german"].chunks == [] and programs["german"].doc_program is None
    # Programs of a version that had no such column are read as they are.
    older = spark.read.format("delta").load(f"{tables}/programs").drop("language")
    older.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(f"{tables}/programs")
    assert run(spark, source, other, "execute", programs=tables).counts["refined"] == 1


@pytest.mark.slow
def test_frames_know_languages_and_programs_from_before_there_was_such_a_column(spark: Any) -> None:
    frame = spark.createDataFrame([row[:3] for row in PAGES], "doc_id string, text string, language string")
    expected = {row[0]: row[3][0] for row in PAGES}
    programs = prox.write_programs(frame, "rules:c4-lines")
    for found in (prox.refine(frame, "rules:c4-lines"), prox.execute_programs(frame, programs)):
        assert {row.doc_id: row.status for row in found.collect()} == expected
    old = prox.write_programs(frame, "rules:c4-lines", any_language=True).drop("language")
    found = prox.execute_programs(frame, old, refiner="rules:c4-lines", language_column="language")
    assert {row.doc_id: row.status for row in found.collect()} == {row[0]: row[3][1] for row in PAGES}
    anyway = {"language_column": "language"}, {"any_language": True}
    for way, more in enumerate(anyway, start=1):
        found = prox.refine(frame, "rules:c4-lines", **more)
        assert {row.doc_id: row.status for row in found.collect()} == {row[0]: row[3][way] for row in PAGES}
