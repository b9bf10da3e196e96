"""A thousand hostile documents through the whole job: how they end, and the peak memory of a Python worker.

    python bench/hostile.py [--refiner web-lite] [--quick]

The documents are those of tests/helpers/hostile.py, up to a mebibyte each and one of four. Exits with 1 if one of them
is not accounted for.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from common import Watch, figure, session, show, spark_arguments, timed

from prox_spark.config import job_settings
from prox_spark.spark.job import run_job

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.helpers.hostile import hostile_documents, ids_of

STATUSES = ("refined", "unchanged", "dropped", "fallback", "quarantined")


def main() -> None:
    parser = spark_arguments(__doc__ or "")
    parser.add_argument("--refiner", default="web-lite")
    parser.add_argument("--documents", type=int, default=1_000)
    parser.add_argument("--quick", action="store_true", help="100 documents, the scripted refiner")
    options = parser.parse_args()
    count, refiner = (100, "scripted:noise") if options.quick else (options.documents, options.refiner)
    base = (options.work / "hostile").resolve()
    shutil.rmtree(base, ignore_errors=True)
    spark = session(options)
    documents = hostile_documents(count)
    source, tables = f"{base}/source", f"{base}/tables"
    frame = spark.createDataFrame(documents, "doc_id string, raw binary")
    frame.selectExpr("doc_id", "cast(raw as string) as text").write.format("delta").save(source)
    settings = job_settings(
        source=source, tables=tables, refiners=(refiner,), preflight="off", max_error_rate=1.0, any_language=True
    )
    with Watch() as watch:
        seconds, summary = timed(lambda: run_job(settings, spark=spark))
    lost = unaccounted(spark, tables, documents)
    counts = Counter(summary.counts)
    megabytes = sum(len(text or b"") for _, text in documents) / 1e6
    row = [f"{len(documents):,}", figure(megabytes), figure(seconds), *(f"{counts[name]:,}" for name in STATUSES)]
    row += [str(lost), figure(watch.largest)]
    columns = ["documents", "MB", "seconds", *STATUSES, "lost", "peak MiB a Python worker"]
    figures = {"refiner": refiner, "counts": dict(counts), "lost": lost, "worker_mebibytes": watch.largest}
    show(f"hostile documents: {refiner}", columns, [row], figures, options.json or options.work / "hostile.json")
    shutil.rmtree(base)
    sys.exit(1 if lost else 0)


def unaccounted(spark: Any, tables: str, documents: list[Any]) -> int:
    """Return how many ids are not in exactly one of `refined` and `quarantine`."""
    refined = [row.doc_id for row in spark.read.format("delta").load(f"{tables}/refined").select("doc_id").collect()]
    aside = spark.read.format("delta").load(f"{tables}/quarantine").select("doc_id").distinct().collect()
    places = Counter(refined) + Counter(row.doc_id for row in aside)
    return sum(places[doc_id] != 1 for doc_id in ids_of(documents))


if __name__ == "__main__":
    main()
