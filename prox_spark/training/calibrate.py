"""Thresholds and preflight bounds of a scoring bundle, from the development pages alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prox_spark.training.data import RENDERINGS
from prox_spark.training.metrics import TextScore, score
from prox_spark.training.page import Page

_LINE_GRID = (*(step / 50 for step in range(3, 49)), 0.97, 0.98, 0.985, 0.99)
# How much of the best mean F1 the other two settings may cost; the further threshold within it is taken.
_F1_COST = 0.01
# What harm `balanced` may do: gold words removed from `wet` pages, `extracted` pages that lose more than 0.1 of their
# recall, gold texts that are changed at all. For the last every site counts once: the pages of one site fail together,
# and a site that happens to have many would decide alone. What is beyond counts against F1, point for point.
_HARM = (0.05, 0.025, 0.05)
# Share of development pages with something worth keeping that a document verdict may drop, every site counted once; of
# the pages as they are, and of made clean documents (tables, lists and the like, of which there are few among pages),
# twice the share. For `balanced` that is half of what may be lost: a few pages decide, and others would decide
# otherwise.
_DROPPED = {"cautious": 0.0, "balanced": 0.0025, "aggressive": 0.02}
_DOCUMENT_FLOOR = {"cautious": 0.9, "balanced": 0.6, "aggressive": 0.5}


@dataclass(frozen=True)
class Scored:
    """A development page with what the model thinks of it."""

    page: Page
    line_scores: list[float]
    nothing: float

    def refined(self, threshold: float) -> str:
        """The text with every line at or above the threshold removed."""
        lines = zip(self.page.lines, self.line_scores, strict=True)
        return "\n".join(line for line, value in lines if value < threshold)


def calibrate(
    scored: list[Scored], gold: dict[str, list[list[float]]], clean: Sequence[float] = ()
) -> dict[str, dict[str, float]]:
    """Thresholds by caution: ``{"balanced": {"line": ..., "document": ...}, ...}``.

    gold: by site the line scores of texts of which nothing is to be removed. clean: scores of made documents that are
    worth keeping whole.
    ``balanced`` has the best mean F1 of the two renderings, less the harm beyond its bounds; ``cautious`` the highest
    and ``aggressive`` the lowest line threshold that costs at most 0.01 of F1. A document threshold is the lowest, from
    a floor on, at which the verdict drops at most 0, a quarter and 2 per cent of the pages that have something worth
    keeping, every site counted once, and of the pages as they are and of the clean documents at most twice the share.
    """
    measured = {threshold: measure(scored, threshold) for threshold in _LINE_GRID}
    f1 = {threshold: mean_f1(found) for threshold, found in measured.items()}
    best = max(_LINE_GRID, key=lambda threshold: f1[threshold] - _excess(measured[threshold], gold, threshold))
    near = [threshold for threshold in _LINE_GRID if f1[threshold] >= f1[best] - _F1_COST]
    line = {"cautious": max(near), "balanced": best, "aggressive": min(near)}
    return {name: {"line": line[name], "document": _document_threshold(scored, clean, name)} for name in line}


def _excess(measured: dict[str, TextScore], gold: dict[str, list[list[float]]], threshold: float) -> float:
    changed = [sum(max(values) >= threshold for values in texts) / len(texts) for texts in gold.values()]
    harm = (
        measured["wet"].gold_words_removed,
        measured["extracted"].harmed_relative,
        sum(changed) / max(1, len(changed)),
    )
    return sum(max(0.0, found - bound) for found, bound in zip(harm, _HARM, strict=True))


def measure(scored: list[Scored], threshold: float) -> dict[str, TextScore]:
    """Scores of the development pages at a line threshold, by rendering."""
    return {
        kind: score((s.refined(threshold), s.page.gold, s.page.raw) for s in scored if s.page.rendering == kind)
        for kind in RENDERINGS
    }


def preflight_bounds(scored: list[Scored], threshold: float) -> dict[str, float]:
    """Bounds for a sample of any source, with room on both sides of what the development pages gave.

    The fewest documents with an operation are half of the rate on ``extracted`` pages, the cleaner rendering; the
    fewest kept words a third of the share on ``wet`` pages, the noisier one. A scoring bundle's programs always parse.
    """
    changed = [any(value >= threshold for value in s.line_scores) for s in scored if s.page.rendering == "extracted"]
    words = kept = 0
    for one in scored:
        if one.page.rendering == "wet":
            words += len(one.page.raw.split())
            kept += len(one.refined(threshold).split())
    return {
        "min_operations_rate": round(sum(changed) / max(1, len(changed)) / 2, 3),
        "max_operations_rate": 1.0,
        "min_kept_words": round(kept / max(1, words) / 3, 3),
        "max_parse_errors": 0.0,
    }


def mean_f1(measured: dict[str, TextScore]) -> float:
    """Mean over the renderings of the 4-gram F1."""
    return sum(found.f1 for found in measured.values()) / len(measured)


def _document_threshold(scored: list[Scored], clean: Sequence[float], caution: str) -> float:
    worth = [s for s in scored if not all(s.page.remove)]
    pages = Counter(s.page.domain for s in worth)
    sites = [(s.nothing, 1 / pages[s.page.domain] / len(pages)) for s in worth]
    shares = (sites, [(s.nothing, 0.5 / len(worth)) for s in worth], [(nothing, 0.5 / len(clean)) for nothing in clean])
    return max(_DOCUMENT_FLOOR[caution], *(_above(counted, _DROPPED[caution]) for counted in shares))


def _above(counted: list[tuple[float, float]], most: float) -> float:
    """Just above the score of the first document that must stay, of (score, share) each; 0 where all may go."""
    dropped = 0.0
    for nothing, share in sorted(counted, reverse=True):
        dropped += share
        if dropped > most:
            return min(1.0, round(nothing + 0.005, 3))
    return 0.0
