"""The bundle that ships with the project."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from prox_spark.program.scores import rescore
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.refiner import Refiner

ROOT = Path(__file__).resolve().parents[2]
PAGE = (
    "Home | News | Contact us\nLog in\nShare on Facebook\n"
    "The river rises in the hills north of the town and flows for ninety kilometres before it reaches the sea.\n"
    "Its upper course is steep; below the second bridge it widens, and barges could once reach the old mill.\n"
    "Copyright 2019. All rights reserved. Terms of use | Privacy policy"
)


def test_it_is_small_and_whole() -> None:
    bundle = Bundle.find("web-lite")
    files = [bundle.directory / name for name in ("refiner.json", *bundle.manifest.files)]
    assert sum(path.stat().st_size for path in files) <= 64 * 2**20
    assert (bundle.info.writes, bundle.info.level, bundle.info.dialect) == ("score", "both", "prox")
    assert set(bundle.info.thresholds) == {"cautious", "balanced", "aggressive"}
    assert {"licence", "training_data", "metrics"} <= set(bundle.info.card)


def test_it_removes_what_is_around_a_text() -> None:
    refiner = Refiner.load("web-lite", "cpu")
    (programs,) = refiner.write([PAGE])
    scores = programs.chunks[0].line_scores
    assert programs.doc_program == "keep_doc()"
    assert scores is not None and min(scores[0], scores[1], scores[2], scores[5]) > max(scores[3], scores[4])
    assert rescore(programs, refiner.thresholds["balanced"]) == programs, "stored scores give the stored program"


def test_programs_are_the_same_in_every_batch() -> None:
    with gzip.open(ROOT / "demo" / "sample_pages.jsonl.gz", "rt", encoding="utf-8") as lines:
        pages = [json.loads(line)["text"][:400] for line in lines][:20]
    one, four, sixteen = (list(Refiner.load("web-lite", "cpu", batch_size=n).write(pages)) for n in (1, 4, 16))
    assert one == four == sixteen
