from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prox_spark.text.chunks import Chunk, pack

counts = st.lists(st.integers(1, 40), max_size=60)


@given(counts, st.integers(1, 60))
def test_every_line_is_in_exactly_one_chunk(counts: list[int], budget: int) -> None:
    lines = [line for first, last in pack(counts, budget) for line in range(first, last + 1)]
    assert lines == list(range(len(counts)))


@given(counts, st.integers(1, 60))
def test_chunks_are_as_long_as_they_can_be_and_no_longer(counts: list[int], budget: int) -> None:
    """What greedy means, said without an algorithm: within the budget, and with the next line it would not be."""
    for first, last in pack(counts, budget):
        total = sum(counts[first : last + 1])
        assert total <= budget or first == last
        if last + 1 < len(counts):
            assert total + counts[last + 1] > budget


def test_a_line_over_the_budget_is_a_chunk_of_its_own() -> None:
    assert list(pack([3, 11, 3, 3], 10)) == [(0, 0), (1, 1), (2, 3)]
    assert list(pack([11], 10)) == [(0, 0)]
    assert list(pack([11, 12], 10)) == [(0, 0), (1, 1)]


def test_a_chunk_may_be_full_to_the_token() -> None:
    assert list(pack([5, 5, 1], 10)) == [(0, 1), (2, 2)]
    assert list(pack([], 10)) == []


def test_chunk_counts_its_lines() -> None:
    assert Chunk(0, 3, 7, False, (1, 2)).lines == 5
