"""The policy `gair`: what the released executor of ProX does, oddities included, without its dangers.

Source of the facts: github.com/GAIR-NLP/ProX, the executors for documents and for chunks and the script that joins the
chunks' programs. They are written anew here; docs/program.md lists every oddity and the three differences: a text
without words is kept, a program that would let the text grow or the work pile up without bound is not applied, and a
range costs the same whatever its numbers are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prox_spark.program.operations import ProgramError
from prox_spark.program.outcome import Outcome
from prox_spark.program.programs import DocumentPrograms
from prox_spark.program.refined import Edit
from prox_spark.program.resolve import MAX_GROWN

REMOVED_RATIO = 0.95
FEW_WORDS = 10
MAX_ERRORS = 2
# More digits than CPython reads by default; the released code counts such a number as an error.
MAX_DIGITS = 4300
# Characters that a document's replacements may look at: far beyond any real program.
MAX_SCANNED = 2**32
# A string of one of these lines is a document's program, any other string a chunk's.
_DOCUMENT_CALLS = ("drop_doc()", "keep_doc()", "untouch_doc()")


class _TooMuchWork(Exception):
    """The replacements passed one of the bounds."""


@dataclass(slots=True)
class _Run:
    """The state of one document's joined chunk programs."""

    text: str
    lines: int
    ranges: list[tuple[int, int]] = field(default_factory=list)
    all_lines: bool = False
    errors: list[ProgramError] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)
    scanned: int = 0
    max_chars: int = MAX_GROWN

    def fail(self, code: str, message: str, number: int, source: str) -> None:
        """Count an error; the released code may count several for one operation."""
        self.errors.append(ProgramError(code, message, number, 1, source))


def run_gair(text: str, programs: DocumentPrograms, whole: bool = False) -> Outcome:
    """Apply a document's programs as the released executors do.

    Args:
        text: the document.
        programs: its programs, with the text exactly as the refiner wrote it.
        whole: the programs are one string given by a user.
    """
    doc_program = programs.doc_program
    chunks = programs.chunks
    if whole and chunks[0].program.strip() in _DOCUMENT_CALLS:
        doc_program, chunks = chunks[0].program, ()
    if doc_program is not None and "drop" in doc_program:
        return Outcome("dropped", "drop_doc")
    if not chunks:
        return Outcome("unchanged", None if doc_program is not None else "no_program")
    outcome = _run_chunks(text, "\n".join((chunk.program or "").strip(" ") for chunk in chunks))
    outcome.partial = any(chunk.error is not None for chunk in chunks)
    return outcome


def _run_chunks(text: str, program: str) -> Outcome:
    words_in = len(text.split())
    if not words_in:
        return Outcome("unchanged", "no_words")
    run = _Run(text, text.count("\n") + 1, max_chars=max(MAX_GROWN, 2 * len(text)))
    try:
        for number, operation in enumerate(program.strip(" ").split("\n"), 1):
            _run_operation(run, operation, number)
    except _TooMuchWork:
        return Outcome("fallback", "work_limit", errors=tuple(run.errors))
    kept = _remove(run)
    errors = tuple(run.errors)
    words = len(kept.split())
    if words / words_in <= 1 - REMOVED_RATIO and len(errors) < MAX_ERRORS:
        return Outcome("dropped", "max_removed_ratio", edits=tuple(run.edits), errors=errors)
    if words <= FEW_WORDS:
        return Outcome("dropped", "min_words", edits=tuple(run.edits), errors=errors)
    if len(errors) >= MAX_ERRORS:
        return Outcome("fallback", "max_errors", errors=errors)
    if kept == text:
        return Outcome("unchanged", errors=errors)
    return Outcome("refined", text=kept, lines_out=kept.count("\n") + 1, edits=tuple(run.edits), errors=errors)


def _run_operation(run: _Run, operation: str, number: int) -> None:
    """Apply one line of the program; a line that begins with neither name does nothing and is no error."""
    if operation.startswith("remove_lines"):
        if "all=True" in operation:
            run.all_lines = True
            return
        parameters = _parameters(run, operation, number)
        if parameters is None:
            return
        try:
            start = _whole_number(parameters[0].split("=")[1])
            end = _whole_number(parameters[1].split("=")[1])
        except (IndexError, ValueError):
            run.fail("wrong_value", "no two numbers after equals signs", number, operation)
            return
        run.ranges.append((start, end))
    elif operation.startswith("normalize"):
        parameters = _parameters(run, operation, number)
        if parameters is None or len(parameters) > 2:
            return
        try:
            source, *targets = [parameter.split("=")[1].strip('"') for parameter in parameters]
        except IndexError:
            run.fail("wrong_value", "no equals sign before a string", number, operation)
            return
        # Only the form with a target spares the single blank.
        if source and not (targets and source == " "):
            _replace(run, source, targets[0] if targets else "")


def _parameters(run: _Run, operation: str, number: int) -> list[str] | None:
    """Return what stands between the first opening and the first closing bracket, split at commas.

    Without a closing bracket that is an error, and the last character of the line is lost.
    """
    opening = operation.find("(")
    if opening < 0:
        run.fail("syntax", "no opening bracket", number, operation)
        return None
    closing = operation.find(")")
    if closing < 0:
        run.fail("syntax", "no closing bracket", number, operation)
    return operation[opening + 1 : closing].split(",")


def _whole_number(written: str) -> int:
    if len(written) > MAX_DIGITS and sum(map(str.isdigit, written)) > MAX_DIGITS:
        raise ValueError("too many digits")
    return int(written)


def _replace(run: _Run, source: str, target: str) -> None:
    """Replace every occurrence in the whole text, as the replacements before it left the text."""
    if source in run.absent or source == target:
        return
    run.scanned += len(run.text)
    if run.scanned > MAX_SCANNED:
        raise _TooMuchWork
    count = run.text.count(source)
    if not count:
        run.absent.add(source)
        return
    if len(run.text) + count * (len(target) - len(source)) > run.max_chars:
        raise _TooMuchWork
    run.text = run.text.replace(source, target)
    run.absent.clear()
    reason = f"occurrences={count}" if count > 1 else None
    run.edits.append(Edit("normalize", None, 0, run.lines - 1, None, None, source, target, reason))


def _remove(run: _Run) -> str:
    """Take out the lines of all ranges; count an error for each merged range that passes the end of the text."""
    merged = _merge(run.ranges)
    for start, end in merged:
        if start >= run.lines or end >= run.lines:
            run.fail("out_of_range", f"lines {start} to {end} pass the last line, {run.lines - 1}", 0, "")
    spans = [(0, run.lines - 1)] if run.all_lines else _clip(run.ranges, run.lines)
    if not spans:
        return run.text
    lines = run.text.split("\n")
    kept: list[str] = []
    after = 0
    for first, last in spans:
        kept += lines[after:first]
        removed = "\n".join(lines[first : last + 1])
        run.edits.append(Edit("remove_lines", None, first, last, None, None, removed, ""))
        after = last + 1
    kept += lines[after:]
    return "\n".join(kept)


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge ranges as the released code does for counting errors: by first line, and a reversed one like any other."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges, key=lambda span: span[0]):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _clip(ranges: list[tuple[int, int]], lines: int) -> list[tuple[int, int]]:
    """Return the lines that really go: within the text, reversed ranges empty, as disjoint spans in order."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        first, last = max(start, 0), min(end, lines - 1)
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(spans[-1][1], last))
        elif first <= last:
            spans.append((first, last))
    return spans
