"""The preflight in a run: what stops it, what does not, and that it is looked at again until it is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prox_spark.errors import DeviceError, PreflightError
from prox_spark.spark import job
from prox_spark.spark.refiners import describe_refiners
from tests.helpers.spark_jobs import LONG, last_query, page, rows_of, run, udf_rows

pytestmark = pytest.mark.integration


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Bounds of the refiners that a run describes, for a test to fill in."""
    found: dict[str, float] = {}
    monkeypatch.setattr(job, "describe_refiners", lambda *given: replace(describe_refiners(*given), preflight=found))
    return found


def make_source(spark: Any, path: Path, texts: list[str]) -> str:
    rows = [(f"d{n}", text) for n, text in enumerate(texts)]
    spark.createDataFrame(rows, "doc_id string, text string").coalesce(1).write.format("delta").save(str(path))
    return str(path)


def test_a_sample_outside_the_bounds_stops_the_run_until_it_is_allowed(
    spark: Any, tables: str, tmp_path: Path, bounds: dict[str, float]
) -> None:
    source = make_source(spark, tmp_path / "source", [page(n) for n in range(40)])
    bounds.update(max_operations_rate=0.5, min_kept_words=0.99)
    told: list[str] = []
    with pytest.raises(PreflightError) as caught:
        run(spark, source, tables, preflight_documents=25)
    message = str(caught.value)
    assert "of 25 documents 100% are changed by their programs" in message
    assert "at most 50% should be changed" in message
    assert "--preflight warn" in message
    assert len(rows_of(spark, tables, "programs")) == 25
    assert rows_of(spark, tables, "refined") == []
    assert rows_of(spark, tables, "runs")[0].error.startswith("PreflightError: preflight of scripted:noise")

    # The sample's programs are there now; it is looked at again all the same, and no model runs for it.
    since = last_query(spark)
    with pytest.raises(PreflightError):
        run(spark, source, tables, preflight_documents=25)
    assert udf_rows(spark, since)["WriteUdf"] == 0

    warned = run(spark, source, tables, preflight="warn", preflight_documents=25)
    assert warned.warnings and "at most 50%" in warned.warnings[0]
    assert warned.counts["written"] == 15 and warned.counts["refined"] == 40
    assert not told


def test_a_refiner_that_fails_on_a_sample_stops_the_second_try_too(spark: Any, tables: str, tmp_path: Path) -> None:
    source = make_source(spark, tmp_path / "source", [page(n, "##ERROR##" if n % 2 else "") for n in range(60)])
    for _ in range(2):
        with pytest.raises(PreflightError, match=r"the refiner failed on \d+ of 50 documents"):
            run(spark, source, tables, preflight_documents=50, max_error_rate=0.1)
    assert len(rows_of(spark, tables, "programs")) == 50


def test_a_clean_source_is_told_from_a_broken_template(
    spark: Any, tables: str, tmp_path: Path, bounds: dict[str, float]
) -> None:
    source = make_source(spark, tmp_path / "source", [f"{LONG} {n}\n{LONG}" for n in range(25)])
    bounds.update(min_operations_rate=0.2)
    clean = run(spark, source, tables)
    assert "the source seems to be clean" in clean.warnings[0]
    assert clean.counts["unchanged"] == 25


def test_a_device_that_is_not_there_is_told_before_anything_is_written(spark: Any, tables: str, tmp_path: Path) -> None:
    source = make_source(spark, tmp_path / "source", [page(1)])
    with pytest.raises(DeviceError, match=r"spark.task.resource.gpu.amount"):
        run(spark, source, tables, device="cuda")
    assert rows_of(spark, tables, "programs") == []
