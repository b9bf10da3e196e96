"""Which bytes may come next in the program for one chunk, so that all of it can be read and carried out there.

Programs are in canonical form. A call on the whole chunk stands alone, and a range begins behind the range before it.
More than a context-free grammar could say: a range ends where it begins or later, a string stands in the chunk (in its
line exactly once), and what replaces it brings in no word that the policy `strict` would refuse.
"""

from __future__ import annotations

import codecs
import os
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from prox_spark.program.dialects import get_dialect
from prox_spark.program.words import find_words, folded_letters, folded_words
from prox_spark.program.writer import quote
from prox_spark.text.chunks import Chunk
from prox_spark.text.lines import split_lines

NEWLINE = b"\n"
_DIGITS = [b"%d" % digit for digit in range(10)]
# What follows is up to the model: no byte of it is known.
_OPEN = b""
# In front of every character, so that a string is only ever found where characters begin.
_MARK = b"\xff"
_MARKED = _MARK + rb"\g<0>"
_CHARACTER = re.compile(rb"\\(?:x[0-9a-f]{0,2}|u[0-9a-f]{0,4}|U[0-9a-f]{0,8}|.)?|[\xc0-\xff][\x80-\xbf]*|.", re.DOTALL)
_CONTENT = re.compile(rb'(?:[^"\\]|\\.)*\\?', re.DOTALL)
_PLAIN_ESCAPES = re.compile(r'((?:[^"\\]|\\["\\])*)(\\?)')


class _Text:
    """A chunk's lines, and what is worked out of them when a program comes to speak of strings."""

    def __init__(self, text: str, first_number: int) -> None:
        self.lines = split_lines(text)
        self.first_number = first_number
        self.whole = text
        self._marked: dict[int, bytes] = {}

    @property
    def numbers(self) -> list[int]:
        """Numbers of the lines that are not empty."""
        return [number for number, line in enumerate(self.lines, self.first_number) if line]

    @cached_property
    def all_marked(self) -> bytes:
        """All lines as they stand in string literals."""
        return NEWLINE.join(map(_marked_line, self.lines))

    def marked(self, number: int | None) -> bytes:
        """One line as it stands in a string literal; None: all lines."""
        if number is None:
            return self.all_marked
        if number not in self._marked:  # asked for at every token of a string
            self._marked[number] = _marked_line(self.lines[number - self.first_number])
        return self._marked[number]

    @cached_property
    def words(self) -> frozenset[str]:
        """The chunk's words, case-folded."""
        return folded_words(self.whole)

    @cached_property
    def foreign(self) -> frozenset[str]:
        """The chunk's characters beyond ASCII that can stand in a string literal as they are."""
        return frozenset(c for c in set(self.whole) if c > "\x7f" and c.isprintable())

    @cached_property
    def usable(self) -> frozenset[str]:
        """All characters that a replacement may be made of."""
        return self.foreign | frozenset(map(chr, range(32, 127)))


class _Field(Protocol):
    """What a call holds between two pieces of fixed text; `before` are the values of the fields before it."""

    def split(self, rest: bytes) -> int:
        """How many bytes belong to this field."""
        ...

    def options(self, content: bytes, before: list[Any]) -> list[bytes]:
        """What may follow within the field; none: nothing may, or the content is not viable."""
        ...

    def value(self, content: bytes, before: list[Any]) -> Any:
        """The value of the whole content; None if it has none."""
        ...


@dataclass(frozen=True)
class _Number:
    """The number of a line; `later`: not less than the number before it."""

    numbers: Sequence[int]
    later: bool = False

    def split(self, rest: bytes) -> int:
        return len(rest) - len(rest.lstrip(b"0123456789"))

    def options(self, content: bytes, before: list[Any]) -> list[bytes]:
        numbers = self._allowed(before)
        return [digit for digit in _DIGITS if _begins(content + digit, numbers)]

    def value(self, content: bytes, before: list[Any]) -> int | None:
        if not content or len(content) > len(str(self.numbers[-1])):
            return None
        number = int(content)
        return number if b"%d" % number == content and number in self._allowed(before) else None

    def _allowed(self, before: list[Any]) -> Sequence[int]:
        return range(before[-1], self.numbers[-1] + 1) if self.later else self.numbers


@dataclass(frozen=True)
class _Source:
    """A string of the chunk; `once`: of the line whose number stands before it, where it stands once."""

    text: _Text
    once: bool = False

    def split(self, rest: bytes) -> int:
        return _content(rest)

    def options(self, content: bytes, before: list[Any]) -> list[bytes]:
        return [_OPEN] if _marked(content) in self._where(before) else []

    def value(self, content: bytes, before: list[Any]) -> str | None:
        where, string = self._where(before), _marked(content) + _MARK
        place = where.find(string)
        if not content or place < 0 or (self.once and where.find(string, place + 1) >= 0):
            return None
        return content.decode().encode("ascii", "backslashreplace").decode("unicode_escape")

    def _where(self, before: list[Any]) -> bytes:
        return self.text.marked(before[-1] if self.once else None)


@dataclass(frozen=True)
class _Target:
    """What replaces the string before it: of the letters of that string, or of words of the chunk."""

    text: _Text

    def split(self, rest: bytes) -> int:
        return _content(rest)

    def options(self, content: bytes, before: list[Any]) -> list[bytes]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            shown = decoder.decode(content)
        except UnicodeDecodeError:
            return []
        if pending := decoder.getstate()[0]:
            ends = [shown + c for c in self.text.foreign if c.encode().startswith(pending)]
        else:
            ends = [shown]
        return [_OPEN] if any(self._fits(one, before[-1], whole=False) for one in ends) else []

    def value(self, content: bytes, before: list[Any]) -> str | None:
        try:
            shown = content.decode()
        except UnicodeDecodeError:
            return None
        return shown if self._fits(shown, before[-1], whole=True) else None

    def _fits(self, shown: str, source: str, whole: bool) -> bool:
        """Whether `strict` takes this for a replacement, or if not `whole` some string that begins so."""
        escaped = _PLAIN_ESCAPES.fullmatch(shown)
        if escaped is None or (whole and escaped[2]) or not self.text.usable.issuperset(shown):
            return False
        # An escape that is not whole becomes a quote or a backslash: either way a word before it has ended.
        target = re.sub(r'\\(["\\])', r"\1", escaped[1]) + escaped[2]
        letters = iter(folded_letters(source))
        if all(letter in letters for letter in folded_letters(target)):
            return True
        words = find_words(target)
        begun = words.pop().casefold() if not whole and target.endswith(words[-1]) else ""
        if not all(word.casefold() in self.text.words for word in words):
            return False
        return not begun or any(word.startswith(begun) for word in self.text.words)


@dataclass(frozen=True)
class _Form:
    """One way to write a call: fixed text, and fields each with the fixed text after it."""

    head: bytes
    fields: tuple[tuple[_Field, bytes], ...] = ()
    alone: bool = False

    def read(self, call: bytes) -> tuple[list[bytes], list[Any]]:
        """What may follow (none: the call is not of this form; NEWLINE: it is whole), and the values of its fields."""
        values: list[Any] = []
        if not call.startswith(self.head):
            return _rest(self.head, call), values
        place = len(self.head)
        for field, end in self.fields:
            start, place = place, place + field.split(call[place:])
            content = call[start:place]
            value = field.value(content, values)
            if place == len(call):
                return [*field.options(content, values), *([] if value is None else [end])], values
            if value is None:
                return [], values
            values.append(value)
            if not call.startswith(end, place):
                return _rest(end, call[place:]), values
            place += len(end)
        return ([NEWLINE] if place == len(call) else []), values


@dataclass(frozen=True)
class State:
    """How far a program is: the call that is being written, whether one is whole, the first line for a range."""

    call: bytes
    begun: bool
    low: int


class Grammar:
    """Of the program for one chunk, or of a document's.

    dialect: of the program; a document's is always in `prox`.
    level: ``document`` or ``chunk``.
    chunk: whose lines may be removed, and in whose text strings have to stand.
    """

    def __init__(self, dialect: str, level: str, chunk: Chunk) -> None:
        self.level = level
        self.dialect = dialect
        first = get_dialect(dialect).first_line
        self.high = chunk.last_line + first
        # In a line that was shown cut nothing but the whole line can be meant.
        self.text = _Text("" if chunk.cut_line else chunk.text, chunk.first_line + first)
        self.start = State(b"", begun=False, low=chunk.first_line + first)
        self._known: dict[tuple[bool, int], tuple[_Form, ...]] = {}

    def advance(self, state: State, piece: bytes) -> State | None:
        """The state after more bytes; None where no program goes on like that."""
        *whole, call = (state.call + piece).split(NEWLINE)
        for line in whole:
            following = self._closed(replace(state, call=line))
            if following is None or not self._forms(following):
                return None
            state = following
        state = State(call, state.begun, state.low)
        return state if self._options(state) else None

    def may_end(self, state: State) -> bool:
        """Whether the program may end here: its last call is whole. A newline after it does no harm."""
        return (state.begun and not state.call) or self._options(state) == [NEWLINE]

    def forced(self, state: State) -> tuple[bytes, bool]:
        """The bytes that have to come, and whether the program then is over."""
        found = b""
        while True:
            piece = os.path.commonprefix(self._options(state)) or _OPEN  # noqa: RUF071 - bytes, no paths
            if piece in (_OPEN, NEWLINE):
                following = self._closed(state) if piece else None
                return found, following is not None and not self._forms(following)
            found += piece
            state = replace(state, call=state.call + piece)

    def next_bytes(self, state: State) -> frozenset[int] | None:
        """The bytes that may come next; None where that is up to the text."""
        options = self._options(state)
        return None if _OPEN in options else frozenset(option[0] for option in options)

    def _options(self, state: State) -> list[bytes]:
        """What may follow, one or more bytes each; none: the call is not viable."""
        call = state.call
        if not call:
            return [_OPEN]
        if not state.begun:
            call = call.removeprefix(b" ")  # many tokenizers put one in front of a text
        return [option for form in self._forms(state) for option in form.read(call)[0]]

    def _closed(self, state: State) -> State | None:
        """The state at the next call; None if this one is not whole."""
        call = state.call if state.begun else state.call.removeprefix(b" ")
        for form in self._forms(state):
            options, values = form.read(call)
            if options == [NEWLINE]:
                if form.alone:
                    return _END
                low = values[1] + 1 if form.head.startswith(b"remove_lines") else state.low
                return State(b"", begun=True, low=low)
        return None

    def _forms(self, state: State) -> tuple[_Form, ...]:
        """The calls that may stand at this place."""
        key = (state.begun, state.low)
        if key not in self._known:
            forms = _DOCUMENT if self.level == "document" else self._chunk_forms(state.low)
            self._known[key] = tuple(form for form in forms if not (state.begun and form.alone))
        return self._known[key] if state is not _END else ()

    def _chunk_forms(self, low: int) -> list[_Form]:
        alone = [_Form(call, alone=True) for call in _ALONE[self.dialect]]
        start, end = _Number(range(low, self.high + 1)), _Number(range(low, self.high + 1), later=True)
        between, after_range = (b", line_end=", b")") if self.dialect == "prox" else (b", ", b")")
        head = b"remove_lines(line_start=" if self.dialect == "prox" else b"remove_lines("
        forms = alone + ([_Form(head, ((start, between), (end, after_range)))] if low <= self.high else [])
        if not self.text.numbers:
            return forms
        line, everywhere = _Number(self.text.numbers), _Source(self.text)
        there, target = _Source(self.text, once=True), _Target(self.text)
        if self.dialect == "prox":
            head = b'normalize(source_str="'
            forms.append(_Form(head, ((everywhere, b'")'),)))
            forms.append(_Form(head, ((everywhere, b'", target_str="'), (target, b'")'))))
        elif self.dialect == "refinex":
            forms.append(_Form(b"remove_str(", ((line, b', "'), (there, b'")'))))
        else:
            forms.append(_Form(b"replace_str(", ((line, b', "'), (there, b'", "'), (target, b'")'))))
        return forms


_END = State(b"", begun=True, low=-1)
_DOCUMENT = [_Form(b"keep_doc()", alone=True), _Form(b"drop_doc()", alone=True)]
_ALONE = {
    "prox": (b"keep_chunk()", b"remove_lines(all=True)"),
    "refinex": (b"keep_all()",),
    "ultrax": (b"keep_all()", b"remove_all()"),
}


def _rest(fixed: bytes, given: bytes) -> list[bytes]:
    """What is left of a fixed text, if the bytes given are its beginning."""
    return [fixed[len(given) :]] if fixed.startswith(given) else []


def _begins(digits: bytes, numbers: Sequence[int]) -> bool:
    """Whether one of the numbers, which are sorted, is written with these digits first."""
    if digits.startswith(b"0"):
        return digits == b"0" and 0 in numbers
    first = last = int(digits)
    while first <= numbers[-1]:
        if numbers[bisect_left(numbers, first)] <= last:
            return True
        first, last = 10 * first, 10 * last + 9
    return False


def _content(rest: bytes) -> int:
    """How many bytes stand before the quote that closes a string literal."""
    match = _CONTENT.match(rest)
    assert match is not None, "it matches the empty string"
    return match.end()


def _marked(content: bytes) -> bytes:
    """The content of a string literal with a mark before every character, which may be an escape."""
    return _CHARACTER.sub(_MARKED, content)


def _marked_line(line: str) -> bytes:
    return _marked(quote(line)[1:-1].encode()) + _MARK
