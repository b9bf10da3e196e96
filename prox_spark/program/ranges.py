"""The short way to what most programs say: whole lines to remove, in canonical form, in order, within the chunk.

What the short way does not know is read and resolved in full, so it never decides that anything is wrong.
"""

from __future__ import annotations

from prox_spark.program.parser import MAX_PROGRAM_CHARS, PLAIN_RANGE

# Programs repeat each other's calls, because documents number their lines alike.
MAX_KNOWN = 1 << 16

_ALL = "remove_lines(all=True)"


class _KnownCalls(dict[str, "tuple[int, int] | None"]):
    """First and last line of canonical calls; None for any other line of a program, which is not kept."""

    def __missing__(self, call: str) -> tuple[int, int] | None:
        match = PLAIN_RANGE.fullmatch(call)
        if match is None:
            return None
        if len(self) >= MAX_KNOWN:
            self.clear()
        self[call] = span = int(match[1]), int(match[2])
        return span


_KNOWN = _KnownCalls()


def read_ranges(program: str, first: int, last: int) -> list[tuple[int, int]] | None:
    """Return the ranges of lines that a program in dialect `prox` removes from a chunk, in order and disjoint.

    Args:
        program: the chunk's program.
        first: the chunk's first line.
        last: the chunk's last line, included.

    Returns:
        The ranges, or None where the program has to be read in full: it says something else, or not in canonical form,
        or its ranges overlap, are out of order, or do not lie within the chunk.
    """
    if program == _ALL:
        return [(first, last)]
    if len(program) > MAX_PROGRAM_CHARS:
        return None
    ranges: list[tuple[int, int]] = []
    after = first
    for call in program.split("\n"):
        span = _KNOWN[call]
        if span is None or span[0] < after or span[1] < span[0]:
            return None
        after = span[1] + 1
        ranges.append(span)
    return ranges if after <= last + 1 else None
