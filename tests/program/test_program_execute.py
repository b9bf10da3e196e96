"""`execute` itself: its arguments, its promises, and where errors point to."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import prox_spark
from prox_spark.errors import ConfigError, PolicyError, ProxError
from prox_spark.program import execute as module
from prox_spark.program.execute import Guards, execute
from prox_spark.program.operations import Program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms

TEXT = "one two three\nfour five six\nseven eight nine ten\neleven twelve"


def test_the_caller_is_told_what_does_not_exist() -> None:
    with pytest.raises(PolicyError, match="unknown policy 'lenient'; known are strict, gair"):
        execute(TEXT, "", "lenient")
    with pytest.raises(PolicyError, match="unknown mode 'dry'; known are refine, tag"):
        execute(TEXT, "", mode="dry")
    with pytest.raises(ConfigError, match="unknown dialect"):
        execute(TEXT, "", dialect="latin")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0},
        {"max_lines": 0},
        {"max_errors": 0},
        {"min_words": -1},
        {"max_removed_ratio": 1.1},
        {"max_removed_ratio": -0.1},
        {"max_removed_ratio": float("nan")},
    ],
)
def test_guards_must_make_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProxError, match=next(iter(wrong))):
        Guards(**wrong)


def test_no_text_is_quarantined() -> None:
    refined = execute(None, "drop_doc()")  # type: ignore[arg-type]
    assert (refined.status, refined.reason, refined.text) == ("quarantined", "null_text", None)


def test_an_error_of_our_own_costs_one_document_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RecursionError("deep")

    monkeypatch.setattr(module, "run_strict", broken)
    refined = execute(TEXT, "keep_chunk()")
    assert (refined.status, refined.reason, refined.text) == ("fallback", "execute_failed", TEXT)
    assert refined.errors[0].message == "RecursionError: deep"
    assert refined.words_out == refined.words_in == 12


def test_programs_that_are_not_programs_cost_one_document() -> None:
    nonsense = DocumentPrograms(5, (ChunkProgram(None, "a", None, 7),))  # type: ignore[arg-type]
    for policy in ("strict", "gair"):
        assert execute(TEXT, nonsense, policy).status == "fallback"


def test_a_program_that_is_missing_says_nothing() -> None:
    missing = DocumentPrograms(None, (ChunkProgram(0, 0, 3, None),))  # type: ignore[arg-type]
    for policy in ("strict", "gair"):
        assert execute(TEXT, missing, policy).status == "unchanged"


def test_errors_point_to_chunk_and_line() -> None:
    programs = DocumentPrograms(
        "keep_doc()",
        (ChunkProgram(0, 0, 1, "keep_chunk()"), ChunkProgram(1, 2, 3, "keep_chunk()\n\nremove_lines(0, 3)\nfoo()")),
    )
    errors = execute(TEXT, programs).errors
    assert [(error.chunk, error.line, error.code) for error in errors] == [
        (1, 4, "unknown_operation"),
        (1, 3, "out_of_range"),
    ]
    assert errors[1].source == "remove_lines(line_start=0, line_end=3)"
    assert errors[1].message == "lines 0 to 3 are not all in the chunk, 2 to 3"


def test_messages_count_lines_as_the_dialect_does() -> None:
    error = execute(TEXT, "remove_lines(2, 9)", dialect="ultrax").errors[0]
    assert error.source == "remove_lines(2, 9)"
    assert error.message == "lines 2 to 9 are not all in the chunk, 1 to 4"


def test_edits_name_their_chunk_but_in_gair() -> None:
    programs = DocumentPrograms(None, (ChunkProgram(4, 2, 3, "remove_lines(3, 3)"),))
    assert [edit.chunk for edit in execute(TEXT, programs).edits] == [4]
    line = "remove_lines(line_start=0, line_end=0)"
    assert [edit.chunk for edit in execute(TEXT + " x" * 20, line, "gair").edits] == [None]


def test_no_edit_hands_back_the_very_text() -> None:
    for program in ("keep_chunk()", 'normalize("one", "one")', "foo()", "foo()\nbar()", ""):
        assert execute(TEXT, program).text is TEXT


def test_gair_is_told_of_chunks_that_failed() -> None:
    programs = DocumentPrograms(None, (ChunkProgram(0, 0, 3, "", error="lost"),))
    refined = execute(TEXT, programs, "gair")
    assert (refined.partial, refined.text) == (True, TEXT)


def test_results_are_plain_frozen_values() -> None:
    refined = execute(TEXT, "remove_lines(0, 0)", guards=Guards(min_words=0))
    assert refined == execute(TEXT, "remove_lines(0, 0)", guards=Guards(min_words=0))
    assert dataclasses.asdict(refined)["edits"][0]["removed"] == "one two three"
    with pytest.raises(dataclasses.FrozenInstanceError):
        refined.text = ""  # type: ignore[misc]


def test_public_names() -> None:
    program = prox_spark.parse_program("remove_lines(0, 0)")
    assert isinstance(program, prox_spark.Program) and prox_spark.Program is Program
    assert prox_spark.execute(TEXT, str(program)).status == "dropped"
    assert isinstance(prox_spark.execute(TEXT, ""), prox_spark.Refined)
    assert prox_spark.DocumentPrograms is DocumentPrograms
    assert set(prox_spark.__all__) <= set(dir(prox_spark))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        prox_spark.nothing  # noqa: B018


def test_the_docs_name_every_code_and_their_example_works() -> None:
    root = Path(prox_spark.__file__).parent
    docs = (root.parent / "docs" / "program.md").read_text("utf-8")
    source = "\n".join(path.read_text("utf-8") for path in sorted((root / "program").glob("*.py")))
    makers = "_Refused|Unresolved|ProgramError|Outcome|_chunk_error|Refined|fail"
    calls = rf'(?:{makers})\((?:[a-z]+, )?"([a-z_0-9]+)"(?:, "([a-z_0-9]+)")?'
    codes = {code for found in re.findall(calls, source) for code in found if code}
    assert {"syntax", "not_a_literal", "new_words", "bad_chunk", "dropped", "drop_doc", "write_error"} <= codes
    assert [code for code in sorted(codes) if f"`{code}`" not in docs] == []
    example = docs.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["refined"].text == "The quick brown fox jumps over the lazy dog."
    assert len(names["refined"].edits) == 3


def test_a_document_that_keeps_its_text_for_a_contradiction_still_says_what_was_wrong() -> None:
    chunks = (ChunkProgram(0, 0, 0, "bogus()"), ChunkProgram(1, 1, 3, "remove_lines(all=True)"))
    refined = execute(TEXT, DocumentPrograms(None, chunks, doc_score=0.1))
    assert (refined.status, refined.reason, refined.text) == ("fallback", "contradiction", TEXT)
    assert refined.partial and [error.code for error in refined.errors] == ["unknown_operation"]


def test_a_repair_that_removes_nothing_drops_no_short_page() -> None:
    text = "He said \u201cno\u201d to us"
    program = 'normalize(source_str="\u201c", target_str="\\"")\nnormalize(source_str="\u201d", target_str="\\"")'
    assert execute(text, program).text == 'He said "no" to us'
    assert execute(text, 'normalize(source_str="no")').reason == "min_words"


def test_lines_that_are_added_are_told_in_the_order_of_the_text() -> None:
    refined = execute(
        TEXT, 'add_line(1, 2, "second")\nadd_line(1, 1, "first")', dialect="ultrax", guards=Guards(allow_new_words=True)
    )
    assert refined.text is not None and refined.text.split("\n")[1:3] == ["first", "second"]
    assert [edit.inserted for edit in refined.edits] == ["first", "second"]
