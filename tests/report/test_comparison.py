"""Two outcomes of one page line by line, and the comparison as text: hostile pages included."""

from __future__ import annotations

import io

from rich.console import Console

from prox_spark.report import EditRow, SamplePage
from prox_spark.report.comparison import (
    BothPages,
    Comparison,
    Pair,
    Side,
    compare_lines,
    render_comparison,
    show_comparison,
)
from tests.report.test_report import HOSTILE

# The page was: Home / Body / Share / Foot
A = SamplePage(
    "p",
    "refined",
    None,
    "Body\nFoot",
    4,
    (EditRow("remove_lines", 0, 0, "Home"), EditRow("remove_lines", 2, 2, "Share")),
)
B = SamplePage("p", "refined", None, "Home\nBo\nFoot", 4, (
    EditRow("normalize", 1, 1, "dy", "", 2, 4), EditRow("remove_lines", 2, 2, "Share")
))  # fmt: skip
DROPPED = SamplePage("p", "dropped", "drop_doc", None, 4)


def kinds(a: SamplePage, b: SamplePage) -> list[tuple[int, str]]:
    return [(line.number, line.kind) for line in compare_lines(BothPages(a, b, 4, 2, 3))]


def test_lines_are_told_apart_by_who_removes_them() -> None:
    assert kinds(A, B) == [(0, "only_a"), (1, "change"), (2, "remove"), (3, "keep")]
    assert kinds(B, A)[0] == (0, "only_b")
    changed = compare_lines(BothPages(A, B, 4, 2, 3))[1]
    assert changed.parts == (("remove", "Body"), ("insert", "Bo"))


def test_a_dropped_page_is_drawn_from_what_the_other_one_knows() -> None:
    assert kinds(DROPPED, B) == [(0, "only_a"), (1, "only_a"), (2, "remove"), (3, "only_a")]
    tagged = SamplePage("p", "dropped", "drop_doc", "Home\nBody\nShare\nFoot", 4)
    assert kinds(B, tagged) == [(0, "only_b"), (1, "only_b"), (2, "remove"), (3, "only_b")]


def test_an_added_line_hides_no_removed_one() -> None:
    added = EditRow("add_line", 2, 2, "", "A new foot")
    edits = (EditRow("remove_lines", 0, 0, "Home"), EditRow("remove_lines", 2, 2, "Share"), added)
    more = SamplePage("p", "refined", None, "Body\nA new foot\nFoot", 4, edits)
    assert kinds(more, A)[1:] == [(1, "keep"), (2, "remove"), (2, "change"), (3, "keep")]
    assert compare_lines(BothPages(more, A, 4, 2, 3))[3].parts == (("remove", "A new foot"),)
    top = SamplePage("p", "refined", None, "Top\nBody\nFoot", 4, (EditRow("add_line", -1, -1, "", "Top"), *A.edits))
    assert kinds(A, top)[0] == (-1, "change")


def hostile(text: str) -> Comparison:
    """A comparison with a text in every place that takes one."""
    page = SamplePage(text, "refined", None, text, 2, (EditRow("remove_lines", 0, 0, text),))
    other = SamplePage(text, "unchanged", None, f"{text}\n{text}", 2)
    side = Side(text, (text,), ("strict",), 3)
    pairs = (
        Pair("refined", "unchanged", 2, 0, (100, 60, 100)),
        Pair("dropped", "dropped", 1, 1, (10, 0, 0)),
        Pair(None, "quarantined", 4, 0, (0, 0, 0)),
    )
    return Comparison(side, side, pairs, 7, (BothPages(page, other, 8, 4, 8),))


def test_the_screen_and_the_file_show_hostile_pages_as_text() -> None:
    both = hostile(HOSTILE)
    assert both.words == (110, 60, 100)
    html = render_comparison(both)
    assert "<script" not in html and "&lt;script&gt;" in html and "7 documents" in html
    out = io.StringIO()
    show_comparison(both, Console(file=out, width=120))
    shown = out.getvalue()
    assert "A 55%, B 91%" in shown and "not there" in shown and "\x1b[2J" not in shown
    assert "none that is in both differs" in render_comparison(Comparison(both.a, both.b, (), 0, ()))
