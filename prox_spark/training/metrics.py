"""How close a refined text is to what a human kept: macro 4-gram precision, recall and F1, and harm.

The measure is the one of the scrapinghub article-extraction benchmark: per document the multiset of word 4-grams is
compared with that of the gold text, precision and recall are averaged over documents, F1 is computed from the means.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True)
class DocumentScore:
    """One document: its ``precision`` (``None`` without words), ``recall``, the raw text's recall, and counts of words.

    ``had``: words of the gold text that the raw text has. ``lost``: of these, words that the refined text lacks.
    """

    precision: float | None
    recall: float
    raw_recall: float
    had: int
    lost: int

    @property
    def f1(self) -> float:
        """Harmonic mean of the document's own precision and recall; 0 where it has no words."""
        return harmonic(self.precision or 0.0, self.recall)

    @property
    def harmed_absolute(self) -> bool:
        """Whether its recall is under 0.8, whatever the raw text's was."""
        return self.recall < 0.8

    @property
    def harmed_relative(self) -> bool:
        """Whether its recall is more than 0.1 below the raw text's."""
        return self.recall < self.raw_recall - 0.1


def harmonic(precision: float, recall: float) -> float:
    """F1 of a precision and a recall."""
    return 2 * precision * recall / max(1e-9, precision + recall)


def score_document(text: str | None, gold: str, raw: str) -> DocumentScore:
    """Score one refined text (``None``: dropped) against its gold and its raw text."""
    precision, recall = precision_recall(text, gold)
    in_raw = Counter(words(gold)) & Counter(words(raw))
    lost = (in_raw - Counter(words(text))).total()
    return DocumentScore(precision, recall, precision_recall(raw, gold)[1], in_raw.total(), lost)


def summarise(scores: Sequence[DocumentScore]) -> TextScore:
    """The means over documents."""
    precisions = [one.precision for one in scores if one.precision is not None]
    count = max(1, len(scores))
    precision, recall = sum(precisions) / max(1, len(precisions)), sum(one.recall for one in scores) / count
    return TextScore(
        precision=precision,
        recall=recall,
        f1=harmonic(precision, recall),
        harmed_absolute=sum(one.harmed_absolute for one in scores) / count,
        harmed_relative=sum(one.harmed_relative for one in scores) / count,
        gold_words_removed=sum(one.lost for one in scores) / max(1, sum(one.had for one in scores)),
        documents=len(scores),
    )


def score(rows: Iterable[tuple[str | None, str, str]]) -> TextScore:
    """Score ``(refined text or None, gold text, raw text)`` rows."""
    return summarise([score_document(*row) for row in rows])
