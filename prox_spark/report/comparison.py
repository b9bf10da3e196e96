"""What two refiners or policies made of the same pages: as plain data, on a screen and as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prox_spark.report import words
from prox_spark.report.diff import DiffLine, diff_page, near
from prox_spark.report.page import LONGEST_LINE, TEMPLATES, environment
from prox_spark.report.screen import STYLES
from prox_spark.report.summary import SamplePage
from prox_spark.version import __version__

CONTEXT_LINES = 2
# Rows of a page on the screen, and in the file.
ROWS_ON_SCREEN, MOST_ROWS = 30, 300
SIGNS = {"keep": "  ", "remove": "- ", "only_a": "A-", "only_b": "B-", "change": "~ ", "skip": "  "}
COLOURS = {"remove": "bright_black", "only_a": "red", "only_b": "magenta", "change": "yellow"}


@dataclass(frozen=True)
class Side:
    """One set of tables: where it is, and the refiners, policies and numbers of documents that are in it."""

    tables: str
    refiners: tuple[str, ...]
    policies: tuple[str, ...]
    documents: int


@dataclass(frozen=True)
class Pair:
    """How many documents have this status in A and that one in B, with their words; None: not in these tables.

    same: of these, documents with the same text in both. words: of the source, of A and of B (0 where dropped).
    """

    status_a: str | None
    status_b: str | None
    documents: int
    same: int
    words: tuple[int, int, int]


@dataclass(frozen=True)
class BothPages:
    """One page in A and in B; words_a, words_b: what is left of it."""

    a: SamplePage
    b: SamplePage
    words_in: int
    words_a: int
    words_b: int


@dataclass(frozen=True)
class Comparison:
    """Two sets of tables. other_text: documents that had another text in the one source than in the other."""

    a: Side
    b: Side
    pairs: tuple[Pair, ...]
    other_text: int
    pages: tuple[BothPages, ...]

    @property
    def compared(self) -> tuple[Pair, ...]:
        """The pairs of documents that are in both."""
        return tuple(pair for pair in self.pairs if pair.status_a and pair.status_b)

    @property
    def words(self) -> tuple[int, int, int]:
        """Words of the documents that are in both: of the source, of A, of B."""
        of_source, of_a, of_b = (sum(pair.words[n] for pair in self.compared) for n in range(3))
        return of_source, of_a, of_b


def compare_lines(pages: BothPages) -> tuple[DiffLine, ...]:
    """Return the page's lines where A and B differ, with a few lines around each.

    Kinds: keep, remove (by both), only_a, only_b (removed there and not in the other), change (what is left of the line
    differs: A's is struck out, B's put in), skip.
    """
    lines = tuple(_lines(pages))
    return near(lines, [line.kind in ("only_a", "only_b", "change") for line in lines], CONTEXT_LINES)


def _lines(pages: BothPages) -> Iterator[DiffLine]:
    before: dict[int, str] = {}
    (a, added_a), (b, added_b) = _outcome(pages.a, before), _outcome(pages.b, before)
    for number in sorted({*before, *added_a, *added_b}):
        if number in before:
            was, left_a, left_b = before[number], a.get(number), b.get(number)
            if left_a == left_b:
                yield DiffLine("remove" if left_a is None else "keep", number, (("keep", left_a or was),))
            elif left_a is None or left_b is None:
                yield DiffLine("only_a" if left_a is None else "only_b", number, (("keep", was),))
            else:
                yield DiffLine("change", number, (("remove", left_a), ("insert", left_b)))
        if added_a.get(number) != added_b.get(number):
            parts = (("remove", added_a.get(number, "")), ("insert", added_b.get(number, "")))
            yield DiffLine("change", number, tuple(part for part in parts if part[1]))


def _outcome(page: SamplePage, before: dict[int, str]) -> tuple[dict[int, str], dict[int, str]]:
    """Return what is left of each line that is left and what was added below lines, by the lines' numbers.

    The lines as they were are put into `before`.
    """
    left: dict[int, str] = {}
    added: dict[int, str] = {}
    for line in diff_page(page):
        after = "".join(text for kind, text in line.parts if kind != "remove")
        if line.kind == "insert":
            added[line.number] = f"{added[line.number]} ⏎ {after}" if line.number in added else after
            continue
        before[line.number] = line.text
        if line.kind != "remove":
            left[line.number] = after
    return ({}, {}) if page.status == "dropped" else (left, added)


def render_comparison(comparison: Comparison) -> str:
    """Return the comparison as HTML text; encode it as UTF-8. Raises ConfigError when Jinja2 is not installed."""
    text: str = (
        environment()
        .get_template("comparison.html.j2")
        .render(
            comparison=comparison,
            pages=[(page, compare_lines(page)) for page in comparison.pages],
            most_rows=MOST_ROWS,
            signs=SIGNS,
            version=__version__,
            css=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        )
    )
    return text


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the comparison, with the page that differs most."""
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        console.print(words.visible(f"{name}: {told(side)}"), soft_wrap=True, highlight=False, markup=False)
    console.print()
    console.print(_pairs_table(comparison))
    of_source, of_a, of_b = comparison.words
    shares = f"A {words.share(of_a, of_source)}, B {words.share(of_b, of_source)}"
    other = f" {words.number(comparison.other_text)} documents came with another text." if comparison.other_text else ""
    console.print(f"Words kept of {words.number(of_source)}: {shares}.{other}", highlight=False)
    for page in comparison.pages[:1]:
        console.print()
        _show_page(page, console)


def told(side: Side) -> str:
    """Return where a side is, and what made it, as one line."""
    made = f"{', '.join(side.refiners) or 'no refiner'}; policy {', '.join(side.policies) or 'none'}"
    return f"{side.tables} ({made}), {words.number(side.documents)} documents"


def _pairs_table(comparison: Comparison) -> Table:
    table = Table(title="What became of the pages", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("in A", "in B"):
        table.add_column(heading)
    for heading in ("documents", "same text", "words", "A keeps", "B keeps"):
        table.add_column(heading, justify="right")
    for pair in comparison.pairs:
        of_source, of_a, of_b = pair.words
        both = bool(pair.status_a and pair.status_b)
        table.add_row(
            *[Text(one or "not there", style=STYLES.get(one or "", "")) for one in (pair.status_a, pair.status_b)],
            words.number(pair.documents),
            words.number(pair.same) if both else "",
            words.number(of_source),
            words.number(of_a) if pair.status_a else "",
            words.number(of_b) if pair.status_b else "",
        )
    return table


def _show_page(page: BothPages, console: Console) -> None:
    kept = f" ({page.words_in} words: A keeps {page.words_a}, B keeps {page.words_b})"
    console.print(
        Text.assemble(("The page that differs most: ", "bold"), (words.visible(page.a.doc_id), "bold cyan"), kept)
    )
    console.print("A-: only A removes it, B-: only B, -: both, ~: A's line (red) and B's (green)", highlight=False)
    lines = compare_lines(page)
    for line in lines[:ROWS_ON_SCREEN]:
        drawn = Text(f"{line.number:>4} {SIGNS[line.kind]} ", style="bright_black")
        for kind, text in line.parts:
            style = {"remove": "red", "insert": "green"}.get(kind) or COLOURS.get(line.kind, "")
            drawn.append(words.visible(words.shorten(text, LONGEST_LINE)), style=style)
        console.print(drawn, no_wrap=True, overflow="ellipsis", highlight=False)
    if len(lines) > ROWS_ON_SCREEN:
        console.print(Text(f"        … and {len(lines) - ROWS_ON_SCREEN} more rows like these", style="bright_black"))
