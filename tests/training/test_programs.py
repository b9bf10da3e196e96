"""From raw and clean text to programs: what the writer says is what the executor makes of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_spark.program.execute import Guards, execute
from prox_spark.training.alignment import TooLong, after_deletions, align
from prox_spark.training.planting import planted
from prox_spark.training.programs import Verdict, write_programs

DIALECTS = ("prox", "refinex", "ultrax")
OPEN = Guards(max_removed_ratio=1.0, min_words=0)

# Few words, so that strings repeat themselves within and across lines, and all that needs quoting.
words = st.sampled_from(
    ["river", "mill", "Share", "12", "the", "[edit]", '"', "\\", "\t", "'", "é", "水", "\u200b", "\r"]
)
line_texts = st.lists(words, max_size=7).map(" ".join)


@st.composite
def verdicts(draw: st.DrawFn) -> list[Verdict]:
    made = []
    for text in draw(st.lists(line_texts, min_size=1, max_size=8)):
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=4)))
        spans = tuple(zip(cuts[::2], cuts[1::2], strict=False))
        made.append(Verdict(text, draw(st.booleans()), spans))
    return made


@settings(max_examples=400, deadline=None)
@given(made=verdicts(), dialect=st.sampled_from(DIALECTS))
def test_a_program_does_what_its_writer_says(made: list[Verdict], dialect: str) -> None:
    written = write_programs(made, dialect)
    done = execute("\n".join(v.text for v in made), written.program, dialect=dialect, guards=OPEN)
    assert not done.errors, (written.program, done.errors)
    assert done.text == written.clean
    if written.complete:
        wanted = [after_deletions(v.text, v.deletions) for v in made if not v.remove]
        assert done.text == "\n".join(wanted)


@settings(max_examples=200, deadline=None)
@given(made=verdicts())
def test_pairs_that_differ_by_deletions_align_to_them(made: list[Verdict]) -> None:
    raw = [v.text for v in made]
    clean = [after_deletions(v.text, v.deletions) for v in made if not v.remove]
    for text, aligned in zip(raw, align(raw, clean), strict=True):
        assert 0 <= aligned.coverage <= 1
        assert list(aligned.deletions) == sorted(aligned.deletions)
        assert all(0 <= start < end <= len(text) for start, end in aligned.deletions)


def test_the_alignment_finds_what_went() -> None:
    raw = [
        "Home | News",
        "The river rises in the hills. Share 12 It runs for ninety miles.",
        "Share",
        "Its water drove eleven mills.",
        "Two of them still stand.",
        "",
        "Home",
    ]
    clean = [
        "The river rises in the hills. It runs for ninety miles.",
        "Its water drove eleven mills. Two of them still stand.",
        "",
    ]
    found = align(raw, clean)
    assert [aligned.partner for aligned in found] == [None, 0, None, None, None, 2, None]
    assert after_deletions(raw[1], found[1].deletions) == clean[0]
    assert [aligned.coverage for aligned in found[2:5]] == [0.0, 1.0, 1.0]
    assert found[0].coverage == found[6].coverage == 0.0


def test_memory_has_a_bound() -> None:
    with pytest.raises(TooLong):
        align(["a b " * 20_000], ["b c " * 20_000])
    same = [f"Line {number} of many." for number in range(2_000)]
    assert all(aligned.partner == number for number, aligned in enumerate(align(same, same)))


def test_noise_that_stands_elsewhere_too_is_named_by_its_neighbourhood() -> None:
    made = [Verdict("Do Read more books"), Verdict("The end. Read more", deletions=((8, 18),))]
    assert write_programs(made).program == 'normalize(source_str=". Read more", target_str=".")'
    # One line is all that the other dialects look at.
    assert write_programs(made, "refinex").program == 'remove_str(1, " Read more")'


@pytest.mark.parametrize("dialect", DIALECTS)
def test_removals_are_ranges_and_nothing_to_do_is_said(dialect: str) -> None:
    lines = [Verdict(str(number), remove=number in (0, 1, 2, 5)) for number in range(6)]
    assert write_programs(lines, dialect).program.count("\n") == 1
    assert write_programs([Verdict("a")], dialect).program in ("keep_chunk()", "keep_all()")
    gone = write_programs([Verdict("a", remove=True), Verdict("b", remove=True)], dialect)
    assert gone.clean == "" and gone.program.count("\n") == 0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_planted_noise_goes_and_nothing_else(dialect: str) -> None:
    prose = [f"The river number {n} rises in the hills. It runs to the sea in {n} days." for n in range(30)]
    complete = 0
    for seed in range(40):
        made = planted(prose, Random(seed))
        written = write_programs(made, dialect)
        done = execute("\n".join(v.text for v in made), written.program, dialect=dialect, guards=OPEN)
        assert done.text == written.clean and not done.errors
        complete += written.complete and done.text == "\n".join(prose)
    assert complete >= 36
