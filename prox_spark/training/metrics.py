"""How close a refined text is to what a human kept: macro 4-gram precision, recall and F1, and harm.

The measure is the one of the scrapinghub article-extraction benchmark: per document the multiset of word 4-grams is
compared with that of the gold text, precision and recall are averaged over documents, F1 is computed from the means.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TextScore:
    """Means over documents, each between 0 and 1.

    ``precision`` leaves out documents without any word (a dropped document has no precision, but recall 0).
    ``harmed_absolute``: share of documents with recall under 0.8. ``harmed_relative``: share whose recall is more
    than 0.1 below the raw text's. ``gold_words_removed``: of the gold words that the raw text has, the share that the
    refined text lacks, over all documents.
    """

    precision: float
    recall: float
    f1: float
    harmed_absolute: float
    harmed_relative: float
    gold_words_removed: float
    documents: int

    def rounded(self) -> dict[str, float]:
        """The same numbers, rounded to four digits, for tables and JSON."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def words(text: str | None) -> list[str]:
    """The words of a text: runs of ``\\w``, case kept."""
    return _WORD.findall(text or "")


def shingles(text: str | None, size: int = 4) -> Counter[tuple[str, ...]]:
    """Multiset of word n-grams; all words as one when there are fewer than ``size``."""
    found = words(text)
    if not found:
        return Counter()
    return Counter(tuple(found[i : i + size]) for i in range(max(1, len(found) - size + 1)))


def precision_recall(text: str | None, gold: str | None) -> tuple[float | None, float]:
    """Precision (``None`` for a text without words) and recall (1 for a gold text without words) of one document."""
    have, want = shingles(text), shingles(gold)
    hit = sum((have & want).values())
    return (hit / sum(have.values()) if have else None), (hit / sum(want.values()) if want else 1.0)


def score(rows: Iterable[tuple[str | None, str, str]]) -> TextScore:
    """Score ``(refined text or None, gold text, raw text)`` rows."""
    precisions: list[float] = []
    recalls: list[float] = []
    absolute = relative = lost = had = 0
    for text, gold, raw in rows:
        precision, recall = precision_recall(text, gold)
        raw_recall = precision_recall(raw, gold)[1]
        if precision is not None:
            precisions.append(precision)
        recalls.append(recall)
        absolute += recall < 0.8
        relative += recall < raw_recall - 0.1
        in_raw = Counter(words(gold)) & Counter(words(raw))
        had += in_raw.total()
        lost += (in_raw - Counter(words(text))).total()
    count = max(1, len(recalls))
    p, r = sum(precisions) / max(1, len(precisions)), sum(recalls) / count
    return TextScore(
        precision=p,
        recall=r,
        f1=2 * p * r / max(1e-9, p + r),
        harmed_absolute=absolute / count,
        harmed_relative=relative / count,
        gold_words_removed=lost / max(1, had),
        documents=len(recalls),
    )
