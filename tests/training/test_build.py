"""Building training data: splits that share nothing, programs that hold, the same bytes for the same seed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from prox_spark.errors import ConfigError, SourceError
from prox_spark.program.execute import Guards, execute
from prox_spark.training.build import BuildSettings, build, write_negatives
from prox_spark.training.data import read_pages
from prox_spark.training.data_card import write_card
from prox_spark.training.labelled import read_texts
from prox_spark.training.labelling import labelled_lines
from prox_spark.training.splitting import Groups
from tests.helpers.labelled_pages import MENU, record, write_records

OPEN = Guards(max_removed_ratio=1.0, min_words=0)
SETTINGS = BuildSettings(valid_share=0.3, negative_share=0.5, clean_share=0.5, planted_share=0.5)


def story(number: int) -> list[str]:
    """Ten lines that no other story has."""
    return [f"Sentence {i} of story {number} says that {number * 17 + i} mills stood by the river." for i in range(10)]


def page(number: int, **changes: Any) -> dict[str, Any]:
    prose, lines = story(number), [*MENU[:3], *story(number), *MENU[3:]]
    labels = [{"text": t, "label": "keep" if t in prose else "remove", "cov": float(t in prose)} for t in lines]
    more = {"source": "made up", "license": "CC0-1.0", "url": "", "kind": "article", "label_quality": "gold"}
    made = record(number, raw_text="\n".join(lines), gold_text="\n".join(prose), lines=labels, **more)
    return {**made, **changes}


def pair(number: int) -> dict[str, str]:
    raw = "\n".join(["Home | News", story(number)[0] + " Share 12", *story(number)[1:], "Read more"])
    return {"id": f"pair-{number}", "lang": "en", "raw_text": raw, "gold_text": "\n".join(story(number))}


def written(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pages = [page(number) for number in range(24)]
    # A copy under another domain, a page of the copy's domain, and what has to be left out.
    pages.append(page(3, id="copy", domain="copies.example", raw_text="Copied\n" + page(3)["raw_text"]))
    pages[-1]["lines"] = [{"text": "Copied", "label": "remove", "cov": 0.0}, *page(3)["lines"]]
    pages.append(page(30, domain="copies.example"))
    pages.append(page(5, id="again"))
    pages.append(page(31, rendering="extracted", hints={"max_line_share": 0.9}))
    pages += [page(number, lang="de") for number in (40, 41)]
    return write_records(tmp_path_factory.mktemp("data") / "pages.jsonl.gz", pages + [pair(n) for n in range(50, 56)])


@pytest.fixture(scope="module")
def splits(source: Path) -> dict[str, list[dict[str, Any]]]:
    built = build([source], source.parent / "built", SETTINGS)
    write_card(built, source.parent / "built" / "README.md")
    return {name: written(source.parent / "built" / f"{name}.jsonl.gz") for name in ("train", "valid")}


def test_every_program_makes_the_clean_text_it_claims(splits: dict[str, list[dict[str, Any]]]) -> None:
    documents = [document for split in splits.values() for document in split]
    assert sum(document["exact"] for document in documents) > len(documents) / 2
    for document in documents:
        done = execute(document["raw_text"], document["program"], guards=OPEN)
        assert not done.errors
        assert (done.text == document["gold_text"]) == document["exact"]
        assert (document["doc_program"] == "drop_doc()") == (not (done.text or "").strip())
        assert "\n".join(line["text"] for line in document["lines"]) == document["raw_text"]
    pairs = [document for document in documents if document["source"] == "pages.jsonl.gz" and "#" not in document["id"]]
    assert len(pairs) == 6 and all('normalize(source_str=" Share 12")' in document["program"] for document in pairs)


def test_splits_share_neither_domain_nor_copies(splits: dict[str, list[dict[str, Any]]]) -> None:
    domains = {name: {row["domain"] for row in rows} for name, rows in splits.items()}
    assert not domains["train"] & domains["valid"]
    where = {row["id"]: (name, row["domain"]) for name, rows in splits.items() for row in rows}
    assert where["page-3"][0] == where["copy"][0] == where["page-30"][0]
    assert "again" not in where and "page-31" not in where
    kinds = {name: {row["kind"] for row in rows} for name, rows in splits.items()}
    assert {"clean", "planted"} <= kinds["train"]
    made = {name: {kind for kind in found if kind.startswith("negative:")} for name, found in kinds.items()}
    assert made["train"] and made["valid"] and not made["train"] & made["valid"]


def test_training_reads_what_was_built_and_the_card_counts_it(source: Path, splits: dict[str, Any]) -> None:
    path = source.parent / "built" / "train.jsonl.gz"
    english = [row for row in splits["train"] if row["lang"] == "en"]
    usable = [row for row in english if row["hints"]["max_line_share"] <= 0.5]
    # Training makes documents worth dropping and clean ones itself, others in each epoch; a measure is of real pages.
    made = ("negative:", "clean", "planted")
    pages = [row for row in usable if not row["kind"].startswith(made)]
    assert {row["kind"] for row in usable} >= {"clean", "planted"}
    assert len(read_pages(path)) == len(pages) < len(usable)
    card = (source.parent / "built" / "README.md").read_text(encoding="utf-8")
    total = sum(len(rows) for rows in splits.values())
    shown = [line.split("|")[3] for line in card.split("\n") if line.startswith(("| train |", "| valid |"))]
    assert sum(map(int, shown)) == total
    assert "| made up | CC0-1.0 | gold |" in card and "raw text was there before | 1 |" in card


def test_the_seed_decides_and_a_given_set_is_kept_apart(source: Path, tmp_path: Path) -> None:
    first, again = build([source], tmp_path / "a", SETTINGS), build([source], tmp_path / "b", SETTINGS)
    assert first.hashes == again.hashes
    other = BuildSettings(**{**vars(SETTINGS), "seed": 2})
    test_set = write_records(tmp_path / "test.jsonl.gz", [page(3, id="given", domain="test.example")])
    apart = build([source], tmp_path / "c", other, apart=[test_set])
    assert apart.hashes["written", "train.jsonl.gz"] != first.hashes["written", "train.jsonl.gz"]
    ids = {row["id"] for name in ("train", "valid") for row in written(tmp_path / "c" / f"{name}.jsonl.gz")}
    assert "page-4" in ids and not {"page-3", "copy", "page-30"} & ids


def test_what_labels_are_unsure_of_is_masked_and_mixed_lines_are_mended() -> None:
    lines = [
        {"text": "The mill", "label": "remove", "cov": 1.0, "role": "title"},
        {"text": "The old mill still grinds corn. By Ann Miller in News, 3 May 2012", "label": "remove", "cov": 0.5},
        {"text": "Half of this is here and the rest is not", "label": "remove", "cov": 0.4},
        {"text": "I like mills.", "label": "remove", "cov": 0.0, "role": "comment"},
    ]
    raw = "\n".join(str(line["text"]) for line in lines)
    found = labelled_lines({"raw_text": raw, "gold_text": "The old mill still grinds corn.", "lines": lines})
    assert [line.mask for line in found] == ["title", "mixed", "mixed", "comment"]
    assert [line.remove for line in found] == [True, False, True, True]
    assert found[1].deletions == ((31, len(str(lines[1]["text"]))),)


def test_negatives_for_evaluation_are_written_as_texts(source: Path, splits: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no labels"):
        write_negatives(source, tmp_path / "negatives.jsonl", 30, seed=7)
    built = source.parent / "built" / "train.jsonl.gz"
    counts = write_negatives(built, tmp_path / "negatives.jsonl", 30, seed=7)
    texts = read_texts(tmp_path / "negatives.jsonl")
    assert counts.total() == len(texts) == 30 and set(counts) == {text.kind for text in texts}


def test_errors_say_what_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "a", "raw_text": "x", "gold_text": "x"}\n{"id": "b"}\n', encoding="utf-8")
    with pytest.raises(SourceError, match=r"line 2: a record needs a text as its raw_text"):
        build([bad], tmp_path / "out", SETTINGS)
    with pytest.raises(ConfigError, match="dialect"):
        build([bad], tmp_path / "out", BuildSettings(dialect="latin"))
    with pytest.raises(SourceError, match="no such file"):
        build([tmp_path / "none.jsonl"], tmp_path / "out", SETTINGS)


def test_texts_that_are_three_quarters_alike_are_copies_and_others_are_not() -> None:
    found = Groups()
    for number in range(100):
        words = [f"w{number}x{i}" for i in range(300)]
        found.add(f"first{number}.org", " ".join(words))
        # A change of five words leaves 0.75 to 0.8 of the shingles of both, one of 60 words next to none.
        changed = [f"{word}!" if i % 40 == 0 else word for i, word in enumerate(words)]
        found.add(f"copy{number}.org", " ".join(changed))
        found.add(f"other{number}.org", " ".join(f"{w}!" if i % 9 == 0 else w for i, w in enumerate(words)))
    assert sum(found.group(f"first{n}.org") == found.group(f"copy{n}.org") for n in range(100)) >= 90
    assert sum(found.group(f"first{n}.org") == found.group(f"other{n}.org") for n in range(100)) <= 5
