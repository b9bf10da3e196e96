"""The benchmarks' plots and tables: of made-up figures, since the real ones take long."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
SVG = "{http://www.w3.org/2000/svg}"


def point(stage: str, grows: str, documents: int, tokens: int, cores: int, seconds: float) -> dict[str, object]:
    return {
        "stage": stage,
        "grows": grows,
        "documents": documents,
        "bytes": 4 * tokens,
        "tokens": tokens,
        "cores": cores,
        "seconds": seconds,
        "worker_mebibytes": 150.0,
    }


FIGURES = [
    *[point("EXECUTE", "documents", 10**n, 10 ** (n + 3), 2, 0.01 * 10**n) for n in (3, 4, 5)],
    *[point("WRITE", "documents", 7 * 10**n, 10 ** (n + 4), 2, 10.0**n) for n in (1, 2)],
    *[point("EXECUTE", "length", 10 ** (6 - n), 10**8, 2, 5.0) for n in (2, 3, 4, 5)],
    *[point("EXECUTE", "cores", 1000, 10**6, cores, 10 / cores) for cores in (1, 2)],
]


def test_plots_and_table_are_put_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import plots

    figures = tmp_path / "growth.json"
    figures.write_text(json.dumps({"environment": {"cores": "2"}, "figures": FIGURES}), encoding="utf-8")
    page = tmp_path / "performance.md"
    page.write_text(f"before\n\n{plots.BEGIN}\nold\n{plots.END}\n\nafter\n", encoding="utf-8")
    plots.write_docs(figures, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| EXECUTE | documents | 100,000 | 400 | 2 | 1,000 | 10 | 150 |" in text
    assert text.count("| WRITE |") == 2 and "cores 2" in text
    plots.write_docs(figures, tmp_path)
    assert page.read_text(encoding="utf-8") == text
    for name, many in {"time": 5, "memory": 5, "length": 4, "cores": 2}.items():
        assert f"(plots/growth-{name}.svg)" in text
        drawn = ElementTree.fromstring((tmp_path / "plots" / f"growth-{name}.svg").read_text(encoding="utf-8"))
        circles = drawn.findall(f"{SVG}circle")
        assert len(circles) == many
        for circle in circles:
            assert plots.LEFT <= float(circle.get("cx", "")) <= plots.WIDTH - plots.RIGHT
            assert plots.TOP <= float(circle.get("cy", "")) <= plots.HEIGHT - plots.BOTTOM


def test_lines_that_grow_in_step_are_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import plots

    drawn = ElementTree.fromstring(
        plots.plot("t", {"EXECUTE": [(10, 1), (100, 10), (1000, 100)], "WRITE": []}, "x", "y")
    )
    places = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in drawn.findall(f"{SVG}circle")]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y2 < y1 < y0  # more is higher up


def test_marks_reach_around_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import plots

    assert plots.axis([3, 4000]) == [1, 10, 100, 1000, 10000]
    assert plots.axis([3.0, 7.0]) == [2, 4, 8]
    assert plots.axis([5.0]) == [4, 8]
    assert plots.axis([4.0]) == [4, 8]


STAND_IN = """
import argparse, json, os
parser = argparse.ArgumentParser()
for name in ("--rounds", "--json", "--work", "--documents", "--bytes", "--refiner"):
    parser.add_argument(name)
for name in ("--gigabytes", "--lines", "--tokens"):
    parser.add_argument(name, nargs="+", default=["1"])
parser.add_argument("--no-bare", action="store_true")
given = parser.parse_args()
one = {"documents": 10, "bytes": 4000, "cores": len(os.sched_getaffinity(0)), "lines": 100}
if given.documents or given.tokens != ["1"]:
    one["spark"] = [{"tokens": 1000, "seconds": s, "worker_mebibytes": 100} for s in (3, 1, 2)]
else:
    one |= {"seconds": [3, 1, 2], "worker_mebibytes": [100, 110, 90]}
many = len(given.gigabytes) * len(given.lines) * len(given.tokens)
json.dump({"figures": [one] * many}, open(given.json, "w"))
"""


def test_growth_asks_for_every_size_and_puts_the_answers_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The benchmarks that it runs are stood in for by ones that take no time; their processes are real."""
    pytest.importorskip("pyspark")
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import growth

    for name in ("execute.py", "write.py"):
        (tmp_path / name).write_text(STAND_IN, encoding="utf-8")
    monkeypatch.setattr(growth, "HERE", tmp_path)
    monkeypatch.setattr(growth, "cores", lambda: 2)
    points = growth.measure(Namespace(quick=True, rounds=1, refiner="web-lite", work=tmp_path))
    asked = Counter((point["stage"], point["grows"]) for point in points)
    assert asked == {
        ("EXECUTE", "documents"): 3,
        ("EXECUTE", "length"): 4,
        ("EXECUTE", "cores"): 2,
        ("WRITE", "documents"): 2,
        ("WRITE", "length"): 3,
        ("WRITE", "cores"): 2,
    }
    assert {point["seconds"] for point in points} == {2} and {point["worker_mebibytes"] for point in points} == {100}
    if len(os.sched_getaffinity(0)) > 1:
        assert [point["cores"] for point in points if point["grows"] == "cores"] == [1, 1, 2, 2]


def test_scoring_is_compared_with_the_plain_prefill_whose_batch_is_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import score

    def took(seconds: float, *scores: float) -> list[dict[str, object]]:
        return [{"seconds": seconds, "tokens": 100, "scores": list(scores), "mebibytes": 9.0}]

    rounds = {
        "1 products": [{"rate": 1000.0}],
        "1 plain, batch 1": took(4.0, 0.5, 0.25),
        "1 plain, batch 4": took(6.0, 0.5, 0.25),
        "1 web-lite": took(1.0, 0.5, 0.375),
    }
    score.report(Namespace(refiner="web-lite", json=tmp_path / "score.json", work=tmp_path), rounds, 10**9, 2)
    *_, ours = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))["figures"]["rows"]
    assert (ours["times_plain"], ours["percent_of_products"], ours["largest_difference"]) == ([4.0], [20.0], 0.125)
