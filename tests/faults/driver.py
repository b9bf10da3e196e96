"""The driver that faults happen to: `python -m tests.faults.driver SETTINGS_JSON`. Says on stdout how far it is.

settings: `job` (the job's settings), `command`, `session` (Spark's settings), `die` (a point at which it kills itself
with SIGKILL, or null). A line `slice stage` for every stage that ends.

Points: ``commit:TABLE`` before the first write to a table is committed, ``unseen:TABLE`` when it is committed and
nobody has been told, ``end`` when everything is committed but the stream's own progress. The job is the real one, on
real Spark; only the place of the kill is put in.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from prox_spark.config import job_settings
from prox_spark.spark import slices
from prox_spark.spark.job import Progress, run_job
from prox_spark.spark.session import get_spark
from prox_spark.spark.tables import Tables


def die(*_: Any) -> None:
    """End this process at once, as a machine that is taken away does."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    """Put the kill where it is to happen."""
    kind, _, table = point.partition(":")
    if kind == "end":
        slices.ledger.write_report = die
        return
    for name in ("append", "merge"):
        write = getattr(Tables, name)

        def armed(self: Tables, rows: Any, where: str, *more: Any, write: Any = write) -> None:
            if where == table and kind == "commit":
                die()
            write(self, rows, where, *more)
            if where == table:
                die()

        setattr(Tables, name, armed)


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
