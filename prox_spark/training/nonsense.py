"""Made texts that look like sentences and say nothing: disordered, crossed, garbled, repeated, interlarded with offers.

Part of the documents worth dropping of `negatives`, for training only.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from random import Random

from prox_spark.training.page import Page

MAX_LINES = 150
_SENTENCE_END = re.compile(r"(?<=[.!?]) +")
# What a wrong encoding and a bad scan make of letters.
_MISREAD = ("ï¿½", "â€™", "Ã©", "�", "rn", "|", "1", "0", "~", "^", "¬", "ii", "fi", ".", "")


def kept_lines(page: Page) -> list[str]:
    """The lines of a page that are worth keeping, blank ones left out."""
    return [line for line, remove in zip(page.lines, page.remove, strict=True) if not remove and line.strip()]


def sentences_of(page: Page, fewest_words: int = 6) -> list[str]:
    """The sentences of a page's kept text, in their order."""
    return [s for line in kept_lines(page) for s in _SENTENCE_END.split(line) if len(s.split()) >= fewest_words]


def disordered(pages: Sequence[Page], chance: Random) -> list[str]:
    """A text whose neighbouring words have changed places, so that each line keeps its words and loses its syntax."""
    window = chance.randint(3, 9)
    lines = []
    for line in _some_text(pages, chance):
        words = line.split()
        groups = [words[start : start + window] for start in range(0, len(words), window)]
        for group in groups:
            chance.shuffle(group)
        lines.append(" ".join(word for group in groups for word in group))
    return lines


def crossed(pages: Sequence[Page], chance: Random) -> list[str]:
    """Sentences that begin on one page and end on another."""
    sources = [found for _ in range(chance.randint(2, 6)) if (found := sentences_of(chance.choice(pages)))]
    if not sources:
        return []
    lines = []
    for _ in range(chance.randint(4, 25)):
        made = []
        for _ in range(chance.randint(1, 5)):
            head, tail = (chance.choice(chance.choice(sources)).split() for _ in range(2))
            made.append(" ".join([*head[: chance.randint(2, len(head) // 2)], *tail[len(tail) // 2 :]]))
        lines.append(" ".join(made))
    return lines


def garbled(pages: Sequence[Page], chance: Random) -> list[str]:
    """A text with a share of its letters misread, exchanged or lost, as bad scans and wrong encodings leave it."""
    rate, misread = chance.uniform(0.12, 0.45), chance.sample(_MISREAD, chance.randint(2, len(_MISREAD)))
    pool = [*misread, *string.ascii_lowercase] if chance.random() < 0.6 else misread

    def letter(character: str) -> str:
        return chance.choice(pool) if character.isalpha() and chance.random() < rate else character

    return ["".join(map(letter, line)) for line in _some_text(pages, chance)]


def copies(pages: Sequence[Page], chance: Random) -> list[str]:
    """A few lines of one page, over and over: a scraper's loop, a template that was filled without data."""
    text = kept_lines(chance.choice(pages)) or ["Welcome to our site."]
    first = chance.randrange(len(text))
    block = text[first : first + chance.randint(1, 6)]
    return (block * chance.randint(6, MAX_LINES))[: chance.randint(8, MAX_LINES)]


def doorway(pages: Sequence[Page], chance: Random) -> list[str]:
    """One paragraph for every place or product of a list, as doorway pages have it."""
    sentences = sentences_of(chance.choice(pages))[: chance.randint(1, 4)] or ["We serve all of the area every day."]
    slot = chance.choice([word for sentence in sentences for word in sentence.split()])
    names = [word for page in chance.sample(pages, min(len(pages), 12)) for word in _names(page)] or ["Springfield"]
    paragraph = " ".join(sentences)
    filled = [paragraph.replace(slot, f"{slot} {chance.choice(names)}") for _ in range(chance.randint(6, 50))]
    return [f"{chance.choice(names)}: {line}" if chance.random() < 0.3 else line for line in filled]


def interlarded(pages: Sequence[Page], chance: Random, offers: Sequence[str]) -> list[str]:
    """A text with at least as many sentences of an offer as it has of its own; ``offers``: filled sentences."""
    lines = []
    for sentence in sentences_of(chance.choice(pages))[: chance.randint(3, 20)] or ["Welcome."]:
        pitch = " ".join(chance.choice(offers) for _ in range(chance.randint(1, 3)))
        lines += [f"{sentence} {pitch}"] if chance.random() < 0.5 else [sentence, pitch]
    return lines


def _some_text(pages: Sequence[Page], chance: Random) -> list[str]:
    text = kept_lines(chance.choice(pages))
    first = chance.randrange(len(text)) if text else 0
    return text[first : first + chance.randint(4, 60)]


def _names(page: Page) -> list[str]:
    """Words with a capital that do not begin a sentence."""
    return re.findall(r"(?<=[a-z,] )[A-Z][a-z]{3,}", " ".join(kept_lines(page)))[:5]
