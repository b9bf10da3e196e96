"""Running again over what is refined already: seconds, what is read of the source, and what is committed.

    python bench/rerun.py            a million documents
    python bench/rerun.py --quick    20,000

Timed is the whole command `refine`, in a warm session: with nothing new, after one document was appended, and with a
checkpoint that was lost, where every document is looked up by its keys. Rules, no model.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from common import arguments, median, show, timed
from pyspark.sql import functions as F

from prox_spark.config import job_settings
from prox_spark.spark.job import run_job
from prox_spark.spark.session import get_spark

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.helpers.spark_jobs import SHOW_PATHS, last_query, scanned_bytes, udf_rows

TABLES = ("programs", "refined", "quarantine", "runs")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="few documents, one round: does it run?")
    options = parser.parse_args()
    if options.quick:
        options.documents, options.rounds = 20_000, 1
    # Statements that read the source are looked for among all that were made.
    spark = get_spark(**{"spark.sql.ui.retainedExecutions": "100000", **SHOW_PATHS})
    base = (options.work / "rerun").resolve()
    shutil.rmtree(base, ignore_errors=True)
    make_source(spark, f"{base}/source", 0, options.documents)
    size = spark.sql(f"DESCRIBE DETAIL delta.`{base}/source`").first().sizeInBytes
    tables = f"{base}/tables"
    steps = {"first run": [step(spark, base, tables)]}
    steps["nothing new"] = [step(spark, base, tables) for _ in range(options.rounds)]
    steps["one more document"] = []
    for number in range(options.rounds):
        make_source(spark, f"{base}/source", options.documents + number, 1)
        steps["one more document"].append(step(spark, base, tables))
    steps["checkpoint lost"] = [step(spark, base, tables, checkpoints=f"{base}/elsewhere")]
    columns = ["run", "seconds", "source read", "through Python", "commits"]
    shown = [
        [
            name,
            median([one["seconds"] for one in found]),
            f"{found[0]['scanned'] / size:.3f}x",
            f"{found[0]['python']:,}",
            ", ".join(f"{table} {many}" for table, many in found[0]["commits"].items() if many),
        ]
        for name, found in steps.items()
    ]
    title = f"Running again over {options.documents:,} documents"
    show(title, columns, shown, {"source_bytes": size, "steps": steps}, options.json or options.work / "rerun.json")
    shutil.rmtree(base)


def make_source(spark: Any, path: str, first: int, documents: int) -> None:
    """Append documents of five lines, one of them short."""
    rows = spark.range(first, first + documents).select(
        F.col("id").cast("string").alias("doc_id"),
        F.concat(
            F.lit("Home\n"),
            *[F.concat(F.sha2(F.concat("id", F.lit(n)), 256), F.lit(f" is line {n} of this page\n")) for n in "1234"],
        ).alias("text"),
    )
    rows.write.format("delta").mode("append").save(path)


def step(spark: Any, base: Any, tables: str, **more: Any) -> dict[str, Any]:
    """One run: its seconds, bytes of the source's files read, rows through Python, commits by table."""
    before, since = versions(spark, tables), last_query(spark)
    settings = job_settings(
        source=f"{base}/source", tables=tables, refiners=("scripted:short-lines",), preflight="off", **more
    )
    seconds, _ = timed(lambda: run_job(settings, spark=spark))
    after = versions(spark, tables)
    return {
        "seconds": seconds,
        "scanned": scanned_bytes(spark, f"{base}/source", since),
        "python": sum(udf_rows(spark, since).values()),
        "commits": {name: after[name] - before.get(name, -1) for name in after},
    }


def versions(spark: Any, tables: str) -> dict[str, int]:
    """Newest version of every table that is there."""
    there = [name for name in TABLES if Path(tables, name).exists()]
    history = {name: spark.sql(f"DESCRIBE HISTORY delta.`{tables}/{name}` LIMIT 1") for name in there}
    return {name: int(one.first().version) for name, one in history.items()}


if __name__ == "__main__":
    main()
