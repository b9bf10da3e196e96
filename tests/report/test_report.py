"""The report draws whatever the tables say: hostile text, empty tables, pages in both modes."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from html.parser import HTMLParser

import pytest
from rich.console import Console

from prox_spark.report import (
    EditRow,
    QuarantineRow,
    RemovedLine,
    RunFacts,
    SamplePage,
    StatusCount,
    Summary,
    diff_page,
    render_html,
    show,
    words,
)
from prox_spark.schemas import QUARANTINE_REASONS

HOSTILE = "</td><script>alert(1)</script>&amp;\"'<img src=http://x/y>\x00\x1b[2J\u202e\ud800"
PAGE = SamplePage(
    "site/1",
    "refined",
    None,
    "A title\nThe text, which stays.\nMore text.",
    lines_in=6,
    edits=(
        EditRow("remove_lines", 0, 1, "Home\nSubscribe"),
        EditRow("remove_lines", 5, 5, "Copyright"),
    ),
)


def summary(**more: object) -> Summary:
    run = RunFacts(
        run_id="r-2",
        command="refine",
        source=HOSTILE,
        started_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        counts={"rows": 12, "refined": 7, "already": 0},
        prompt_tokens=12_345,
        write_seconds=10.0,
        refiner="web-lite 1",
        fingerprint="ab" * 32,
        versions={"spark": "4.1"},
        settings='{"job": {"mode": "refine"}}',
    )
    idle = RunFacts(run_id="r-3", command="refine", counts={"rows": 12, "already": 12})
    values: dict[str, object] = {
        "tables": "out/tables",
        "runs": (idle, run),
        "counts": (
            StatusCount("refined", None, 7, lines_in=100, lines_out=40, words_in=1000, words_out=800),
            StatusCount("dropped", "drop_doc", 2, lines_in=10, lines_out=0, words_in=50, words_out=0),
            StatusCount("quarantined", "null_text", 3),
        ),
        "removed_lines": (RemovedLine(HOSTILE, 9, 4), RemovedLine("Skip to content", 3, 3)),
        "largest_edits": (EditRow("remove_lines", 0, 3, HOSTILE, doc_id=HOSTILE),),
        "pages": (PAGE, SamplePage(HOSTILE, "refined", HOSTILE, HOSTILE, 1)),
        "quarantine": (QuarantineRow("check", "null_text", 3, HOSTILE, HOSTILE, 0),),
    }
    return Summary(**(values | more))  # type: ignore[arg-type]


class Tags(HTMLParser):
    """Collects tags and attributes, and checks that what is opened is closed."""

    VOID = frozenset({"meta", "br", "img", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    tags.close()
    assert tags.open == []
    return tags


def test_the_html_is_well_formed_and_fetches_nothing() -> None:
    html = render_html(summary())
    tags = parsed(html)
    assert not [attrs for _, attrs in tags.seen if {"src", "href", "srcset", "action"} & attrs.keys()]
    assert not [tag for tag, attrs in tags.seen if tag in ("script", "link", "img", "iframe", "object")]
    assert not [attrs for _, attrs in tags.seen if any(name.startswith("on") for name in attrs)]
    assert "url(" not in html and "@import" not in html


def test_text_of_pages_is_escaped_and_made_visible() -> None:
    html = render_html(summary())
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;" in html
    for character in "\x00\x1b\u202e\ud800":
        assert character not in html
    html.encode("utf-8")


def test_the_figures_are_there() -> None:
    html = render_html(summary())
    for text in (">12<", ">70<", "lines removed", "web-lite 1", "nothing new", "7 refined", "2030-01-02 03:04:05"):
        assert text in html, text


def test_empty_tables_give_a_report_too() -> None:
    html = render_html(Summary("empty/"))
    parsed(html)
    assert "The tables are empty." in html and "No run is recorded." in html


def test_settings_that_are_not_json_are_shown_as_they_are() -> None:
    run = RunFacts("r", "refine", counts={"rows": 1}, settings="{not json")
    assert "{not json" in render_html(summary(runs=(run,)))


def test_a_page_is_drawn_from_its_refined_text_and_edits() -> None:
    assert [(line.kind, line.number, line.text) for line in diff_page(PAGE)] == [
        ("remove", 0, "Home"),
        ("remove", 1, "Subscribe"),
        ("keep", 2, "A title"),
        ("keep", 3, "The text, which stays."),
        ("keep", 4, "More text."),
        ("remove", 5, "Copyright"),
    ]


def test_a_tagged_page_still_has_its_lines() -> None:
    tagged = SamplePage("d", "refined", None, "Home\nText.\nBye", 3, (EditRow("remove_lines", 0, 0, "Home"),), True)
    assert [(line.kind, line.text) for line in diff_page(tagged)] == [
        ("remove", "Home"),
        ("keep", "Text."),
        ("keep", "Bye"),
    ]


@pytest.mark.parametrize("tagged", [False, True])
def test_edits_within_a_line(tagged: bool) -> None:
    before, after = "See [12] this colour.", "See this color."
    edits = (
        EditRow("normalize", 1, 1, "[12] ", "", start=4, end=9),
        EditRow("normalize", 1, 1, "colour", "color", start=14, end=20),
        EditRow("remove_lines", 0, 0, "Home"),
    )
    page = SamplePage("d", "refined", None, f"Home\n{before}" if tagged else after, 2, edits, tagged)
    line = diff_page(page)[-1]
    assert line.kind == "change"
    assert line.text == before
    assert "".join(text for kind, text in line.parts if kind != "remove") == after


def test_a_text_that_still_has_what_was_replaced_is_no_original() -> None:
    edit = EditRow("normalize", 0, 0, ".", ". ", start=5, end=6)
    (line,) = diff_page(SamplePage("d", "refined", None, "Hello. World", 1, (edit,)))
    assert line.parts == (("keep", "Hello"), ("remove", "."), ("insert", ". "), ("keep", "World"))


def test_runs_say_what_they_did() -> None:
    def outcome(command: str, duplicates: int = 0, **counts: int) -> tuple[bool, tuple[tuple[str, int], ...]]:
        run = RunFacts("r", command, counts=counts, duplicates=duplicates)
        return run.did_nothing, run.outcome

    assert outcome("execute", 1, rows=11, already=10) == (True, ())
    assert outcome("refine", rows=11, already=10, refined=1, written=1) == (False, (("refined", 1),))
    assert outcome("write", rows=10, written=10) == (False, (("programs written", 10),))
    assert outcome("forget", **{"deleted.refined": 5}) == (False, (("deleted.refined", 5),))
    assert outcome("maintain", **{"files.refined": 2}) == (False, ())
    runs = tuple(RunFacts(name, name) for name in ("annotate", "forget", "refine"))
    last = Summary("t", runs=runs).last_work
    assert last is not None and last.command == "refine"
    assert Summary("t", runs=runs[:2]).last_work is None


def test_a_run_that_is_at_work_has_not_stopped() -> None:
    now = datetime(2025, 1, 2, tzinfo=timezone.utc)
    runs = (RunFacts("a", "refine", error="has not ended"), RunFacts("b", "refine", error="killed", finished_at=now))
    page = render_html(Summary("t", runs=runs))
    assert "stopped: killed" in page and "stopped: has not ended" not in page and "has not ended" in page


def test_blank_lines_that_were_removed_are_lines_too() -> None:
    page = SamplePage("d", "refined", None, "Text.", 3, (EditRow("remove_lines", 1, 2, "\n"),))
    assert [(line.kind, line.number, line.text) for line in diff_page(page)] == [
        ("keep", 0, "Text."),
        ("remove", 1, ""),
        ("remove", 2, ""),
    ]


def test_inserted_lines_stand_below_the_line_they_were_added_to() -> None:
    edits = (
        EditRow("add_line", -1, -1, "", "Top"),
        EditRow("remove_lines", 0, 0, "Home"),
        EditRow("add_line", 1, 1, "", "Middle"),
    )
    refined = SamplePage("d", "refined", None, "Top\nOne\nMiddle\nTwo", 3, edits)
    tagged = SamplePage("d", "refined", None, "Home\nOne\nTwo", 3, edits, original=True)
    expected = [("insert", -1), ("remove", 0), ("keep", 1), ("insert", 1), ("keep", 2)]
    for page in (refined, tagged):
        assert [(line.kind, line.number) for line in diff_page(page)] == expected
        assert diff_page(page)[2].text == "One" and diff_page(page)[4].text == "Two"


def test_far_lines_are_left_out_with_their_number() -> None:
    lines = [f"line {n}" for n in range(100)]
    page = SamplePage("d", "refined", None, "\n".join(lines), 101, (EditRow("remove_lines", 100, 100, "end"),))
    drawn = diff_page(page, context=2)
    assert [line.kind for line in drawn] == ["skip", "keep", "keep", "remove"]
    assert drawn[0].text == "98 more lines kept"


def test_a_dropped_page_without_text_is_no_trouble() -> None:
    assert diff_page(SamplePage("d", "dropped", "drop_doc", None, 5)) == ()


def test_the_screen_shows_text_and_never_reads_it_as_markup() -> None:
    console = Console(record=True, width=160, force_terminal=False, file=io.StringIO())
    show(summary(removed_lines=(RemovedLine("[red]not markup[/red] \x1b[2J", 2, 1),)), console)
    text = console.export_text()
    assert "[red]not markup[/red] ␛[2J" in text
    assert "One page, before and after: site/1" in text
    assert "70 of 110 lines removed" in text


def test_every_quarantine_reason_has_advice() -> None:
    assert set(words.ADVICE) == set(QUARANTINE_REASONS)
    assert words.advice("null_text").startswith("The text is null.")
    assert words.advice("something_new") == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.44, "0.4 s"), (42, "42 s"), (75, "1 min 15 s"), (3725, "1 h 2 min"), (None, "–")]
)
def test_times_as_people_read_them(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(("part", "whole", "text"), [(1, 3, "33%"), (1, 200, "0.5%"), (0, 5, "0%"), (1, 0, "–")])
def test_shares(part: float, whole: float, text: str) -> None:
    assert words.share(part, whole) == text


def test_sizes() -> None:
    assert [words.size(n) for n in (0, 1023, 2048, 5 * 2**30)] == ["0 B", "1023 B", "2.0 KiB", "5.0 GiB"]
