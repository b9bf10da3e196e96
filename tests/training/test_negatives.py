"""Documents made to be dropped: of many kinds and lengths, the same for the same seed; two families apart."""

from __future__ import annotations

from random import Random

from pytest import MonkeyPatch

from prox_spark.training import negatives
from prox_spark.training.heldout_negatives import GENERATORS as HELD_OUT
from prox_spark.training.heldout_negatives import TEMPLATES as HELD_OUT_TEMPLATES
from prox_spark.training.heldout_negatives import heldout_negatives
from prox_spark.training.negatives import GENERATORS, MAX_LINES, REFLOWED, TEMPLATES, negative
from prox_spark.training.page import Page


def page(number: int) -> Page:
    menu = [f"Menu item {number}.{i} of the site" for i in range(12)]
    text = [
        f"Sentence {i} tells about harvest number {number} and its weather. It was a long summer." for i in range(9)
    ]
    lines = (*menu, *text, "Copyright notice")
    remove = (*[True] * 12, *[False] * 9, True)
    return Page(str(number), f"site{number % 3}.org", "wet", lines, remove, (1.0,) * len(lines), "\n".join(lines), "")


PAGES = [page(number) for number in range(7)]
NOTHING_KEPT, NOTHING_REMOVED = PAGES[0].only(remove=True), PAGES[1].only(remove=False)


def test_every_kind_is_made_whatever_the_pages_hold() -> None:
    for name, make in [*GENERATORS.items(), *HELD_OUT.items()]:
        for seed in range(5):
            for pages in (PAGES, [NOTHING_KEPT], [NOTHING_REMOVED], [PAGES[0].only(remove=True).only(remove=False)]):
                lines = make(pages, Random(seed))
                assert all("\n" not in line for line in lines), name
                assert not any(mark in line for line in lines for mark in ("{n", "{w", "[|")), (name, lines)


def test_negatives_are_many_sided_and_decided_by_the_seed() -> None:
    made = [negative(PAGES, Random(seed), foreign=["Der Sommer war lang."]) for seed in range(400)]
    assert made == [negative(PAGES, Random(seed), foreign=["Der Sommer war lang."]) for seed in range(400)]
    assert {kind for kind, _ in made} == {*GENERATORS, REFLOWED}
    lengths = [len(lines) for _, lines in made]
    assert min(lengths) >= 1 and max(lengths) <= MAX_LINES
    assert sum(n < 10 for n in lengths) > 40 and sum(n > 40 for n in lengths) > 40
    assert len({tuple(lines) for _, lines in made}) > 350


def test_some_negatives_are_of_two_kinds_and_some_have_their_words_in_other_lines(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "GENERATORS", {"one": lambda *_: ["a b c d"] * 40})
    made = [lines for _, lines in (negative(PAGES, Random(seed)) for seed in range(300))]
    plain = [lines for lines in made if lines == ["a b c d"] * len(lines)]
    assert 0.84 < len(plain) / len(made) < 0.96
    assert 0.05 < sum(len(lines) > 40 for lines in plain) / len(made) < 0.2
    assert any(len(line.split()) > 20 for lines in made for line in lines)


def test_the_evaluation_has_a_family_of_its_own() -> None:
    made = list(heldout_negatives(PAGES, 60, seed=3))
    assert made == list(heldout_negatives(PAGES, 60, seed=3)) != list(heldout_negatives(PAGES, 60, seed=4))
    assert {row["kind"] for row in made} == set(HELD_OUT)
    assert all(row["text"].strip() for row in made)
    assert not set(HELD_OUT) & set(GENERATORS)
    trained_on = {template for section in TEMPLATES.values() for template in section}
    assert not trained_on & {template for section in HELD_OUT_TEMPLATES.values() for template in section}


def test_the_evaluations_kinds_that_pages_have_nothing_for_give_way_to_others() -> None:
    lines = [f"Line {n} of a text that has nothing above it or below." for n in range(12)]
    clean = [Page.made(lines, False, [1.0] * 12)]
    made = list(heldout_negatives(clean, 30))
    assert all(row["text"].strip() for row in made) and "hollow_page" not in {row["kind"] for row in made}
