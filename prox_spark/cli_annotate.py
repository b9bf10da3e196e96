"""The command `annotate`: its options, its plan and its summary."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from prox_spark.annotate.settings import AnnotateSettings, DialectName, Task, annotate_settings
from prox_spark.config import JobSettings, SourceFormat, job_settings

if TYPE_CHECKING:
    from prox_spark.spark.annotate_job import AnnotationPlan
    from prox_spark.spark.job import RunSummary

_SOURCE, _TABLES, _ASKED, _ENDPOINT, _RUN = "Source", "Tables", "What is asked", "Whom", "How it runs"

# Options that are settings of the job; all others are settings of the annotation.
_JOB_OPTIONS = (
    "source",
    "format",
    "tables",
    "id_column",
    "text_column",
    "max_error_rate",
    "batch_bytes",
    "write_partitions",
    "checkpoints",
)


def _option(panel: str, *names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel)


def annotate(
    ctx: typer.Context,
    source: Annotated[str, _option(_SOURCE, help="Path (file, folder or glob), or for delta a table's name.")],
    tables: Annotated[str, _option(_TABLES, help="Directory (holds / or :) or schema of the tables.")],
    task: Annotated[Task, _option(_ASKED, help="Scores of documents; clean versions or programs of chunks.")],
    base_url: Annotated[str, _option(_ENDPOINT, help="Up to /v1 or the like: /chat/completions is put after it.")],
    model: Annotated[str, _option(_ENDPOINT, help="Name by which the endpoint knows the model.")],
    format: Annotated[SourceFormat, _option(_SOURCE, help="Format of the source.")] = "delta",
    id_column: Annotated[str, _option(_SOURCE, help="Column with the id; text_hash: the text's sha256.")] = "doc_id",
    text_column: Annotated[str, _option(_SOURCE, help="Column with the text.")] = "text",
    schema: Annotated[str | None, _option(_SOURCE, "--schema", help="Spark DDL of a jsonl source.")] = None,
    dialect: Annotated[DialectName, _option(_ASKED, help="Of the programs.")] = "prox",
    prompt: Annotated[Path | None, _option(_ASKED, help="File with a prompt of your own.")] = None,
    max_chars: Annotated[int | None, _option(_ASKED, help="Of a chunk, of a scored document; default 8000.")] = None,
    max_tokens: Annotated[int | None, _option(_ASKED, help="Of an answer; default: by task.")] = None,
    extra_body: Annotated[str | None, _option(_ASKED, help="JSON: more fields of the request; null: fewer.")] = None,
    api_key_env: Annotated[str | None, _option(_ENDPOINT, help="Environment variable that holds the key.")] = None,
    api_key_secret: Annotated[str | None, _option(_ENDPOINT, help="Databricks secret, SCOPE/KEY.")] = None,
    concurrency: Annotated[int | None, _option(_RUN, help="Requests in flight in each task; default 8.")] = None,
    write_partitions: Annotated[int | None, _option(_RUN, help="Tasks that ask; default: shuffle partitions.")] = None,
    timeout: Annotated[float | None, _option(_RUN, help="Seconds for one request; default 120.")] = None,
    attempts: Annotated[int | None, _option(_RUN, help="Requests for one answer, at most; default 5.")] = None,
    max_requests: Annotated[int | None, _option(_RUN, help="Stop after so many answers; default: all.")] = None,
    max_error_rate: Annotated[float | None, _option(_RUN, help="Share that may be of no use; default 0.05.")] = None,
    batch_bytes: Annotated[int | None, _option(_RUN, help="Source bytes a micro-batch; default: as measured.")] = None,
    checkpoints: Annotated[str | None, _option(_TABLES, help="Where the stream keeps its progress.")] = None,
    dry_run: Annotated[bool, _option(_RUN, "--dry-run", help="Count and estimate; ask and write nothing.")] = False,
) -> None:
    """Ask a large model about documents: scores, clean versions, programs. Nothing is asked twice."""
    from prox_spark import cli
    from prox_spark.progress import ProgressPrinter

    settings = settings_from(ctx.params)
    cli._needs("pyspark", "spark")
    cli._needs("httpx2", "annotate")
    jobs = importlib.import_module("prox_spark.spark.annotate_job")
    if dry_run:
        with cli.log.status("counting"):
            plan = jobs.plan_annotation(settings, spark=cli._session())
        print_plan(plan, settings, cli.out)
        return
    with ProgressPrinter(cli.log if cli.log.is_terminal else cli.out) as progress:
        progress.starting()
        summary = jobs.run_annotation(settings, on_progress=progress, spark=cli._session())
    print_summary(summary, cli.out)


def settings_from(parameters: dict[str, Any]) -> AnnotateSettings:
    """Return the command's parameters as settings; what was not given takes the settings' own default."""
    given = {name: value for name, value in parameters.items() if value is not None and name != "dry_run"}
    of_job = {name: given.pop(name) for name in _JOB_OPTIONS if name in given}
    # Nothing is carried: answers are joined to the source by its id.
    job: JobSettings = job_settings(**of_job, source_schema=given.pop("schema", None), carry=())
    if "prompt" in given:
        given["prompt"] = str(given["prompt"])
    return annotate_settings(**given, job=job)


def print_summary(summary: RunSummary, console: Console) -> None:
    """Print what a run did and where it is."""
    from prox_spark.progress import two_columns
    from prox_spark.report.words import number

    counts = summary.counts
    if not counts.get("asked") and not counts.get("not_asked"):
        console.print(
            f"Nothing to ask: {number(counts.get('answered_before', 0))} answers are there. Run {summary.run_id}.",
            highlight=False,
        )
        return
    console.print(two_columns(summary_rows(summary)))


def summary_rows(summary: RunSummary) -> list[tuple[str, str]]:
    """The summary as rows of name and text."""
    from prox_spark.progress import listed
    from prox_spark.report.words import number, seconds

    counts = summary.counts

    def part(prefix: str) -> str:
        return listed({n.removeprefix(prefix): many for n, many in counts.items() if n.startswith(prefix)})

    tokens = f"{number(summary.prompt_tokens)} read, {number(summary.new_tokens)} written"
    if summary.write_seconds:
        rate = (summary.prompt_tokens + summary.new_tokens) / summary.write_seconds
        tokens += f", {number(rate)} a second"
    rows = [
        ("answers", listed({name: counts.get(name, 0) for name in ("ok", "unusable", "failed")})),
        ("unusable", part("unusable.")),
        ("failed", part("failed.")),
        ("left for later", number(counts["not_asked"]) if counts.get("not_asked") else ""),
        ("there before", number(counts["answered_before"]) if counts.get("answered_before") else ""),
        ("not asked about", ", ".join(text for text in (part("skipped."), part("left_out.")) if text)),
        ("requests", f"{number(counts.get('calls', 0))} sent"),
        ("tokens", tokens),
        ("time", f"{seconds(summary.seconds)} (asking {seconds(summary.write_seconds)})"),
        ("model", summary.refiner or ""),
        ("table", f"annotations in {summary.tables}"),
        ("run", summary.run_id),
    ]
    return [(name, text) for name, text in rows if text]


def print_plan(plan: AnnotationPlan, settings: AnnotateSettings, console: Console) -> None:
    """Print what a run would do."""
    from prox_spark.progress import listed, two_columns
    from prox_spark.report.words import number

    console.print("Nothing was asked or written. A run would do this:")
    tokens = f"about {number(plan.prompt_tokens)} read, {number(plan.new_tokens)} written"
    rows = [
        ("source", settings.job.source),
        ("documents", number(plan.documents)),
        ("answers", f"{number(plan.requests)} to be had, {number(plan.answered)} are there"),
        ("to ask", f"{number(plan.to_ask)} requests"),
        ("tokens", f"{tokens} (at most {number(plan.max_new_tokens)} written)"),
        ("not asked about", listed({"documents": plan.skipped, "chunks": plan.left_out})),
        ("prompt", f"{plan.prompt} ({plan.prompt_hash[:12]})"),
        ("model", f"{settings.model} at {settings.base_url}"),
        ("tables", settings.job.tables),
    ]
    console.print(two_columns([(name, text) for name, text in rows if text]))
