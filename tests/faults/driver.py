"""The driver that faults happen to: `python -m tests.faults.driver SETTINGS_JSON`. Says on stdout how far it is.

settings: `job` (the job's settings), `command`, `session` (Spark's settings), `die` (a point of
`tests.helpers.killed_job`, at which it kills itself, or null). A line `slice stage` for every stage that ends.
"""

from __future__ import annotations

import json
import sys

from prox_spark.config import job_settings
from prox_spark.spark.job import Progress, run_job
from prox_spark.spark.session import get_spark
from tests.helpers.killed_job import arm


def told(progress: Progress) -> None:
    print(progress.slice, progress.stage, flush=True)


def main() -> None:
    settings = json.loads(sys.argv[1])
    if settings["die"]:
        arm(settings["die"])
    job = settings["job"]
    job["refiners"] = tuple(job.get("refiners", ()))
    spark = get_spark("faults", **settings["session"])
    run_job(job_settings(**job), settings["command"], on_progress=told, spark=spark)
    print("done", flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
