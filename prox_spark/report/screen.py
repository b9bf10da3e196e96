"""The same summary on a terminal: counts by status, the lines removed most often, one page before and after."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prox_spark.report import words
from prox_spark.report.diff import DiffLine, diff_page
from prox_spark.report.summary import SamplePage, Summary

STYLES = {
    "refined": "blue",
    "unchanged": "bright_black",
    "dropped": "red",
    "fallback": "yellow",
    "quarantined": "magenta",
}


def show(summary: Summary, console: Console, lines: int = 12, page: bool = True) -> None:
    """Print the summary; texts of pages are printed as they are, never read as markup."""
    show_counts(summary, console)
    if summary.removed_lines:
        console.print()
        console.print(_removed(summary, lines))
    if page and summary.pages:
        console.print()
        show_page(summary.pages[0], console)


def show_counts(summary: Summary, console: Console) -> None:
    """Print one row a status, then what is left of lines and words."""
    table = Table(title="Documents by status", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("status")
    table.add_column("documents", justify="right")
    table.add_column("share", justify="right")
    table.add_column("which means", style="bright_black")
    for status, documents in summary.statuses:
        if documents:
            table.add_row(
                Text(status, style=STYLES[status]),
                words.number(documents),
                words.share(documents, summary.documents),
                words.STATUS_MEANING[status],
            )
    table.add_row("all", words.number(summary.documents), "", "", style="bold")
    console.print(table)
    (lines_in, lines_out), (words_in, words_out) = summary.lines, summary.words
    console.print(
        f"{words.number(lines_in - lines_out)} of {words.number(lines_in)} lines removed; "
        f"{words.share(words_out, words_in)} of the words kept.",
        highlight=False,
    )


def _removed(summary: Summary, lines: int) -> Table:
    table = Table(
        title="Lines removed from most pages", title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    table.add_column("pages", justify="right")
    table.add_column("times", justify="right")
    table.add_column("line", no_wrap=True, overflow="ellipsis")
    for line in summary.removed_lines[:lines]:
        table.add_row(
            words.number(line.documents), words.number(line.times), Text(words.visible(line.text), style="red")
        )
    return table


def show_page(page: SamplePage, console: Console, context: int = 2, longest: int = 48) -> None:
    """Print one page as a diff: `-` for lines that went, `~` for lines edited in part."""
    console.print(Text.assemble(("One page, before and after: ", "bold"), (words.visible(page.doc_id), "bold cyan")))
    drawn = diff_page(page, context)
    for line in drawn[:longest]:
        console.print(_drawn(line), no_wrap=True, overflow="ellipsis", highlight=False)
    if len(drawn) > longest:
        console.print(Text(f"      … and {len(drawn) - longest} more rows like these", style="bright_black"))


def _drawn(line: DiffLine) -> Text:
    if line.kind == "skip":
        return Text(f"      … {line.text}", style="bright_black")
    sign = {"remove": "-", "insert": "+", "change": "~"}.get(line.kind, " ")
    styles = {"remove": "red", "insert": "green", "keep": ""}
    drawn = Text(f"{line.number:>4} {sign} ", style="bright_black")
    for kind, text in line.parts:
        drawn.append(words.visible(text), style=styles[kind])
    return drawn
