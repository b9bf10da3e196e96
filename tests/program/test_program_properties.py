"""What must hold for every text and every program, tried on thousands of made-up ones."""

from __future__ import annotations

import ast
import builtins
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from prox_spark.program import operations as ops
from prox_spark.program.dialects import DIALECTS, PROX
from prox_spark.program.execute import MODES, Guards, Refined, execute
from prox_spark.program.parser import _read_call, _read_plain, _Refused, parse_program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.scores import Thresholds, program_from_scores
from prox_spark.program.words import count_words, find_words
from prox_spark.program.writer import write_operation

FREE = Guards(min_words=0, max_removed_ratio=1.0, max_errors=1000)

# Few letters, so that strings are found; and everything that has broken a text tool before.
letters = st.sampled_from([*"ab aB.1_-\"\\'=,()#", "\n", "\r", "\t", "\0", "\u2028", "\x85", "\x0c", "\ud800"])
more = st.sampled_from(
    ["é", "ß", "İ", "ſ", "漢", "字", "ひ", "カ", "ー", "・", "ก", "ั", "😀", "\U00020000", "д", "\ufffe"]
)
texts = st.text(st.one_of(letters, letters, more, st.characters()), max_size=60)
lines = st.text(st.sampled_from(list("ab c1.")), max_size=12)
documents = st.lists(lines, min_size=1, max_size=12).map("\n".join)
strings = st.text(st.sampled_from(list("ab c1.")), max_size=3)
numbers = st.one_of(st.integers(-2, 14), st.sampled_from([10**11, -(10**11), 10**17]))
operations = st.one_of(
    st.builds(ops.RemoveLines, numbers, numbers),
    st.builds(ops.Normalize, st.one_of(strings, texts), st.one_of(strings, texts)),
    st.sampled_from([ops.RemoveAll(), ops.KeepChunk(), ops.KeepDoc(), ops.DropDoc()]),
)
other_operations = st.one_of(
    st.builds(ops.RemoveLines, numbers, numbers),
    st.builds(ops.RemoveString, numbers, strings),
    st.builds(ops.ReplaceString, numbers, strings, strings),
    st.builds(ops.AddLine, numbers, st.integers(-2, 2), strings),
    st.sampled_from([ops.RemoveAll(), ops.KeepChunk()]),
)
FRAGMENTS = """remove_lines( normalize( line_start= source_str= target_str= all=True keep_doc() ) , = " ' \\ 0 99 -
    ( [ { } f' r" b" # ; * lambda: await x"""
fragments = st.sampled_from([*FRAGMENTS.split(), "\n", " "])
sources = st.one_of(
    texts,
    st.lists(fragments, max_size=25).map("".join),
    st.lists(st.one_of(operations.map(write_operation), fragments), max_size=8).map("\n".join),
)


def good_program(document: str) -> st.SearchStrategy[list[ops.Operation]]:
    """Programs of which most operations fit the document."""
    last = document.count("\n")
    places = st.tuples(st.integers(0, last), st.integers(0, 2)).map(
        lambda place: ops.RemoveLines(place[0], min(place[0] + place[1], last))
    )
    spans = st.tuples(st.integers(0, len(document)), st.integers(1, 3)).map(
        lambda span: document[span[0] : span[0] + span[1]].replace("\n", "")
    )
    found = st.builds(ops.Normalize, spans, st.one_of(st.just(""), spans))
    return st.lists(st.one_of(places, found), max_size=6)


fitting = documents.flatmap(lambda document: st.tuples(st.just(document), good_program(document)))


def write(program: list[Any], dialect: str = "prox") -> str:
    return "\n".join(write_operation(operation, dialect) for operation in program)


# ---- reading ----


@given(sources, st.sampled_from(sorted(DIALECTS)))
@example("remove_lines(" * 2000, "prox")
@example("-" * 600 + "1", "prox")
@example('normalize(source_str="' + "\\" * 999, "prox")
@settings(max_examples=600)
def test_reading_never_raises_and_what_was_read_is_written_and_read_alike(source: str, dialect: str) -> None:
    program = parse_program(source, dialect)
    written = str(program)
    again = parse_program(written, dialect)
    assert str(again) == written
    assert again.operations == program.operations
    assert [(error.code, error.source) for error in again.errors] == [(e.code, e.source) for e in program.errors]
    assert not again.looped and not again.truncated
    for error in program.errors:
        assert error.line >= 1 and error.column >= 1
        assert error.source in source


@given(st.lists(operations, max_size=6))
def test_operations_of_prox_survive_writing_and_reading(program: list[ops.Operation]) -> None:
    assert parse_program(write(program)).operations == tuple(dict.fromkeys(program))


@given(st.sampled_from(["refinex", "ultrax"]), st.lists(other_operations, max_size=6))
def test_operations_of_the_other_dialects_survive_too(dialect: str, program: list[ops.Operation]) -> None:
    known = {"refinex": (ops.RemoveLines, ops.RemoveString, ops.KeepChunk)}.get(
        dialect, (ops.RemoveLines, ops.ReplaceString, ops.AddLine, ops.RemoveAll, ops.KeepChunk)
    )
    program = [operation for operation in program if isinstance(operation, known)]
    assert parse_program(write(program, dialect), dialect).operations == tuple(dict.fromkeys(program))


@given(st.one_of(sources, operations.map(write_operation)))
@settings(max_examples=500)
def test_the_short_way_of_reading_reads_what_ast_reads(source: str) -> None:
    for call in source.split("\n"):
        short = _read_plain(call.strip())
        if short is not None:
            try:
                assert _read_call(call.strip(), PROX) == short
            except _Refused as refused:
                pytest.fail(f"{call!r}: {refused}")


@given(sources)
def test_reading_runs_nothing(source: str) -> None:
    def only_trees(code: Any, file: Any, mode: str, flags: int = 0, *rest: Any, **named: Any) -> Any:
        assert flags & ast.PyCF_ONLY_AST
        return compile_as_ever(code, file, mode, flags, *rest, **named)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a program was run")

    compile_as_ever = builtins.compile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "compile", only_trees)
        patch.setattr(builtins, "eval", never)
        patch.setattr(builtins, "exec", never)
        parse_program(source + "\n__import__('os').system('true')\nkeep_doc(exit())")


# ---- words ----


@given(texts)
@settings(max_examples=400)
def test_counting_words_is_finding_them(text: str) -> None:
    assert count_words(text) == len(find_words(text))


@given(texts)
def test_words_are_runs_of_letters_and_digits(text: str) -> None:
    assert "".join(find_words(text)) == "".join(character for character in text if character.isalnum())


# ---- executing ----


def check(text: str, refined: Refined, mode: str) -> None:
    """What holds for every result."""
    assert refined.status in ("refined", "unchanged", "dropped", "fallback", "quarantined")
    assert (refined.lines_in, refined.chars_in) == (text.count("\n") + 1, len(text))
    if mode == "tag":
        assert refined.text is text
        return
    assert (refined.text is None) == (refined.status == "dropped")
    if refined.status == "dropped":
        assert (refined.lines_out, refined.words_out, refined.chars_out) == (0, 0, 0)
    elif refined.status == "quarantined":
        assert refined.text is text
    else:
        assert refined.text is not None
        assert refined.words_in == len(find_words(text))
        assert refined.words_out == len(find_words(refined.text))
        assert refined.chars_out == len(refined.text)
        assert refined.lines_out == refined.text.count("\n") + 1 or (refined.text, refined.lines_out) == ("", 0)
    if refined.status in ("unchanged", "fallback"):
        assert refined.text is text and not refined.edits
    if refined.status == "refined":
        assert refined.edits


programs_of_any_kind = st.builds(
    DocumentPrograms,
    st.one_of(st.none(), st.just("keep_doc()"), sources),
    st.lists(
        st.builds(
            ChunkProgram,
            st.integers(0, 3),
            st.integers(-1, 8),
            st.integers(-1, 8),
            sources,
            st.one_of(st.none(), st.lists(st.floats(), max_size=9).map(tuple)),
            cut_line=st.booleans(),
            error=st.one_of(st.none(), st.none(), st.just("lost")),
        ),
        max_size=3,
    ).map(tuple),
    st.one_of(st.none(), st.floats()),
)
any_guards = st.sampled_from(
    [Guards(), FREE, Guards(allow_new_words=True, min_words=0), Guards(max_bytes=20, max_lines=3)]
)


@given(
    st.one_of(texts, documents),
    st.one_of(sources, programs_of_any_kind),
    st.sampled_from(["strict", "gair"]),
    st.sampled_from(sorted(DIALECTS)),
    any_guards,
    st.sampled_from([None, Thresholds(0.5, 0.5)]),
    st.sampled_from(MODES),
)
@settings(max_examples=800)
def test_executing_never_raises(
    text: str, programs: Any, policy: str, dialect: str, guards: Guards, thresholds: Thresholds | None, mode: str
) -> None:
    refined = execute(text, programs, policy, dialect=dialect, guards=guards, thresholds=thresholds, mode=mode)
    assert refined.reason != "execute_failed", refined.errors
    check(text, refined, mode)
    other = execute(text, programs, policy, dialect=dialect, guards=guards, thresholds=thresholds, mode=mode)
    assert other == refined


def replay(text: str, refined: Refined) -> str:
    """Make the edits by hand, on the original lines."""
    rows: dict[int, str | None] = dict(enumerate(text.split("\n")))
    for edit in reversed(refined.edits):
        if edit.start is None:
            removed = [rows[line] for line in range(edit.first_line, edit.last_line + 1)]
            assert "\n".join(line for line in removed if line is not None) == edit.removed
            rows |= dict.fromkeys(range(edit.first_line, edit.last_line + 1))
        else:
            line = rows[edit.first_line]
            assert line is not None and edit.first_line == edit.last_line
            assert line[edit.start : edit.end] == edit.removed
            rows[edit.first_line] = line[: edit.start] + edit.inserted + line[edit.end :]
    return "\n".join(line for line in rows.values() if line is not None)


@given(fitting)
@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
def test_the_edits_explain_the_text_and_bring_in_no_new_word(case: tuple[str, list[ops.Operation]]) -> None:
    text, program = case
    refined = execute(text, write(program), guards=FREE)
    check(text, refined, "refine")
    assert refined.text is not None
    assert replay(text, refined) == refined.text
    known = {word.casefold() for word in find_words(text)}
    for edit in refined.edits:
        rest = iter("".join(find_words(edit.removed)).casefold())
        from_source = all(letter in rest for letter in "".join(find_words(edit.inserted)).casefold())
        assert from_source or {word.casefold() for word in find_words(edit.inserted)} <= known
    tagged = execute(text, write(program), guards=FREE, mode="tag")
    assert tagged.text is text and tagged.edits == refined.edits and tagged.words_out == refined.words_out


@given(fitting)
@settings(max_examples=300)
def test_kept_and_removed_lines_are_the_documents_lines(case: tuple[str, list[ops.Operation]]) -> None:
    text, program = case
    program = [operation for operation in program if isinstance(operation, ops.RemoveLines)]
    refined = execute(text, write(program), guards=FREE)
    gone = {n for edit in refined.edits for n in range(edit.first_line, edit.last_line + 1)}
    assert gone == {n for operation in program for n in range(operation.line_start, operation.line_end + 1)}
    rows = text.split("\n")
    assert refined.text == "\n".join(line for n, line in enumerate(rows) if n not in gone)
    assert sum(edit.removed.count("\n") + 1 for edit in refined.edits) == len(gone)
    assert refined.lines_out == len(rows) - len(gone)


def slow_strict(text: str, program: list[ops.Operation]) -> str | None:
    """The rules of `strict` written down once more, one character at a time; None where an operation is an error."""
    rows = text.split("\n")
    gone = {n for o in program if isinstance(o, ops.RemoveLines) for n in range(o.line_start, o.line_end + 1)}
    marks = [[None] * len(row) for row in rows]
    news: list[list[str | None]] = [list(row) for row in rows]
    for operation in program:
        if not isinstance(operation, ops.Normalize):
            continue
        if not operation.source or not any(operation.source in row for row in rows):
            return None
        size = len(operation.source)
        for n, row in enumerate(rows):
            place = row.find(operation.source)
            while place >= 0:
                if n not in gone and operation.target != operation.source and not any(marks[n][place : place + size]):
                    marks[n][place : place + size] = [True] * size  # type: ignore[list-item]
                    news[n][place : place + size] = [operation.target] + [""] * (size - 1)
                place = row.find(operation.source, place + size)
    return "\n".join("".join(map(str, news[n])) for n in range(len(rows)) if n not in gone)


@given(fitting)
@settings(max_examples=600)
def test_strict_does_what_its_rules_say(case: tuple[str, list[ops.Operation]]) -> None:
    text, program = case
    program = list(dict.fromkeys(program))
    refined = execute(
        text, write(program), guards=Guards(max_errors=1, max_removed_ratio=1.0, min_words=0, allow_new_words=True)
    )
    expected = slow_strict(text, program)
    if expected is None:
        assert (refined.status, refined.text) == ("fallback", text)
    else:
        assert refined.text == expected


@given(documents, st.lists(st.tuples(st.integers(-4, 20), st.integers(-4, 20)), max_size=5))
def test_gair_removes_the_lines_of_its_ranges(text: str, ranges: list[tuple[int, int]]) -> None:
    text += "\n" + "w " * 2000
    program = "\n".join(f"remove_lines(line_start={start}, line_end={end})" for start, end in ranges)
    refined = execute(text, program, "gair")
    rows = text.split("\n")
    gone = {n for start, end in ranges for n in range(start, end + 1)}
    if refined.status == "dropped":
        assert len(rows) - 1 in gone
    elif refined.status == "fallback":
        assert len(refined.errors) >= 2 and refined.text == text
    else:
        assert refined.text == "\n".join(row for n, row in enumerate(rows) if n not in gone)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0]))
def test_scores_become_the_program_that_removes_their_lines(scores: list[float], first: int, threshold: float) -> None:
    text = "\n".join(f"{n}" for n in range(first + len(scores)))
    program = program_from_scores(scores, first, threshold)
    assert str(parse_program(program)) == program
    chunk = ChunkProgram(0, first, first + len(scores) - 1, program)
    refined = execute(text, DocumentPrograms(None, (chunk,)), guards=FREE)
    kept = [str(n) for n in range(first)]
    kept += [str(first + n) for n, score in enumerate(scores) if score < threshold]
    assert refined.text == "\n".join(kept)
    assert not refined.errors
