from __future__ import annotations

import json
from pathlib import Path

import pytest

from prox_spark.training.evaluate import evaluate, tables, to_json
from tests.helpers.labelled_pages import record, write_records


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_records(tmp_path / "r.jsonl.gz", [record(n, kind) for n in range(4) for kind in ("wet", "extracted")])


def test_a_refiner_that_takes_short_lines_is_measured(data: Path) -> None:
    wet, extracted = evaluate("scripted:short-lines", data)
    assert (wet.rendering, extracted.rendering) == ("wet", "extracted")
    # It removes Home, About us, Contact, Sign in, Subscribe now, but not Share on Facebook: 5 of 6, none wrongly.
    assert wet.lines.precision == 1.0
    assert wet.lines.recall == pytest.approx(5 / 6)
    assert wet.raw.f1 < wet.refined.f1 < wet.labels.f1 == 1.0
    assert wet.refined.harmed_absolute == 0.0
    assert wet.errors == wet.truncated == wet.looped == wet.dropped == 0


def test_limit_counts_pages_of_each_rendering(data: Path) -> None:
    assert [result.documents for result in evaluate("scripted:short-lines", data, limit=3)] == [3, 3]


def test_results_can_be_shown_and_kept(data: Path) -> None:
    results = evaluate("scripted:short-lines", data)
    assert [table.row_count for table in tables(results)] == [4, 4]
    assert json.loads(to_json(results))[0]["labels"]["f1"] == 1.0
