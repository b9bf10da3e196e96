"""Reading a model's answer: scores, a clean text, or a program; what cannot be used is told by a code and in words."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

from prox_spark.program.execute import execute
from prox_spark.program.parser import parse_program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.refined import Guards
from prox_spark.program.words import find_words

# Share of a clean text's words that need not stand in the chunk: a model that writes more of its own has not cleaned.
MAX_NEW_WORDS = 0.05
# A program is judged by what it says; how much of a document may go is for EXECUTE to decide.
GUARDS = Guards(max_errors=1, max_removed_ratio=1.0, min_words=0)

# Templates of some models open the thought themselves, so that the answer has only its end.
_THOUGHT = re.compile(r"\A(?:\s*<think>)?.*?</think>", re.DOTALL)
_MARKS = ("<clean>", "</clean>", "</think>")
_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*?)\n?```\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Reading:
    """What an answer says.

    education, format: scores from 0 to 5. keep: the verdict that follows from them.
    text: the chunk as it would be, cleaned, or after its program.
    program: the program in canonical form.
    problem: code and words of why the answer cannot be used; the other fields are then None, but for `program`.
    """

    education: int | None = None
    format: int | None = None
    keep: bool | None = None
    text: str | None = None
    program: str | None = None
    problem: tuple[str, str] | None = None


def keeps(education: int, format_score: int) -> bool:
    """Return whether a document with these scores is kept: the rule of arXiv 2409.17115."""
    return education >= 3 or (education == 2 and format_score >= 4)


def read_answer(content: str, task: str, chunk_text: str, first_line: int = 0, dialect: str = "prox") -> Reading:
    """Read an answer to a task about a text. Never raises because of the answer.

    chunk_text: what was asked about. first_line: its first line's number in the document, from 0.
    """
    said = content if "</think>" in chunk_text else _THOUGHT.sub("", content)
    if task == "score":
        return _read_score(said)
    if task == "clean":
        return _read_clean(said, chunk_text)
    return _read_program(said, chunk_text, first_line, dialect)


def _read_score(said: str) -> Reading:
    start, end = said.find("{"), said.rfind("}")
    try:
        found = json.loads(said[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return _unusable("not_json", f"no JSON object in {_quoted(said)}")
    education, form = _score(found.get("education")), _score(found.get("format"))
    if education is None or form is None:
        wrong = {name: found.get(name) for name in ("education", "format")}
        return _unusable("wrong_score", f"scores must be whole numbers from 0 to 5: {_quoted(str(wrong))}")
    return Reading(education=education, format=form, keep=keeps(education, form))


def _score(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(6):
        return None
    return int(value)


def _read_clean(said: str, chunk_text: str) -> Reading:
    start, end = said.find("<clean>"), said.rfind("</clean>")
    if not 0 <= start < end:
        return _unusable("no_clean_text", f"no text between <clean> and </clean> in {_quoted(said)}")
    text = said[start + len("<clean>") : end].strip("\n")
    for mark in _MARKS:
        if mark in text and mark not in chunk_text:
            return _unusable("no_clean_text", f"{mark} within the text, in {_quoted(said)}")
    words, there = Counter(find_words(text.casefold())), Counter(find_words(chunk_text.casefold()))
    new = words - there
    if new.total() > MAX_NEW_WORDS * words.total():
        some = " ".join(list(new)[:10])
        return _unusable("new_words", f"{new.total()} of {words.total()} words do not stand in the chunk: {some}")
    return Reading(text=text)


def _read_program(said: str, chunk_text: str, first_line: int, dialect: str) -> Reading:
    fenced = _FENCE.match(said)
    written = (fenced[1] if fenced else said).strip()
    program = parse_program(written, dialect)
    if program.errors:
        error = program.errors[0]
        return _unusable("program_error", f"line {error.line}: {error.code}: {error.message}: {_quoted(error.source)}")
    if program.truncated or not program.operations:
        return _unusable("program_error", f"no whole program in {_quoted(said)}")
    canonical = str(program)
    # Line numbers count through the document; what stands before the chunk is stood in for by empty lines.
    before = "\n" * first_line
    last_line = first_line + chunk_text.count("\n")
    chunks = (ChunkProgram(0, first_line, last_line, canonical),)
    refined = execute(before + chunk_text, DocumentPrograms(None, chunks), dialect=dialect, guards=GUARDS)
    if refined.errors:
        error = refined.errors[0]
        problem = ("program_error", f"{error.code}: {error.message}: {_quoted(error.source)}")
        return Reading(program=canonical, problem=problem)
    return Reading(program=canonical, text=(refined.text or before)[first_line:])


def _unusable(code: str, detail: str) -> Reading:
    return Reading(problem=(code, detail))


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:200]}…")
