"""Labelled pages as training examples: chunks of token ids with a target and a weight for every line."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prox_spark.refiner.shapes import line_shapes
from prox_spark.text.chunks import Chunk
from prox_spark.text.prompts import CompactFormat
from prox_spark.training.clean import clean
from prox_spark.training.negatives import REFLOWED, negative
from prox_spark.training.page import Page
from prox_spark.training.recipe import Recipe
from prox_spark.training.records import is_page, read_records

RENDERINGS = ("wet", "extracted")
# Between these shares of gold words a line is neither to be kept nor to be removed whole (the data's own advice).
MIXED = (0.3, 0.6)
MAX_WEIGHT_WORDS = 100
_COMMENT_WEIGHT = 0.5
_NEGATIVE_WEIGHT = 0.3
_SHORT_WORDS = 8
# What is worth dropping mostly shows within a few lines, and long made documents cost what pages need; but were all of
# them short, a long document would be taken for a good one.
_NEGATIVE_CHUNKS, _LONG_NEGATIVES = 2, 0.25
# A page with this many words of readers' comments can stand for one that consists of them.
_THREAD_WORDS = 100
_FOREIGN_LINES = 5000
# A line that is noise on pages of so many sites is noise anywhere; a number or a sign may be anything.
_NOISY_SITES, _LETTERS = 3, 4


@dataclass(frozen=True)
class Example:
    """A document, or a run of a longer one's chunks: what the model reads, targets and weights a line.

    chunks: prompts of consecutive lines. shapes: float32 [lines, SHAPES], of the whole document.
    nothing: whether nothing of the document is worth keeping; None where that is not known.
    """

    chunks: tuple[Chunk, ...]
    shapes: npt.NDArray[np.float32]
    remove: tuple[bool, ...]
    weights: tuple[float, ...]
    nothing: bool | None

    @property
    def tokens(self) -> int:
        """Prompt tokens of all chunks."""
        return sum(len(chunk.token_ids) for chunk in self.chunks)


def read_pages(path: Path, languages: tuple[str, ...] = ("en",)) -> list[Page]:
    """The usable pages of a records file: in these languages, without ``extracted`` texts that are one giant line."""
    return [_page(record) for record in read_records(path) if is_page(record, languages)]


def foreign_lines(path: Path, languages: tuple[str, ...]) -> list[str]:
    """The first some thousand lines worth keeping of a file's pages in other languages than these."""
    kept = (
        line["text"]
        for record in read_records(path)
        if record["lang"] not in languages and is_page(record, ())
        for line in record["lines"]
        if line["label"] == "keep" and line["text"].strip()
    )
    return list(islice(kept, _FOREIGN_LINES))


def _page(record: dict[str, Any]) -> Page:
    lines = record["lines"]
    return Page(
        id=record["id"],
        domain=record["domain"],
        rendering=record["rendering"],
        lines=tuple(line["text"] for line in lines),
        remove=tuple(line["label"] == "remove" for line in lines),
        weights=tuple(_weight(line) for line in lines),
        raw=record["raw_text"],
        gold=record["gold_text"],
        comments=tuple(line.get("role") == "comment" for line in lines),
    )


def _weight(line: dict[str, Any]) -> float:
    # The measure counts words, the number of lines counts boilerplate: the root lies between.
    if MIXED[0] <= line["cov"] <= MIXED[1] or line.get("role") == "title" or line.get("mask") == "mixed":
        return 0.0
    # Whether readers' comments belong to a page's text is a matter of taste.
    return _line_weight(line["text"]) * (_COMMENT_WEIGHT if line.get("role") == "comment" else 1.0)


def _line_weight(text: str) -> float:
    return float(min(MAX_WEIGHT_WORDS, 1 + len(text.split())) ** 0.5)


def split_by_domain(pages: list[Page], share: int = 10) -> tuple[list[Page], list[Page]]:
    """Training pages and a development ``share``-th of them whose domains the training pages do not have."""

    def held_out(page: Page) -> bool:
        return int(hashlib.sha256(page.domain.encode()).hexdigest(), 16) % share == 0

    return [p for p in pages if not held_out(p)], [p for p in pages if held_out(p)]


def noise_lines(pages: Iterable[Page]) -> frozenset[str]:
    """Lines of some letters that are to be removed on pages of several sites, and kept on a quarter as many at most.

    People who marked a page's text took such lines along by mistake (`Related Posts`), or not worth the trouble.
    """
    removed: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    for page in pages:
        for line, remove in zip(page.lines, page.remove, strict=True):
            (removed if remove else kept).setdefault(line.strip(), set()).add(page.domain)
    return frozenset(
        line
        for line, sites in removed.items()
        if len(sites) >= _NOISY_SITES
        and len(kept.get(line, ())) <= len(sites) / 4
        and sum(map(str.isalpha, line)) >= _LETTERS
    )


def example(page: Page, prompt: CompactFormat, nothing: bool | None = None) -> Example:
    """A page cut and encoded as the engine does it."""
    chunks = tuple(prompt.chunks("\n".join(page.lines)))
    return Example(chunks, line_shapes(page.lines), page.remove, page.weights, nothing)


def epoch(
    pages: list[Page], prompt: CompactFormat, recipe: Recipe, number: int, foreign: Sequence[str] = ()
) -> Iterator[Example]:
    """Every page, in an order that the seed and the epoch's number decide, with made documents among them.

    foreign: lines of other languages than the recipe's, for documents worth dropping.
    """
    chance = random.Random(f"{recipe.seed}/{number}")
    order = list(pages)
    chance.shuffle(order)
    for page in order[recipe.first_page if number == 0 else 0 :]:
        # A page without anything to keep may be a fault of its labels: no verdict is learned from it.
        worth = None if all(page.remove) else False
        yield _some(example(_forgiving(page, recipe), prompt, worth), chance, recipe.max_chunks)
        if _has_thread(page) and chance.random() < recipe.thread_rate:
            yield _some(example(_thread(page), prompt, nothing=False), chance, recipe.max_chunks)
        if chance.random() < recipe.negative_rate:
            made = example(_negative(pages, chance, foreign), prompt, nothing=True)
            most = recipe.max_chunks if chance.random() < _LONG_NEGATIVES else _NEGATIVE_CHUNKS
            yield _some(made, chance, most)
        if chance.random() < recipe.clean_rate:
            lines = clean(pages, chance)
            whole = Page.made(lines, False, map(_line_weight, lines))
            yield _some(example(_forgiving(whole, recipe), prompt, nothing=False), chance, recipe.max_chunks)


def _forgiving(page: Page, recipe: Recipe) -> Page:
    """Where little is to be removed, a wrongly removed line counts more: such a text is mostly read as it is."""
    removed = sum(w for w, remove in zip(page.weights, page.remove, strict=True) if remove)
    if removed > recipe.clean_share * sum(page.weights):
        return page
    factor = recipe.clean_weight
    weights = (w if remove else factor * w for w, remove in zip(page.weights, page.remove, strict=True))
    return replace(page, weights=tuple(weights))


def _negative(pages: list[Page], chance: random.Random, foreign: Sequence[str]) -> Page:
    """A document worth dropping. Its short lines are boilerplate as well; of its long ones nobody knows."""
    kind, lines = negative(pages, chance, foreign)
    weights = (_NEGATIVE_WEIGHT if kind != REFLOWED and len(line.split()) <= _SHORT_WORDS else 0.0 for line in lines)
    return Page.made(lines, True, weights)


def _has_thread(page: Page) -> bool:
    return sum(len(page.lines[i].split()) for i, comment in enumerate(page.comments) if comment) >= _THREAD_WORDS


def _thread(page: Page) -> Page:
    """The page with nothing but its first line of text above the readers' comments, which are then its content.

    Under an article comments are noise; of an open thread or a question they are all there is.
    """
    first = page.remove.index(False) if False in page.remove else -1
    picked = [i for i, remove in enumerate(page.remove) if remove or i == first]
    return replace(
        page,
        lines=tuple(page.lines[i] for i in picked),
        remove=tuple(page.remove[i] and not page.comments[i] for i in picked),
        weights=tuple(page.weights[i] / (_COMMENT_WEIGHT if page.comments[i] else 1.0) for i in picked),
        comments=tuple(page.comments[i] for i in picked),
    )


def _some(whole: Example, chance: random.Random, most: int) -> Example:
    """At most so many chunks in a row."""
    if len(whole.chunks) <= most:
        return whole
    first = chance.randrange(len(whole.chunks) - most + 1)
    chunks = whole.chunks[first : first + most]
    span = slice(chunks[0].first_line, chunks[-1].last_line + 1)
    remove = whole.remove[span]
    # A part without anything to keep says nothing of the page.
    nothing = None if whole.nothing is False and all(remove) else whole.nothing
    return Example(chunks, whole.shapes[span], remove, whole.weights[span], nothing)
