"""Scoring the lines of pages: the bundle as it ships against a plain float32 prefill of its weights by Optimum.

    .venv-train/bin/python bench/score.py
    .venv-train/bin/python bench/score.py --quick

Needs the extra `train` (torch, Optimum). Texts are the sample pages of the demo. Each contender has a process of its
own, rounds are interleaved, medians are printed with their range. `% of products`: prompt tokens a second x 2 x
parameters beside the embeddings, over the best rate of 8-bit products (uint8 x int8, 1024 x 576 x 1536) in the same
round with as many threads. `difference` is the largest of line scores, against the plain prefill: what 8-bit
activations cost.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, figure, median, show
from scorers import export_plain, parameters, serve

from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.device import processor

PAGES = Path(__file__).resolve().parent.parent / "demo" / "sample_pages.jsonl.gz"


class Contender:
    """A process that runs one thing, or several that share the pages and start together."""

    def __init__(self, kind: str, processes: int = 1, **arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(processes)]
        self.ends = [near for near, _ in pairs]
        self.workers = [context.Process(target=serve, args=(far, kind, arguments), daemon=True) for _, far in pairs]
        for worker in self.workers:
            worker.start()
        for end in self.ends:
            end.recv()

    def run(self, texts: Sequence[str]) -> dict[str, Any]:
        """Seconds of the slowest, everything else together."""
        for number, end in enumerate(self.ends):
            end.send(texts[number :: len(self.ends)])
        found = [end.recv() for end in self.ends]
        together = {
            name: sum(one[name] for one in found) for name in ("tokens", "mebibytes", "rate") if name in found[0]
        }
        seconds = max(one.get("seconds", 0.0) for one in found)
        return {**together, "seconds": seconds, "scores": found[0].get("scores") if len(found) == 1 else None}

    def end(self) -> None:
        """Let the processes end."""
        for end, worker in zip(self.ends, self.workers, strict=True):
            end.send(None)
            worker.join()


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--refiner", default="web-lite")
    parser.add_argument("--pages", type=int, default=16)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16], help="of the plain prefill")
    parser.add_argument("--quick", action="store_true", help="4 pages, 1 round")
    options = parser.parse_args()
    if options.quick:
        options.pages, options.rounds = 4, 1
    with gzip.open(PAGES, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines][: options.pages]
    bundle = Bundle.find(options.refiner)
    work = (options.work / "score").resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    contenders = make(options, export_plain(bundle, work))
    for contender in contenders.values():
        contender.run(texts[:2])  # memory is taken, kernels are chosen
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, contender in contenders.items():
            rounds[name].append(contender.run(texts))
    for contender in contenders.values():
        contender.end()
    report(options, rounds, parameters(bundle.graph), len(texts))
    shutil.rmtree(work)


def make(options: Any, graph: str) -> dict[str, Contender]:
    """All contenders by name; the first word of a name says what is compared with what: its threads."""
    found = {}
    ours = Bundle.find(options.refiner).info.name
    for threads in options.threads:
        found[f"{threads} products"] = Contender("products", threads=threads)
        # Each side may use the cores in both ways: in one process, or in a process a core.
        for processes in sorted({1, threads}):
            shared = {"processes": processes, "bundle": options.refiner, "threads": threads // processes}
            how = f", {processes} processes" if processes > 1 else ""
            for batch in options.batches:
                found[f"{threads} plain, batch {batch}{how}"] = Contender("plain", graph=graph, batch=batch, **shared)
            found[f"{threads} {ours}{how}"] = Contender("ours", **shared)
    return found


def report(options: Any, rounds: dict[str, list[dict[str, Any]]], weights: int, documents: int) -> None:
    """One row a contender; ratios are of rounds, against the plain prefill that is best in the median."""
    rows, figures = [], []
    for name, found in rounds.items():
        threads, _, what = name.partition(" ")
        if what == "products":
            continue
        seconds = [one["seconds"] for one in found]
        plains = [other for key, other in rounds.items() if key.startswith(f"{threads} plain")]
        best = min(plains, key=lambda other: float(np.median([one["seconds"] for one in other])))
        rates = [one["rate"] for one in rounds[f"{threads} products"]]
        tokens = [one["tokens"] / one["seconds"] for one in found]
        share = [100 * 2 * weights * one / (rate * 1e9) for one, rate in zip(tokens, rates, strict=True)]
        times = [plain["seconds"] / one for plain, one in zip(best, seconds, strict=True)]
        scores, reference = found[0]["scores"], next(one[0]["scores"] for one in plains if one[0]["scores"])
        apart = None if scores is None else float(np.abs(np.asarray(scores) - np.asarray(reference)).max())
        rows.append(
            [
                threads,
                what,
                figure(documents / float(np.median(seconds))),
                median(tokens),
                median(times),
                median(share),
                "" if apart is None else figure(apart),
                figure(max(one["mebibytes"] for one in found)),
            ]
        )
        figures.append({"threads": int(threads), "what": what, "largest_difference": apart, "products": rates})
        figures[-1] |= {
            "seconds": seconds,
            "tokens_a_second": tokens,
            "times_plain": times,
            "percent_of_products": share,
        }
        figures[-1]["mebibytes"] = [one["mebibytes"] for one in found]
    columns = [
        "threads",
        "what",
        "documents/s",
        "tokens/s",
        "x plain",
        "% of products",
        "difference",
        "peak MiB",
    ]
    rates = {
        name.split()[0]: median([one["rate"] for one in found]) for name, found in rounds.items() if "products" in name
    }
    print(f"{processor()}; 8-bit products, GFLOP/s by threads: {rates}; {weights / 1e6:.1f}M parameters")
    whole = {"processor": processor(), "parameters": weights, "documents": documents, "rows": figures}
    show(f"Scoring: {options.refiner}", columns, rows, whole, options.json or options.work / "score.json")


if __name__ == "__main__":
    main()
