"""How sure a measured number is: bootstrap intervals over the domains of the pages.

Pages of one domain share their boilerplate, so domains are drawn, not pages: intervals are wider for it, and honest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prox_spark.training.metrics import DocumentScore

DRAWS = 1000
SEED = 0
# Of a 95% interval, in percent.
BOUNDS = (2.5, 97.5)

Numbers = npt.NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Draws:
    """The numbers of ``TextScore`` in each draw; the same domains give the same draws, so differences are paired."""

    precision: Numbers
    recall: Numbers
    f1: Numbers
    harmed_relative: Numbers
    gold_words_removed: Numbers


def draw(scores: Sequence[DocumentScore], domains: Sequence[str]) -> Draws:
    """Draw as many domains as there are, with replacement, a thousand times, and summarise each draw.

    Of no documents every number is 0.
    """
    weights = _weights(domains)

    def mean(values: Sequence[float], over: Sequence[float]) -> Numbers:
        result: Numbers = weights @ np.array(values) / np.maximum(weights @ np.array(over), 1e-9)
        return result

    ones = [1.0] * len(scores)
    precision = mean([one.precision or 0.0 for one in scores], [float(one.precision is not None) for one in scores])
    recall = mean([one.recall for one in scores], ones)
    return Draws(
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / np.maximum(1e-9, precision + recall),
        harmed_relative=mean([float(one.harmed_relative) for one in scores], ones),
        gold_words_removed=mean([float(one.lost) for one in scores], [float(one.had) for one in scores]),
    )


def share_interval(flags: Sequence[bool], domains: Sequence[str]) -> Interval:
    """The 95% interval of the share of documents that something holds for, by the same draws."""
    weights = _weights(domains)
    return interval(weights @ np.array(flags, dtype=np.float64) / np.maximum(weights.sum(axis=1), 1e-9))


def _weights(domains: Sequence[str]) -> Numbers:
    """How often each document comes in each draw, [DRAWS, documents]."""
    names = sorted(set(domains))
    chance = np.random.default_rng(SEED)
    if not names:
        return np.zeros((DRAWS, 0))
    counts = chance.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    place = {name: number for number, name in enumerate(names)}
    weights: Numbers = counts[:, [place[domain] for domain in domains]].astype(np.float64)
    return weights


def interval(values: Numbers) -> Interval:
    """The 95% interval of drawn numbers."""
    low, high = np.percentile(values, BOUNDS)
    return float(low), float(high)
