"""What a person sees of a job: progress while it runs, a summary at its end, a plan before it (`--dry-run`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from prox_spark.config import JobSettings
from prox_spark.report.summary import STATUSES
from prox_spark.report.words import number, seconds, size

if TYPE_CHECKING:
    from prox_spark.spark.job import Plan, Progress, RunSummary

# What is going on once a stage has ended, for the live line; what a log file says of the stages that matter there.
NEXT = {
    "check": "writing programs",
    "preflight": "writing programs",
    "write": "executing programs",
    "execute": "committing",
    "cut": "asking",
    "ask": "asking",
}
# What is new about documents that are not done, in a plan.
TO_DO = (
    ("new", "new", "that are not in refined yet"),
    ("text", "changed", "with another text than in refined"),
    ("refiner", "other refiner", "in refined by the programs of another refiner, which are kept; they are replaced"),
    ("policy", "other policy", "in refined by another policy, mode or guards; they are executed again"),
    ("carried", "other columns", "in refined with other values in what they carry; they are executed again"),
)
DONE = {"write": "programs written", "ask": "answers kept", "done": "committed"}


class ProgressPrinter:
    """Shows a job's progress: one live line on a terminal, lines in a log file. Call it with each `Progress`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> ProgressPrinter:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def starting(self) -> None:
        """Say that the session is being made, which takes seconds in which nothing else can be said."""
        self.task = self.bar.add_task("starting Spark", total=None, figures="")

    def __call__(self, progress: Progress) -> None:
        if progress.message:
            self.console.print(
                f"[yellow]{progress.stage}[/]: {escape(progress.message)}", soft_wrap=True, highlight=False
            )
        text = figures(progress)
        if self.console.is_terminal:
            if self.task is None:
                self.starting()
            self.bar.update(
                self.task or TaskID(0),
                description=NEXT.get(progress.stage, "reading the next slice"),
                completed=progress.documents,
                total=progress.total,
                figures=text,
            )
        elif progress.stage in DONE:
            text = f"slice {progress.slice}: {DONE[progress.stage]}; {text}"
            self.console.print(text, soft_wrap=True, highlight=False, markup=False)


def figures(progress: Progress) -> str:
    """Documents, tokens, rate and time left, as far as they are known."""
    done, total, passed = progress.documents, progress.total, progress.seconds
    unit = progress.unit
    parts = [f"{number(done)} of {number(total)} {unit}" if total else f"{number(done)} {unit}"]
    tokens = progress.prompt_tokens + progress.new_tokens
    if tokens:
        parts.append(f"{number(tokens)} tokens")
    if passed > 0 and done:
        each = done / passed
        rate = f"{each:,.1f} {unit}/s" if each >= 1 else f"{each:.2g} {unit}/s"
        parts.append(f"{rate}, {number(tokens / passed)} tokens/s" if tokens else rate)
    left = time_left(progress)
    if left is not None and progress.stage != "done":
        parts.append(f"about {seconds(left)} left")
    return ", ".join(parts)


def time_left(progress: Progress) -> float | None:
    """Seconds until the end at the rate so far; None while there is no rate or no total."""
    if not progress.total or not progress.documents or progress.seconds <= 0:
        return None
    return max(0, progress.total - progress.documents) * progress.seconds / progress.documents


def print_summary(summary: RunSummary, console: Console) -> None:
    """Print what a run did and where it is."""
    for warning in summary.warnings:
        console.print(f"[yellow]warning[/]: {escape(warning)}", soft_wrap=True, highlight=False)
    if summary.nothing_new:
        console.print(
            f"Nothing new in the source; looked for {seconds(summary.seconds)}. Run {summary.run_id}.",
            highlight=False,
        )
        return
    console.print(two_columns(summary_rows(summary)))


def summary_rows(summary: RunSummary) -> list[tuple[str, str]]:
    """The summary as rows of name and text."""
    counts = summary.counts
    outcome = {name: counts[name] for name in STATUSES if counts.get(name)}
    reasons = {name.removeprefix("quarantined."): n for name, n in counts.items() if name.startswith("quarantined.")}
    tokens = f"{number(summary.prompt_tokens)} read, {number(summary.new_tokens)} written"
    if summary.write_seconds:
        tokens += f", {number((summary.prompt_tokens + summary.new_tokens) / summary.write_seconds)} a second"
    parts = f"write {seconds(summary.write_seconds)}, execute {seconds(summary.execute_seconds)}"
    where = f" on {summary.device} ({summary.provider})" if summary.device else ""
    other = counts.get("other_language")
    rows = [
        ("documents", listed(outcome) or "none executed"),
        ("programs", f"{number(counts['written'])} written" if counts.get("written") else ""),
        ("set aside", listed(reasons)),
        ("in another language", f"{number(other)}: as they came" if other else ""),
        ("done before", number(counts["already"]) if counts.get("already") else ""),
        ("duplicates", f"{number(summary.duplicates)} rows" if summary.duplicates else ""),
        ("gone", f"{number(counts['gone'])} documents deleted from every table" if counts.get("gone") else ""),
        ("tokens", tokens if summary.prompt_tokens else ""),
        ("time", f"{seconds(summary.seconds)} ({parts})"),
        ("refiner", f"{summary.refiner}{where}" if summary.refiner else ""),
        ("tables", summary.tables),
        ("run", summary.run_id),
    ]
    return [(name, text) for name, text in rows if text]


def print_plan(plan: Plan, settings: JobSettings, console: Console) -> None:
    """Print what a run would do."""
    console.print("Nothing was written. A run would do this:")
    console.print(two_columns(plan_rows(plan, settings)))
    if settings.reconcile:
        console.print("To do it: the same command with --yes.")


def plan_rows(plan: Plan, settings: JobSettings) -> list[tuple[str, str]]:
    """The plan as rows of name and text."""
    time = "not known before a first run with this refiner"
    if plan.estimated_seconds is not None:
        time = f"about {seconds(plan.estimated_seconds)}"
    rows = [
        ("source", settings.source),
        ("documents", f"{number(plan.documents)}, {size(plan.bytes)} of text, in about {number(plan.slices)} slices"),
        ("done before", f"{number(plan.already)}: nothing is done to them" if plan.already else ""),
        *[(name, f"{number(plan.to_do[cause])} {why}") for cause, name, why in TO_DO if plan.to_do.get(cause)],
        ("have programs", number(plan.written)),
        ("to write", f"{number(plan.to_write)}, about {number(plan.estimated_tokens)} tokens"),
        ("set aside", listed(plan.quarantined)),
        ("duplicates", number(plan.duplicates) if plan.duplicates else ""),
        *_absent_rows(plan),
        ("time to write", time),
        ("refiner", plan.refiner or "none"),
        ("tables", settings.tables),
    ]
    return [(name, text) for name, text in rows if text]


def _absent_rows(plan: Plan) -> list[tuple[str, str]]:
    if plan.absent is None:
        return []
    rows = listed({f"rows of {name}": many for name, many in plan.absent.deleted.items()})
    left = plan.absent.left_alone
    return [
        ("to delete", f"{rows or 'nothing'}: of documents that the source has no more"),
        ("left alone", f"{number(left)} documents that other sources brought" if left else ""),
    ]


def listed(counts: Mapping[str, int]) -> str:
    """`{"a": 1, "b": 2}` -> '1 a, 2 b'; what is 0 is left out."""
    return ", ".join(f"{number(n)} {name}" for name, n in counts.items() if n)


def two_columns(rows: list[tuple[str, str]]) -> Table:
    """Rows of name and text, as they are printed."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, escape(text))
    return table
