"""Annotations through Spark and Delta, from a real endpoint that misbehaves: all is told, nothing is asked twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prox_spark import cli
from prox_spark.annotate.settings import annotate_settings
from prox_spark.config import job_settings
from prox_spark.errors import ConfigError, EndpointError, ErrorBudgetExceeded
from prox_spark.spark.annotate_job import plan_annotation, run_annotation
from prox_spark.spark.ask import ask
from prox_spark.spark.job import RunSummary
from tests.annotate.test_asking import OUTCOMES
from tests.helpers.chat_server import KEY, ChatServer, chat_server
from tests.helpers.spark_jobs import rows_of

pytestmark = pytest.mark.integration

KEY_NAME = "PROX_TEST_KEY"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv(KEY_NAME, KEY)
    with chat_server() as running:
        yield running


def make_source(spark: Any, path: Path, pages: list[tuple[str, str | None]]) -> str:
    """Write pages as a Delta table: id, text, and a column that annotations have no use for."""
    frame = spark.createDataFrame([(i, t, "x") for i, t in pages], "doc_id string, text string, status string")
    frame.coalesce(1).write.format("delta").mode("append").save(str(path))
    return str(path)


def annotate(spark: Any, server: ChatServer, source: str, tables: str, **more: Any) -> RunSummary:
    return run_annotation(settings(server, source, tables, **more), spark=spark)


def settings(server: ChatServer, source: str, tables: str, **more: Any) -> Any:
    of_job = {name: more.pop(name) for name in ("max_error_rate", "batch_bytes") if name in more}
    job = job_settings(source=source, tables=tables, carry=(), write_partitions=2, **of_job)
    values = {"task": "score", "model": "big", "api_key_env": KEY_NAME, "timeout": 1.0, "backoff": 0.02, "attempts": 4}
    return annotate_settings(job=job, base_url=server.url, **(values | more))


def answers(spark: Any, tables: str) -> list[Any]:
    return rows_of(spark, tables, "annotations")


def check_accounts(summary: RunSummary) -> None:
    counts = Counter(summary.counts)
    assert counts["rows"] == counts["documents"] + summary.duplicates
    assert counts["requests"] == counts["answered_before"] + counts["asked"] + counts["not_asked"]
    assert counts["asked"] == counts["ok"] + counts["unusable"] + counts["failed"]
    for name in ("unusable", "failed", "skipped", "left_out"):
        assert counts[name] == sum(n for key, n in counts.items() if key.startswith(f"{name}."))


def test_everything_is_told_and_nothing_is_asked_twice(
    spark: Any, server: ChatServer, tables: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pages: list[tuple[str, str | None]] = [(page, f"page={page}\nA line.") for page in OUTCOMES]
    pages += [(f"good-{n}", f"page=good-{n}") for n in range(30)]
    pages += [("null", None), ("blank", " \n "), ("good-0", "page=good-0")]
    source = make_source(spark, tmp_path / "source", pages)

    first = annotate(spark, server, source, tables, max_error_rate=0.5)
    check_accounts(first)
    got = {row.doc_id: (row.status, row.error, row.attempts) for row in answers(spark, tables)}
    assert got == OUTCOMES | {f"good-{n}": ("ok", None, 1) for n in range(30)}
    assert dict(server.seen) == {page: calls for page, (_, _, calls) in got.items()} | {"knock": 1}
    counts = first.counts
    assert (counts["rows"], counts["requests"], counts["asked"]) == (len(pages), len(got), len(got))
    assert counts["skipped.null_text"] == counts["left_out.blank"] == first.duplicates == 1
    assert (counts["failed.http_500"], counts["failed.http_429"], counts["unusable.truncated"]) == (1, 1, 1)
    assert counts["calls"] == server.asked
    rows = answers(spark, tables)
    # One request to see whether the endpoint is there, and all that was counted for pages.
    assert first.prompt_tokens == 100 + sum(row.prompt_tokens for row in rows)
    assert first.new_tokens == 10 + sum(row.new_tokens for row in rows)
    good = next(row for row in rows if row.doc_id == "good")
    assert (good.education, good.format, good.keep, good.served_model) == (3, 2, True, "big-2026")
    assert "a fine page" in good.answer and good.prompt == "score" and good.model == "big"

    # What had no answer is asked again, and its row gives way; what was answered is not, of use or not.
    before = Counter(server.seen)
    server.habits.update(down=("ok",), patient=("ok",))
    second = annotate(spark, server, source, tables)
    check_accounts(second)
    assert server.seen - before == Counter({"knock": 1, "down": 1, "patient": 1})
    assert (second.counts["asked"], second.counts["ok"]) == (2, 2)
    again = {row.doc_id: row.status for row in answers(spark, tables)}
    assert again == {page: "ok" if status == "failed" else status for page, (status, _, _) in got.items()}

    # Nothing is missing: not even the endpoint is looked at.
    before = Counter(server.seen)
    third = annotate(spark, server, source, tables)
    check_accounts(third)
    assert server.seen == before and third.counts["answered_before"] == len(got)

    # Another prompt is another answer.
    plan = plan_annotation(settings(server, source, tables, max_chars=300), spark=spark)
    assert (plan.documents, plan.requests, plan.answered, plan.to_ask) == (len(pages) - 2, len(got), 0, len(got))
    assert plan.prompt_tokens > 100 * len(got) and server.seen == before

    runs = {row.run_id: row for row in rows_of(spark, tables, "runs")}
    assert set(runs) == {first.run_id, second.run_id, third.run_id}
    kept = json.loads(runs[first.run_id].settings)
    assert kept["annotate"]["api_key_env"] == KEY_NAME and kept["annotate"]["base_url"] == server.url
    assert runs[first.run_id].command == "annotate" and runs[first.run_id].write_seconds > 0
    # The key is nowhere: not in the tables' rows or files, not in what was printed, not in a repr.
    everything = repr([rows_of(spark, tables, table) for table in ("annotations", "runs")])
    said = capfd.readouterr()
    assert KEY not in everything + said.out + said.err + repr(settings(server, source, tables))
    for file in Path(tables).rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_chunks_are_cleaned_and_programs_are_executed(
    spark: Any, server: ChatServer, tables: str, tmp_path: Path
) -> None:
    lines = [f"Line {n} has words of its own, number {n} of many." for n in range(12)]
    lines[0], lines[8] = "page=first-1", "page=second-2"
    text = "\n".join([*lines[:6], "x" * 500, *lines[6:]])
    source = make_source(spark, tmp_path / "source", [("a", text)])
    more: dict[str, Any] = {"task": "program", "max_chars": 320}
    server.answers = {"first-1": "remove_lines(line_start=1, line_end=2)", "second-2": "keep_chunk()"}
    done = annotate(spark, server, source, tables, **more)
    check_accounts(done)
    assert done.counts["left_out.line_too_long"] == 1
    rows = sorted(answers(spark, tables), key=lambda row: row.chunk)
    assert [(row.chunk, row.first_line, row.last_line, row.status) for row in rows] == [
        (0, 0, 5, "ok"),
        (2, 7, 12, "ok"),
    ]
    assert rows[0].text == "\n".join([lines[0], *lines[3:6]]) and rows[0].dialect == "prox"
    assert rows[1].text == "\n".join(lines[6:]) and rows[1].program == "keep_chunk()"
    shown = next(body for body in server.bodies if "page=second-2" in body["messages"][-1]["content"])
    assert f"[007]{lines[6]}\n" in shown["messages"][1]["content"]
    assert shown["temperature"] == 0 and shown["max_tokens"] == 1024

    server.answers = {"first-1": f"<clean>\n{lines[5]}\n</clean>", "second-2": "<clean>\nMy own words.\n</clean>"}
    cleaned = annotate(spark, server, source, tables, **(more | {"task": "clean"}), extra_body='{"seed": 7}')
    check_accounts(cleaned)
    assert done.write_key != cleaned.write_key
    by_chunk = {row.chunk: row for row in answers(spark, tables) if row.task == "clean"}
    assert (by_chunk[0].status, by_chunk[0].text) == ("ok", lines[5])
    assert (by_chunk[2].status, by_chunk[2].error, by_chunk[2].text) == ("unusable", "new_words", None)
    assert server.bodies[-1]["seed"] == 7

    page = (Path(__file__).parents[2] / "docs" / "annotate.md").read_text(encoding="utf-8")
    query = page.split("```sql\n")[-1].split("```")[0]
    query = query.replace("FROM pages", f"FROM delta.`{source}`").replace(
        "annotations a", f"delta.`{tables}/annotations` a"
    )
    (pair,) = spark.sql(query).collect()
    assert (pair.id, pair.domain, pair.raw_text, pair.gold_text) == ("a#0", "a", "\n".join(lines[:6]), lines[5])


@pytest.mark.slow
def test_two_runs_at_once_keep_one_answer_each(
    spark: Any, server: ChatServer, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins, asks and ends while the first asks; what failed there is answered here."""
    pages: list[tuple[str, str | None]] = [(f"good-{n}", f"page=good-{n}") for n in range(8)]
    pages.append(("down", "page=down"))
    source = make_source(spark, tmp_path / "source", [*pages, ("first-1", "page=first-1")])
    elsewhere = make_source(spark, tmp_path / "elsewhere", [*pages, ("second-2", "page=second-2")])
    others = []

    def ask_after_another_run(pieces: Any, question: Any) -> Any:
        if not others:
            others.append(None)
            others.append(annotate(spark, server, elsewhere, tables, max_error_rate=0.5))
            server.habits.update(down=("ok",))
        return ask(pieces, question)

    monkeypatch.setattr("prox_spark.spark.annotate.ask", ask_after_another_run)
    first = annotate(spark, server, source, tables)
    second = others[1]
    for summary in (first, second):
        check_accounts(summary)
        assert summary.counts["asked"] == 10
    assert first.counts["paid_twice"] == 8 and "paid_twice" not in second.counts
    kept = sorted((row.doc_id, row.status, row.run_id) for row in answers(spark, tables))
    of_second = [(f"good-{n}", "ok", second.run_id) for n in range(8)] + [("second-2", "ok", second.run_id)]
    assert kept == sorted([*of_second, ("down", "ok", first.run_id), ("first-1", "ok", first.run_id)])


@pytest.mark.slow
def test_a_run_that_goes_wrong_stops_early(spark: Any, server: ChatServer, tables: str, tmp_path: Path) -> None:
    source = make_source(spark, tmp_path / "source", [(f"chatty-{n}", f"page=chatty-{n}") for n in range(400)])
    server.key = "another"
    with pytest.raises(EndpointError, match=f"refuses the key from {KEY_NAME}") as refused:
        annotate(spark, server, source, tables)
    assert KEY not in str(refused.value)
    server.key = KEY
    assert answers(spark, tables) == [] and server.asked == 1

    before = server.asked
    with pytest.raises(ErrorBudgetExceeded, match=r"unusable\.not_json"):
        annotate(spark, server, source, tables, concurrency=2)
    there = answers(spark, tables)
    # A round's answers are kept, and the rest was not asked.
    assert 150 < len(there) < 250 and server.asked - before == 2 * len(there) + 1
    runs = rows_of(spark, tables, "runs")
    assert len(runs) == 2 and all(row.error for row in runs)
    assert KEY not in repr(runs)

    # The rest, up to what one is willing to pay.
    before = server.asked
    some = annotate(spark, server, source, tables, max_error_rate=1.0, max_requests=30)
    check_accounts(some)
    assert (some.counts["asked"], some.counts["answered_before"]) == (30, len(there))
    assert some.counts["not_asked"] == 400 - 30 - len(there)
    assert server.asked - before == 61


def test_the_command_line(
    spark: Any, server: ChatServer, tables: str, tmp_path: Path, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    pages = tmp_path / "pages.jsonl"
    pages.write_text("".join(json.dumps({"doc_id": f"g{n}", "text": f"page=good-{n}"}) + "\n" for n in range(5)))
    where = ["annotate", "--source", str(pages), "--format", "jsonl", "--tables", tables, "--task", "score"]
    where += ["--base-url", server.url, "--api-key-env", KEY_NAME, "--attempts", "2"]
    assert cli.run([*where, "--model", "big", "--dry-run"]) == cli.OK
    said = capfd.readouterr().out
    assert "Nothing was asked" in said and "5 to be had, 0 are there" in said and server.asked == 0
    assert cli.run([*where, "--model", "big"]) == cli.OK
    assert "5 ok" in (said := capfd.readouterr().out) and "answers kept; 5 of 5 answers" in said
    assert cli.run([*where, "--model", "none"]) == cli.PREFLIGHT
    assert "has no model 'none'" in capfd.readouterr().err
    monkeypatch.delenv(KEY_NAME)
    assert cli.run([*where, "--model", "big"]) == cli.USAGE
    with pytest.raises(ConfigError, match="works on Databricks"):
        annotate(spark, server, str(pages), tables, api_key_env=None, api_key_secret="scope/key")
