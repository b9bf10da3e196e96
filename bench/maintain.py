"""What 100 commits cost, before and after `maintain`: looking up a document, reading all, the next run, the files.

    python bench/maintain.py            100 commits
    python bench/maintain.py --quick    12 commits, one round

A source of many small files is refined with rules (no model), a commit a file. Timed, a warm session, after each step:
one document by its id, every edit counted, a run over one changed document.
"""

from __future__ import annotations

import shutil
from typing import Any

from common import arguments, generate, median, show, timed
from pyspark.sql import functions as F

from prox_spark.config import job_settings
from prox_spark.spark.job import run_job
from prox_spark.spark.session import get_spark
from prox_spark.spark.upkeep import maintain

REFINER = "scripted:short-lines"


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--commits", type=int, default=100)
    parser.add_argument("--gigabytes", type=float, default=0.05)
    parser.add_argument("--quick", action="store_true", help="few commits, one round: does it run?")
    options = parser.parse_args()
    if options.quick:
        options.commits, options.gigabytes, options.rounds = 12, 0.002, 1
    spark = get_spark()
    base = (options.work / "maintain").resolve()
    shutil.rmtree(base, ignore_errors=True)
    generate(spark, f"{base}/generated", options.gigabytes)
    rows = spark.read.format("delta").load(f"{base}/generated")
    rows.repartition(options.commits).write.format("delta").save(f"{base}/source")
    tables = f"{base}/tables"
    made, summary = timed(lambda: refine(spark, base, tables, batch_bytes=1))
    steps = {"as it was": measure(spark, base, tables, options.rounds)}
    for name, cluster in (("maintain", False), ("maintain --cluster", True)):
        seconds, done = timed(lambda cluster=cluster: maintain(spark, tables, cluster=cluster))
        steps[name] = measure(spark, base, tables, options.rounds) | {"maintain": [seconds]}
        print(name, {one.table: f"{one.files_before} -> {one.files_after} files" for one in done})
    columns = ["after", "files of refined", "seconds of it", "one document, s", "all edits, s", "next run, s"]
    shown = [
        [name, f"{one['files']:,}", *[median(one[key]) if key in one else "" for key in KEYS]]
        for name, one in steps.items()
    ]
    figures = {"commits": summary.counts["slices"], "seconds": made, "steps": steps}
    title = f"{summary.counts['slices']} commits in {made:,.0f} s"
    show(title, columns, shown, figures, options.json or options.work / "maintain.json")
    shutil.rmtree(base)


KEYS = ("maintain", "lookup", "scan", "run")


def refine(spark: Any, base: Any, tables: str, **more: Any) -> Any:
    """Refine what is new in the source."""
    settings = job_settings(source=f"{base}/source", tables=tables, refiners=(REFINER,), preflight="off", **more)
    return run_job(settings, spark=spark)


def measure(spark: Any, base: Any, tables: str, rounds: int) -> dict[str, Any]:
    """Time readers and the next run."""
    refined = spark.read.format("delta").load(f"{tables}/refined")
    found: dict[str, Any] = {"lookup": [], "scan": [], "run": []}
    found["files"] = spark.sql(f"DESCRIBE DETAIL delta.`{tables}/refined`").first().numFiles
    for number in range(rounds):
        found["lookup"].append(timed(lambda n=number: refined.where(F.col("doc_id") == str(n)).collect())[0])
        found["scan"].append(timed(lambda: refined.agg(F.sum(F.size("edits"))).collect())[0])
        spark.sql(f"UPDATE delta.`{base}/source` SET text = concat(text, '!') WHERE doc_id = '{number}'")
        found["run"].append(timed(lambda: refine(spark, base, tables))[0])
    return found


if __name__ == "__main__":
    main()
