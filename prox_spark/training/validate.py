"""Scores on held-out training pages while a model is still in torch: for learning curves and early stopping."""

from __future__ import annotations

import torch

from prox_spark.text.prompts import CompactFormat
from prox_spark.training.batches import collate
from prox_spark.training.data import Page, examples
from prox_spark.training.metrics import score
from prox_spark.training.model import LineScorer

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@torch.inference_mode()
def line_scores(model: LineScorer, prompt: CompactFormat, page: Page) -> list[float]:
    """Probability for every line of a page that it is to be removed."""
    found: list[float] = []
    for example in examples(page, prompt):
        batch = collate([example])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            lines, _ = model(batch.input_ids, batch.line_positions, batch.row_positions)
        found.extend(torch.sigmoid(lines.float()).tolist())
    return found


def validate(model: LineScorer, prompt: CompactFormat, pages: list[Page], most: int) -> dict[str, float]:
    """4-gram F1 of ``most`` pages of each rendering, at the threshold that is best for the two together."""
    model.eval()
    picked = {kind: [p for p in pages if p.rendering == kind][:most] for kind in ("wet", "extracted")}
    scored = {kind: [(page, line_scores(model, prompt, page)) for page in some] for kind, some in picked.items()}
    by_threshold = {
        threshold: {kind: score((_kept(page, found, threshold), page.gold, page.raw) for page, found in some).f1
                    for kind, some in scored.items()}
        for threshold in THRESHOLDS
    }  # fmt: skip
    best = max(by_threshold, key=lambda threshold: sum(by_threshold[threshold].values()))
    return {"threshold": best, **{f"{kind}_f1": f1 for kind, f1 in by_threshold[best].items()}}


def _kept(page: Page, found: list[float], threshold: float) -> str:
    return "\n".join(line for line, value in zip(page.lines, found, strict=True) if value < threshold)
