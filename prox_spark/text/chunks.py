"""Chunks: runs of whole lines that fit a refiner's window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Chunk:
    """One prompt's worth of lines.

    chunk: number of the chunk in its document, from 0.
    first_line, last_line: document line numbers, from 0, both included.
    cut_line: True if the chunk is one line that is longer than the window and was shown cut.
    token_ids: the whole prompt, ready for the model.
    line_ends: for formats that are scored, the position in ``token_ids`` of the token that ends each line
        (``last_line - first_line + 1`` of them); empty for formats that are decoded.
    text: for formats that are decoded, the chunk's lines as the document has them; empty for formats that are scored.
    """

    chunk: int
    first_line: int
    last_line: int
    cut_line: bool
    token_ids: tuple[int, ...]
    line_ends: tuple[int, ...] = ()
    text: str = field(default="", repr=False)

    @property
    def lines(self) -> int:
        """How many lines the chunk has."""
        return self.last_line - self.first_line + 1


def pack(counts: Iterable[int], budget: int) -> Iterator[tuple[int, int]]:
    """Greedy packing: (first, last) line, both included, of every chunk, in order.

    counts: tokens of each line, in document order.
    budget: a line joins the open chunk while the chunk's sum stays within it. A line that alone is over the budget is
        a chunk of its own. Same chunks as the code that was released with arXiv 2409.17115.
    """
    first, line, total = 0, -1, 0
    for line, count in enumerate(counts):
        if line > first and total + count > budget:
            yield first, line - 1
            first, total = line, 0
        total += count
    if line >= first:
        yield first, line
