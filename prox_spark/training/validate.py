"""Scores on held-out training pages while a model is still in torch: for learning curves and early stopping."""

from __future__ import annotations

import torch

from prox_spark.text.prompts import CompactFormat
from prox_spark.training.batches import collate
from prox_spark.training.calibrate import Scored, mean_f1, measure
from prox_spark.training.data import RENDERINGS, Page, examples
from prox_spark.training.model import LineScorer

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@torch.inference_mode()
def page_scores(model: LineScorer, prompt: CompactFormat, page: Page) -> tuple[list[float], float]:
    """Probability for every line of a page that it is to be removed, and for the page that nothing is worth keeping."""
    found: list[float] = []
    nothing: list[float] = []
    for example in examples(page, prompt):
        batch = collate([example])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            lines, rows = model(batch.input_ids, batch.line_positions, batch.row_positions)
        found.extend(torch.sigmoid(lines.float()).tolist())
        nothing.extend(torch.sigmoid(rows.float()).tolist())
    return found, min(nothing)


def score_pages(model: LineScorer, prompt: CompactFormat, pages: list[Page]) -> list[Scored]:
    """Score every page once; validation and calibration are arithmetic on these."""
    model.eval()
    return [Scored(page, *page_scores(model, prompt, page)) for page in pages]


def validate(model: LineScorer, prompt: CompactFormat, pages: list[Page], most: int) -> dict[str, float]:
    """4-gram F1 of ``most`` pages of each rendering, at the threshold that is best for the two together."""
    picked = [page for kind in RENDERINGS for page in [p for p in pages if p.rendering == kind][:most]]
    scored = score_pages(model, prompt, picked)
    best = max(THRESHOLDS, key=lambda threshold: mean_f1(scored, threshold))
    return {"threshold": best, **{f"{kind}_f1": found.f1 for kind, found in measure(scored, best).items()}}
