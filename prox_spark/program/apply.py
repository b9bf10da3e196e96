"""Carry out resolved operations: the lines of the new text, the edits that explain it, and the words it lost."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import repeat
from math import inf

from prox_spark.program.refined import Edit
from prox_spark.program.resolve import Document, Replacement, Resolved
from prox_spark.program.words import count_words

# From this number of replaced strings on, a document's edits are summed up, one for each operation.
MAX_EDITS = 10_000


@dataclass(slots=True)
class Changes:
    """Everything that happens to one document, collected chunk by chunk in the order of the text.

    Attributes:
        document: the document.
        edits: what explains the changes.
        removed: ranges of removed lines, disjoint.
        changed: the new text of lines in which strings are replaced.
        added: line below which to insert, index among those inserted there, and the new line.
        singles: replaced strings that have an edit of their own.
    """

    document: Document
    edits: list[Edit] = field(default_factory=list)
    removed: list[tuple[int, int]] = field(default_factory=list)
    changed: dict[int, str] = field(default_factory=dict)
    added: list[tuple[int, int, str]] = field(default_factory=list)
    singles: int = 0

    def take(self, resolved: Resolved, chunk: int) -> None:
        """Take in what a chunk's program does."""
        lines = self.document.lines
        edits: list[Edit] = []
        for first, last in resolved.removed:
            removed = lines[first] if first == last else "\n".join(lines[first : last + 1])
            edits.append(Edit("remove_lines", chunk, first, last, None, None, removed, ""))
        self.removed += resolved.removed
        if resolved.replaced:
            self.changed.update(_edited_lines(self.document, resolved.replaced))
            for replacement in resolved.replaced:
                self._explain(replacement, chunk, edits)
        for line, _, content in sorted(resolved.added, key=lambda entry: entry[:2]):
            edits.append(Edit("add_line", chunk, line, line, None, None, "", content))
        self.added += resolved.added
        if resolved.replaced or resolved.added:
            edits.sort(key=_place)
        self.edits += edits

    def _explain(self, replacement: Replacement, chunk: int, edits: list[Edit]) -> None:
        """Add an edit for each place, or one for all places beyond the bound."""
        name, source, target, places = replacement.operation, replacement.source, replacement.target, replacement.places
        starts = self.document.starts
        single = min(len(places), max(MAX_EDITS - self.singles, 0))
        self.singles += single
        for place in places[:single]:
            line = bisect_right(starts, place) - 1
            start = place - starts[line]
            edits.append(Edit(name, chunk, line, line, start, start + len(source), source, target))
        if single < len(places):
            first, last = (bisect_right(starts, place) - 1 for place in (places[single], places[-1]))
            reason = f"occurrences={len(places) - single}"
            edits.append(Edit(name, chunk, first, last, None, None, source, target, reason))

    def count_words(self) -> tuple[int, int]:
        """Return how many words went, less those that came in their place, and how many inserted lines have.

        Lines are counted joined, because counting costs more by the call than by the character.
        """
        lines = self.document.lines
        gone = [line for first, last in self.removed for line in lines[first : last + 1]]
        lost = 0
        if self.changed:
            gone += [lines[number] for number in self.changed]
            lost = -count_words("\n".join(self.changed.values()))
        added = count_words("\n".join(content for _, _, content in self.added)) if self.added else 0
        return lost + count_words("\n".join(gone)), added

    def lines(self) -> list[str]:
        """Return the lines of the new text."""
        lines = self.document.lines
        if self.changed:
            lines = lines.copy()
            for number, new in self.changed.items():
                lines[number] = new
        if self.added:
            return self._lines_with_additions(lines)
        kept: list[str] = []
        after = 0
        for first, last in self.removed:
            kept += lines[after:first]
            after = last + 1
        kept += lines[after:]
        return kept

    def _lines_with_additions(self, lines: list[str]) -> list[str]:
        gone = bytearray(len(lines))
        for first, last in self.removed:
            gone[first : last + 1] = b"\1" * (last + 1 - first)
        below: dict[int, list[str]] = {}
        for number, _, content in sorted(self.added, key=lambda entry: entry[:2]):
            below.setdefault(number, []).append(content)
        kept = below.get(-1, [])
        for number, line in enumerate(lines):
            if not gone[number]:
                kept.append(line)
            kept += below.get(number, ())
        return kept


def _place(edit: Edit) -> tuple[int, float]:
    """Sort whole lines before what is in them, and what sums up places behind the places told one by one."""
    if edit.start is not None:
        return edit.first_line, edit.start
    return edit.first_line, -1 if edit.reason is None else inf


def _edited_lines(document: Document, replaced: list[Replacement]) -> Iterator[tuple[int, str]]:
    """Yield number and new text of every line in which strings are replaced, in order."""
    text, starts = document.text, document.starts
    line, line_end, copied = -1, -1, 0
    pieces: list[str] = []
    for place, index in _places_in_order([replacement.places for replacement in replaced]):
        if place >= line_end:
            if pieces:
                pieces.append(text[copied : line_end - 1])
                yield line, "".join(pieces)
                pieces = []
            line = bisect_right(starts, place) - 1
            copied, line_end = starts[line], starts[line + 1]
        pieces.append(text[copied:place])
        pieces.append(replaced[index].target)
        copied = place + len(replaced[index].source)
    if pieces:
        pieces.append(text[copied : line_end - 1])
        yield line, "".join(pieces)


def _places_in_order(places: list[array[int]]) -> Iterator[tuple[int, int]]:
    """Merge the places of several replacements, each in order, into pairs of place and number of the replacement."""
    if len(places) == 1:
        return zip(places[0], repeat(0))
    if sum(map(len, places)) < MAX_EDITS:
        return iter(sorted((place, number) for number, found in enumerate(places) for place in found))
    return merge(*(zip(found, repeat(number)) for number, found in enumerate(places)))
