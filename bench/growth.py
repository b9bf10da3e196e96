"""How time and memory grow: with the number of documents, with their length, and from one core to two.

    python bench/growth.py
    python bench/growth.py --quick
    python bench/growth.py --docs docs      write the plots and the table of docs/performance.md as well

EXECUTE is measured over generated documents (`bench/execute.py`), from 1x to 100x; WRITE with a model over the demo's
pages (`bench/write.py`), 1x and 10x. Each measurement is a process of its own, on one core where one is measured.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import arguments, cores, figure, show
from plots import write_docs

HERE = Path(__file__).resolve().parent
# Tokens of a generated line.
LINE_TOKENS = 13
COLUMNS = ["what", "", "documents", "MB", "tokens a document", "seconds", "µs a token", "peak MiB a worker"]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--refiner", default="web-lite")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the documents, one round: does it run?")
    parser.add_argument("--docs", type=Path, help="folder of the docs: write plots and table there")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    points = measure(options)
    rows = [
        [
            point["stage"],
            point["grows"],
            f"{point['documents']:,}",
            figure(point["bytes"] / 1e6),
            figure(point["tokens"] / point["documents"]),
            figure(point["seconds"]),
            figure(1e6 * point["seconds"] / point["tokens"]),
            figure(point["worker_mebibytes"]),
        ]
        for point in points
    ]
    target = options.json or options.work / "growth.json"
    show("Growth", COLUMNS, rows, points, target)
    if options.docs:
        write_docs(target, options.docs)


def measure(options: Any) -> list[dict[str, Any]]:
    """All points, one after the other."""
    small = 0.0001 if options.quick else 0.01
    sizes = [str(small * many) for many in (1, 10, 100)]
    lengths = ["10", "80", "800", "8000"]
    long = ["--gigabytes", str(10 * small), "--lines", *lengths]
    pages = 7 if options.quick else 28
    tokens = ["100", "1000", "10000"] if options.quick else ["100", "1000", "10000", "100000"]
    made = ["--tokens", *tokens, "--bytes", str(40_000 if options.quick else 400_000)]
    found = execute(options, "documents", ["--gigabytes", *sizes])
    found += execute(options, "length", long)
    for many in (1, 10):
        found += write(options, "documents", ["--documents", str(many * pages)])
    found += write(options, "length", made)
    for many in range(1, cores() + 1):
        found += execute(options, "cores", ["--gigabytes", str(10 * small)], many)
        found += write(options, "cores", ["--documents", str(10 * pages)], many)
    return found


def execute(options: Any, grows: str, arguments: list[str], many: int | None = None) -> list[dict[str, Any]]:
    """Points of EXECUTE."""
    return [
        {
            "stage": "EXECUTE",
            "grows": grows,
            **{name: one[name] for name in ("documents", "bytes", "cores")},
            "tokens": one["documents"] * one["lines"] * LINE_TOKENS,
            "seconds": statistics.median(one["seconds"]),
            "worker_mebibytes": statistics.median(one["worker_mebibytes"]),
        }
        for one in run("execute.py", options, arguments, many)
    ]


def write(options: Any, grows: str, arguments: list[str], many: int | None = None) -> list[dict[str, Any]]:
    """Points of WRITE."""
    arguments = [*arguments, "--no-bare", "--refiner", options.refiner]
    return [
        {
            "stage": "WRITE",
            "grows": grows,
            **{name: one[name] for name in ("documents", "bytes", "cores")},
            "tokens": one["spark"][0]["tokens"],
            "seconds": statistics.median(of["seconds"] for of in one["spark"]),
            "worker_mebibytes": statistics.median(of["worker_mebibytes"] for of in one["spark"]),
        }
        for one in run("write.py", options, arguments, many)
    ]


def run(script: str, options: Any, arguments: list[str], many: int | None) -> list[dict[str, Any]]:
    """Run a benchmark in a process of its own, on so many cores (default: all), and return its figures."""
    target = (options.work / "growth-part.json").resolve()
    command = [sys.executable, str(HERE / script), "--rounds", str(options.rounds), "--json", str(target), *arguments]
    chosen = sorted(os.sched_getaffinity(0))[: many or cores()]
    subprocess.run(
        [*command, "--work", str(options.work)], check=True, preexec_fn=lambda: os.sched_setaffinity(0, chosen)
    )
    figures = json.loads(target.read_text(encoding="utf-8"))["figures"]
    target.unlink()
    return list(figures)


if __name__ == "__main__":
    main()
