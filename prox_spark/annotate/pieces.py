"""What is asked about: a document's beginning, or chunks of whole lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prox_spark.program.dialects import get_dialect
from prox_spark.text.chunks import pack
from prox_spark.text.lines import split_lines


@dataclass(frozen=True)
class Piece:
    """What one request is about.

    chunk: number of the chunk in its document, from 0; 0 for a whole document.
    first_line, last_line: of the document, from 0, both included.
    text: what the model is shown, without line numbers.
    skip: why nothing is asked: `blank` (no words to judge), `line_too_long` (one line longer than a chunk).
    """

    chunk: int
    first_line: int
    last_line: int
    text: str
    skip: str | None = None


def cut(text: str, task: str, max_chars: int) -> Iterator[Piece]:
    """Yield what is to be asked about a document, in order; every line is in exactly one chunk.

    score: the document's first `max_chars` characters. clean, program: greedy runs of whole lines, each with its
    newline at most `max_chars` characters.
    """
    if task == "score":
        shown = text[:max_chars]
        yield Piece(0, 0, shown.count("\n"), shown, None if shown.strip() else "blank")
        return
    lines = split_lines(text)
    for number, (first, last) in enumerate(pack((len(line) + 1 for line in lines), max_chars)):
        shown = "\n".join(lines[first : last + 1])
        skip = "line_too_long" if len(shown) > max_chars else None if shown.strip() else "blank"
        yield Piece(number, first, last, shown, skip)


def numbered(text: str, first_line: int, dialect: str) -> str:
    """Return a chunk's lines with their numbers in the document, counted as the dialect counts: `[007]a line`."""
    first = first_line + get_dialect(dialect).first_line
    return "\n".join(f"[{number:03d}]{line}" for number, line in enumerate(split_lines(text), first))
