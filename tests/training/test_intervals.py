from __future__ import annotations

import numpy as np
import pytest

from prox_spark.training.intervals import draw, interval, share_interval
from prox_spark.training.metrics import DocumentScore, summarise


def documents(count: int, recall: float = 0.8) -> list[DocumentScore]:
    return [
        DocumentScore(0.5 + 0.4 * (n % 2), recall - 0.3 * (n % 3 == 0), 1.0, 100, 10 * (n % 4)) for n in range(count)
    ]


def test_an_interval_holds_what_was_measured_and_narrows_with_more_domains() -> None:
    widths = []
    for count in (20, 500):
        scores = documents(count)
        draws = draw(scores, [f"site {n}" for n in range(count)])
        text = summarise(scores)
        for name, values in vars(draws).items():
            low, high = interval(values)
            assert low <= getattr(text, name) <= high
        low, high = interval(draws.f1)
        widths.append(high - low)
    assert 0 < widths[1] < widths[0] / 3


def test_pages_of_one_domain_are_no_more_than_one() -> None:
    scores = documents(20)
    low, high = interval(draw(scores, ["one site"] * 20).f1)
    assert low == pytest.approx(high) == pytest.approx(summarise(scores).f1)


def test_draws_of_the_same_domains_are_paired() -> None:
    domains = [f"site {n}" for n in range(30)]
    better, worse = draw(documents(30, 0.9), domains), draw(documents(30, 0.8), domains)
    assert np.ptp(better.recall - worse.recall) == pytest.approx(0)


def test_a_draw_may_have_only_dropped_documents() -> None:
    dropped = DocumentScore(None, 0.0, 1.0, 10, 10)
    draws = draw([dropped, documents(2)[1]], ["a", "b"])
    assert np.isfinite(draws.f1).all() and draws.f1.min() == 0


def test_of_no_documents_every_number_is_0() -> None:
    assert not draw([], []).f1.any()
    assert share_interval([], []) == (0.0, 0.0)
