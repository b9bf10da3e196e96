"""WRITE through Spark: documents, megabytes and tokens a second, and memory of the Python workers.

    python bench/write.py --refiner web-lite --documents 200

The source is the sample pages of the demo, repeated under new ids until there are enough, each with a line of its own,
so that no two texts are equal. Timed is the whole command `write`: model loading is in it, the JVM's start is not.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from common import WorkerMemory, arguments, cores, median, show, timed
from pyspark.sql import functions as F

from prox_spark.config import job_settings
from prox_spark.spark.job import run_job
from prox_spark.spark.session import get_spark

PAGES = Path(__file__).resolve().parent.parent / "demo" / "sample_pages.jsonl.gz"


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--refiner", default="web-lite")
    parser.add_argument("--documents", type=int, default=56)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    spark = get_spark()
    base = (options.work / "write").resolve()
    shutil.rmtree(base, ignore_errors=True)
    documents, size = repeat_pages(spark, f"{base}/source", options.documents)
    rounds = [measure(spark, base, number, options) for number in range(options.rounds)]
    tokens = rounds[0]["tokens"]
    seconds = [one["seconds"] for one in rounds]
    rows = [
        [
            f"{documents:,}",
            f"{size / 1e6:.1f}",
            median(seconds),
            median([documents / one for one in seconds]),
            median([size / 1e6 / one / cores() for one in seconds]),
            median([tokens / one for one in seconds]),
            median([one["worker_mebibytes"] for one in rounds]),
        ]
    ]
    columns = [
        "documents",
        "source MB",
        "seconds",
        "documents/s",
        "MB/s a core",
        "tokens/s",
        "peak MiB a Python worker",
    ]
    figures = {"refiner": options.refiner, "documents": documents, "bytes": size, "tokens": tokens, "rounds": rounds}
    show(f"WRITE: {options.refiner}", columns, rows, figures, options.json or options.work / "write.json")
    shutil.rmtree(base)


def repeat_pages(spark: Any, path: str, documents: int) -> tuple[int, int]:
    """Write a Delta table of so many pages; returns documents and bytes."""
    pages = spark.read.schema("doc_id STRING, text STRING").json(str(PAGES))
    copies = spark.range(-(-documents // max(1, pages.count())))
    rows = pages.crossJoin(copies).select(
        F.concat_ws("/", "doc_id", "id").alias("doc_id"), F.concat("text", F.lit("\n"), F.col("id")).alias("text")
    )
    rows.orderBy("id", "doc_id").limit(documents).write.format("delta").mode("overwrite").save(path)
    counted = spark.read.format("delta").load(path).agg(F.count(F.lit(1)), F.sum(F.octet_length("text"))).first()
    assert counted is not None
    return int(counted[0]), int(counted[1])


def measure(spark: Any, base: Path, number: int, options: Any) -> dict[str, float]:
    """Write all pages into new tables once."""
    tables = f"{base}/tables-{number}"
    settings = job_settings(
        source=f"{base}/source", tables=tables, refiners=(options.refiner,), device=options.device, preflight="off"
    )
    with WorkerMemory() as memory:
        seconds, summary = timed(lambda: run_job(settings, "write", spark=spark))
    if summary.counts.get("write_errors"):
        raise SystemExit(f"some pages could not be written: {dict(summary.counts)}")
    shutil.rmtree(tables)
    tokens = summary.prompt_tokens + summary.new_tokens
    return {"seconds": seconds, "tokens": tokens, "worker_mebibytes": memory.largest}


if __name__ == "__main__":
    main()
