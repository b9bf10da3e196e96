from __future__ import annotations

import random
from pathlib import Path

import pytest

from prox_spark.training.data import Page, _altered, read_pages, split_by_domain
from prox_spark.training.recipe import Recipe
from tests.helpers.labelled_pages import record, write_records


@pytest.fixture
def pages(tmp_path: Path) -> list[Page]:
    return read_pages(write_records(tmp_path / "r.jsonl.gz", [record(n) for n in range(3)]))


def test_lines_join_to_the_raw_text(pages: list[Page]) -> None:
    assert all("\n".join(page.lines) == page.raw for page in pages)


def test_labels_become_targets(pages: list[Page]) -> None:
    assert pages[0].remove == (True,) * 3 + (False,) * 3 + (True,) * 3


def test_other_languages_are_left_out(tmp_path: Path) -> None:
    path = write_records(tmp_path / "r.jsonl.gz", [record(1), record(2, lang="de")])
    assert [page.id for page in read_pages(path)] == ["page-1"]


def test_a_page_collapsed_into_one_line_is_left_out_of_extracted_only(tmp_path: Path) -> None:
    collapsed = {"hints": {"max_line_share": 0.9}}
    records = [record(1, "extracted", **collapsed), record(2, "wet", **collapsed), record(3, "extracted")]
    assert [page.id for page in read_pages(write_records(tmp_path / "r.jsonl.gz", records))] == ["page-2", "page-3"]


@pytest.mark.parametrize("line", [{"cov": 0.3}, {"cov": 0.6}, {"cov": 1.0, "role": "title"}])
def test_unreliable_lines_have_no_weight(tmp_path: Path, line: dict[str, object]) -> None:
    row = record(1)
    row["lines"][3].update(line)
    page = read_pages(write_records(tmp_path / "r.jsonl.gz", [row]))[0]
    assert page.weights[3] == 0.0
    assert all(weight > 0 for i, weight in enumerate(page.weights) if i != 3)


def test_longer_lines_weigh_more_but_not_without_bound(tmp_path: Path) -> None:
    row = record(1)
    row["lines"][4]["text"] = "word " * 10_000
    page = read_pages(write_records(tmp_path / "r.jsonl.gz", [row]))[0]
    assert page.weights[0] < page.weights[3] < page.weights[4] == 10.0


def test_no_domain_is_on_both_sides(tmp_path: Path) -> None:
    records = [record(n, domain=f"site-{n % 40}.example") for n in range(120)]
    path = write_records(tmp_path / "r.jsonl.gz", records)
    domain = {row["id"]: row["domain"] for row in records}
    training, development = split_by_domain(read_pages(path))
    assert len(training) + len(development) == 120
    assert development
    assert not {domain[p.id] for p in training} & {domain[p.id] for p in development}


def test_a_page_can_be_reduced_to_boilerplate_or_to_its_text(pages: list[Page]) -> None:
    assert pages[0].only(remove=True).lines == (
        "Home",
        "About us",
        "Contact",
        "Sign in",
        "Subscribe now",
        "Share on Facebook",
    )
    assert all(not remove for remove in pages[0].only(remove=False).remove)


def test_alterations_are_decided_by_the_seed(pages: list[Page]) -> None:
    recipe = Recipe(name="x", base="b", data=Path("d"), out=Path("o"), boilerplate_rate=0.5, clean_rate=0.5)
    first, second = ([_altered(pages[0], random.Random(s), recipe).lines for s in range(20)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 1
