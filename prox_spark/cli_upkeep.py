"""The commands `forget`, `maintain` and `migrate`: their options, and what they did on the screen."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from prox_spark.schemas import SCHEMA_VERSION

if TYPE_CHECKING:
    from prox_spark.spark.upkeep import Upkeep

Tables = Annotated[str, typer.Option(help="Directory (holds / or :) or schema of the tables.")]
Checkpoints = Annotated[str | None, typer.Option(help="Where runs kept their progress, if not under the tables.")]


def forget(
    tables: Tables,
    ids: Annotated[str, typer.Option(help="Text file, one doc_id a line.")],
    checkpoints: Checkpoints = None,
) -> None:
    """Delete documents from every table, for requests to be forgotten. Remove them from the source first."""
    from prox_spark import cli

    _run("forget", "deleting", tables, ids, checkpoints)
    cli.out.print(
        "Older versions of the tables still hold the rows. To remove them for good, when nothing reads the tables: "
        f"prox-spark maintain --tables {tables} --retain-hours 0",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def maintain(
    tables: Tables,
    retain_hours: Annotated[
        float | None,
        typer.Option(
            help="Remove files that no version of the last so many hours needs, now and by later calls; under 168 is "
            "risky. Default: as the tables say, which is 168 if nobody has said.",
            show_default=False,
        ),
    ] = None,
    vacuum: Annotated[bool, typer.Option(help="Without it files are only put together.")] = True,
    cluster: Annotated[bool, typer.Option("--cluster", help="Lay rows out by doc_id; the first time rewrites all.")] = (
        False
    ),
    checkpoints: Checkpoints = None,
) -> None:
    """Put small files together and remove old ones; to be scheduled after the jobs, not beside them."""
    _run("maintain", "putting files together", tables, retain_hours, cluster, checkpoints, vacuum)


def migrate(tables: Tables) -> None:
    """Bring tables of an older version to this one's; when no job runs on them."""
    from prox_spark import cli

    for one in _done("migrate", "looking at the tables", tables):
        added = f"added {', '.join(one.added)}" if one.added else "no column to add"
        statistics = "; statistics of columns as this version keeps them" if one.statistics else ""
        line = f"{one.table}: version {one.before} → {SCHEMA_VERSION}, {added}{statistics}"
        cli.out.print(line, highlight=False, markup=False)
    cli.out.print(f"All tables have schema version {SCHEMA_VERSION}.", highlight=False)


def _run(name: str, doing: str, *arguments: str | float | None) -> None:
    """Call a function of `spark/upkeep.py`, and show what it did."""
    from prox_spark import cli

    done: list[Upkeep] = _done(name, doing, *arguments)
    table = Table("table", "rows deleted", "files", "MiB")
    for one in done:
        files = f"{one.files_before} → {one.files_after}"
        size = f"{one.bytes_before / 2**20:.1f} → {one.bytes_after / 2**20:.1f}"
        table.add_row(one.table, str(one.deleted), files, size)
    cli.out.print(table)


def _done(name: str, doing: str, *arguments: str | float | None) -> Any:
    """Call a function of `spark/upkeep.py`."""
    from prox_spark import cli

    cli._needs("pyspark", "spark")
    upkeep = importlib.import_module("prox_spark.spark.upkeep")
    with cli.log.status(doing):
        return getattr(upkeep, name)(cli._session(), *arguments)
