"""The command `annotate`: settings from flags, and what is printed. The job behind it is replaced: no Spark starts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from prox_spark import cli
from prox_spark.annotate.settings import AnnotateSettings
from prox_spark.config import JobSettings
from prox_spark.errors import EndpointError

ANNOTATE = ["annotate", "--source", "in/", "--tables", "out/", "--task", "program", "--model", "m"]
ANNOTATE += ["--base-url", "http://h/v1"]
COUNTS = {"answered_before": 7, "asked": 6, "ok": 4, "unusable": 2, "unusable.truncated": 2, "calls": 9}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for `prox_spark.spark.annotate_job`."""
    seen = SimpleNamespace(settings=None, error=None, counts=COUNTS)

    def run_annotation(settings: AnnotateSettings, on_progress: Any, spark: Any) -> Any:
        seen.settings = settings
        if seen.error:
            raise seen.error
        return SimpleNamespace(
            counts=seen.counts, prompt_tokens=900, new_tokens=100, write_seconds=10.0, seconds=12.0, refiner="m",
            tables="out/", run_id="r-1",
        )  # fmt: skip

    monkeypatch.setattr(cli, "_session", lambda: None)
    monkeypatch.setattr(cli, "_needs", lambda package, extra: None)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: SimpleNamespace(run_annotation=run_annotation))
    return seen


def test_flags_become_settings(jobs: SimpleNamespace, capfd: Any) -> None:
    flags = ["--format", "jsonl", "--schema", "id STRING, text STRING", "--id-column", "id", "--dialect", "ultrax"]
    flags += ["--extra-body", '{"seed": 1}', "--concurrency", "32", "--max-error-rate", "0.2", "--max-tokens", "99"]
    assert cli.run([*ANNOTATE, *flags]) == cli.OK
    job = JobSettings(
        source="in/", tables="out/", format="jsonl", source_schema="id STRING, text STRING", id_column="id", carry=(),
        max_error_rate=0.2,
    )  # fmt: skip
    assert jobs.settings == AnnotateSettings(
        job=job, task="program", model="m", base_url="http://h/v1", dialect="ultrax", extra_body={"seed": 1},
        concurrency=32, max_tokens=99,
    )  # fmt: skip
    said = capfd.readouterr().out
    for text in ("4 ok, 2 unusable", "2 truncated", "900 read, 100 written, 100 a second", "9 sent", "r-1"):
        assert text in said, text


def test_nothing_to_ask(jobs: SimpleNamespace, capfd: Any) -> None:
    jobs.counts = {"answered_before": 7, "rows": 7}
    assert cli.run(ANNOTATE) == cli.OK
    assert "Nothing to ask: 7 answers are there" in capfd.readouterr().out


@pytest.mark.parametrize("flags", [["--task", "sing"], ["--base-url", "ftp://x"], ["--extra-body", "{"]])
def test_wrong_usage(jobs: SimpleNamespace, flags: list[str], capfd: Any) -> None:
    assert cli.run([*ANNOTATE, *flags]) == cli.USAGE
    assert jobs.settings is None and "Traceback" not in capfd.readouterr().err


def test_an_endpoint_that_refuses(jobs: SimpleNamespace, capfd: Any) -> None:
    jobs.error = EndpointError("http://h/v1 refuses the key from K (http_401).")
    assert cli.run(ANNOTATE) == cli.PREFLIGHT
    assert "refuses the key" in capfd.readouterr().err
