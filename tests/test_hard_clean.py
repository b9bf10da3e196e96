"""The set of clean texts that look like noise is what its README says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"


def test_the_set_is_whole_small_and_licensed() -> None:
    path = DATA / "hard_clean.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert Counter(row["kind"] for row in rows) == dict.fromkeys(("code", "table", "poem", "list", "forum"), 10)
    assert len({row["text"] for row in rows}) == len({row["id"] for row in rows}) == 50
    assert path.stat().st_size < 400 * 1024
    told = (DATA / "README.md").read_text(encoding="utf-8")
    for row in rows:
        assert set(row) == {"id", "kind", "licence", "source", "text"}
        assert len(row["text"].split()) >= 20 and row["licence"] in told, row["id"]
