"""The golden cases of the program language: what each text and program must give, and what the case shows.

A line of golden.jsonl is one case. `kind` is `parse` or `execute`; `expect` names what must hold. A parse case expects
the canonical program, errors as `code@line:column` (a syntax
error without its column), and both flags. An execute case expects status, reason, text,
partial, the errors' codes, and where given edits (operation, first and last line, start, end, removed, inserted) and
counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prox_spark.program.execute import Guards, Refined, execute
from prox_spark.program.parser import parse_program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.scores import Thresholds

CASES = [json.loads(line) for line in (Path(__file__).parent / "golden.jsonl").read_text("ascii").splitlines()]
COUNTS = ("lines_in", "lines_out", "words_in", "words_out", "chars_in", "chars_out")


def cases(kind: str) -> list[Any]:
    return [pytest.param(case, id=f"{n}: {case['shows']}") for n, case in enumerate(CASES, 1) if case["kind"] == kind]


def read_programs(case: dict[str, Any]) -> DocumentPrograms | str:
    if "program" in case:
        return str(case["program"])
    fields = dict(case["programs"])
    chunks = []
    for chunk in fields.pop("chunks"):
        scores = chunk.pop("line_scores", None)
        chunks.append(ChunkProgram(**chunk, line_scores=None if scores is None else tuple(scores)))
    return DocumentPrograms(chunks=tuple(chunks), **fields)


def run(case: dict[str, Any]) -> Refined:
    languages = case.get("languages")
    thresholds = case.get("thresholds")
    return execute(
        case["text"],
        read_programs(case),
        case["policy"],
        dialect=case["dialect"],
        guards=Guards(**case.get("guards", {})),
        language=case.get("language"),
        languages=None if languages is None else tuple(languages),
        thresholds=None if thresholds is None else Thresholds(*thresholds),
        mode=case.get("mode", "refine"),
    )


def test_every_case_shows_something_of_its_own() -> None:
    assert len(CASES) >= 200
    assert len({case["shows"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", cases("parse"))
def test_parse(case: dict[str, Any]) -> None:
    program = parse_program(case["source"], case["dialect"])
    # Python versions differ in the column of a syntax error.
    places = [f"{e.code}@{e.line}" if e.code == "syntax" else f"{e.code}@{e.line}:{e.column}" for e in program.errors]
    found = {
        "program": str(program),
        "errors": places,
        "truncated": program.truncated,
        "looped": program.looped,
    }
    assert found == case["expect"]
    again = parse_program(str(program), case["dialect"])
    assert again.operations == program.operations
    assert [(error.code, error.source) for error in again.errors] == [(e.code, e.source) for e in program.errors]


@pytest.mark.parametrize("case", cases("execute"))
def test_execute(case: dict[str, Any]) -> None:
    refined = run(json.loads(json.dumps(case)))
    expect = case["expect"]
    found: dict[str, Any] = {
        "status": refined.status,
        "reason": refined.reason,
        "text": refined.text,
        "partial": refined.partial,
        "errors": [error.code for error in refined.errors],
    }
    found |= {name: getattr(refined, name) for name in COUNTS if name in expect}
    if "edits" in expect:
        found["edits"] = [
            [edit.operation, edit.first_line, edit.last_line, edit.start, edit.end, edit.removed, edit.inserted]
            for edit in refined.edits
        ]
    assert found == expect
