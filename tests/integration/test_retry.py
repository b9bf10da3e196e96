"""Documents in quarantine, taken up again with other limits: nothing of them is lost, nothing else is touched."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prox_spark.errors import ConfigError, SourceError
from prox_spark.spark import job, slices, staging
from prox_spark.spark.retry import run_retry
from tests.helpers.spark_jobs import check_accounts, check_places, page, rows_of, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# What a document carries, by type: none of it may come back as something else.
CARRIED: dict[str, tuple[str, Any]] = {
    "url": ("string", "https://example.org/?a='\"\\\u00fc"),
    "price": ("decimal(20,3)", Decimal("12345678901234567.891")),
    "x": ("double", float("nan")),
    "y": ("float", 0.1),
    "at": ("timestamp", datetime.datetime(2024, 2, 3, 4, 5, 6, 789012)),
    "day": ("date", datetime.date(1899, 2, 3)),
    "tags": ("array<string>", ["a", None, "b\nc"]),
    "m": ("map<string,int>", {"k": 1, "": None}),
    "nested": ("struct<a:int,b:binary>", (None, bytearray(b"\x00\xff"))),
}
IDS = {"good", "long", "large", "fails", "null", "two"}


def test_documents_come_back_whole_when_the_limit_is_raised(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "source")
    words = "one more line of words\n" * 60
    texts = {
        "good": page(1),
        "long": page(2, words),
        "large": page(3, words * 40),
        "fails": page(4, "##ERROR##"),
        "null": None,
    }
    two = [("two", page(5, words * 80)), ("two", page(6))]
    rows = [(name, text, *(value for _, value in CARRIED.values())) for name, text in [*texts.items(), *two]]
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in CARRIED.items())
    frame = spark.createDataFrame(rows, f"doc_id string, text string, {columns}")
    frame.coalesce(1).write.format("delta").save(path)
    first = run(spark, path, tables, preflight="off", max_tokens=300, max_error_rate=1.0, guards={"max_bytes": 20_000})
    check_accounts(first)
    reasons = {
        ("long", "too_many_tokens"),
        ("large", "too_large"),
        ("fails", "program_error"),
        ("null", "null_text"),
        ("two", "too_large"),
        ("two", "duplicate_id"),
    }
    assert {(row.doc_id, row.reason) for row in rows_of(spark, tables, "quarantine")} == reasons

    # Within the limit by now, and without programs: it waits where it is.
    executed = run(spark, path, tables, "execute", guards={"max_bytes": 80_000})
    check_accounts(executed)
    assert executed.counts["without_programs"] == 1
    assert {(row.doc_id, row.reason) for row in rows_of(spark, tables, "quarantine")} == reasons

    # What is written of them now would be the same; what is told to change is the limit.
    again = run_retry(tables, ["program_error", "too_many_tokens"], {"max_tokens": 1_000}, spark=spark)
    check_accounts(again)
    assert (again.command, again.counts["rows"], again.counts["refined"]) == ("retry", 2, 1)
    assert again.counts["quarantined.program_error"] == 1
    check_places(spark, tables, IDS)

    raised = {"max_bytes": 10**6, "max_tokens": 20_000}
    monkeypatch.setattr(slices, "take_out", stop)
    with pytest.raises(Exception, match="stopped between two tables"):
        run_retry(tables, ["too_large"], raised, spark=spark)
    monkeypatch.undo()
    assert all("large" in {row.doc_id for row in rows_of(spark, tables, name)} for name in ("refined", "quarantine"))
    large = run_retry(tables, ["too_large"], raised, spark=spark)
    check_accounts(large)
    # Of the id with two texts neither: the one that is not too large any more would put the other one out.
    assert large.counts["rows"] == large.counts["already"] == 1
    check_places(spark, tables, IDS)
    left = sorted((row.doc_id, row.reason) for row in rows_of(spark, tables, "quarantine"))
    assert left == sorted(one for one in reasons if one[0] in ("fails", "null", "two"))
    programs = [(row.doc_id, row.error is None) for row in rows_of(spark, tables, "programs")]
    assert sorted(programs) == [("fails", False), ("good", True), ("large", True), ("long", True)]
    refined = {row.doc_id: row for row in rows_of(spark, tables, "refined")}
    for name in CARRIED:
        kept = {repr(refined[one][name]) for one in ("good", "long", "large")}
        assert len(kept) == 1, f"{name} is what it was: {kept}"
    assert refined["long"].text.count("\n") == 62

    nothing = run_retry(tables, ["out_of_memory"], spark=spark)
    assert nothing.counts["rows"] == 0
    assert {row.command for row in rows_of(spark, tables, "runs")} == {"refine", "execute", "retry"}
    assert not list(Path(tables, "_progress").glob("*/retry-*"))


def stop(*_: Any) -> None:
    raise RuntimeError("stopped between two tables")


def test_one_source_is_taken_up_and_columns_come_back_whatever_their_capitals(
    spark: Any, tables: str, tmp_path: Path
) -> None:
    paths = [str(tmp_path / name) for name in ("first", "second")]
    for path, column in zip(paths, ("url", "URL"), strict=True):
        rows = [(f"{column}-{n}", page(n, "##ERROR##" if n else ""), f"https://{column}/{n}") for n in (0, 1)]
        frame = spark.createDataFrame(rows, f"doc_id string, text string, {column} string")
        frame.coalesce(1).write.format("delta").save(path)
        run(spark, path, tables, preflight="off", max_error_rate=1.0)
    assert {row.doc_id for row in rows_of(spark, tables, "quarantine")} == {"url-1", "URL-1"}
    # The last run was over the second; its refiner fails on nothing now.
    second = run_retry(tables, ["program_error"], {"refiners": ("scripted:short-lines",)}, spark=spark)
    assert (second.counts["rows"], second.counts["refined"]) == (1, 1)
    assert {row.doc_id: row.url for row in rows_of(spark, tables, "refined")}["URL-1"] == "https://URL/1"
    assert {row.doc_id for row in rows_of(spark, tables, "quarantine")} == {"url-1"}
    with pytest.raises(SourceError, match="no run over nowhere in"):
        run_retry(tables, ["program_error"], {"source": "nowhere"}, spark=spark)
    first = run_retry(
        tables, ["program_error"], {"source": paths[0], "refiners": ("scripted:short-lines",)}, spark=spark
    )
    assert first.counts["refined"] == 1 and rows_of(spark, tables, "quarantine") == []
    # Programs that a retry wrote are found by `execute`; one that names none goes on with those of the runs before.
    assert run(spark, paths[0], tables, "execute", write_key=first.write_key, caution="cautious").write_key
    assert run(spark, paths[0], tables, "execute", caution="cautious").write_key not in (None, first.write_key)


def test_a_run_that_was_killed_is_in_runs_and_its_rows_tell_what_they_are(
    spark: Any, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(tmp_path / "source")
    for n in range(2):
        frame = spark.createDataFrame([(f"{n}", page(n, "One two three four five"))], "doc_id string, text string")
        frame.coalesce(1).write.format("delta").mode("append").save(source)
    settings: dict[str, Any] = {"refiners": ("scripted:scored",), "preflight": "off", "batch_bytes": 1}
    first = run(spark, source, tables, **settings)
    monkeypatch.setattr(job, "_finish", stop)
    with pytest.raises(Exception, match="stopped between"):
        run(spark, source, tables, **settings, caution="aggressive", max_batches=1)
    monkeypatch.undo()
    told = {row.run_id: row for row in rows_of(spark, tables, "runs")}
    (killed,) = (row for row in told.values() if row.run_id != first.run_id)
    assert (killed.error, killed.finished_at, killed.source) == ("has not ended", None, source)
    assert killed.run_id in {row.run_id for row in rows_of(spark, tables, "refined")}
    # Half of the documents are by the other policy: going back to the first looks at all of them.
    back = run(spark, source, tables, **settings)
    assert (back.counts["refined"], back.counts["already"]) == (1, 1)
    assert {row.policy_key for row in rows_of(spark, tables, "refined")} == {first.policy_key}


def test_what_was_staged_elsewhere_than_on_this_machine_is_emptied(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part by part, as a large slice has it, beside what is not in parts."""
    frame = spark.createDataFrame([("a", "a secret", 0), ("b", "a secret", 1)], "doc_id string, text string, _part int")
    for run_id in ("one", "two"):
        staged = f"{tmp_path}/key/stream/staged/{run_id}"
        frame.drop("_part").write.parquet(f"{staged}/slice")
        frame.write.partitionBy("_part").parquet(f"{staged}/parts")
    monkeypatch.setattr(staging, "local_path", lambda _: "elsewhere://nowhere/")
    staging.clear_staged(spark, f"{tmp_path}/*/*/staged/*")
    left = spark.read.option("recursiveFileLookup", "true").parquet(f"{tmp_path}/key")
    assert left.count() == 0


def test_what_cannot_be_tried_again_is_said(spark: Any, tables: str) -> None:
    with pytest.raises(ConfigError, match="--reason null_text: to try again changes nothing: the text is null"):
        run_retry(tables, ["null_text"], spark=spark)
    with pytest.raises(ConfigError, match="--reason nonsense: there is no such reason"):
        run_retry(tables, ["nonsense"], spark=spark)
    with pytest.raises(SourceError, match="no tables of prox_spark"):
        run_retry(tables, ["too_slow"], spark=spark)
