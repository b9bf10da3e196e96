"""The figures of an evaluation on a screen and as one HTML file, which fetches nothing and escapes every text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from prox_spark.report.diff import DiffLine, diff_page, near
from prox_spark.report.page import TEMPLATES, environment
from prox_spark.report.summary import SamplePage
from prox_spark.version import __version__

CONTEXT_LINES = 2
# Rows of a page's diff; a page of thousands of wrong lines is understood from fewer.
MOST_ROWS = 300

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class WorstPage:
    """A page to draw: what the refiner did with it, and for each line whether its label says that it should go.

    page: with the text as it came and all edits. f1, reachable: of the refined text, and of the lines labelled keep.
    """

    page: SamplePage
    rendering: str
    source: str
    f1: float
    reachable: float
    remove: tuple[bool, ...]


@dataclass(frozen=True)
class MarkedLine:
    """A line of a diff, and what is wrong: `lost` (should have stayed), `left` (should have gone), or nothing."""

    line: DiffLine
    wrong: str


def evaluation_tables(figures: Figures) -> list[Table]:
    """The figures for a screen: one table of all contenders, and one of sets of texts where there are any."""
    tables = [_pages_table(figures)]
    if figures["texts"]:
        tables.append(_texts_table(figures))
    return tables


def render_evaluation(figures: Figures, worst: Sequence[WorstPage]) -> str:
    """Return the page as HTML text; encode it as UTF-8. Raises ConfigError when Jinja2 is not installed."""
    text: str = (
        environment()
        .get_template("evaluation.html.j2")
        .render(
            figures=figures,
            pages=[(shown, mark_lines(shown)) for shown in worst],
            most_rows=MOST_ROWS,
            version=__version__,
            css=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        )
    )
    return text


def mark_lines(shown: WorstPage) -> tuple[MarkedLine, ...]:
    """The lines that are wrong by their labels, with a few lines around each."""
    lines = diff_page(shown.page)
    wrong = {line.number: _wrong(line, shown.remove) for line in lines}
    some = near(lines, [bool(wrong[line.number]) for line in lines], CONTEXT_LINES)
    return tuple(MarkedLine(line, "" if line.kind == "skip" else wrong[line.number]) for line in some)


def _wrong(line: DiffLine, remove: Sequence[bool]) -> str:
    if line.kind == "insert" or not line.text.strip():
        return ""
    gone, should_go = line.kind == "remove", remove[line.number]
    return "" if gone == should_go else "lost" if gone else "left"


def _pages_table(figures: Figures) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), title_justify="left", caption_justify="left", title_style="bold")
    table.title = f"{figures['refiner']['name']} {figures['refiner']['version']}, {figures['caution']}"
    table.add_column("", overflow="fold")
    for heading in ("P", "R", "F1", "95%", "ahead", "harm", "rel.", "lost", "drop"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in figures["pages"]:
        table.add_row(f"{group['rendering']} ({group['documents']})", style="bold")
        for one in group["contenders"]:
            table.add_row(*_cells(one), style="cyan" if one["ahead"] is None else None)
    table.caption = "\n".join(_captions(figures))
    return table


def _cells(one: Figures) -> tuple[str, ...]:
    text, (low, high) = one["text"], one["intervals"]["f1"]
    ahead = f"{one['ahead'][0]:+.3f}" if one["ahead"] else ""
    return (
        one["name"],
        *(f"{text[name]:.3f}" for name in ("precision", "recall")),
        f"{text['f1']:.4f}",
        f"{low:.3f}-{high:.3f}",
        ahead,
        *(f"{text[name]:.1%}" for name in ("harmed_absolute", "harmed_relative", "gold_words_removed")),
        str(one["dropped"]),
    )


def _captions(figures: Figures) -> list[str]:
    found = [
        "95%: of F1. ahead: F1 of the refiner minus this one's. harm: pages with recall under 0.8; rel.: with recall "
        "more than 0.1 below the raw text's. lost: gold words removed. drop: pages dropped."
    ]
    for group in figures["pages"]:
        one = group["contenders"][0]
        if one["lines"] and one["writing"]:
            lines, writing = one["lines"], one["writing"]
            found.append(
                f"{group['rendering']}: removed lines P {lines['precision']:.3f}, R {lines['recall']:.3f}, "
                f"F1 {lines['f1']:.3f}; "
                f"{writing['programs']} programs, {writing['errors']} errors, {writing['truncated']} truncated, "
                f"{writing['looped']} looped"
            )
    verdict = figures["verdicts"][0]
    found.append(
        f"document verdicts: F1 {verdict['f1']:.3f} ({verdict['worth_dropping']} to drop, {verdict['worth_keeping']} "
        f"to keep); {verdict['pages_dropped']:.1%} of good pages dropped; {len(figures['harmed'])} pages harmed"
    )
    return [*found, *figures["notes"]]


def _texts_table(figures: Figures) -> Table:
    table = Table(box=None, pad_edge=False, title="Sets of texts", title_justify="left", title_style="bold")
    for heading in ("set", "kind", "", "texts", "dropped", "changed", "words removed", "F1 to itself"):
        table.add_column(heading, justify="left" if heading in ("set", "kind", "") else "right", no_wrap=True)
    for row in figures["texts"]:
        # Kinds are for the refiner alone; the HTML page has them for all.
        if row["kind"] != "all" and row["name"] != figures["verdicts"][0]["name"]:
            continue
        shares = (f"{row[name]:.1%}" for name in ("dropped", "changed", "words_removed"))
        table.add_row(row["set"], row["kind"], row["name"], str(row["documents"]), *shares, f"{row['f1']:.4f}")
    return table
