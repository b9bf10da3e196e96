"""Line up a raw text with its clean version, by deletions only: which lines stay, and what goes out of a mixed line.

The way of RefineX (arXiv 2507.03253): the smallest set of deletions that leads from the one to the other; what the
clean text adds or rewrites is left out, for a refiner that may only delete cannot learn it. In three steps, from sure
to unsure: lines that are equal, lines that hold a clean line and more, lines that were joined or broken up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import LCSseq, MatchingBlock

Span = tuple[int, int]

# A line is the source of a clean one when it has so much of its words, and either so many or such a share of its own.
PAIRED = 0.9
LEAST_WORDS, LEAST_SHARE = 4, 0.3
# More deletions than these within one line are a rewriting, not noise that was cut out.
MAX_DELETIONS = 5
# Comparing every line of a stretch with every other one stays below this number of comparisons.
MAX_COMPARISONS = 60_000

# Lining up takes a bit of memory for each pair of words in a stretch; this is 128 MiB.
MAX_PAIRS = 2**30

_TOKEN = re.compile(r"\w+|\W")
_WORD = re.compile(r"\w+")


class TooLong(Exception):
    """Two texts differ over so long a stretch that lining it up would need too much memory."""


@dataclass(frozen=True)
class Aligned:
    """What became of one raw line.

    Attributes:
        coverage: share of its words that stand in the clean text, in order, 0 to 1.
        partner: number of the clean line that it became; None where it is gone, was joined with others or broken up.
        deletions: the characters, as (start, end), whose deletion leads to the partner or comes closest to it; white
            space by itself is left alone.
    """

    coverage: float = 0.0
    partner: int | None = None
    deletions: tuple[Span, ...] = ()


def align(raw: Sequence[str], clean: Sequence[str]) -> list[Aligned]:
    """Say for every raw line what became of it in the clean text. Blank lines pair up with blank lines only.

    Raises TooLong where some thirty thousand words have to be compared with as many.
    """
    pairs = _equal_lines(raw, clean)
    for gap in _gaps(pairs, len(raw), len(clean)):
        pairs += _similar_lines(raw, clean, *gap)
    pairs.sort()
    found = [Aligned()] * len(raw)
    for gap in _gaps(pairs, len(raw), len(clean)):
        for number, aligned in _scattered_words(raw, clean, *gap):
            found[number] = aligned
    for number, partner in pairs:
        found[number] = _paired(raw[number], clean[partner], partner)
    return found


def common_words(raw: str, clean: str) -> int:
    """Length of the longest common subsequence of two lines' words."""
    return LCSseq.similarity(_WORD.findall(raw), _WORD.findall(clean))


def _equal_lines(raw: Sequence[str], clean: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of lines that are equal but for white space; blank ones only where their neighbours leave no doubt."""
    here = [(number, key) for number, line in enumerate(raw) if (key := " ".join(line.split()))]
    there = [(number, key) for number, line in enumerate(clean) if (key := " ".join(line.split()))]
    blocks = _common([key for _, key in here], [key for _, key in there])
    return [(here[b.a + i][0], there[b.b + i][0]) for b in blocks for i in range(b.size)]


def _gaps(pairs: Sequence[tuple[int, int]], raw_end: int, clean_end: int) -> list[tuple[int, int, int, int]]:
    """The stretches between pairs that have lines on the raw side: first and end of both sides."""
    gaps, before = [], (-1, -1)
    for pair in [*pairs, (raw_end, clean_end)]:
        if pair[0] > before[0] + 1:
            gaps.append((before[0] + 1, pair[0], before[1] + 1, pair[1]))
        before = pair
    return gaps


def _similar_lines(
    raw: Sequence[str], clean: Sequence[str], first: int, end: int, clean_first: int, clean_end: int
) -> list[tuple[int, int]]:
    """The pairs in a stretch that, in order and one to one, keep most of the clean text."""
    rows, columns = end - first, clean_end - clean_first
    if not columns or rows * columns > MAX_COMPARISONS:
        return []
    here = [_WORD.findall(line) for line in raw[first:end]]
    there = [_WORD.findall(line) for line in clean[clean_first:clean_end]]
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            weight = _weight(here[i], there[j], raw[first + i], clean[clean_first + j])
            paired = weight + best[i + 1][j + 1] if weight else 0.0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], paired)
    pairs, i, j = [], 0, 0
    while i < rows and j < columns:
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            pairs.append((first + i, clean_first + j))
            i, j = i + 1, j + 1
    return pairs


def _weight(here: list[str], there: list[str], raw: str, clean: str) -> float:
    if not here and not there:
        # Blank lines pair up, and lines of signs alone with their like, but less gladly than words do.
        return 0.5 if raw.strip() == clean.strip() else 0.0
    if not here or not there or len(here) < PAIRED * len(there):
        return 0.0
    common = LCSseq.similarity(here, there)
    enough = common >= LEAST_WORDS or common >= LEAST_SHARE * len(here)
    # Of two lines that hold the clean one, the shorter loses less.
    return common - len(raw) * 1e-6 if enough and common >= PAIRED * len(there) else 0.0


def _scattered_words(
    raw: Sequence[str], clean: Sequence[str], first: int, end: int, clean_first: int, clean_end: int
) -> list[tuple[int, Aligned]]:
    """Coverage of a stretch's raw lines by its clean words, whatever the lines of both."""
    there = [word for line in clean[clean_first:clean_end] for word in _WORD.findall(line)]
    if not there:
        return []
    words = [(number, word) for number in range(first, end) for word in _WORD.findall(raw[number])]
    blocks = _common([word for _, word in words], there)
    kept = [0] * (end - first)
    for block in blocks:
        for number, _ in words[block.a : block.a + block.size]:
            kept[number - first] += 1
    counts = [0] * (end - first)
    for number, _ in words:
        counts[number - first] += 1
    return [(first + i, Aligned(kept[i] / counts[i])) for i in range(end - first) if kept[i]]


def _paired(raw: str, clean: str, partner: int) -> Aligned:
    if raw == clean:
        return Aligned(1.0, partner)
    tokens = [(match.start(), match.end()) for match in _TOKEN.finditer(raw)]
    blocks = _common([raw[start:end] for start, end in tokens], _TOKEN.findall(clean))
    deletions, after = [], 0
    for block in blocks:
        if block.a > after and raw[tokens[after][0] : tokens[block.a - 1][1]].strip():
            deletions.append((tokens[after][0], tokens[block.a - 1][1]))
        after = block.a + block.size
    words = _WORD.findall(raw)
    coverage = common_words(raw, clean) / len(words) if words else 1.0
    return Aligned(coverage, partner, tuple(deletions) if len(deletions) <= MAX_DELETIONS else ())


def _common(here: list[str], there: list[str]) -> list[MatchingBlock]:
    """The longest common subsequence of two sequences, as blocks."""
    if len(here) * len(there) > MAX_PAIRS:
        raise TooLong(f"{len(here)} pieces cannot be lined up with {len(there)}")
    return LCSseq.editops(here, there).as_matching_blocks()


def after_deletions(line: str, deletions: Sequence[Span]) -> str:
    """The line without these characters; spans are in order and apart."""
    pieces, copied = [], 0
    for start, end in deletions:
        pieces.append(line[copied:start])
        copied = end
    return "".join([*pieces, line[copied:]])
