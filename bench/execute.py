"""EXECUTE through Spark, from reading Delta to the commit: MB/s a core, and memory as documents grow in number.

    python bench/execute.py --gigabytes 0.01 0.1 1
    python bench/execute.py --gigabytes 0.1 --lines 10 80 800 8000
    python bench/execute.py --quick

Documents are generated with a short line every ten lines; WRITE (with rules, no model) gives each of those lines an
operation and is not timed. Timed is the whole command `execute`: session and JVM are warm, tables are new every round.
Tokens are those that the rules count as a prompt. Processor seconds of Spark and of the Python workers are those that
the system counted: on a machine with other work to do they are a better measure than wall time.
"""

from __future__ import annotations

import shutil
from typing import Any

from common import LINES_A_DOCUMENT, Watch, cores, generate, median, session, show, spark_arguments, timed

from prox_spark.config import job_settings
from prox_spark.spark.job import run_job

REFINER = "scripted:short-lines"
MEASURED = (
    "seconds",
    "documents_a_second",
    "megabytes_a_second_a_core",
    "tokens_a_second",
    "java_seconds",
    "python_seconds",
    "worker_mebibytes",
)
COLUMNS = [
    "source MB",
    "documents",
    "seconds",
    "documents/s",
    "MB/s a core",
    "tokens/s",
    "CPU s Spark",
    "CPU s Python",
    "peak MiB a worker",
]


def main() -> None:
    parser = spark_arguments(__doc__ or "")
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--lines", type=int, nargs="+", default=[LINES_A_DOCUMENT], help="lines a document")
    parser.add_argument("--quick", action="store_true", help="10 MB, one round: does it run?")
    options = parser.parse_args()
    if options.quick:
        options.gigabytes, options.rounds = [0.01], 1
    spark = session(options)
    sizes = [(gigabytes, lines) for gigabytes in sorted(options.gigabytes) for lines in sorted(options.lines)]
    figures = [measure(spark, gigabytes, lines, options) for gigabytes, lines in sizes]
    rows = [
        [f"{one['bytes'] / 1e6:,.0f}", f"{one['documents']:,}", *[median(one[name]) for name in MEASURED]]
        for one in figures
    ]
    show("EXECUTE: Delta to commit", COLUMNS, rows, figures, options.json or options.work / "execute.json")


def measure(spark: Any, gigabytes: float, lines: int, options: Any) -> dict[str, Any]:
    """Generate, write and then execute one size of source as often as asked."""
    base = (options.work / f"execute-{gigabytes:g}-{lines}").resolve()
    shutil.rmtree(base, ignore_errors=True)
    documents, size = generate(spark, f"{base}/source", gigabytes, lines)
    written = job_settings(source=f"{base}/source", tables=f"{base}/written", refiners=(REFINER,), preflight="off")
    tokens = run_job(written, "write", spark=spark).prompt_tokens
    found: dict[str, Any] = {"documents": documents, "bytes": size, "tokens": tokens, "cores": cores(), "lines": lines}
    found.update({name: [] for name in MEASURED})
    for number in range(options.rounds):
        tables = f"{base}/executed-{number}"
        settings = job_settings(source=f"{base}/source", tables=tables, programs=f"{base}/written")
        with Watch() as watch:
            seconds, summary = timed(lambda settings=settings: run_job(settings, "execute", spark=spark))
        if summary.counts.get("refined") != documents:
            raise SystemExit(f"{documents} documents, but: {dict(summary.counts)}")
        one = {
            "seconds": seconds,
            "documents_a_second": documents / seconds,
            "megabytes_a_second_a_core": size / 1e6 / seconds / found["cores"],
            "tokens_a_second": tokens / seconds,
            "java_seconds": watch.java_seconds,
            "python_seconds": watch.python_seconds,
            "worker_mebibytes": watch.largest,
        }
        for name, value in one.items():
            found[name].append(value)
        shutil.rmtree(tables)
    shutil.rmtree(base)
    return found


if __name__ == "__main__":
    main()
