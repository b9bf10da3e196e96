"""What a line looks like, as numbers: what a model reads beside the tokens of a line.

The tokens of a long line are shown to the model cut short, and its window ends somewhere; these numbers know the whole
line and the whole document. They cost a fraction of a per cent of a prefill.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# A bundle names the version that its weights were trained with; any change to what follows is another version.
VERSION = 1
SHAPES = 24
_LINE_CHARS = 4096

_ADDRESS = re.compile(r"https?:|www\.|\.(?:com|org|net|html?)\b|@\w")
_BULLET = re.compile(r"\s*(?:[-*•·»>–+]|\d{1,3}[.)])\s")
_SEPARATOR = re.compile(r"[|»·•/>]")
_CODE = re.compile(r"[{}()<>=;_\\$#\[\]]")
_END = re.compile(r"[.!?…][\"'”’)\]]*\s*$")


def line_shapes(lines: Sequence[str]) -> npt.NDArray[np.float32]:
    """One row a line of a document, float32 [lines, SHAPES], each number between 0 and 2.

    Counts are logarithms over a usual largest value; shares are of the line's characters or words.
    """
    if not lines:
        return np.zeros((0, SHAPES), dtype=np.float32)
    stripped = [line.strip() for line in lines]
    same = Counter(stripped)
    own = np.array([_own(line, text, same[text]) for line, text in zip(lines, stripped, strict=True)], np.float32)
    number, total = np.arange(len(lines)), len(lines)
    words = own[:, 0]
    place = np.column_stack(
        [
            number / max(1, total - 1),
            _log(number, 1000),
            _log(total - 1 - number, 1000),
            np.full(total, _log(total, 1000)),
            np.full(total, words.mean()),
            np.full(total, own[:, 9].mean()),
        ]
    )
    clipped: npt.NDArray[np.float32] = np.clip(np.hstack([own, place]), 0, 2).astype(np.float32)
    return clipped


def _own(line: str, text: str, same: int) -> list[float]:
    shown = text if len(text) <= _LINE_CHARS else text[: _LINE_CHARS // 2] + text[-_LINE_CHARS // 2 :]
    words = shown.split()
    chars, many = max(1, len(shown)), max(1, len(words))
    letters = sum(map(str.isalpha, shown))
    return [
        float(_log(len(words) * len(text) / chars, 100)),
        float(_log(len(text), 600)),
        float(not text),
        letters / chars,
        sum(map(str.isdigit, shown)) / chars,
        sum(map(str.isupper, shown)) / max(1, letters),
        len(_SEPARATOR.findall(shown)) / many,
        sum(word[0].isupper() for word in words) / many,
        sum(len(word) > 3 for word in words) / many,
        float(_END.search(shown) is not None),
        float(shown.endswith((":", ","))),
        float(shown[:1].islower()),
        float(_BULLET.match(line[:80]) is not None),
        min(2.0, len(_ADDRESS.findall(shown)) / 2),
        float(_log(len(_CODE.findall(shown)), 20)),
        float(_log(shown.count(",") + shown.count("."), 10)),
        min(len(line) - len(line.lstrip()), 16) / 16,
        float(_log(same - 1, 10)),
    ]


def _log(value: npt.ArrayLike, usual: float) -> npt.NDArray[np.float64]:
    """0 for 0, 1 for the usual largest value."""
    logged: npt.NDArray[np.float64] = np.log1p(value) / np.log1p(usual)
    return logged
