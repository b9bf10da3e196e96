"""Made documents that are to come through untouched."""

from __future__ import annotations

from random import Random

import pytest

from prox_spark.training.clean import KINDS, LONG_LINES, MAX_LINES, clean, digest
from prox_spark.training.page import Page

LINES = ("Menu", *(f"Sentence {n} tells of the harvest; it was long, and the weather held." for n in range(9)))
PAGE = Page("1", "a.org", "wet", LINES, (True, *[False] * 9), (1.0,) * 10, "\n".join(LINES), "")
EMPTY = Page("2", "b.org", "wet", ("Menu",), (True,), (1.0,), "Menu", "")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_content_and_nothing_of_a_menu(kind: str) -> None:
    lines = KINDS[kind](list(LINES[1:]), Random(1))
    assert any(line.strip() for line in lines)
    assert "Menu" not in lines


def test_a_digest_has_items_of_several_texts_and_nothing_of_a_menu() -> None:
    other = Page("3", "c.org", "wet", ("Menu", "Prices rose. They fell again."), (True, False), (1.0, 1.0), "", "")
    pages = [PAGE, other]  # `other` is too short for an item
    for seed in range(20):
        lines = digest(pages, Random(seed))
        assert len(lines) >= 2 and all(line.strip() for line in lines)
        assert not any("Menu" in line or "Prices" in line for line in lines)


def test_a_seed_decides() -> None:
    first, second = ([clean([PAGE, EMPTY], Random(seed)) for seed in range(90)] for _ in range(2))
    assert first == second
    lengths = [len(lines) for lines in first]
    assert min(lengths) > 0 and max(lengths) <= LONG_LINES
    assert 0 < sum(length > MAX_LINES for length in lengths) < 24  # a few documents are long


def test_pages_without_text_give_a_text_all_the_same() -> None:
    assert all(any(clean([EMPTY], Random(seed))) for seed in range(20))
