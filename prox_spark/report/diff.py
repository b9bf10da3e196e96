"""Draw a page before and after from its refined text and its edits alone: the source is not needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prox_spark.report.summary import EditRow, SamplePage


@dataclass(frozen=True)
class DiffLine:
    """One line of a page.

    kind: `keep`, `remove`, `insert`, `change` (parts of it edited), or `skip` (a run of kept lines that is left out).
    number: of the line in the page as it came, from 0; of an inserted line that of the line above it, or -1.
    parts: (`keep`, `remove` or `insert`, text) in order.
    """

    kind: str
    number: int
    parts: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The line as it came in."""
        return "".join(text for kind, text in self.parts if kind != "insert")


def diff_page(page: SamplePage, context: int | None = None) -> tuple[DiffLine, ...]:
    """Return the page's lines with what happened to each.

    With `context`, kept lines further than that from an edit are left out. A dropped page has no text: it is drawn from
    what its edits hold, which may be nothing.
    """
    lines = tuple(_lines(page))
    return lines if context is None else near(lines, [line.kind != "keep" for line in lines], context)


def _lines(page: SamplePage) -> Iterator[DiffLine]:
    removed = dict(_removed_lines(page.edits))
    inline: dict[int, list[EditRow]] = {}
    added: dict[int, list[str]] = {}
    for edit in page.edits:
        if edit.operation == "add_line":
            added.setdefault(edit.first_line, []).append(edit.inserted)
        elif edit.start is not None:
            inline.setdefault(edit.first_line, []).append(edit)
    kept = page.text.split("\n") if page.text is not None else []
    position = 0
    for number in range(-1, page.lines_in):
        if number in removed:
            yield DiffLine("remove", number, (("remove", removed[number]),))
            position += page.original
        elif number >= 0 and position < len(kept):
            yield _kept_line(number, kept[position], inline.get(number, []), page.original)
            position += 1
        for content in added.get(number, []):
            yield DiffLine("insert", number, (("insert", content),))
            position += not page.original


def _removed_lines(edits: Sequence[EditRow]) -> Iterator[tuple[int, str]]:
    for edit in edits:
        if edit.operation == "remove_lines":
            yield from enumerate(edit.removed.split("\n"), edit.first_line)


def _kept_line(number: int, line: str, edits: list[EditRow], original: bool) -> DiffLine:
    """A line that stays: `line` is as it was (original), else after its edits, whose positions are those before."""
    parts: list[tuple[str, str]] = []
    at, shift = 0, 0
    for edit in sorted(edits, key=lambda e: e.start or 0):
        start = (edit.start or 0) - (0 if original else shift)
        length = len(edit.removed) if original else len(edit.inserted)
        parts += [("keep", line[at:start]), ("remove", edit.removed), ("insert", edit.inserted)]
        at = start + length
        shift += len(edit.removed) - len(edit.inserted)
    parts.append(("keep", line[at:]))
    return DiffLine("change" if edits else "keep", number, tuple(part for part in parts if part[1]))


def near(lines: Sequence[DiffLine], marked: Sequence[bool], context: int) -> tuple[DiffLine, ...]:
    """Return the marked lines with so many lines around each; runs of others are left out and counted."""
    shown = {n for at, mark in enumerate(marked) if mark for n in range(at - context, at + context + 1)}
    found: list[DiffLine] = []
    skipped: list[DiffLine] = []
    for n, line in enumerate(lines):
        if n not in shown:
            skipped.append(line)
            continue
        found += [*_skip(skipped), line]
        skipped = []
    return (*found, *_skip(skipped))


def _skip(lines: Sequence[DiffLine]) -> list[DiffLine]:
    if not lines:
        return []
    gone = sum(line.kind == "remove" for line in lines)
    text = f"{len(lines)} more line{'' if len(lines) == 1 else 's'}, {gone} removed"
    if not gone:
        text = f"{len(lines)} more line{'' if len(lines) == 1 else 's'} kept"
    return [DiffLine("skip", lines[-1].number, (("keep", text),))]
