"""The short way of reading programs of whole lines gives what reading and resolving them in full gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_spark.program import operations as ops
from prox_spark.program import ranges, strict
from prox_spark.program.execute import Guards, execute
from prox_spark.program.parser import MAX_PROGRAM_CHARS, parse_program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.ranges import read_ranges
from prox_spark.program.resolve import ChunkResolver, Document, Unresolved
from prox_spark.program.writer import write_program

FREE = Guards(min_words=0, max_removed_ratio=1.0)
numbers = st.integers(0, 9)
places = st.builds(ops.RemoveLines, numbers, numbers)
in_order = st.lists(st.integers(0, 19), max_size=8, unique=True).map(
    lambda found: [ops.RemoveLines(a, b) for a, b in zip(sorted(found)[::2], sorted(found)[1::2], strict=False)]
)
written = st.one_of(in_order, st.lists(places, max_size=4), st.just([ops.RemoveAll()])).map(
    lambda found: write_program(ops.Program(tuple(found)))
)
# What comes close to a canonical program, and is none.
almost = st.one_of(
    st.sampled_from(
        [
            "keep_chunk()",
            "",
            "remove_lines(1, 2)",
            "remove_lines(line_start=01, line_end=2)",
            " remove_lines(line_start=1, line_end=2)",
            "remove_lines(line_start=1, line_end=2) ",
            "remove_lines(line_start=1, line_end=2)\r",
            "remove_lines(line_start=1,line_end=2)",
            "remove_lines(line_start=1, line_end=1234567890)",
            "remove_lines(line_start=1, line_end=٣)",
            "remove_lines(line_start=1, line_en",
            'normalize(source_str="a", target_str="")',
            "drop_doc()",
        ]
    ),
    written,
)
programs = st.one_of(written, st.lists(almost, max_size=4).map("\n".join))
documents = st.lists(st.text(st.sampled_from("ab 1é"), max_size=6), min_size=1, max_size=20).map("\n".join)


@given(programs, numbers, numbers)
@settings(max_examples=400, deadline=None)
def test_ranges_read_the_short_way_are_those_read_in_full(program: str, first: int, more: int) -> None:
    last = first + more
    found = read_ranges(program, first, last)
    if found is None:
        return
    read = parse_program(program)
    assert not read.errors and not read.truncated and not read.looped
    resolver = ChunkResolver(Document("", [""] * (last + 1)), first, last, cut_line=False)
    for operation in read.operations:
        resolver.add(operation)  # raises Unresolved where something is wrong
    assert resolver.finish().removed == found


@given(documents, st.lists(programs, min_size=1, max_size=3), st.integers(1, 12), st.sampled_from([FREE, Guards()]))
@settings(max_examples=300, deadline=None)
def test_executing_is_the_same_either_way(text: str, sources: list[str], size: int, guards: Guards) -> None:
    spans = [(n, n * size, n * size + size - 1) for n in range(len(sources))]
    last = text.count("\n")
    chunks = [ChunkProgram(n, first, min(end, last), sources[n]) for n, first, end in spans]
    whole = DocumentPrograms("keep_doc()", tuple(chunks))
    short = [execute(text, given, guards=guards) for given in (whole, sources[0])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict, "read_ranges", lambda *_: None)
        full = [execute(text, given, guards=guards) for given in (whole, sources[0])]
    assert short == full


def test_what_programs_usually_say_is_read_the_short_way() -> None:
    lines = "remove_lines(line_start=2, line_end=2)\nremove_lines(line_start=5, line_end=9)"
    assert read_ranges(lines, 0, 9) == [(2, 2), (5, 9)]
    assert read_ranges(lines, 2, 20) == [(2, 2), (5, 9)]
    assert read_ranges("remove_lines(all=True)", 3, 4) == [(3, 4)]


def test_what_is_wrong_or_long_is_left_to_the_full_way() -> None:
    lines = "remove_lines(line_start=2, line_end=2)\nremove_lines(line_start=5, line_end=9)"
    assert read_ranges(lines, 3, 9) is None and read_ranges(lines, 0, 8) is None
    assert read_ranges("remove_lines(line_start=2, line_end=1)", 0, 9) is None
    with pytest.raises(Unresolved):
        ChunkResolver(Document("", [""] * 10), 0, 9, cut_line=False).add(ops.RemoveLines(2, 1))
    call = "remove_lines(line_start=0, line_end=0)"
    assert read_ranges("\n".join([call] * (MAX_PROGRAM_CHARS // len(call) + 1)), 0, 9) is None


def test_calls_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    known = ranges._KnownCalls()
    monkeypatch.setattr(ranges, "_KNOWN", known)
    monkeypatch.setattr(ranges, "MAX_KNOWN", 3)
    for line in range(10):
        assert read_ranges(f"remove_lines(line_start={line}, line_end={line})", 0, 9) == [(line, line)]
        assert read_ranges("x" * 1000, 0, 9) is None
    assert 0 < len(known) <= 3
