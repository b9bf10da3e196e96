"""Thresholds and preflight bounds of a scoring bundle, from the development pages alone."""

from __future__ import annotations

from dataclasses import dataclass

from prox_spark.training.data import RENDERINGS, Page
from prox_spark.training.metrics import TextScore, score

_LINE_GRID = tuple(step / 50 for step in range(3, 49))
# How much of the best mean F1 the other two settings may cost; the further threshold within it is taken.
_F1_COST = 0.01
# Share of development pages with something worth keeping that a document verdict may drop.
_DROPPED = {"cautious": 0.0, "balanced": 0.002, "aggressive": 0.01}
_DOCUMENT_FLOOR = {"cautious": 0.98, "balanced": 0.9, "aggressive": 0.8}


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


def calibrate(scored: list[Scored]) -> dict[str, dict[str, float]]:
    """Thresholds by caution: ``{"balanced": {"line": ..., "document": ...}, ...}``.

    ``balanced`` has the best mean F1 of the two renderings; ``cautious`` the highest and ``aggressive`` the lowest line
    threshold that costs at most 0.01 of it. A document threshold is the lowest, from a floor on, at which the verdict
    drops at most 0, 0.2 and 1 per cent of the pages that have something worth keeping.
    """
    by_threshold = {threshold: mean_f1(scored, threshold) for threshold in _LINE_GRID}
    best = max(by_threshold, key=lambda threshold: by_threshold[threshold])
    near = [t for t, f1 in by_threshold.items() if f1 >= by_threshold[best] - _F1_COST]
    line = {"cautious": max(near), "balanced": best, "aggressive": min(near)}
    return {name: {"line": line[name], "document": _document_threshold(scored, name)} for name in line}


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


def mean_f1(scored: list[Scored], threshold: float) -> float:
    """Mean over the renderings of the 4-gram F1 at a line threshold."""
    measured = measure(scored, threshold)
    return sum(found.f1 for found in measured.values()) / len(measured)


def _document_threshold(scored: list[Scored], caution: str) -> float:
    worth = sorted((s.nothing for s in scored if not all(s.page.remove)), reverse=True)
    allowed = int(_DROPPED[caution] * len(worth))
    # Just above the score of the first page that must stay.
    return max(_DOCUMENT_FLOOR[caution], min(0.999, round(worth[allowed] + 0.005, 3)))
