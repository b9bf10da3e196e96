from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prox_spark.training.calibrate import Scored, calibrate, preflight_bounds
from prox_spark.training.data import read_pages
from tests.helpers.labelled_pages import record, write_records


@pytest.fixture
def scored(tmp_path: Path) -> list[Scored]:
    """Pages whose prose has scores under 0.4 and whose menus have scores over 0.6."""
    records = [record(n, rendering) for n in range(10) for rendering in ("wet", "extracted")]
    pages = read_pages(write_records(tmp_path / "r.jsonl.gz", records))
    return [
        Scored(page, [0.65 if remove else 0.35 for remove in page.remove], nothing=0.1 + n / 100)
        for n, page in enumerate(pages)
    ]


def test_balanced_lies_between_kept_and_removed_lines(scored: list[Scored]) -> None:
    assert 0.35 < calibrate(scored, {})["balanced"]["line"] <= 0.65


def test_texts_that_are_clean_already_raise_the_threshold(scored: list[Scored]) -> None:
    assert calibrate(scored, {"a": [[0.1, 0.6]]})["balanced"]["line"] > 0.6


def test_gold_texts_of_one_site_count_as_one(scored: list[Scored]) -> None:
    """Forty texts of one site would be changed, none of thirty other sites."""
    others = {f"site-{n}.example": [[0.1]] for n in range(30)}
    assert calibrate(scored, {**others, "many.example": [[0.64]] * 40})["balanced"]["line"] < 0.64
    assert calibrate(scored, {**others, **{f"{n}.example": [[0.64]] for n in range(40)}})["balanced"]["line"] > 0.64


def test_caution_is_ordered(scored: list[Scored]) -> None:
    found = calibrate(scored, {})
    for verdict in ("line", "document"):
        assert found["cautious"][verdict] >= found["balanced"][verdict] >= found["aggressive"][verdict]


def test_cautious_drops_no_page_with_something_worth_keeping(scored: list[Scored]) -> None:
    risky = [Scored(s.page, s.line_scores, nothing=0.985) for s in scored]
    assert calibrate(risky, {})["cautious"]["document"] > 0.985


def test_a_site_with_many_pages_counts_as_one(scored: list[Scored]) -> None:
    """Nine sites of two pages, and one of two hundred; the verdict is wrong of some pages of it, or of a small site."""
    many = [replace(s, page=replace(s.page, domain="many.example")) for s in scored[:2] * 100]
    rest = [replace(s, nothing=0.7) for s in scored[2:]]

    def threshold(wrong: int) -> float:
        pages = [*(replace(s, nothing=0.95) for s in many[:wrong]), *many[wrong:], *rest]
        return calibrate(pages, {})["balanced"]["document"]

    assert threshold(wrong=1) < 0.9, "a two-hundredth of a tenth of the sites"
    assert threshold(wrong=2) > 0.95, "more than one page in two hundred"
    assert calibrate([*many, replace(rest[0], nothing=0.95), *rest[1:]], {})["balanced"]["document"] > 0.95


def test_made_clean_documents_bound_the_verdict_as_well(scored: list[Scored]) -> None:
    def threshold(wrong: int) -> float:
        return calibrate(scored, {}, [0.97] * wrong + [0.1] * (400 - wrong))["balanced"]["document"]

    assert threshold(wrong=2) == calibrate(scored, {})["balanced"]["document"]
    assert threshold(wrong=3) == 0.975


def test_preflight_bounds_leave_room_below_what_was_measured(scored: list[Scored]) -> None:
    found = preflight_bounds(scored, 0.5)
    # Every page has an operation; of the words of a wet page, menus are fewer than half.
    assert found["min_operations_rate"] == 0.5
    assert 1 / 6 < found["min_kept_words"] < 1 / 3
    assert found["max_parse_errors"] == 0.0
