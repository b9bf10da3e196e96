"""The rules of MassiveText, the corpus of Gopher: a document that fails one of them goes as a whole.

Source of every number: Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
arXiv 2112.11446, appendix A.1.1: "Quality filtering", and table A1 for "Repetition removal". Words are what white space
separates. A repeated n-gram counts from its second occurrence on, as in datatrove's `GopherRepetitionFilter`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from prox_spark.refiner.verdict import Verdict

# Quality filtering: "between 50 and 100,000 words", "mean word length [...] of 3 to 10 characters".
MIN_WORDS, MAX_WORDS = 50, 100_000
MIN_MEAN_LENGTH, MAX_MEAN_LENGTH = 3, 10
# "a symbol-to-word ratio greater than 0.1 for either the hash symbol or the ellipsis".
MAX_SYMBOLS_A_WORD = 0.1
# "more than 90% of lines starting with a bullet point, or more than 30% ending with an ellipsis".
MAX_BULLET_LINES, MAX_ELLIPSIS_LINES = 0.9, 0.3
BULLETS, ELLIPSES = ("•", "-"), ("...", "…")
# "80% of words in a document contain at least one alphabetic character".
MIN_ALPHABETIC_WORDS = 0.8
# "at least two of the following English words".
MIN_STOP_WORDS = 2
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))

# Table A1: shares of duplicate lines and paragraphs, and of their characters.
MAX_DUPLICATES = 0.30
MAX_DUPLICATE_CHARACTERS = 0.20
# Table A1: share of characters in the most frequent n-gram, and in all repeated n-grams.
MAX_TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}
MAX_REPEATED_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

_WORD = re.compile(r"[a-z]+")


def judge_gopher(lines: Sequence[str]) -> Verdict:
    """The verdict of all rules; never removes a line."""
    return Verdict(drop=next(_failed(lines), None))


def _failed(lines: Sequence[str]) -> Iterator[str]:
    """The rules that the document fails, cheap ones first; those on n-grams see bounded documents only."""
    words = " ".join(lines).split()
    if not MIN_WORDS <= len(words) <= MAX_WORDS:
        yield "words"
        return
    text = "\n".join(lines)
    filled = [line.strip() for line in lines if line.strip()]
    if not MIN_MEAN_LENGTH <= sum(map(len, words)) / len(words) <= MAX_MEAN_LENGTH:
        yield "mean_word_length"
    if max(text.count("#"), sum(map(text.count, ELLIPSES))) / len(words) > MAX_SYMBOLS_A_WORD:
        yield "symbols"
    if sum(line.startswith(BULLETS) for line in filled) / len(filled) > MAX_BULLET_LINES:
        yield "bullet_lines"
    if sum(line.endswith(ELLIPSES) for line in filled) / len(filled) > MAX_ELLIPSIS_LINES:
        yield "ellipsis_lines"
    if sum(any(map(str.isalpha, word)) for word in words) / len(words) < MIN_ALPHABETIC_WORDS:
        yield "alphabetic_words"
    if len(STOP_WORDS.intersection(_WORD.findall(text.lower()))) < MIN_STOP_WORDS:
        yield "stop_words"
    yield from _repetitive(filled, "lines")
    yield from _repetitive([part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()], "paragraphs")
    yield from _repeated_ngrams(words)


def _repetitive(parts: Sequence[str], what: str) -> Iterator[str]:
    again = [part for part, count in Counter(parts).items() for _ in range(count - 1)]
    if len(again) / len(parts) > MAX_DUPLICATES:
        yield f"duplicate_{what}"
    if sum(map(len, again)) / sum(map(len, parts)) > MAX_DUPLICATE_CHARACTERS:
        yield f"duplicate_{what}_characters"


def _repeated_ngrams(words: Sequence[str]) -> Iterator[str]:
    characters = sum(map(len, words))
    for size, limit in MAX_TOP_NGRAM.items():
        gram, count = Counter(_ngrams(words, size)).most_common(1)[0]
        if count > 1 and count * sum(map(len, gram)) / characters > limit:
            yield f"top_{size}_gram"
    for size, limit in MAX_REPEATED_NGRAMS.items():
        if _repeated_characters(words, size) / characters > limit:
            yield f"repeated_{size}_grams"


def _ngrams(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(islice(words, start, None) for start in range(size)), strict=False)


def _repeated_characters(words: Sequence[str], size: int) -> int:
    """Characters of the words that lie in an n-gram seen before; each word counts once."""
    seen: set[tuple[str, ...]] = set()
    characters, covered = 0, 0
    for start, gram in enumerate(_ngrams(words, size)):
        if gram in seen:
            characters += sum(map(len, words[max(start, covered) : start + size]))
            covered = start + size
        else:
            seen.add(gram)
    return characters
