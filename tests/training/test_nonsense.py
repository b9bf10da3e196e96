"""Made nonsense: each kind keeps what makes it hard to tell from text, and loses what makes text of it."""

from __future__ import annotations

from random import Random

from prox_spark.training import nonsense
from prox_spark.training.page import Page

TEXT = [
    "The ferry left the harbour at noon with few people aboard. It reached the island two hours later than planned.",
    "Nobody in the village had expected visitors that week, so the only inn stayed closed until the evening.",
    "Old walls of grey stone run along the coast. They were built by people whose names nobody remembers now.",
]
OTHER = ["A good soup needs time, salt and very little else. The cook in Lisbon stirs it slowly, hour after hour."]


def page(lines: list[str]) -> Page:
    menu = ["Home", "About us"]
    shown = (*menu, *lines)
    return Page("1", "a.org", "wet", shown, (*[True] * 2, *[False] * len(lines)), (1.0,) * len(shown), "", "")


PAGES = [page(TEXT), page(OTHER)]


def made(make: str, seed: int) -> list[str]:
    lines: list[str] = getattr(nonsense, make)(PAGES, Random(seed))
    return lines


def test_disorder_keeps_the_words_of_each_line() -> None:
    originals = {tuple(sorted(line.split())): line for line in (*TEXT, *OTHER)}
    for seed in range(20):
        for line in made("disordered", seed):
            assert line != originals[tuple(sorted(line.split()))]


def test_crossed_sentences_begin_and_end_as_sentences_of_pages() -> None:
    sentences = [sentence for one in PAGES for sentence in nonsense.sentences_of(one)]
    lines = [line for seed in range(20) for line in made("crossed", seed)]
    assert all(any(line.startswith(" ".join(s.split()[:2])) for s in sentences) for line in lines)
    assert all(any(line.endswith(s.split()[-1]) for s in sentences) for line in lines)
    assert sum(line in sentences for line in lines) < len(lines) / 2


def test_garbling_misreads_letters_and_nothing_else() -> None:
    for seed in range(20):
        lines = made("garbled", seed)
        assert not set(lines) & {*TEXT, *OTHER}
        assert {len(line.split()) for line in lines} <= {len(line.split()) for line in (*TEXT, *OTHER)}


def test_copies_are_a_few_lines_many_times() -> None:
    for seed in range(20):
        lines = made("copies", seed)
        assert 8 <= len(lines) <= nonsense.MAX_LINES
        assert len(set(lines)) <= 6 and set(lines) <= {*TEXT, *OTHER}


def test_a_doorway_says_the_same_of_every_name() -> None:
    for seed in range(20):
        lines = made("doorway", seed)
        assert len(lines) >= 6
        shared = set.intersection(*(set(line.split()) for line in lines))
        assert len(shared) >= 5


def test_offers_stand_between_the_sentences() -> None:
    sentences = {sentence for one in PAGES for sentence in nonsense.sentences_of(one)}
    for seed in range(20):
        text = "\n".join(nonsense.interlarded(PAGES, Random(seed), ["Buy it now!"]))
        assert text.count("Buy it now!") >= sum(text.count(sentence) for sentence in sentences) > 0
