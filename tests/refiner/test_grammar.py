"""The grammar over bytes: it lets through what can be read and carried out, and what we write ourselves."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_spark.program import operations as ops
from prox_spark.program.parser import parse_program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.refined import Guards
from prox_spark.program.strict import run_strict
from prox_spark.program.writer import write_program
from prox_spark.refiner import grammar as grammars
from prox_spark.refiner.grammar import Grammar
from prox_spark.text.chunks import Chunk

LINES = [
    "Home | Über uns",
    'say "no" \\ yes\t.',
    "",
    "aaaa",
    "漢字 and 漢",
    "é\x85\ud800 |",
    "Straße 12",
    "1,234 views",
]
DIALECTS = ("prox", "refinex", "ultrax")
BYTES = [bytes([n]) for n in {*range(32, 127), *"\n".join(LINES).encode("utf-8", "surrogatepass"), 0, 0xF0}]


def grammar_of(dialect: str, first: int, last: int, cut_line: bool = False) -> Grammar:
    return Grammar(dialect, "chunk", Chunk(0, first, last, cut_line, (), text="\n".join(LINES[first : last + 1])))


def errors_of(program: str, dialect: str, first: int, last: int, cut_line: bool = False) -> list[str]:
    """What `strict` says is wrong with a chunk's program; the document is LINES."""
    chunk = ChunkProgram(0, first, last, program, cut_line=cut_line)
    guards = Guards(max_errors=1)
    return [e.message for e in run_strict("\n".join(LINES), DocumentPrograms(None, (chunk,)), guards, dialect).errors]


def takes(grammar: Grammar, program: str) -> bool:
    state = grammar.advance(grammar.start, program.encode())
    return state is not None and grammar.may_end(state)


def walk(grammar: Grammar, choices: random.Random, most: int) -> tuple[bytes, bool]:
    """A program written at random, byte by byte, and whether it came to an end."""
    state, written = grammar.start, b""
    while len(written) < most:
        if grammar.may_end(state) and choices.random() < 0.4:
            return written, True
        text, over = grammar.forced(state)
        bytes_ = choices.sample(BYTES, len(BYTES))
        if text or over:
            others = [byte for byte in bytes_[:20] if byte != text[:1]]
            assert not any(grammar.advance(state, byte) for byte in others), "there is no other way on"
        if over and not text:
            return written, True
        # Rather close a string than go on with it for ever.
        first = [text] if text else [b'"'] if choices.random() < 0.3 else []
        piece = next((byte for byte in [*first, *bytes_] if grammar.advance(state, byte) is not None), None)
        assert piece is not None, f"no way on from {written!r}"
        after = grammar.advance(state, piece)
        assert after is not None
        state, written = after, written + piece
    return written, False


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(DIALECTS), st.integers(0, 7), st.integers(0, 7), st.booleans(), st.randoms(use_true_random=False)
)
def test_whatever_is_written_can_be_read_and_carried_out(
    dialect: str, one: int, other: int, cut_line: bool, choices: random.Random
) -> None:
    first, last = min(one, other), max(one, other)
    if cut_line:
        last = first
    written, ended = walk(grammar_of(dialect, first, last, cut_line), choices, 160)
    program = written.decode("utf-8", "replace").strip(" \n")
    parsed = parse_program(program, dialect)
    assert not parsed.errors, program
    assert not (ended and (parsed.truncated or not parsed.operations))
    assert errors_of(program, dialect, first, last, cut_line) == []


def strings(line: str) -> st.SearchStrategy[str]:
    places = st.tuples(st.integers(0, len(line) - 1), st.integers(1, len(line)))
    return places.filter(lambda p: p[0] < p[1]).map(lambda p: line[p[0] : p[1]])


def string_operations(dialect: str) -> st.SearchStrategy[ops.Operation]:
    numbers = [number for number, line in enumerate(LINES) if line]
    found = st.sampled_from(numbers).flatmap(lambda n: st.tuples(st.just(n), strings(LINES[n]), strings(LINES[n])))
    if dialect == "prox":
        return st.one_of(found.map(lambda f: ops.Normalize(f[1])), found.map(lambda f: ops.Normalize(f[1], f[2])))
    once = found.filter(lambda f: LINES[f[0]].find(f[1], LINES[f[0]].find(f[1]) + 1) < 0)
    if dialect == "refinex":
        return once.map(lambda f: ops.RemoveString(f[0], f[1]))
    return once.map(lambda f: ops.ReplaceString(f[0], f[1], ""))


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(DIALECTS))
def test_what_we_write_is_let_through_where_strict_takes_it(data: st.DataObject, dialect: str) -> None:
    starts = sorted(data.draw(st.sets(st.integers(0, 7), max_size=3)))
    ranges = [
        ops.RemoveLines(a, data.draw(st.integers(a, b - 1))) for a, b in zip(starts, [*starts[1:], 8], strict=False)
    ]
    operations = [*ranges, *data.draw(st.lists(string_operations(dialect), min_size=0 if ranges else 1, max_size=2))]
    program = write_program(ops.Program(tuple(dict.fromkeys(operations)), (), dialect))
    plain = all(c.isascii() or c in "".join(LINES) for c in program) and not re.search(r"\\[txu]", program)
    if not errors_of(program, dialect, 0, 7) and (plain or "target" not in program):
        assert takes(grammar_of(dialect, 0, 7), program), program
    elif plain:
        assert not takes(grammar_of(dialect, 0, 7), program), program


@pytest.mark.parametrize(
    ("program", "taken"),
    [
        ("keep_chunk()", True),
        (" keep_chunk()", True),
        ("keep_chunk()\n", False),
        ("keep_chunk()\nremove_lines(line_start=2, line_end=2)", False),
        ("remove_lines(line_start=2, line_end=3)\n", True),
        ("remove_lines(line_start=2, line_end=3)\nremove_lines(line_start=3, line_end=3)", False),
        ("remove_lines(line_start=3, line_end=2)", False),
        ("remove_lines(line_start=0, line_end=2)", False),
        ("remove_lines(line_start=2, line_end=02)", False),
        ("remove_lines(line_start=2, line_end=8)", False),
        ("remove_lines(line_start=7, line_end=7)\n", True),
        ("drop_doc()", False),
        ("", False),
        ("\nremove_lines(all=True)", False),
        ('normalize(source_str="aaaa", target_str="")', True),
        ('normalize(source_str="")', False),
        ('normalize(source_str="Home")', False),
        ('normalize(source_str="\\xe9")', False),
        ('normalize(source_str="é\\x85\\ud800")', True),
        ('normalize(source_str="x85")', False),
        ('normalize(source_str="1,234", target_str="124")', True),
        ('normalize(source_str="1,234", target_str="1234 views")', False),
        ('normalize(source_str="12", target_str="straße")', True),
        ('normalize(source_str="12", target_str="stra")', False),
        ('normalize(source_str="and", target_str="漢")', True),
        ('normalize(source_str="and", target_str="語")', False),
        ('normalize(source_str="|", target_str="\\"-\\\\")', True),
        ('normalize(source_str="|", target_str="–")', False),
    ],
)
def test_calls_of_prox(program: str, taken: bool) -> None:
    assert takes(grammar_of("prox", 2, 7), program) is taken


def test_documents_and_cut_lines() -> None:
    document = Grammar("ultrax", "document", Chunk(0, 0, 3, False, (), text="a\nb\nc\nd"))
    assert [takes(document, program) for program in ("keep_doc()", "drop_doc()", "keep_all()")] == [True, True, False]
    state = document.advance(document.start, b"k")
    assert state is not None and document.forced(state) == (b"eep_doc()", True)
    cut = grammar_of("prox", 3, 3, cut_line=True)
    assert not takes(cut, 'normalize(source_str="aaaa")') and takes(cut, "remove_lines(line_start=3, line_end=3)")
    state = cut.advance(cut.start, b"remove_lines(l")
    assert state is not None and cut.forced(state) == (b"ine_start=3, line_end=3)", True)


@pytest.mark.parametrize(
    ("dialect", "program", "taken"),
    [
        ("refinex", 'remove_str(0, "Home ")', True),
        ("refinex", 'remove_str(3, "a")', False),
        ("refinex", 'remove_str(3, "aaaa")', True),
        ("refinex", 'remove_str(2, "a")', False),
        ("ultrax", 'replace_str(1, "Home ", "ome")', True),
        ("ultrax", 'replace_str(4, "aaaa", "aaaaa")', False),
        ("ultrax", "remove_lines(1, 8)", True),
        ("ultrax", "remove_lines(0, 8)", False),
        ("ultrax", 'add_line(1, 0, "Home")', False),
        ("ultrax", "remove_all()", True),
    ],
)
def test_calls_of_other_dialects(dialect: str, program: str, taken: bool) -> None:
    assert takes(grammar_of(dialect, 0, 7), program) is taken
    if taken:
        assert errors_of(program, dialect, 0, 7) == []


def test_a_long_line_is_put_in_order_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte of a string asks where it stands in its line."""
    asked: list[str] = []
    real = grammars._marked_line
    monkeypatch.setattr(grammars, "_marked_line", lambda line: asked.append(line) or real(line))
    line = "a long line of a page " * 300
    grammar = Grammar("refinex", "chunk", Chunk(0, 0, 0, False, (), text=line))
    state = grammar.advance(grammar.start, b'remove_str(0, "')
    for byte in b"a long line of a page":
        assert state is not None
        state = grammar.advance(state, bytes([byte]))
    assert state is not None and len(asked) <= 2
