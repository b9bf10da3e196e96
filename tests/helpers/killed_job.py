"""Run a job in a process of its own that kills itself (SIGKILL) at a named point: python -m tests.helpers.killed_job.

    python -m tests.helpers.killed_job POINT COMMAND SETTINGS_JSON [SESSION_JSON]

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
from prox_spark.spark.job import run_job
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


def main() -> None:
    point, command, settings, *session = sys.argv[1:]
    arm(point)
    values = json.loads(settings)
    values["refiners"] = tuple(values.get("refiners", ()))
    spark = get_spark("killed job", **(json.loads(session[0]) if session else {}))
    run_job(job_settings(**values), command, spark=spark)  # type: ignore[arg-type]
    raise SystemExit(f"the job ended without coming to {point}")


if __name__ == "__main__":
    main()
