"""Scores on held-out training pages while a model is still in torch: for learning curves and early stopping."""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import nullcontext
from random import Random

import torch

from prox_spark.text.prompts import CompactFormat
from prox_spark.training.batches import collate, half_precision, logits
from prox_spark.training.calibrate import Scored, mean_f1, measure
from prox_spark.training.clean import MAX_LINES, clean
from prox_spark.training.data import RENDERINGS, example
from prox_spark.training.model import LineScorer
from prox_spark.training.page import Page

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_PADDED_TOKENS = 4096
_CLEAN = 600


@torch.inference_mode()
def line_scores(
    model: LineScorer, prompt: CompactFormat, lines: Sequence[str], fast: bool = True
) -> tuple[list[float], float]:
    """Probability for every line of a page that it is to be removed, and for the page that nothing is worth keeping.

    fast: in bfloat16 where the device has it, else in float32.
    """
    model.eval()
    page = Page.made(lines, False, [1.0] * len(lines))
    with half_precision(model.device) if fast else nullcontext():
        ((found, nothing),) = logits(model, collate([example(page, prompt)], _PADDED_TOKENS))
    return torch.sigmoid(found.float()).tolist(), float(torch.sigmoid(nothing.float()))


def score_pages(model: LineScorer, prompt: CompactFormat, pages: list[Page], fast: bool = True) -> list[Scored]:
    """Score every page once; validation and calibration are arithmetic on these."""
    return [Scored(page, *line_scores(model, prompt, page.lines, fast)) for page in pages]


def score_gold(
    model: LineScorer, prompt: CompactFormat, pages: list[Page], noise: Set[str] = frozenset(), fast: bool = True
) -> dict[str, list[list[float]]]:
    """By site the line scores of its gold texts, each text once: of texts of which nothing is to be removed.

    noise: texts with such a line are left out: of them something is.
    """
    texts = {page.gold: page.domain for page in reversed(pages) if page.gold.strip()}
    texts = {text: domain for text, domain in texts.items() if noise.isdisjoint(map(str.strip, text.split("\n")))}
    sites: dict[str, list[list[float]]] = {}
    for text, domain in sorted(texts.items()):
        sites.setdefault(domain, []).append(line_scores(model, prompt, text.split("\n"), fast)[0])
    return sites


def score_clean(model: LineScorer, prompt: CompactFormat, pages: list[Page], fast: bool = True) -> list[float]:
    """Scores of some hundred clean documents made of the pages, the same every time: each that it is worth nothing."""
    chance = Random("clean development documents")
    return [line_scores(model, prompt, clean(pages, chance)[:MAX_LINES], fast)[1] for _ in range(_CLEAN)]


def validate(model: LineScorer, prompt: CompactFormat, pages: list[Page], most: int) -> dict[str, float]:
    """4-gram F1 of ``most`` pages of each rendering, at the threshold that is best for the two together."""
    picked = [page for kind in RENDERINGS for page in [p for p in pages if p.rendering == kind][:most]]
    scored = score_pages(model, prompt, picked)
    measured = {threshold: measure(scored, threshold) for threshold in THRESHOLDS}
    best = max(THRESHOLDS, key=lambda threshold: mean_f1(measured[threshold]))
    return {"threshold": best, **{f"{kind}_f1": found.f1 for kind, found in measured[best].items()}}
