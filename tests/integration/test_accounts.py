"""Hostile sources: every row is accounted for, every document is in one place, whatever it holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.spark_jobs import (
    LONG,
    check_accounts,
    check_places,
    last_query,
    page,
    rows_of,
    run,
    scanned_bytes,
    showing_paths,
    udf_rows,
)

pytestmark = [pytest.mark.integration, pytest.mark.oldest]

# id, text bytes, whatever: what it shows
HOSTILE: list[tuple[str | None, bytes | None, str]] = [
    ("good", page(1).encode(), "two short lines go"),
    ("clean", f"{LONG}\n{LONG}".encode(), "nothing to remove"),
    ("empty", b"", "an empty text is a document"),
    ("spaces", b"   \n\t\n ", "so is one without words"),
    ("nul", page(2, "a\x00b\x00").encode(), "NUL is a character"),
    ("crlf", b"One line\r\nand two\r\n\xe2\x80\xa8three", "lines end at \\n only"),
    ("emoji", "Ünïcode \U0001f600 ".encode() * 20, "four-byte characters"),
    ("one-line", b"word " * 20_000, "a long line"),
    ("many-lines", b"x\n" * 4_000, "short lines only: little is left, so it is dropped"),
    ("dropped", page(3, "##DROP##").encode(), "the program says so"),
    ("bad-program", page(4, "##BAD##").encode(), "a program that does not parse"),
    ("looped", page(5, "##LOOP##").encode(), "a program that repeats itself"),
    ("cut", page(6, "##CUT##").encode(), "a program cut off"),
    ("error", page(7, "##ERROR##").encode(), "the refiner gives an error"),
    ("crash", page(8, "##CRASH##").encode(), "the refiner raises"),
    ("null-text", None, "quarantined"),
    (None, page(9).encode(), "null id: quarantined under its row's hash; the same row again is a duplicate"),
    (None, page(9).encode(), "null id: quarantined under its row's hash; the same row again is a duplicate"),
    (None, page(10).encode(), "another row without an id"),
    (None, None, "neither id nor text"),
    ("invalid", b"good start \xff\xfe and more", "not UTF-8"),
    ("surrogate", b"\xed\xa0\x80 a lone surrogate", "not UTF-8 either"),
    ("huge", b"0123456789" * 3_000, "larger than max_bytes"),
    ("too-many-lines", b"\n" * 9_000, "more lines than max_lines"),
    ("twice", page(11).encode(), "same id and text twice: one row"),
    ("twice", page(11).encode(), "and one duplicate"),
    ("two-texts", page(12).encode(), "same id, two texts"),
    ("two-texts", page(13).encode(), "both quarantined"),
    ("two-texts", page(13).encode(), "and one of them stands twice"),
    ("text-and-null", page(14).encode(), "same id, a text and none"),
    ("text-and-null", None, "both quarantined"),
]
GUARDS = {"max_bytes": 150_000, "max_lines": 8_000}
REASONS = {
    "null_text": 2,
    "null_id": 3,
    "invalid_utf8": 2,
    "too_large": 1,
    "too_many_lines": 1,
    "duplicate_id": 3,
    "program_error": 2,
}


@pytest.fixture(scope="module")
def hostile(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("hostile") / "source")
    rows = [(i, t and (b"0123456789" * 30_000 if i == "huge" else t), what) for i, t, what in HOSTILE]
    frame = spark.createDataFrame(rows, "doc_id string, raw binary, what string")
    frame.selectExpr("doc_id", "cast(raw as string) as text", "what").coalesce(2).write.format("delta").save(path)
    return path


@pytest.fixture(scope="module")
def done(spark: Any, hostile: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    tables = str(tmp_path_factory.mktemp("hostile") / "tables")
    return tables, run(showing_paths(spark), hostile, tables, guards=GUARDS, preflight="off")


def test_counts_add_up_to_the_row(done: tuple[str, Any]) -> None:
    _, summary = done
    check_accounts(summary)
    counts = Counter(summary.counts)
    assert counts["rows"] == len(HOSTILE)
    assert summary.duplicates == 3
    assert {name: counts[f"quarantined.{name}"] for name in REASONS} == REASONS
    assert counts["quarantined"] == sum(REASONS.values())


def test_every_document_is_in_one_place(spark: Any, done: tuple[str, Any]) -> None:
    tables, summary = done
    unnamed = {row.doc_id for row in rows_of(spark, tables, "quarantine") if row.reason == "null_id"}
    assert len(unnamed) == 3 and all(len(name) == 64 for name in unnamed)
    check_places(spark, tables, {i for i, _, _ in HOSTILE if i is not None} | unnamed)
    quarantine = rows_of(spark, tables, "quarantine")
    assert Counter(row.reason for row in quarantine) == Counter(REASONS)
    assert {row.run_id for row in quarantine} == {summary.run_id}


def test_quarantine_keeps_everything_whole(spark: Any, done: tuple[str, Any]) -> None:
    tables, _ = done
    there = {row.doc_id: row for row in rows_of(spark, tables, "quarantine")}
    assert there["invalid"].text is None
    assert bytes(there["invalid"].bytes) == b"good start \xff\xfe and more"
    assert there["huge"].text == "0123456789" * 30_000
    assert there["huge"].size_bytes == 300_000
    assert there["huge"].detail == "300000 bytes; max_bytes is 150000"
    assert there["too-many-lines"].detail == "9001 lines; max_lines is 8000"
    assert there["crash"].stage == "write" and there["crash"].text == page(8, "##CRASH##")
    assert "##CRASH##" in there["crash"].detail
    assert there["null-text"].text is None and there["null-text"].text_hash is None


def test_statuses_and_texts(spark: Any, done: tuple[str, Any]) -> None:
    tables, _ = done
    refined = {row.doc_id: row for row in rows_of(spark, tables, "refined")}
    assert {name: row.status for name, row in refined.items()} == {
        "good": "refined",
        "clean": "unchanged",
        "empty": "unchanged",
        "spaces": "unchanged",
        "nul": refined["nul"].status,
        "crlf": refined["crlf"].status,
        "emoji": "unchanged",
        "one-line": "unchanged",
        "many-lines": "dropped",
        "dropped": "dropped",
        "bad-program": refined["bad-program"].status,
        "looped": "refined",
        "cut": "refined",
        "twice": "refined",
    }
    assert refined["bad-program"].status in ("fallback", "unchanged")
    assert refined["bad-program"].text == page(4, "##BAD##")
    assert refined["dropped"].text is None and refined["dropped"].edits is not None
    assert refined["empty"].text == ""
    assert "\x00" in refined["nul"].text or refined["nul"].status == "refined"
    edits = refined["good"].edits
    assert [edit.removed for edit in edits] == ["Home", "Log in"]
    assert refined["good"].text == f"{LONG} 1\nAnother good line of page 1: {LONG}"
    assert (refined["good"].lines_in, refined["good"].lines_out) == (4, 2)
    assert {name: row.what for name, row in refined.items() if name != "twice"} == {
        i: what for i, _, what in HOSTILE if i in refined and i != "twice"
    }


def test_again_adds_a_row_to_runs_and_nothing_else(spark: Any, hostile: str, done: tuple[str, Any]) -> None:
    tables, first = done
    assert scanned_bytes(spark, hostile) > 0
    before = {name: _version(spark, tables, name) for name in ("programs", "refined", "quarantine")}
    since = last_query(spark)
    again = run(showing_paths(spark), hostile, tables, guards=GUARDS, preflight="off")
    assert again.nothing_new and again.provider is None
    assert udf_rows(spark, since) == Counter() and scanned_bytes(spark, hostile, since) == 0
    assert {name: _version(spark, tables, name) for name in before} == before
    runs = rows_of(spark, tables, "runs")
    assert {row.run_id for row in runs} == {first.run_id, again.run_id}
    assert all(row.error is None and row.finished_at >= row.started_at for row in runs)


def _version(spark: Any, tables: str, name: str) -> int:
    history = spark.sql(f"DESCRIBE HISTORY delta.`{Path(tables, name)}` LIMIT 1")
    return int(history.first().version)
