"""WRITE through Spark beside the bare engine: documents, megabytes and tokens a second, and what Spark costs.

    python bench/write.py --refiner web-lite --documents 168
    python bench/write.py --tokens 100 1000 10000 100000 --bytes 2000000
    python bench/write.py --quick

The source is the sample pages of the demo, repeated under new ids until there are enough, each with a line of its own,
so that no two texts are equal; with `--tokens`, documents of that length, made of the pages' lines. Timed is the whole
command `write`, from Delta to the commit: model loading is in it, the JVM's start is not. After every round the same
texts are written by the engine alone, loading included, on the same cores: by one process with a thread a core, and by
a process a core with one thread. The faster of the two is what Spark is held against.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from common import Watch, cores, figure, median, session, show, spark_arguments, timed

from prox_spark.config import job_settings
from prox_spark.refiner import Refiner
from prox_spark.spark.job import run_job

PAGES = Path(__file__).resolve().parent.parent / "demo" / "sample_pages.jsonl.gz"
BYTES_A_TOKEN = 4
COLUMNS = [
    "documents",
    "source MB",
    "seconds",
    "documents/s",
    "MB/s a core",
    "tokens/s",
    "engine alone, s",
    "of its speed",
    "peak MiB a worker",
]


def main() -> None:
    parser = spark_arguments(__doc__ or "")
    parser.add_argument("--refiner", default="web-lite")
    parser.add_argument("--documents", type=int, default=168)
    parser.add_argument("--tokens", type=int, nargs="+", default=[], help="make documents of this many tokens")
    parser.add_argument("--bytes", type=int, default=2_000_000, help="with --tokens: of all documents together")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-bare", action="store_true", help="leave the engine alone out")
    parser.add_argument("--quick", action="store_true", help="14 pages, one round: does it run?")
    parser.add_argument("--bare", nargs=2, metavar=("TEXTS", "THREADS"), help="one process of the engine alone")
    options = parser.parse_args()
    if options.bare:
        write_bare(Path(options.bare[0]), int(options.bare[1]), options)
        return
    if options.quick:
        options.documents, options.rounds = 14, 1
    spark = session(options)
    base = (options.work / "write").resolve()
    shutil.rmtree(base, ignore_errors=True)
    figures = [measure(spark, base, texts, options) for texts in sources(options)]
    title = f"WRITE: {options.refiner}, Delta to commit"
    show(title, COLUMNS, [row(one) for one in figures], figures, options.json or options.work / "write.json")
    shutil.rmtree(base)


def sources(options: Any) -> Iterator[list[str]]:
    """The texts of every source to be measured."""
    with gzip.open(PAGES, "rt", encoding="utf-8") as lines:
        pages = [str(json.loads(line)["text"]) for line in lines]
    if not options.tokens:
        yield [f"{page}\n{n}" for n, page in zip(range(options.documents), cycle(pages), strict=False)]
    for tokens in options.tokens:
        lines_of_pages = cycle("\n".join(pages).split("\n"))
        many = max(1, options.bytes // (tokens * BYTES_A_TOKEN))
        yield [document(lines_of_pages, tokens * BYTES_A_TOKEN) for _ in range(many)]


def document(lines: Iterator[str], size: int) -> str:
    """So many lines that they have this many characters."""
    taken: list[str] = []
    length = 0
    while length < size:
        line = next(lines)
        taken.append(line)
        length += len(line) + 1
    return "\n".join(taken)[:size]


def measure(spark: Any, base: Path, texts: list[str], options: Any) -> dict[str, Any]:
    """Write the texts through Spark and by the engine alone, in turn, as often as asked."""
    shutil.rmtree(base, ignore_errors=True)
    rows = spark.createDataFrame([(f"{n}", text) for n, text in enumerate(texts)], "doc_id STRING, text STRING")
    rows.write.format("delta").save(f"{base}/source")
    found: dict[str, Any] = {
        "refiner": options.refiner,
        "documents": len(texts),
        "bytes": sum(len(text.encode()) for text in texts),
        "document_tokens": options.tokens and max(map(len, texts)) // BYTES_A_TOKEN,
        "cores": cores(),
        "spark": [],
        "bare": [],
    }
    for number in range(options.rounds):
        found["spark"].append(through_spark(spark, base, number, options))
        told = f"round {number + 1}: Spark {found['spark'][-1]['seconds']:.1f} s"
        if not options.no_bare:
            alone = {many: by_engine(base, texts, many, options) for many in {1, cores()}}
            found["bare"].append(alone)
            told += "".join(f", {many} alone {seconds:.1f} s" for many, seconds in alone.items())
        print(told, file=sys.stderr, flush=True)
    return found


def through_spark(spark: Any, base: Path, number: int, options: Any) -> dict[str, float]:
    """Write all texts into new tables once."""
    tables = f"{base}/tables-{number}"
    settings = job_settings(
        source=f"{base}/source", tables=tables, refiners=(options.refiner,), device=options.device, preflight="off"
    )
    with Watch() as watch:
        seconds, summary = timed(lambda: run_job(settings, "write", spark=spark))
    if summary.counts.get("write_errors"):
        raise SystemExit(f"some pages could not be written: {dict(summary.counts)}")
    shutil.rmtree(tables)
    return {
        "seconds": seconds,
        "write_seconds": summary.write_seconds,
        "tokens": summary.prompt_tokens + summary.new_tokens,
        "java_seconds": watch.java_seconds,
        "python_seconds": watch.python_seconds,
        "worker_mebibytes": watch.largest,
    }


def by_engine(base: Path, texts: list[str], processes: int, options: Any) -> float:
    """Seconds in which so many processes together write all texts, from their loading to their last program."""
    running = []
    for number in range(processes):
        path = base / f"texts-{number}.json"
        path.write_text(json.dumps(texts[number::processes]), encoding="utf-8")
        threads = max(1, cores() // processes)
        command = [sys.executable, __file__, "--bare", str(path), str(threads), "--refiner", options.refiner]
        command += ["--device", options.device]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    # Of the slowest. Python's own start is left out, as Spark's is.
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("the engine alone failed")
    return max(float(line) for line in said)


def write_bare(path: Path, threads: int, options: Any) -> None:
    """Write the texts of a file and print the seconds that it took."""
    texts = json.loads(path.read_text(encoding="utf-8"))
    began = time.perf_counter()
    written = sum(1 for _ in Refiner.load(options.refiner, options.device, threads=threads).write(texts))
    assert written == len(texts)
    print(time.perf_counter() - began)


def row(one: dict[str, Any]) -> list[str]:
    """A source's figures for the table."""
    seconds = [of["seconds"] for of in one["spark"]]
    best = [min(of.values()) for of in one["bare"]]
    size = one["bytes"] / 1e6
    return [
        f"{one['documents']:,}",
        figure(size),
        median(seconds),
        median([one["documents"] / of for of in seconds]),
        median([size / of / one["cores"] for of in seconds]),
        median([of["tokens"] / of["seconds"] for of in one["spark"]]),
        median(best) if best else "",
        f"{sorted(b / s for b, s in zip(best, seconds, strict=True))[len(best) // 2]:.0%}" if best else "",
        median([of["worker_mebibytes"] for of in one["spark"]]),
    ]


if __name__ == "__main__":
    main()
