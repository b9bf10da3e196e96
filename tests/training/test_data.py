from __future__ import annotations

import json
from pathlib import Path

import pytest

from prox_spark.text.prompts import CompactFormat
from prox_spark.text.tokenize import TextTokenizer
from prox_spark.training import data
from prox_spark.training.data import Example, epoch, read_pages, split_by_domain
from prox_spark.training.page import Page
from prox_spark.training.recipe import Recipe
from tests.helpers.labelled_pages import PROSE, record, write_records
from tests.helpers.tiny_models import byte_tokenizer


@pytest.fixture
def pages(tmp_path: Path) -> list[Page]:
    return read_pages(write_records(tmp_path / "r.jsonl.gz", [record(n) for n in range(3)]))


def test_lines_join_to_the_raw_text(pages: list[Page]) -> None:
    assert all("\n".join(page.lines) == page.raw for page in pages)


def test_labels_become_targets(pages: list[Page]) -> None:
    assert pages[0].remove == (True,) * 3 + (False,) * 3 + (True,) * 3


def test_made_documents_worth_dropping_are_no_pages(tmp_path: Path) -> None:
    rows = [record(1), record(2, kind="negative:menu")]
    assert [page.id for page in read_pages(write_records(tmp_path / "r.jsonl.gz", rows))] == ["page-1"]


def test_a_file_need_be_neither_packed_nor_complete(tmp_path: Path) -> None:
    row = record(1)
    del row["rendering"]
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    assert [page.rendering for page in read_pages(tmp_path / "r.jsonl")] == ["wet"]


def test_other_languages_are_left_out(tmp_path: Path) -> None:
    path = write_records(tmp_path / "r.jsonl.gz", [record(1), record(2, lang="de")])
    assert [page.id for page in read_pages(path)] == ["page-1"]


def test_a_page_collapsed_into_one_line_is_left_out_of_extracted_only(tmp_path: Path) -> None:
    collapsed = {"hints": {"max_line_share": 0.9}}
    records = [record(1, "extracted", **collapsed), record(2, "wet", **collapsed), record(3, "extracted")]
    assert [page.id for page in read_pages(write_records(tmp_path / "r.jsonl.gz", records))] == ["page-2", "page-3"]


def test_what_is_noise_on_several_sites_is_noise(tmp_path: Path) -> None:
    rows = [record(n) for n in range(4)]
    for number, row in enumerate(rows):
        row["lines"][0]["text"] = "Read next" if number < 2 else "2008"
        row["lines"][1]["label"] = "remove" if number < 3 else "keep"
    noise = data.noise_lines(read_pages(write_records(tmp_path / "r.jsonl.gz", rows)))
    assert {"Contact", "Sign in"} <= noise and not {"Read next", "2008", "About us"} & noise
    assert not any(line in noise for line in PROSE)


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


@pytest.fixture
def prompt() -> CompactFormat:
    tokenizer = TextTokenizer(byte_tokenizer())
    return CompactFormat(tokenizer, 0, window_tokens=64, max_line_tokens=24, head_tokens=16)


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"name": "x", "base": "b", "data": "d", "out": "o", **changes})


def test_an_epoch_is_decided_by_the_seed_and_its_number(pages: list[Page], prompt: CompactFormat) -> None:
    settings = recipe(negative_rate=0.5, clean_rate=0.5)
    first, second, other = (
        [[chunk.token_ids for chunk in e.chunks] for e in epoch(pages * 9, prompt, settings, n)] for n in (0, 0, 1)
    )
    assert first == second != other
    assert len(first) > 27, "made documents come on top"


def test_an_example_has_a_row_for_every_line_it_shows(pages: list[Page], prompt: CompactFormat) -> None:
    found = list(epoch(pages * 9, prompt, recipe(negative_rate=0.5, clean_rate=0.5, max_chunks=2), 0))
    assert any(one.nothing for one in found)
    for one in found:
        lines = sum(chunk.lines for chunk in one.chunks)
        assert lines == len(one.shapes) == len(one.remove) == len(one.weights)
        assert len(one.chunks) <= 2
        assert one.nothing is not True or all(one.remove)


def commented(tmp_path: Path, comments: int) -> Page:
    """A page with an article of some lines and readers' comments under it."""
    row = record(1)
    row["lines"] += [
        {"text": f"Comment {n}: " + "so it was " * 4, "label": "remove", "cov": 0.0, "role": "comment"}
        for n in range(comments)
    ]
    return read_pages(write_records(tmp_path / "r.jsonl.gz", [row]))[0]


def test_of_a_page_with_many_comments_a_page_of_comments_is_made(tmp_path: Path, prompt: CompactFormat) -> None:
    page = commented(tmp_path, comments=30)
    settings = recipe(negative_rate=0, clean_rate=0, clean_weight=1.0, thread_rate=1.0, max_chunks=99)
    whole, thread = epoch([page], prompt, settings, 0)
    assert sum(not remove for remove in whole.remove) == 3
    assert thread.remove[:7] == (True, True, True, False, True, True, True), "the menu, its first line, what follows"
    assert not any(thread.remove[7:]) and len(thread.remove) == 37
    assert thread.nothing is False
    assert thread.weights[-1] == 2 * whole.weights[-1], "here comments are no matter of taste"


def test_a_page_with_few_comments_or_none_stands_for_itself_only(tmp_path: Path, prompt: CompactFormat) -> None:
    settings = recipe(negative_rate=0, clean_rate=0, thread_rate=1.0)
    for comments in (0, 2):
        assert len(list(epoch([commented(tmp_path, comments)], prompt, settings, 0))) == 1


def test_a_part_of_a_long_page_says_nothing_of_the_page_if_nothing_in_it_is_kept(
    tmp_path: Path, prompt: CompactFormat
) -> None:
    page = commented(tmp_path, comments=60)
    settings = recipe(negative_rate=0, clean_rate=0, thread_rate=0, max_chunks=3)
    parts = [one for number in range(20) for one in epoch([page], prompt, settings, number)]
    assert {len(one.chunks) for one in parts} == {3}
    assert len({one.chunks[0].first_line for one in parts}) > 5
    for one in parts:
        assert one.nothing is (None if all(one.remove) else False)


def test_of_a_document_in_other_lines_than_it_was_made_from_no_line_is_known(
    pages: list[Page], prompt: CompactFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(kind: str) -> Example:
        monkeypatch.setattr(data, "negative", lambda *_: (kind, ["Home", "a line of more words than a menu has"]))
        return list(epoch(pages[:1], prompt, recipe(negative_rate=1.0, clean_rate=0), 0))[1]

    assert made("boilerplate").weights == (0.3, 0.0)
    assert made("reflowed").weights == (0.0, 0.0) and made("reflowed").nothing is True


def test_where_little_is_to_be_removed_lines_to_keep_count_more(pages: list[Page], prompt: CompactFormat) -> None:
    plain, forgiving = (
        next(epoch(pages[:1], prompt, recipe(negative_rate=0, clean_rate=0, clean_share=share, clean_weight=3.0), 0))
        for share in (0.0, 1.0)
    )
    for one, other, remove in zip(plain.weights, forgiving.weights, plain.remove, strict=True):
        assert other == (one if remove else 3 * one)
