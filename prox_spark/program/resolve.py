"""Resolve a chunk's operations on the chunk as the model saw it: lines that go, strings that change, what is wrong."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from itertools import accumulate

from prox_spark.program import operations as ops
from prox_spark.program.words import folded_letters, folded_words

# Characters that the searches for one document's strings may look at: seconds of work, and more than a megabyte of text
# with a replacement every ten lines needs. What comes after is an error.
MAX_SCANNED = 2**32
# What an occurrence of a string costs, told in characters of searching: Python does something at each.
OCCURRENCE = 512
# Characters by which replacements may make a document longer: as many as it has, or so many if that is more.
MAX_GROWN = 2**22


_SURROGATE = re.compile("[\ud800-\udfff]")


class Unresolved(Exception):
    """An operation that cannot be applied to this chunk."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class Document:
    """A text and what is worked out of it at most once.

    Attributes:
        text: the whole text.
        lines: its lines.
        first_number: the number that the dialect gives to the first line, for messages.
        allow_new_words: replacements may bring in any word.
        scanned: characters looked at so far.
        grown: characters by which replacements make it longer so far.
    """

    text: str
    lines: list[str]
    first_number: int = 0
    allow_new_words: bool = False
    scanned: int = 0
    grown: int = 0
    _starts: list[int] | None = None

    @property
    def starts(self) -> list[int]:
        """For each line the place of its first character in the text, and one more, behind the last line."""
        if self._starts is None:
            self._starts = list(accumulate([len(line) + 1 for line in self.lines], initial=0))
        return self._starts

    def scan(self, characters: int) -> None:
        """Count work before it is done."""
        self.scanned += characters
        if self.scanned > MAX_SCANNED:
            raise Unresolved("work_limit", "the document's programs need more searching than is allowed")

    def grow(self, characters: int) -> None:
        """Count characters before they are put in."""
        self.grown += characters
        if self.grown > max(MAX_GROWN, len(self.text)):
            raise Unresolved("work_limit", "the document's programs would make it longer than is allowed")


@dataclass(slots=True)
class Replacement:
    """Strings to be replaced: the places where `source` stands in `text[first:last]`, one place or every one."""

    operation: str
    source: str
    target: str
    first: int
    last: int
    places: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class Resolved:
    """What a chunk's program does, with document numbering; nothing of it overlaps."""

    removed: list[tuple[int, int]] = field(default_factory=list)
    replaced: list[Replacement] = field(default_factory=list)
    added: list[tuple[int, int, str]] = field(default_factory=list)


class ChunkResolver:
    """Resolves the operations of one chunk, one after the other; `finish` then settles which of them meet.

    Args:
        document: the document.
        first: the chunk's first line.
        last: the chunk's last line, included.
        cut_line: the chunk is one line that the model saw cut, so strings in it cannot be trusted.
    """

    def __init__(self, document: Document, first: int, last: int, cut_line: bool) -> None:
        self.document = document
        self.first = first
        self.last = last
        self.cut_line = cut_line
        self.ranges: list[tuple[int, int]] = []
        self.resolved = Resolved()
        self._words: frozenset[str] | None = None

    def add(self, operation: ops.Operation) -> None:
        """Take in one operation.

        Raises:
            Unresolved: it cannot be applied to this chunk.
        """
        if isinstance(operation, ops.RemoveLines):
            self._add_range(operation.line_start, operation.line_end)
        elif isinstance(operation, ops.RemoveAll):
            self.ranges.append((self.first, self.last))
        elif isinstance(operation, ops.Normalize):
            self._add_normalize(operation.source, operation.target)
        elif isinstance(operation, ops.RemoveString):
            self._add_in_line("remove_str", operation.line, operation.string, "")
        elif isinstance(operation, ops.ReplaceString):
            self._add_in_line("replace_str", operation.line, operation.old, operation.new)
        elif isinstance(operation, ops.AddLine):
            self._add_line(operation)

    def finish(self) -> Resolved:
        """Make ranges disjoint, and find the places of strings that neither removed lines nor earlier edits take.

        Raises Unresolved where that is more work, or makes more text, than a document's programs may.
        """
        self._settle_ranges()
        if self.resolved.replaced:
            self._settle_strings()
        return self.resolved

    def _add_range(self, start: int, end: int) -> None:
        if start > end:
            raise Unresolved("reversed_range", f"the range ends before it begins, {self._range(start, end)}")
        if start < self.first or end > self.last:
            message = f"lines {self._range(start, end)} are not all in the chunk, {self._range(self.first, self.last)}"
            raise Unresolved("out_of_range", message)
        self.ranges.append((start, end))

    def _range(self, start: int, end: int) -> str:
        # Numbers in a program have at most 18 digits, those of operations made by hand may have any number.
        shown = [str(line) if abs(line) < 10**18 else "(huge)" for line in self._numbers(start, end)]
        return f"{shown[0]} to {shown[1]}"

    def _numbers(self, start: int, end: int) -> tuple[int, int]:
        return start + self.document.first_number, end + self.document.first_number

    def _add_normalize(self, source: str, target: str) -> None:
        self._check_strings(source, target)
        starts = self.document.starts
        first, last = starts[self.first], starts[self.last + 1] - 1
        self.document.scan(last - first)
        if self.document.text.find(source, first, last) < 0:
            raise Unresolved("not_found", "the string stands nowhere in the chunk")
        if source != target:
            self._check_new_words(source, target)
            self.resolved.replaced.append(Replacement("normalize", source, target, first, last))

    def _add_in_line(self, name: str, line: int, source: str, target: str) -> None:
        self._check_strings(source, target)
        self._check_line(line, self.first)
        starts = self.document.starts
        first, last = starts[line], starts[line + 1] - 1
        self.document.scan(last - first)
        place = self.document.text.find(source, first, last)
        if place < 0:
            raise Unresolved("not_found", "the string does not stand in the line")
        if self.document.text.find(source, place + 1, last) >= 0:
            raise Unresolved("not_once", "the string stands in the line more than once")
        if source != target:
            self._check_new_words(source, target)
            self.resolved.replaced.append(Replacement(name, source, target, first, last))

    def _add_line(self, operation: ops.AddLine) -> None:
        if not self.document.allow_new_words:
            raise Unresolved("new_words", "adding lines needs allow_new_words")
        if self.cut_line:
            raise Unresolved("cut_line", "a line shown cut can only be kept or removed whole")
        _check_insertable(operation.content)
        self._check_line(operation.line, self.first - 1)
        self.resolved.added.append((operation.line, operation.index, operation.content))

    def _check_line(self, line: int, first: int) -> None:
        if not first <= line <= self.last:
            message = f"line {self._range(line, line).split()[0]} is not in the chunk, {self._range(first, self.last)}"
            raise Unresolved("out_of_range", message)

    def _check_strings(self, source: str, target: str) -> None:
        if not source:
            raise Unresolved("empty_source", "there is nothing to look for")
        if "\n" in source:
            raise Unresolved("line_break", "strings are looked for within one line")
        _check_insertable(target)
        if self.cut_line:
            raise Unresolved("cut_line", "a line shown cut can only be kept or removed whole")

    def _check_new_words(self, source: str, target: str) -> None:
        if not target or self.document.allow_new_words:
            return
        letters = iter(folded_letters(source))
        if all(letter in letters for letter in folded_letters(target)):
            return
        if self._words is None:
            starts = self.document.starts
            self._words = folded_words(self.document.text[starts[self.first] : starts[self.last + 1] - 1])
        if not folded_words(target) <= self._words:
            raise Unresolved("new_words", "the new string brings in a word that the chunk does not have")

    def _settle_ranges(self) -> None:
        after = self.first
        # Longer ranges first, so that one that lies within another leaves nothing.
        for start, end in sorted(self.ranges, key=lambda span: (span[0], -span[1])):
            if end >= after:
                self.resolved.removed.append((max(start, after), end))
                after = end + 1

    def _settle_strings(self) -> None:
        starts = self.document.starts
        base = starts[self.first]
        taken = bytearray(starts[self.last + 1] - base)
        for start, end in self.resolved.removed:
            taken[starts[start] - base : starts[end + 1] - base] = b"\1" * (starts[end + 1] - starts[start])
        for replacement in self.resolved.replaced:
            text, source = self.document.text, replacement.source
            self.document.scan(OCCURRENCE * text.count(source, replacement.first, replacement.last))
            _find_places(text, replacement, taken, base)
            self.document.grow(max(0, len(replacement.target) - len(source)) * len(replacement.places))
        self.resolved.replaced = [replacement for replacement in self.resolved.replaced if replacement.places]


def _check_insertable(string: str) -> None:
    if "\n" in string:
        raise Unresolved("line_break", "what is put in cannot have a line break in it")
    if not string.isascii() and _SURROGATE.search(string):
        raise Unresolved("not_utf8", "what is put in could not be stored: it has half of a surrogate pair")


def _find_places(text: str, replacement: Replacement, taken: bytearray, base: int) -> None:
    """Collect the places, left to right and without overlap, that are not taken, and take them."""
    source, last, places = replacement.source, replacement.last, replacement.places
    length = len(source)
    mark = b"\1" * length
    place = text.find(source, replacement.first, last)
    while place >= 0:
        start, end = place - base, place - base + length
        if taken.find(1, start, end) < 0:
            taken[start:end] = mark
            places.append(place)
        place = text.find(source, end + base, last)
