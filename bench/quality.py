"""The quality figures of a refiner through the Spark job: labelled pages in, `refined` out, scored against gold texts.

    python bench/quality.py PAGES.jsonl.gz                            web-lite, English pages
    python bench/quality.py PAGES.jsonl.gz --refiner BUNDLE --language de --any-language
    python bench/quality.py PAGES.jsonl.gz --negatives NEGATIVES.jsonl --clean tests/data/hard_clean.jsonl

`prox-spark evaluate` has the same figures without Spark, with intervals and side by side; this is what the tables say.
Beside both renderings the pages' gold texts are refined, which should come through untouched. Needs what tests need.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

from common import arguments, show, timed

from prox_spark.config import Caution, job_settings
from prox_spark.spark.job import run_job
from prox_spark.spark.session import get_spark
from prox_spark.training.labelled import read_labelled, read_texts
from prox_spark.training.metrics import score


class Document(NamedTuple):
    """What is refined and what is to come of it; ``which`` is the set that it belongs to."""

    which: str
    doc_id: str
    text: str
    gold: str


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("pages", type=Path, help="labelled pages, as docs/training.md describes them")
    parser.add_argument("--refiner", default="web-lite")
    parser.add_argument("--caution", choices=get_args(Caution), default="balanced")
    parser.add_argument("--language", default="en", help="of the pages taken")
    parser.add_argument("--any-language", action="store_true", help="refine languages that it was not made for")
    parser.add_argument("--negatives", type=Path, help="texts to be dropped: JSON lines with id, kind and text")
    parser.add_argument("--clean", type=Path, help="texts to come through untouched")
    options = parser.parse_args()
    documents = list(read(options))
    spark = get_spark()
    base = (options.work / "quality").resolve()
    shutil.rmtree(base, ignore_errors=True)
    source = spark.createDataFrame([(one.doc_id, one.text) for one in documents], "doc_id string, text string")
    source.write.format("delta").save(f"{base}/source")
    settings = job_settings(
        source=f"{base}/source", tables=f"{base}/tables", refiners=(options.refiner,), preflight="off",
        caution=options.caution, any_language=options.any_language,
    )  # fmt: skip
    seconds, summary = timed(lambda: run_job(settings, spark=spark))
    found = spark.read.format("delta").load(f"{base}/tables/refined").select("doc_id", "text", "status", "reason")
    refined = {row.doc_id: row for row in found.toLocalIterator()}
    names = dict.fromkeys(one.which for one in documents)
    figures = {name: measure([one for one in documents if one.which == name], refined) for name in names}
    columns = ["set", *next(iter(figures.values()))]
    rows = [[which, *[str(value) for value in one.values()]] for which, one in figures.items()]
    title = f"{options.refiner}, {options.caution}: {len(documents)} documents in {seconds:,.0f} s"
    told = {"refiner": options.refiner, "caution": options.caution, "write_key": summary.write_key, "sets": figures}
    show(title, columns, rows, told, options.json or options.work / "quality.json")
    shutil.rmtree(base)


def read(options: Any) -> Iterator[Document]:
    """Every document of every set."""
    gold = {}
    for page in read_labelled(options.pages, (options.language,)):
        yield Document(page.rendering, f"{page.rendering} {page.id}", page.raw, page.gold)
        gold[page.id] = page.gold
    # Both renderings of a page have the same gold text.
    for number, text in gold.items():
        yield Document("gold", f"gold {number}", text, text)
    for which, path in (("negatives", options.negatives), ("clean", options.clean)):
        for text in read_texts(path) if path else ():
            yield Document(which, f"{which} {text.id}", text.text, text.text)


def measure(documents: list[Document], refined: dict[str, Any]) -> dict[str, float]:
    """Figures of one set; a document that is missing from `refined` counts as dropped."""
    rows = [refined.get(one.doc_id) for one in documents]
    texts = [row.text if row is not None else None for row in rows]
    figures = score((text, one.gold, one.text) for text, one in zip(texts, documents, strict=True)).rounded()
    count = len(documents)
    return {
        **figures,
        "changed": round(sum(text != one.text for text, one in zip(texts, documents, strict=True)) / count, 4),
        "dropped": round(sum(row is None or row.status == "dropped" for row in rows) / count, 4),
        "by_verdict": round(sum(row is not None and row.reason == "drop_doc" for row in rows) / count, 4),
    }


if __name__ == "__main__":
    main()
