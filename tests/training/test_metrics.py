from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox_spark.training.metrics import precision_recall, score, shingles

GOLD = "one two three four five six"


def test_shingles_of_a_short_text_are_one_shingle_of_all_its_words() -> None:
    assert list(shingles("one two")) == [("one", "two")]


def test_shingles_count_repetitions() -> None:
    assert shingles("a b c d a b c d")[("a", "b", "c", "d")] == 2


def test_half_a_text_has_full_precision_and_part_of_the_recall() -> None:
    # gold has 3 four-grams, the first five words have 2 of them
    assert precision_recall("one two three four five", GOLD) == (1.0, pytest.approx(2 / 3))


def test_dropped_document_counts_in_recall_but_not_in_precision() -> None:
    found = score([(None, GOLD, GOLD), (GOLD, GOLD, GOLD)])
    assert (found.precision, found.recall, found.f1) == (1.0, 0.5, pytest.approx(2 / 3))


def test_harm_is_told_absolutely_and_against_the_raw_text() -> None:
    # The raw text itself lacks most of gold: recall is low, but refining did not make it worse.
    poor = "one two three four"
    found = score([(poor, GOLD, poor), ("one", GOLD, GOLD)])
    assert (found.harmed_absolute, found.harmed_relative) == (1.0, 0.5)


def test_gold_words_removed_counts_words_that_raw_had() -> None:
    assert score([("one two three", GOLD, GOLD + " menu")]).gold_words_removed == pytest.approx(3 / 6)


def test_gold_text_without_words_has_recall_one() -> None:
    assert precision_recall("menu", "") == (0.0, 1.0)


@given(st.text(max_size=200))
def test_a_text_is_perfect_against_itself(text: str) -> None:
    precision, recall = precision_recall(text, text)
    assert recall == 1.0
    assert precision in (None, 1.0)


def test_no_documents_is_no_error() -> None:
    assert score([]).documents == 0
