"""The command `retry`: documents in quarantine, taken up again with other limits or on other machines."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from prox_spark.schemas import RETRIED

Limit = "More in a document: quarantined again."


def retry(
    ctx: typer.Context,
    tables: Annotated[str, typer.Option(help="Directory (holds / or :) or schema of the tables.")],
    reason: Annotated[list[str], typer.Option(help=f"Again for more: {', '.join(RETRIED)}.")],
    source: Annotated[str | None, typer.Option(help="Of which source; default: that of the last such run.")] = None,
    refiner: Annotated[list[str] | None, typer.Option(help="Another bundle, or two.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help=Limit)] = None,
    max_lines: Annotated[int | None, typer.Option(help=Limit)] = None,
    max_tokens: Annotated[int | None, typer.Option(help=Limit)] = None,
    max_seconds: Annotated[float | None, typer.Option(help="More for a document: quarantined again.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    max_error_rate: Annotated[float | None, typer.Option(help="Share that may fail; default: all.")] = None,
    batch_bytes: Annotated[int | None, typer.Option(help="Bytes a micro-batch.")] = None,
    write_partitions: Annotated[int | None, typer.Option(help="Tasks of WRITE in a micro-batch.")] = None,
) -> None:
    """Take up again what is in quarantine for a reason; what is not given is as in the last run that wrote programs."""
    from prox_spark import cli
    from prox_spark.progress import ProgressPrinter, print_summary

    given = {name: value for name, value in ctx.params.items() if value not in (None, [], ())}
    where, reasons = given.pop("tables"), given.pop("reason")
    if "refiner" in given:
        given["refiners"] = tuple(given.pop("refiner"))
    cli._needs("pyspark", "spark")
    retrying = importlib.import_module("prox_spark.spark.retry")
    retrying.need_reasons(reasons)
    with ProgressPrinter(cli.log if cli.log.is_terminal else cli.out) as progress:
        progress.starting()
        summary = retrying.run_retry(where, reasons, given, progress, cli._session())
    if not summary.counts.get("rows"):
        source = given.get("source", "the last run's source (--source names another)")
        cli.out.print(
            f"Nothing of {source} is in quarantine for {', '.join(reasons)}. Run {summary.run_id}.",
            highlight=False,
            markup=False,
        )
        return
    print_summary(summary, cli.out)
