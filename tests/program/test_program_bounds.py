"""Time and memory stay within the size of the text and of the program, whatever the numbers and strings say.

The bounds of time are far above what is measured, and far below what work of the wrong order would take.
"""

from __future__ import annotations

import time
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from prox_spark.program import apply, gair, resolve
from prox_spark.program.execute import Guards, Refined, execute
from prox_spark.program.parser import MAX_CALL_CHARS, MAX_PROGRAM_CHARS, parse_program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms

POLICIES = ("strict", "gair")
LONG_LINE = "ab " * 3_500_000
MANY_LINES = "\n".join(f"line {number} of text" for number in range(300_000))
TEXT = "\n".join("ten words that are enough to be kept for good" for _ in range(20))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def gone(refined: Refined) -> int:
    return refined.lines_in - refined.lines_out


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("last", ["100000000000", "9" * 18, "9" * 5000, "1" + "0" * 100_000])
def test_a_range_costs_the_same_whatever_its_numbers_are(policy: str, last: str) -> None:
    tracemalloc.start()
    with within(5):
        refined = execute(TEXT, f"remove_lines(line_start=3, line_end={last})", policy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    if policy == "strict":
        assert refined.text == TEXT
        assert refined.errors[0].code in ("out_of_range", "too_many_digits", "too_long")
    elif len(last) > 4300:
        assert (refined.status, refined.errors[0].code) == ("unchanged", "wrong_value")
    else:
        assert gone(refined) == 17


@pytest.mark.parametrize(
    "call",
    [
        "(" * 60_000,
        "-" * 60_000 + "1",
        "remove_lines(" * 5_000,
        "[" * 500 + "]" * 500,
        "a" * 60_000,
        "a." * 30_000 + "a()",
        "1+" * 30_000 + "1",
        '"' * 60_001,
        "'" * 60_001,
        '\\"' * 30_000,
        "'\"" * 30_000 + "x",
        '\\""" "' * 10_000,
        'normalize(source_str="' + "\\" * 60_000,
        'normalize(source_str="' + '" "' * 20_000 + '")',
        "normalize(source_str='''" + "(" * 60_000 + "''')",
        'f"{' * 20_000,
        'normalize("' + "\\N{DIGIT ONE}" * 4_000 + '")',
        "remove_lines(0x" + "f" * 60_000 + ", 1)",
        "remove_lines(1" + "_1" * 30_000 + ", 1)",
    ],
    ids=lambda call: call[:24],
)
def test_no_call_makes_the_parser_work_long_or_deep(call: str) -> None:
    with within(2), warnings.catch_warnings():
        warnings.simplefilter("error")
        program = parse_program(f"{call}\nkeep_chunk()\n{call}")
    assert len(program.operations) + len(program.errors) == 2


def test_lengths_are_bounded() -> None:
    call = 'normalize(source_str="' + "a" * MAX_CALL_CHARS + '")'
    program = parse_program(f"{call}\nkeep_chunk()")
    assert [error.code for error in program.errors] == ["too_long"]
    assert len(program.operations) == 1
    program = parse_program("keep_chunk()\n" * (MAX_PROGRAM_CHARS // 13 + 1))
    assert ([error.code for error in program.errors], program.operations) == (["too_long"], ())
    assert str(parse_program(str(program))) == str(program)


def test_a_call_cut_off_is_found_in_a_program_of_any_length() -> None:
    program = parse_program('keep_chunk()\nnormalize(source_str="' + "a" * MAX_CALL_CHARS)
    assert program.truncated and not program.errors


def test_fifty_thousand_repeats_are_one_call() -> None:
    with within(5):
        program = parse_program('normalize(source_str="of")\n' * 50_000)
    assert (len(program.operations), program.looped, program.errors) == (1, True, ())


@pytest.mark.parametrize("policy", POLICIES)
def test_fifty_thousand_repeats_on_300_000_lines(policy: str) -> None:
    with within(15):
        refined = execute(MANY_LINES, 'normalize(source_str=" of text")\n' * 50_000, policy)
    assert refined.text == MANY_LINES.replace(" of text", "")


@pytest.mark.parametrize("policy", POLICIES)
def test_three_million_places_in_a_line_of_ten_megabytes(policy: str) -> None:
    with within(40):
        refined = execute(LONG_LINE, 'normalize(source_str="b")', policy)
    assert refined.text == LONG_LINE.replace("b", "")
    # What cannot be told one by one is summed up.
    if policy == "strict":
        assert len(refined.edits) == apply.MAX_EDITS + 1
        assert refined.edits[-1].reason == f"occurrences={3_500_000 - apply.MAX_EDITS}"
        assert (refined.edits[-1].start, refined.edits[-1].end) == (None, None)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_range_every_ten_of_300_000_lines(policy: str) -> None:
    program = "\n".join(f"remove_lines(line_start={n}, line_end={n})" for n in range(0, 300_000, 10))
    with within(15):
        refined = execute(MANY_LINES, program, policy)
    assert gone(refined) == 30_000
    assert len(refined.edits) == 30_000


@pytest.mark.parametrize("policy", POLICIES)
def test_many_ranges_over_the_same_lines(policy: str) -> None:
    program = "\n".join(f"remove_lines(line_start={n}, line_end={200_000 - n})" for n in range(20_000))
    with within(15):
        refined = execute(MANY_LINES, program, policy)
    assert gone(refined) == 200_001
    assert sum(len(edit.removed) for edit in refined.edits) < len(MANY_LINES)


def test_many_chunks_of_a_long_document() -> None:
    chunks = tuple(
        ChunkProgram(
            n, n * 30, n * 30 + 29, f'normalize(source_str="line {n * 30} ")\nremove_lines({n * 30 + 1}, {n * 30 + 2})'
        )
        for n in range(10_000)
    )
    with within(30):
        refined = execute(MANY_LINES, DocumentPrograms("keep_doc()", chunks))
    assert gone(refined) == 20_000
    assert not refined.errors


def test_the_searching_of_a_document_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "MAX_SCANNED", 5 * len(TEXT))
    program = "\n".join(f'normalize(source_str="{word}")' for word in ("ten", "words", "that", "are", "enough", "to"))
    refined = execute(TEXT, program, guards=Guards(max_errors=10))
    assert [error.code for error in refined.errors] == ["work_limit"]
    assert (refined.text, refined.partial) == (TEXT, True)


def test_a_text_does_not_grow_without_bound() -> None:
    """Punctuation is no new word, however much of it a program puts in a letter's place."""
    text = ("e " * 20 + "\n") * 5_000
    with within(5):
        refined = execute(text, f'normalize(source_str="e", target_str="e{"." * 60_000}")')
    assert [error.code for error in refined.errors] == ["work_limit"]
    assert (refined.status, refined.text, refined.edits) == ("unchanged", text, ())
    small = execute(TEXT, 'normalize(source_str="t", target_str="t....")', guards=Guards(min_words=0))
    assert small.text == TEXT.replace("t", "t....")


def test_every_occurrence_of_a_string_is_work() -> None:
    """Two hundred replacements of the same letter, of which the first takes all places."""
    program = "\n".join(
        f'normalize(source_str="a", target_str="{n:08b}")'.translate({48: ",", 49: ";"}) for n in range(200)
    )
    with within(30):
        refined = execute("a" * 200_000, program, guards=Guards(max_errors=10**6))
    assert [error.code for error in refined.errors] == ["work_limit"]


def test_gair_is_bounded_where_the_original_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    doubling = "\n".join(f'normalize(p{n}="a", q="aa")' for n in range(10_000))
    with within(5):
        refined = execute("a " * 20, doubling, "gair")
    assert (refined.status, refined.reason, refined.text) == ("fallback", "work_limit", "a " * 20)
    monkeypatch.setattr(gair, "MAX_SCANNED", 2 * len(TEXT))
    refined = execute(TEXT, "\n".join(f'normalize(source_str="{n}")' for n in range(3)), "gair")
    assert (refined.status, refined.reason) == ("fallback", "work_limit")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "text", ["", " " * 10_000_000, "\0" * 10_000_000, "\n" * 300_000, "漢" * 3_000_000, "é\r\n" * 1_000_000],
    ids=["empty", "blanks", "NUL", "newlines", "Han", "CRLF"],
)  # fmt: skip
def test_odd_texts_of_every_size(policy: str, text: str) -> None:
    guards = Guards(max_lines=2_000_000)
    with within(20):
        kept = execute(text, "keep_doc()", policy, guards=guards)
        removed = execute(text, "remove_lines(all=True)", policy, guards=guards)
    assert kept.text is text
    assert removed.text is None or policy == "gair"


def test_a_text_over_the_limits_is_not_even_split() -> None:
    tracemalloc.start()
    refined = execute(MANY_LINES, "remove_lines(all=True)", guards=Guards(max_lines=1000))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert (refined.status, refined.reason, refined.text) == ("quarantined", "max_lines", MANY_LINES)
