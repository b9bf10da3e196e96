"""The command line: settings from flags, exit codes, messages. The job behind it is replaced: no Spark starts."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from prox_spark import cli, progress
from prox_spark.config import GuardSettings, JobSettings
from prox_spark.doctor import Finding, examine, print_findings
from prox_spark.errors import (
    BundleError,
    ConfigError,
    DeviceError,
    EngineError,
    ErrorBudgetExceeded,
    PreflightError,
    ProxError,
    SourceError,
    StorageError,
)
from prox_spark.report.words import advice
from tests.helpers.commands import said_by

CLI_PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
REFINE = ["refine", "--source", "in/", "--tables", "out/", "--refiner", "web-lite"]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for `prox_spark.spark.job`: keeps what it was called with, returns or raises what the test says."""
    seen = SimpleNamespace(settings=None, command=None, called=[], outcome=summary(), plan=plan())

    def run_job(settings: JobSettings, command: str, on_progress: Any, spark: Any) -> Any:
        seen.settings, seen.command = settings, command
        seen.called.append("run")
        on_progress(step("write", 10, 20))
        if isinstance(seen.outcome, Exception):
            raise seen.outcome
        return seen.outcome

    def plan_job(settings: JobSettings, command: str, spark: Any) -> Any:
        seen.settings, seen.command = settings, command
        seen.called.append("plan")
        return seen.plan

    def run_retry(tables: str, reasons: list[str], given: dict[str, Any], on_progress: Any, spark: Any) -> Any:
        seen.settings, seen.command = (tables, reasons, given), "retry"
        return seen.outcome

    module = SimpleNamespace(run_job=run_job, plan_job=plan_job, run_retry=run_retry, need_reasons=lambda reasons: None)
    monkeypatch.setattr(cli, "_session", lambda: None)
    monkeypatch.setattr(cli, "_needs", lambda package, extra: None)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    return seen


def summary(**more: Any) -> SimpleNamespace:
    values = {
        "run_id": "r-1",
        "command": "refine",
        "tables": "out/",
        "counts": {
            "rows": 30,
            "refined": 20,
            "unchanged": 4,
            "quarantined": 6,
            "quarantined.null_text": 6,
            "written": 24,
        },
        "duplicates": 2,
        "prompt_tokens": 1000,
        "new_tokens": 10,
        "write_seconds": 10.0,
        "execute_seconds": 1.0,
        "seconds": 12.0,
        "refiner": "web-lite 1",
        "provider": "CPUExecutionProvider",
        "device": "cpu",
        "warnings": (),
        "nothing_new": False,
    }
    return SimpleNamespace(**(values | more))


def plan(**more: Any) -> SimpleNamespace:
    values = {
        "documents": 1000,
        "bytes": 2_000_000,
        "quarantined": {"null_id": 3},
        "duplicates": 0,
        "written": 400,
        "to_write": 600,
        "estimated_tokens": 300_000,
        "estimated_seconds": 75.0,
        "slices": 2,
        "refiner": "web-lite 1",
        "already": 0,
        "to_do": {"new": 1000},
        "absent": None,
    }
    return SimpleNamespace(**(values | more))


def step(stage: str, documents: int, total: int | None, **more: Any) -> Any:
    values = {"slice": 0, "prompt_tokens": 500, "new_tokens": 0, "bytes": 0, "seconds": 5.0, "message": None}
    values["unit"] = "documents"
    return SimpleNamespace(stage=stage, documents=documents, total=total, **(values | more))


def test_flags_become_settings(jobs: SimpleNamespace) -> None:
    flags = ["--refiner", "b2", "--format", "parquet", "--mode", "tag", "--policy", "strict", "--caution", "cautious"]
    flags += ["--carry", "url", "--carry", "lang", "--device", "cuda:1", "--min-words", "5", "--allow-new-words"]
    assert cli.run([*REFINE, *flags]) == cli.OK
    assert jobs.command == "refine"
    assert jobs.settings == JobSettings(
        source="in/",
        format="parquet",
        tables="out/",
        refiners=("web-lite", "b2"),
        carry=("url", "lang"),
        mode="tag",
        policy="strict",
        caution="cautious",
        device="cuda:1",
        guards=GuardSettings(min_words=5, allow_new_words=True),
    )


def test_what_is_not_given_takes_the_settings_own_default(jobs: SimpleNamespace) -> None:
    cli.run(REFINE)
    assert jobs.settings == JobSettings(source="in/", tables="out/", refiners=("web-lite",))


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["write", "--source", "db.t", "--tables", "db", "--refiner", "b"], "write"),
        (["execute", "--source", "db.t", "--tables", "db", "--programs", "other", "--write-key", "k"], "execute"),
    ],
)
def test_the_two_halves(jobs: SimpleNamespace, arguments: list[str], command: str) -> None:
    assert cli.run(arguments) == cli.OK
    assert jobs.command == command


@pytest.mark.parametrize(
    "arguments",
    [
        ["refine"],
        ["refine", "--source", "x", "--tables", "t/"],
        [*REFINE, "--policy", "nonsense"],
        [*REFINE, "--max-errors", "many"],
        [*REFINE, "--no-such-flag"],
        [*REFINE, "--max-errors", "0"],
        [*REFINE, "--device", "tpu"],
        [*REFINE, "--schema", "id STRING"],
        [*REFINE, "--refiner", "b", "--refiner", "c"],
        [*REFINE, "--text-column", "doc_id"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_2_with_a_message(jobs: SimpleNamespace, arguments: list[str], capfd: Any) -> None:
    assert cli.run(arguments) == cli.USAGE
    said = capfd.readouterr().err
    assert said.strip()
    assert "Traceback" not in said
    assert jobs.settings is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PreflightError("outside the bounds"), 4),
        (ErrorBudgetExceeded("7 of 100 failed"), 3),
        (SourceError("no such path"), 2),
        (ConfigError("wrong"), 2),
        (BundleError("file changed"), 2),
        (DeviceError("no driver"), 2),
        (EngineError("wrong shape"), 1),
        (StorageError("No space left on device"), 1),
    ],
)
def test_errors_raised_on_purpose_are_one_message(
    jobs: SimpleNamespace, error: ProxError, code: int, capfd: Any
) -> None:
    jobs.outcome = error
    assert cli.run(REFINE) == code
    said = capfd.readouterr().err
    assert f"{type(error).__name__}: {error}" in said
    assert "Traceback" not in said


def test_what_failed_waits_for_retry_wherever_it_is_told(jobs: SimpleNamespace, capfd: Any) -> None:
    jobs.outcome = ErrorBudgetExceeded("7 of 100 failed")
    cli.run(REFINE)
    row = next(line for line in CLI_PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| 3 |"))
    for said in (" ".join(capfd.readouterr().err.split()), row, advice("program_error")):
        assert "prox-spark retry --reason program_error" in said
    assert "prox-spark retry --reason tokenizer_failed" in advice("tokenizer_failed")


def test_messages_with_brackets_are_not_read_as_markup(jobs: SimpleNamespace, capfd: Any) -> None:
    jobs.outcome = SourceError("column [/bold] of array[3]")
    assert cli.run(REFINE) == cli.USAGE
    assert "column [/bold] of array[3]" in capfd.readouterr().err


def test_a_bug_keeps_its_traceback(jobs: SimpleNamespace) -> None:
    jobs.outcome = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        cli.run(REFINE)


def test_interrupted(jobs: SimpleNamespace) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    jobs.outcome = summary()
    cli.importlib.import_module("x").run_job = interrupt
    assert cli.run(REFINE) == cli.INTERRUPTED


def test_the_summary_says_what_was_done(jobs: SimpleNamespace, capfd: Any) -> None:
    assert cli.run(REFINE) == cli.OK
    said = capfd.readouterr().out
    for text in (
        "20 refined, 4 unchanged, 6 quarantined",
        "6 null_text",
        "24 written",
        "1,000 read",
        "12 s",
        "r-1",
        "cpu",
    ):
        assert text in said, text


def test_nothing_new_is_success(jobs: SimpleNamespace, capfd: Any) -> None:
    jobs.outcome = summary(nothing_new=True, counts={"rows": 30, "already": 30})
    assert cli.run(REFINE) == cli.OK
    assert "Nothing new" in capfd.readouterr().out


def test_dry_run_counts_and_estimates(jobs: SimpleNamespace, capfd: Any) -> None:
    assert cli.run([*REFINE, "--dry-run"]) == cli.OK
    said = capfd.readouterr().out
    for text in (
        "Nothing was written",
        "1,000",
        "1.9 MiB",
        "600, about 300,000 tokens",
        "about 1 min 15 s",
        "3 null_id",
    ):
        assert text in said, text


def test_a_plan_tells_what_is_done_again_and_why(jobs: SimpleNamespace, capfd: Any) -> None:
    causes = {"new": 500, "text": 40, "refiner": 30, "policy": 20, "carried": 10}
    jobs.plan = plan(to_do=causes, already=400)
    said = said_by([*REFINE, "--dry-run"], capfd)
    for text in (
        "done before 400: nothing is done to them",
        "new 500 that are not in refined yet",
        "changed 40 with another text than in refined",
        "other refiner 30 in refined by the programs of another refiner, which are kept; they are replaced",
        "other policy 20 in refined by another policy, mode or guards; they are executed again",
        "other columns 10 in refined with other values in what they carry; they are executed again",
    ):
        assert text in said, text
    assert jobs.called == ["plan"]


def test_reconcile_only_says_what_it_would_delete_until_it_is_told_to(jobs: SimpleNamespace, capfd: Any) -> None:
    deleted = {"programs": 7, "refined": 5, "quarantine": 0, "annotations": 2}
    jobs.plan = plan(absent=SimpleNamespace(deleted=deleted, left_alone=3))
    said = said_by([*REFINE, "--reconcile"], capfd)
    for text in (
        "Nothing was written",
        "to delete 7 rows of programs, 5 rows of refined, 2 rows of annotations: of documents that the source has no",
        "left alone 3 documents that other sources brought",
        "To do it: the same command with --yes.",
    ):
        assert text in said, text
    assert jobs.called == ["plan"] and jobs.settings.reconcile
    # A dry run stays one, whatever else is said.
    assert cli.run([*REFINE, "--reconcile", "--yes", "--dry-run"]) == cli.OK
    assert jobs.called == ["plan", "plan"]
    assert cli.run([*REFINE, "--reconcile", "--yes"]) == cli.OK
    assert jobs.called == ["plan", "plan", "run"] and jobs.settings.reconcile


def test_yes_without_reconcile_is_an_error(jobs: SimpleNamespace, capfd: Any) -> None:
    assert cli.run([*REFINE, "--yes"]) == cli.USAGE
    assert "--yes is for --reconcile" in capfd.readouterr().err
    assert not jobs.called


def test_retry_hands_on_what_is_given_and_nothing_else(jobs: SimpleNamespace, capfd: Any) -> None:
    flags = ["--reason", "too_large", "--reason", "too_slow", "--max-bytes", "7", "--max-seconds", "2.5"]
    assert cli.run(["retry", "--tables", "out/", *flags, "--refiner", "a", "--refiner", "b"]) == cli.OK
    given = {"max_bytes": 7, "max_seconds": 2.5, "refiners": ("a", "b")}
    assert jobs.settings == ("out/", ["too_large", "too_slow"], given)
    jobs.outcome = summary(counts={})
    assert cli.run(["retry", "--tables", "out/", "--reason", "too_slow"]) == cli.OK
    assert "Nothing of the last run's source (--source names another)" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["forget", "--ids", "ids.txt"], ("ids.txt", "elsewhere")),
        (["maintain", "--no-vacuum"], (None, False, "elsewhere", False)),
    ],
)
def test_upkeep_is_told_where_progress_is(jobs: SimpleNamespace, arguments: list[str], given: tuple[Any, ...]) -> None:
    seen: list[Any] = []
    module = cli.importlib.import_module("x")
    module.forget = module.maintain = lambda spark, *arguments: seen.append(arguments) or []
    assert cli.run([*arguments, "--tables", "out/", "--checkpoints", "elsewhere"]) == cli.OK
    assert seen == [("out/", *given)]


def test_a_reason_that_trying_again_cannot_change_is_refused(capfd: Any) -> None:
    assert cli.run(["retry", "--tables", "out/", "--reason", "null_text"]) == cli.USAGE
    assert "to try again changes nothing: the text is null" in capfd.readouterr().err


def test_progress_shows_documents_tokens_rate_and_time_left() -> None:
    assert progress.figures(step("write", 50, 200)) == (
        "50 of 200 documents, 500 tokens, 10.0 documents/s, 100 tokens/s, about 15 s left"
    )
    assert progress.figures(step("write", 50, None, prompt_tokens=0)) == "50 documents, 10.0 documents/s"
    assert progress.figures(step("check", 0, None, prompt_tokens=0, seconds=0.0)) == "0 documents"


def test_help_names_every_command(capfd: Any) -> None:
    assert cli.run(["--help"]) == cli.OK
    said = capfd.readouterr().out
    for command in ("refine", "write", "execute", "export", "train", "evaluate", "report", "doctor"):
        assert re.search(rf"\b{command}\b", said), command


def test_version(capfd: Any) -> None:
    assert cli.run(["--version"]) == cli.OK
    assert re.match(r"prox-spark \d+\.\d+\.\d+", capfd.readouterr().out)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.run(["train", "recipe.yaml"]) == cli.USAGE
    assert "pip install 'prox-spark[train]'" in capfd.readouterr().err


def test_doctor_finds_what_a_job_needs() -> None:
    findings = {finding.name: finding for finding in examine(["scripted:short-lines"])}
    assert findings["Python"].level == "ok"
    assert findings["Java"].level == "ok", findings["Java"]
    assert "delta-spark" in findings["Delta"].found
    assert "CPUExecutionProvider" in findings["ONNX Runtime"].found
    assert findings["Bundle scripted:short-lines"].level == "ok"


def test_doctor_names_a_bundle_that_cannot_be_read(tmp_path: Path) -> None:
    bad = [finding for finding in examine([str(tmp_path / "gone")]) if finding.level == "bad"]
    assert len(bad) == 1 and "gone" in bad[0].name + bad[0].found
    assert print_findings(bad, Console(quiet=True)) is False


def test_doctor_sees_both_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    from prox_spark import doctor

    monkeypatch.setattr(doctor, "_version", lambda package: "1.0")
    finding: Finding = next(doctor._onnxruntime())
    assert finding.level == "bad" and "both wheels" in finding.found
