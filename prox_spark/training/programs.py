"""Write programs for verdicts on lines: what goes whole, and what goes out of a line that stays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prox_spark.program import operations as ops
from prox_spark.training.alignment import Span, after_deletions

_TOKEN = re.compile(r"\w+|\W")
# Context around a deletion, in tokens at each side, until the string means this place and no other.
_CONTEXTS = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (2, 2), (4, 4), (8, 8), (16, 16), (1000, 1000))


@dataclass(frozen=True)
class Verdict:
    """What is to become of one line: ``remove`` it, or delete these spans of characters from it."""

    text: str
    remove: bool = False
    deletions: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Written:
    """A program for one chunk, and the text that it makes.

    Attributes:
        program: in the dialect's canonical form.
        clean: what is left of the text.
        complete: every deletion could be said; one that could not (a string that stands in too many places) is left out
            of both program and clean text.
    """

    program: str
    clean: str
    complete: bool


def write_programs(verdicts: Sequence[Verdict], dialect: str = "prox") -> Written:
    """Write the shortest program of a dialect that carries out the verdicts; line numbers count from 0.

    A text of which nothing stays is a removal of everything; whether to drop the document is another program's
    matter.
    """
    removed = _ranges([number for number, verdict in enumerate(verdicts) if verdict.remove])
    operations: list[ops.Operation] = [ops.RemoveLines(first, last) for first, last in removed]
    if removed == [(0, len(verdicts) - 1)] and dialect != "refinex":
        operations = [ops.RemoveAll()]
    searched = _Searched(verdicts)
    if dialect == "prox":
        operations += _everywhere(searched)
    else:
        operations += _by_line(searched, dialect)
    clean = "\n".join(
        after_deletions(verdict.text, sorted(searched.said.get(number, ())))
        for number, verdict in enumerate(verdicts)
        if not verdict.remove
    )
    wanted = sum(len(verdict.deletions) for verdict in verdicts if not verdict.remove)
    said = sum(map(len, searched.said.values()))
    program = ops.Program(tuple(operations) or (ops.KeepChunk(),), dialect=dialect)
    return Written(str(program), clean, said == wanted)


class _Searched:
    """The lines that stay, the deletions wanted in them, and those that operations so far have said."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self.lines = {number: verdict.text for number, verdict in enumerate(verdicts) if not verdict.remove}
        self.wanted = {number: verdicts[number].deletions for number in self.lines if verdicts[number].deletions}
        self.said: dict[int, set[Span]] = {}
        self._taken: dict[int, list[Span]] = {}

    def open_deletions(self) -> Iterator[tuple[int, Span]]:
        """Deletions that no operation has said yet, in the text's order."""
        for number, spans in self.wanted.items():
            for span in spans:
                if span not in self.said.get(number, ()):
                    yield number, span

    def free(self, number: int, region: Span, own: Span) -> bool:
        """Whether a string at this place touches no other deletion and no other operation's string."""
        others = [span for span in self.wanted.get(number, ()) if span != own]
        return not any(region[0] < end and start < region[1] for start, end in [*others, *self._taken.get(number, ())])

    def take(self, number: int, region: Span, span: Span) -> None:
        """An operation has said this deletion, by a string at this place."""
        self._taken.setdefault(number, []).append(region)
        self.said.setdefault(number, set()).add(span)


def _ranges(numbers: Sequence[int]) -> list[Span]:
    ranges: list[Span] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _everywhere(searched: _Searched) -> list[ops.Operation]:
    """``normalize`` works on every line that stays, so its string must stand only where it is to be deleted."""
    operations: list[ops.Operation] = []
    for number, span in searched.open_deletions():
        for source, target, offset in _strings(searched.lines[number], span):
            places = _places(searched, source, offset, span[1] - span[0])
            if places is None:
                continue
            operations.append(ops.Normalize(source, target))
            for line, region, deleted in places:
                searched.take(line, region, deleted)
            break
    return operations


def _places(searched: _Searched, source: str, offset: int, length: int) -> list[tuple[int, Span, Span]] | None:
    """Every place of the string with the deletion that it says there; None where it would do anything unwanted."""
    places = []
    for line, text in searched.lines.items():
        start, free_from = text.find(source), 0
        while start >= 0:
            region, deleted = (start, start + len(source)), (start + offset, start + offset + length)
            known = deleted in searched.wanted.get(line, ()) and deleted not in searched.said.get(line, ())
            if start < free_from or not known or not searched.free(line, region, deleted):
                return None
            places.append((line, region, deleted))
            free_from = region[1]
            start = text.find(source, start + 1)
    return places


def _by_line(searched: _Searched, dialect: str) -> list[ops.Operation]:
    """``remove_str`` and ``replace_str`` name their line, in which the string must stand once."""
    operations: list[ops.Operation] = []
    for number, span in searched.open_deletions():
        text = searched.lines[number]
        for source, target, offset in _strings(text, span):
            region = (span[0] - offset, span[0] - offset + len(source))
            if target and dialect == "refinex":
                continue  # it has no word for putting the context back
            if text.find(source, text.find(source) + 1) >= 0 or not searched.free(number, region, span):
                continue
            remove = ops.RemoveString(number, source)
            operations.append(remove if dialect == "refinex" else ops.ReplaceString(number, source, target))
            searched.take(number, region, span)
            break
    return operations


def _strings(line: str, span: Span) -> Iterator[tuple[str, str, int]]:
    """Strings that name a deletion, with more and more context: what to find, what is left, where the deletion is."""
    before = [match.start() for match in _TOKEN.finditer(line) if match.start() < span[0]]
    after = [match.end() for match in _TOKEN.finditer(line) if match.end() > span[1]]
    for left, right in _CONTEXTS:
        start = before[-min(left, len(before))] if left and before else span[0]
        end = after[min(right, len(after)) - 1] if right and after else span[1]
        target = line[start : span[0]] + line[span[1] : end]
        if target.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in target):
            yield line[start:end], target, span[0] - start
