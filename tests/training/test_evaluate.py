from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prox_spark.cli import app
from prox_spark.errors import SourceError
from prox_spark.report.evaluation import evaluation_tables
from prox_spark.training import evaluate as evaluating
from prox_spark.training.evaluate import evaluate, to_json
from prox_spark.training.measures import Group, Measured
from tests.helpers.labelled_pages import MENU, PROSE, record, write_records

REFINER = "scripted:short-lines"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    records = [record(n, kind, source=f"source {n % 2}") for n in range(4) for kind in ("wet", "extracted")]
    return write_records(tmp_path / "r.jsonl.gz", records)


def one(group: Group, name: str) -> Measured:
    return next(contender for contender in group.contenders if contender.name == name)


def write_texts(path: Path, texts: dict[str, str]) -> Path:
    rows = [{"id": f"{kind} {n}", "kind": kind, "text": text} for n, (kind, text) in enumerate(texts.items())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_refiner_that_takes_short_lines_is_measured(data: Path) -> None:
    wet, extracted = evaluate(REFINER, data).pages
    assert (wet.rendering, extracted.rendering, wet.documents, wet.domains) == ("wet", "extracted", 4, 4)
    raw, labels, refined = one(wet, "raw"), one(wet, "labels"), one(wet, REFINER)
    # It removes Home, About us, Contact, Sign in, Subscribe now, but not Share on Facebook: 5 of 6, none wrongly.
    assert refined.lines is not None and refined.writing is not None
    assert (refined.lines.precision, refined.lines.recall) == (1.0, pytest.approx(5 / 6))
    assert raw.text.f1 < refined.text.f1 < labels.text.f1 == 1.0
    assert refined.text.harmed_absolute == 0.0
    assert (refined.writing.errors, refined.writing.truncated, refined.writing.looped, refined.dropped) == (0, 0, 0, 0)
    assert refined.ahead is None and raw.ahead is not None
    assert raw.ahead[0] == pytest.approx(refined.text.f1 - raw.text.f1)


def test_contenders_stand_side_by_side(data: Path) -> None:
    found = evaluate(REFINER, data, against=("rules:c4-lines", REFINER))
    names = [contender.name for contender in found.pages[0].contenders]
    assert names == [REFINER, "raw", "labels", "rules:c4-lines", f"{REFINER} ({REFINER})"]
    assert one(found.pages[0], "rules:c4-lines").text.f1 == 1.0
    (ahead, (low, high)) = one(found.pages[0], names[-1]).ahead or (1.0, (1.0, 1.0))
    assert ahead == low == high == 0.0


def test_pages_are_broken_down(data: Path) -> None:
    found = evaluate(REFINER, data)
    sources = [(part.rendering, part.value, part.documents) for part in found.parts if part.by == "source"]
    assert sources == [(kind, f"source {n}", 2) for kind in ("wet", "extracted") for n in (0, 1)]
    assert {(part.by, part.value) for part in found.parts if part.by != "source"} == {
        ("language", "en"),
        ("length", "under 300 words"),
    }


def test_harmed_pages_are_listed_and_drawn(data: Path, tmp_path: Path) -> None:
    poem = "\n".join(["So much", "depends", "upon", "a red wheel barrow of the farm", "glazed with rain", "water"] * 3)
    rows = [{"text": line, "label": "keep", "cov": 1.0} for line in poem.split("\n")]
    data = write_records(data, [record(0), record(1, id="poem", raw_text=poem, gold_text=poem, lines=rows)])
    found = evaluate(REFINER, data)
    assert [(page.id, page.raw_recall, page.words_lost) for page in found.harmed] == [("poem", 1.0, 15)]
    assert found.harmed[0].recall == 0.5
    assert [page.id for page in found.worst] == ["poem", "page-0"]


def test_verdicts_count_negatives_and_clean_texts(data: Path, tmp_path: Path) -> None:
    nothing = [{"text": line, "label": "remove", "cov": 0.0} for line in MENU * 4]
    record_ = record(0, id="menu", lines=nothing, raw_text="\n".join(MENU * 4), gold_text=PROSE[0])
    data = write_records(data, [record_, record(1)])
    negatives = write_texts(tmp_path / "negatives.jsonl", {"menu": "\n".join(MENU * 4), "prose": "\n".join(PROSE)})
    clean = write_texts(tmp_path / "clean.jsonl", {"prose": "\n".join(PROSE), "list": "milk\nflour\nbutter"})
    found = evaluate("rules:c4", data, negatives=negatives, clean=clean, gold=True)
    (verdict,) = found.verdicts
    # To be dropped: the page and the negative without a sentence, which are, and the negative of four, which is too.
    assert (verdict.worth_dropping, verdict.worth_keeping, verdict.recall) == (3, 3, 1.0)
    # Wrongly dropped: the page of three sentences, and both clean texts.
    assert (verdict.precision, verdict.pages_dropped) == (0.5, 1.0)
    rows = {(row.set, row.kind): row for row in found.texts}
    assert rows["negatives", "all"].dropped == 1.0
    assert (rows["clean", "list"].words_removed, rows["clean", "all"].documents) == (1.0, 2)
    assert rows["gold", "all"].documents == 2 and rows["gold", "all"].changed == 1.0
    assert verdict.pages_dropped_interval == rows["negatives", "all"].intervals["dropped"] == (1.0, 1.0)
    low, high = rows["clean", "all"].intervals["f1"]
    assert low <= rows["clean", "all"].f1 <= high


def test_made_documents_among_the_pages_are_a_set_of_their_own(data: Path) -> None:
    made = [record(n, id=f"made {n}", kind="negative:menu", lang=lang) for n, lang in enumerate(("en", "en", "de"))]
    found = evaluate("rules:c4", write_records(data, [record(5), *made]))
    assert [group.documents for group in found.pages] == [1]
    assert [(row.set, row.kind, row.documents) for row in found.texts] == [("negatives", "all", 2)]


def test_other_languages_pass_through_and_are_chosen(data: Path) -> None:
    data = write_records(data, [record(0), record(1, lang="de")])
    assert [part.value for part in evaluate("rules:c4-lines", data).parts if part.by == "language"] == ["en"]
    german, english = (
        next(part for part in evaluate("rules:c4-lines", data, languages=()).parts if part.value == value)
        for value in ("de", "en")
    )
    assert (german.contenders[0].changed, english.contenders[0].changed) == (0, 1)
    (both,) = evaluate("rules:c4-lines", data, languages=(), any_language=True).pages
    assert both.contenders[0].changed == 2


def test_limit_counts_pages_of_each_rendering(data: Path) -> None:
    assert [group.documents for group in evaluate(REFINER, data, limit=3).pages] == [3, 3]


def test_filters_that_are_not_installed_are_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "installed", lambda: False)
    found = evaluate(REFINER, data, against=("datatrove:c4",))
    assert found.notes[0].startswith("datatrove:c4 was left out") and "prox-spark[compare]" in found.notes[0]


def test_datatrove_filters_run_as_they_come(data: Path) -> None:
    pytest.importorskip("datatrove")
    pytest.importorskip("spacy")
    found = evaluate(REFINER, data, against=("datatrove:c4", "datatrove:gopher", "datatrove:fineweb"))
    # Three sentences are too few for C4, which is one of FineWeb's; their words are just enough for Gopher.
    assert [one(found.pages[0], f"datatrove:{name}").dropped for name in ("c4", "gopher", "fineweb")] == [4, 0, 4]


def test_the_command_writes_table_figures_and_page(data: Path, tmp_path: Path) -> None:
    figures, page = tmp_path / "f.json", tmp_path / "p.html"
    command = ["evaluate", REFINER, str(data), "--json", str(figures), "--html", str(page), "--against", "rules:c4"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert "rules:c4" in done.output and "0 pages harmed" in done.output
    kept: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    assert kept["pages"][0]["contenders"][2]["text"]["f1"] == 1.0
    assert PROSE[0] not in figures.read_text(encoding="utf-8")
    html = page.read_text(encoding="utf-8")
    # The line that stayed and should have gone, marked.
    assert '<tr class="change"><td class="n">8</td><td class="s"></td><td class="text">Share on Facebook</td>' in html
    assert "<script" not in html


def test_texts_of_pages_are_escaped(data: Path, tmp_path: Path) -> None:
    rows = record(0)["lines"]
    rows[5] = {"text": "<script>alert(1)</script>", "label": "keep", "cov": 1.0}
    text = "\n".join(row["text"] for row in rows)
    data = write_records(data, [record(0, lines=rows, raw_text=text, gold_text="<b>" + text, source="<i>x</i>")])
    page = tmp_path / "p.html"
    assert CliRunner().invoke(app, ["evaluate", REFINER, str(data), "--html", str(page)]).exit_code == 0
    html = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in html and "&lt;i&gt;x" in html
    assert "<script" not in html and "<i>x" not in html


def test_results_can_be_shown_and_kept(data: Path) -> None:
    found = evaluate(REFINER, data)
    (table,) = evaluation_tables(found.figures())
    assert table.row_count == 8
    assert json.loads(to_json(found))["pages"][0]["contenders"][2]["text"]["f1"] == 1.0


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        evaluate(REFINER, tmp_path / "none.jsonl.gz")


def test_a_set_of_texts_names_the_line_that_is_none(data: Path, tmp_path: Path) -> None:
    (tmp_path / "clean.jsonl").write_text('{"id": 1, "kind": "a", "text": "b"}\n{"id": 2}\n', encoding="utf-8")
    with pytest.raises(SourceError, match="line 2: not an object with id, kind and text"):
        evaluate(REFINER, data, clean=tmp_path / "clean.jsonl")
