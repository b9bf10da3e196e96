"""The command `build-data`: its options, and its figures on the screen."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from prox_spark.errors import ConfigError

_DATA, _MADE, _SETS = "Data", "Made documents, for each record of a split", "Sets of texts"


def _option(panel: str, *names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def build_data(
    sources: Annotated[list[Path], typer.Argument(metavar="RECORDS...", help="Pairs or labelled pages: jsonl(.gz).")],
    output: Annotated[Path | None, _option(_DATA, "--out", help="Directory for the splits and the data card.")] = None,
    dialect: Annotated[str, _option(_DATA, help="Of the programs: prox, refinex or ultrax.")] = "prox",
    seed: Annotated[int, _option(_DATA, help="Decides splits, samples and made documents.")] = 1,
    valid_share: Annotated[float, _option(_DATA, help="Share of the domains that is held out.", max=0.9, min=0)] = 0.1,
    apart: Annotated[
        list[Path] | None, _option(_DATA, "--apart", help="Records whose domains and copies stay out of both splits.")
    ] = None,
    negative_share: Annotated[float, _option(_MADE, help="Documents that are worth dropping.", min=0)] = 0.15,
    clean_share: Annotated[float, _option(_MADE, help="Clean texts that must come through.", min=0, max=1)] = 0.1,
    planted_share: Annotated[float, _option(_MADE, help="Clean texts with noise in lines.", min=0, max=1)] = 0.1,
    negatives: Annotated[
        Path | None, _option(_SETS, help="Only write texts worth dropping, for `evaluate`, to this file.")
    ] = None,
    count: Annotated[int, _option(_SETS, help="How many of them.", min=1)] = 200,
) -> None:
    """Build training data with programs from pairs of raw and clean text, or from labelled pages."""
    from prox_spark import cli

    cli._needs("datasketch", "data")
    building = importlib.import_module("prox_spark.training.build")
    if output is None:
        if negatives is None or len(sources) > 1:
            raise ConfigError("say --out DIRECTORY for training data, or --negatives FILE with one file of records")
        with cli.log.status("making documents"):
            kinds = building.write_negatives(sources[0], negatives, count, seed)
        cli.out.print(_counts("kind", kinds))
        return
    if negatives is not None:
        raise ConfigError("--out builds training data, --negatives only writes texts worth dropping: say one of them")
    card = importlib.import_module("prox_spark.training.data_card")
    settings = building.BuildSettings(dialect, seed, valid_share, negative_share, clean_share, planted_share)
    with cli.log.status("building"):
        built = building.build(sources, output, settings, apart or ())
        card.write_card(built, output / "README.md")
    totals = Counter[str]()
    for (split, kind, _), number in built.documents.items():
        totals[f"{split}: {kind.split(':')[0]}"] += number
    cli.out.print(_counts("documents", totals))
    for reason, number in sorted(built.left_out.items()):
        cli.out.print(f"left out, {reason}: {number}", highlight=False)
    cli.out.print(f"The data card: {output / 'README.md'}", highlight=False, markup=False, soft_wrap=True)


def _counts(head: str, counts: Counter[str]) -> Table:
    table = Table(head, "number")
    for name, number in sorted(counts.items()):
        table.add_row(name, f"{number:,}")
    return table
