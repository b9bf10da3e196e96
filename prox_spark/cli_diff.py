"""The command `diff`: what two refiners or policies made of the same pages."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape


def diff(
    tables_a: Annotated[str, typer.Argument(metavar="TABLES_A", help="Directory (holds / or :) or schema of tables.")],
    tables_b: Annotated[str, typer.Argument(metavar="TABLES_B", help="The tables to compare them with.")],
    output: Annotated[Path | None, typer.Option("--out", help="Also write one HTML file.")] = None,
    pages: Annotated[int, typer.Option(min=0, help="Pages to show line by line; the screen has the first.")] = 5,
) -> None:
    """Compare two sets of tables over the same source: statuses, words, the pages that differ most."""
    from prox_spark import cli
    from prox_spark.report.comparison import render_comparison, show_comparison

    cli._needs("pyspark", "spark")
    comparing = importlib.import_module("prox_spark.spark.compare")
    with cli.log.status("comparing"):
        comparison = comparing.compare(cli._session(), tables_a, tables_b, pages=pages)
    show_comparison(comparison, cli.out)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(render_comparison(comparison), encoding="utf-8")
        cli.out.print(f"\nThe whole comparison: {escape(str(output))}", soft_wrap=True)
