"""Labelled pages as training examples: chunks of token ids with a target and a weight for every line."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prox_spark.text.prompts import CompactFormat
from prox_spark.training.recipe import Recipe
from prox_spark.training.records import collapsed

RENDERINGS = ("wet", "extracted")
# Between these shares of gold words a line is neither to be kept nor to be removed whole (the data's own advice).
MIXED = (0.3, 0.6)
MAX_WEIGHT_WORDS = 100
CHUNKS_SHUFFLED = 400


@dataclass(frozen=True)
class Page:
    """One rendering of a page: its lines, whether each is to be removed, and how much that counts in the loss."""

    id: str
    domain: str
    rendering: str
    lines: tuple[str, ...]
    remove: tuple[bool, ...]
    weights: tuple[float, ...]
    raw: str
    gold: str

    def only(self, remove: bool) -> Page:
        """The page reduced to its removed or to its kept lines."""
        picked = [i for i, value in enumerate(self.remove) if value is remove]
        lines = tuple(self.lines[i] for i in picked)
        weights = tuple(self.weights[i] for i in picked)
        kept = (remove,) * len(picked)
        return replace(self, lines=lines, remove=kept, weights=weights, raw="\n".join(lines), gold="")


@dataclass(frozen=True)
class Example:
    """One chunk: ``tokens`` with the line ends' positions in them, targets and weights a line, and the row's target."""

    tokens: tuple[int, ...]
    line_ends: tuple[int, ...]
    remove: tuple[bool, ...]
    weights: tuple[float, ...]
    nothing: bool


def read_pages(path: Path, languages: tuple[str, ...] = ("en",)) -> list[Page]:
    """The usable pages of a records file: in these languages, without ``extracted`` texts that are one giant line."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = (json.loads(line) for line in file)
        return [_page(record) for record in records if record["lang"] in languages and not collapsed(record)]


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
    )


def _weight(line: dict[str, Any]) -> float:
    # The measure counts words, the number of lines counts boilerplate: the root lies between.
    if MIXED[0] <= line["cov"] <= MIXED[1] or line.get("role") == "title":
        return 0.0
    return float(min(MAX_WEIGHT_WORDS, 1 + len(line["text"].split())) ** 0.5)


def split_by_domain(pages: list[Page], share: int = 10) -> tuple[list[Page], list[Page]]:
    """Training pages and a development ``share``-th of them whose domains the training pages do not have."""

    def held_out(page: Page) -> bool:
        return int(hashlib.sha256(page.domain.encode()).hexdigest(), 16) % share == 0

    return [p for p in pages if not held_out(p)], [p for p in pages if held_out(p)]


def examples(page: Page, prompt: CompactFormat) -> list[Example]:
    """The chunks of one page, cut and encoded as the engine does it."""
    found = []
    for chunk in prompt.chunks("\n".join(page.lines)):
        span = slice(chunk.first_line, chunk.last_line + 1)
        remove, weights = page.remove[span], page.weights[span]
        found.append(Example(chunk.token_ids, chunk.line_ends, remove, weights, all(remove)))
    return found


def epoch(pages: list[Page], prompt: CompactFormat, recipe: Recipe, number: int) -> Iterator[Example]:
    """Chunks of every page, in an order and with alterations that the seed and the epoch's number decide."""
    chance = random.Random(f"{recipe.seed}/{number}")
    order = list(pages)
    chance.shuffle(order)
    # Chunks of one page are alike, so they must not meet in one step.
    waiting: list[Example] = []
    for page in order:
        waiting.extend(_some(examples(_altered(page, chance, recipe), prompt), chance, recipe.max_chunks))
        while len(waiting) > CHUNKS_SHUFFLED:
            yield _taken(waiting, chance)
    while waiting:
        yield _taken(waiting, chance)


def _taken(waiting: list[Example], chance: random.Random) -> Example:
    place = chance.randrange(len(waiting))
    waiting[place], waiting[-1] = waiting[-1], waiting[place]
    return waiting.pop()


def _altered(page: Page, chance: random.Random, recipe: Recipe) -> Page:
    roll = chance.random()
    if roll < recipe.boilerplate_rate and sum(page.remove) >= 5:
        return page.only(remove=True)
    if roll > 1 - recipe.clean_rate and len(page.remove) - sum(page.remove) >= 5:
        return page.only(remove=False)
    return page


def _some(found: list[Example], chance: random.Random, most: int) -> list[Example]:
    return found if len(found) <= most else chance.sample(found, most)
