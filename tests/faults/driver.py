"""The driver that faults happen to: `python -m tests.faults.driver SETTINGS_JSON`. Says on stdout how far it is.

settings: `job` (the job's settings), `command`, `session` (Spark's settings), `die` (a point at which it kills itself
with SIGKILL, or null) and `nth` (the how many-th time that it comes there, from 1). A line `slice stage` for every
stage that ends.

Points: ``commit:TABLE`` before a write to a table is committed, ``unseen:TABLE`` when it is committed and nobody has
been told, ``end`` when all of a slice is committed but the stream's own progress. The job is the real one, on real
Spark; only the place of the kill is put in.
"""

from __future__ import annotations

import itertools
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
    """End this process and its JVM at once, as a machine that is taken away does; they are a group of their own."""
    os.killpg(0, signal.SIGKILL)


def arm(point: str, nth: int) -> None:
    """Put the kill where it is to happen: at the nth write of this process, of whichever kind."""
    kind, _, table = point.partition(":")
    times = itertools.count(1)
    if kind == "end":
        report = slices.ledger.write_report

        def last(*given: Any) -> None:
            if next(times) == nth:
                die()
            report(*given)

        slices.ledger.write_report = last
        return
    for name in ("append", "merge"):
        write = getattr(Tables, name)

        def armed(self: Tables, rows: Any, where: str, *more: Any, write: Any = write) -> None:
            now = where == table and next(times) == nth
            if now and kind == "commit":
                die()
            write(self, rows, where, *more)
            if now:
                die()

        setattr(Tables, name, armed)


def told(progress: Progress) -> None:
    print(progress.slice, progress.stage, flush=True)


def main() -> None:
    settings = json.loads(sys.argv[1])
    if settings["die"]:
        arm(settings["die"], settings["nth"])
    job = settings["job"]
    job["refiners"] = tuple(job.get("refiners", ()))
    spark = get_spark("faults", **settings["session"])
    run_job(job_settings(**job), settings["command"], on_progress=told, spark=spark)
    spark.stop()


if __name__ == "__main__":
    main()
