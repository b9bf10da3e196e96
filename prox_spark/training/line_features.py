"""What the line classifier knows of a line beside its words: its shape, its place in the document, its neighbours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]

# How far a line sees its neighbours one by one, and how wide the windows are over which it sees their means.
NEIGHBOURS = 3
WINDOWS = (2, 5, 12, 30)
# Of the linear model: beyond it is as sure as it gets.
MAX_MARGIN = 6.0
# So many columns of the shape, the first, are asked of the neighbours too.
_ASKED = 3

_FREQUENT = (
    "a about all also an and any are as at be because been but by can did do for from had has have he her his how i if "
    "in into is it its just like more my no not now of on one only or other our out over said she so some than that "
    "the their them then there these they this to up was we were what when which who will with would you your"
)
_STOP_WORDS = frozenset(_FREQUENT.split())
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|$)")
_TERMINAL = (".", "!", "?", '."', ".”", "!”", "?”", ".’", ".)", '!"', '?"')
_BULLETS = ("•", "-", "*", "–", "·", "»", "›", "+", ">")
_LINK = re.compile(r"https?:|www\.|@\w+\.\w|\.(?:com|org|net)\b")
_DATE = re.compile(
    r"\b(?:19|20)\d\d\b|\d{1,2}[/:.]\d{1,2}|\b(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)\w*\b",
    re.I,
)
_SEPARATORS = re.compile(r"[|»›•·/>]")
_CALL = re.compile(
    r"\b(?:click|comments?|copyright|e-?mail|follow|log ?in|next|newsletter|posted|previous|privacy|read more|related|"
    r"repl(?:y|ies)|rights reserved|search|share|sign (?:in|up)|subscribe|tags?|terms|tweet|view)\b|©",
    re.I,
)


def shape_features(lines: Sequence[str]) -> Matrix:
    """One row a line: lengths, shares of kinds of characters and words, how it begins and ends, how often it occurs."""
    counts = Counter(line.strip() for line in lines)
    return np.array([_shape(line, counts) for line in lines], dtype=np.float32)


def _shape(line: str, counts: Counter[str]) -> list[float]:
    text = line.strip()
    words = text.split()
    length, many = max(1, len(text)), max(1, len(words))
    letters = sum(map(str.isalpha, text))
    sentences = len(_SENTENCE_END.findall(text))
    return [
        len(words),
        sum(word.lower().strip(".,!?;:\"'") in _STOP_WORDS for word in words) / many,
        text.endswith(_TERMINAL),
        len(text),
        len(text) / many,
        max(map(len, words), default=0),
        letters / length,
        sum(map(str.isdigit, text)) / length,
        sum(map(str.isupper, text)) / max(1, letters),
        sum(word[0].isupper() for word in words) / many,
        text.count(",") / many,
        sentences,
        sentences / many,
        text.endswith((":", ",", ";")),
        text.endswith(("...", "…", "[...]", "»", "more")),
        text.startswith(_BULLETS),
        text[:1].isupper(),
        text[:1].isdigit(),
        text[:1].islower(),
        text[:1] in ('"', "“", "'", "‘", "("),
        len(_LINK.findall(text)),
        len(_DATE.findall(text)),
        len(_SEPARATORS.findall(text)),
        len(_CALL.findall(text)),
        len(line) - len(line.lstrip()),
        min(counts[text], 20),
    ]


def place_features(lines: Sequence[str]) -> Matrix:
    """One row a line: where it stands, in lines and in words, and what the document looks like as a whole."""
    words = np.array([len(line.split()) for line in lines], dtype=np.float64)
    number, total = np.arange(len(lines)), max(1.0, words.sum())
    before = np.cumsum(words) - words
    ends = np.array([line.rstrip().endswith(_TERMINAL) for line in lines])
    prose = (words >= 10) & ends
    return np.column_stack(
        [
            number,
            len(lines) - 1 - number,
            number / max(1, len(lines) - 1),
            before,
            total - before - words,
            before / total,
            words / max(1.0, words.max()),
            _distance(prose),
            _distance(prose[::-1])[::-1],
            *(np.full(len(lines), value) for value in _document(words, ends, prose)),
        ]
    ).astype(np.float32)


def _document(words: npt.NDArray[np.float64], ends: npt.NDArray[np.bool_], prose: npt.NDArray[np.bool_]) -> list[float]:
    return [
        len(words),
        words.sum(),
        words.mean(),
        float(np.median(words)),
        words.max(),
        ends.mean(),
        prose.mean(),
        words[prose].sum() / max(1.0, words.sum()),
        float((words <= 3).mean()),
    ]


def _distance(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Lines since the last marked one, or the number of lines where there is none."""
    number = np.arange(len(marked))
    last = np.maximum.accumulate(np.where(marked, number, -len(marked)))
    return np.minimum(number - last, len(marked)).astype(np.float64)


def neighbour_features(columns: Matrix) -> Matrix:
    """For each column: the values of the lines around, means over windows before, after and around, and the whole mean.

    Beyond the ends of the document there is nan, which LightGBM knows as missing.
    """
    rows = len(columns)
    padded = np.full((rows + 2 * NEIGHBOURS, columns.shape[1]), np.nan, dtype=np.float32)
    padded[NEIGHBOURS : NEIGHBOURS + rows] = columns
    found = [padded[at : at + rows] for at in range(2 * NEIGHBOURS + 1) if at != NEIGHBOURS]
    sums = np.vstack([np.zeros((1, columns.shape[1])), np.cumsum(columns, axis=0, dtype=np.float64)])
    number = np.arange(rows)
    for width in WINDOWS:
        first, last = np.maximum(0, number - width), np.minimum(rows, number + width + 1)
        for start, end in ((first, number), (number + 1, last), (first, last)):
            many = np.maximum(1, end - start)[:, None]
            found.append(np.where((end > start)[:, None], (sums[end] - sums[start]) / many, np.nan))
    found.append(np.broadcast_to(columns.mean(axis=0), columns.shape))
    return np.hstack(found).astype(np.float32)


def line_features(lines: Sequence[str], margins: npt.NDArray[np.float64]) -> Matrix:
    """All features of a document's lines.

    margins: of the linear model that reads the lines' words, one a line, positive for lines that are to be removed.
    """
    shape = shape_features(lines)
    margin = np.clip(margins, -MAX_MARGIN, MAX_MARGIN)
    chance = 1 / (1 + np.exp(-margin))
    words = shape[:, 0]
    columns = np.column_stack([margin, chance * words, shape[:, :_ASKED]]).astype(np.float32)
    whole = np.full((len(lines), 1), (chance * words).sum() / max(1.0, float(words.sum())))
    parts: list[Matrix] = [
        margin[:, None].astype(np.float32),
        shape,
        place_features(lines),
        neighbour_features(columns),
    ]
    return np.hstack([*parts, whole.astype(np.float32)])
