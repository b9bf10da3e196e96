"""EXECUTE through Spark, from reading Delta to the commit: MB/s a core, and memory as documents grow in number.

    python bench/execute.py --gigabytes 0.01 0.1 1

Documents are generated with a short line every ten lines; WRITE (with rules, no model) gives each of those lines an
operation and is not timed. Timed is the whole command `execute`: session and JVM are warm, tables are new every round.
"""

from __future__ import annotations

import shutil
from typing import Any

from common import WorkerMemory, arguments, cores, generate, median, show, timed

from prox_spark.config import job_settings
from prox_spark.spark.job import run_job
from prox_spark.spark.session import get_spark

REFINER = "scripted:short-lines"


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    options = parser.parse_args()
    spark = get_spark()
    figures = [measure(spark, gigabytes, options) for gigabytes in sorted(options.gigabytes)]
    rows = [
        [
            f"{one['bytes'] / 1e6:,.0f}",
            f"{one['documents']:,}",
            median(one["seconds"]),
            median(one["documents_a_second"]),
            median(one["megabytes_a_second_a_core"]),
            median(one["worker_mebibytes"]),
        ]
        for one in figures
    ]
    columns = ["source MB", "documents", "seconds", "documents/s", "MB/s a core", "peak MiB a Python worker"]
    show("EXECUTE: Delta to commit", columns, rows, figures, options.json or options.work / "execute.json")


def measure(spark: Any, gigabytes: float, options: Any) -> dict[str, Any]:
    """Generate, write and then execute one size of source as often as asked."""
    base = (options.work / f"execute-{gigabytes:g}").resolve()
    shutil.rmtree(base, ignore_errors=True)
    documents, size = generate(spark, f"{base}/source", gigabytes)
    written = job_settings(source=f"{base}/source", tables=f"{base}/written", refiners=(REFINER,), preflight="off")
    run_job(written, "write", spark=spark)
    found: dict[str, Any] = {"documents": documents, "bytes": size, "cores": cores(), "seconds": []}
    found.update(documents_a_second=[], megabytes_a_second_a_core=[], worker_mebibytes=[])
    for number in range(options.rounds):
        tables = f"{base}/executed-{number}"
        settings = job_settings(source=f"{base}/source", tables=tables, programs=f"{base}/written")
        with WorkerMemory() as memory:
            seconds, summary = timed(lambda settings=settings: run_job(settings, "execute", spark=spark))
        if summary.counts.get("refined") != documents:
            raise SystemExit(f"{documents} documents, but: {dict(summary.counts)}")
        found["seconds"].append(seconds)
        found["documents_a_second"].append(documents / seconds)
        found["megabytes_a_second_a_core"].append(size / 1e6 / seconds / found["cores"])
        found["worker_mebibytes"].append(memory.largest)
        shutil.rmtree(tables)
    shutil.rmtree(base)
    return found


if __name__ == "__main__":
    main()
