"""A run in a process of its own: `python -m tests.helpers.second_run SOURCE TABLES MEETING`.

It has found which documents are missing, and is about to add their programs, when it makes the file MEETING/waits; it
goes on when there is a file MEETING/go. Its progress is kept under MEETING.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from prox_spark.spark.commits import Commits
from prox_spark.spark.session import get_spark
from tests.helpers.spark_jobs import SESSION, run


def wait_before_programs(waits: Path, go: Path) -> None:
    """Put the wait before this process's first append to `programs`."""
    append = Commits.append

    def waiting(self: Commits, rows: Any, table: str) -> str:
        if table == "programs" and not waits.exists():
            waits.touch()
            while not go.exists():
                time.sleep(0.05)
        return append(self, rows, table)

    setattr(Commits, "append", waiting)  # noqa: B010


def main() -> None:
    source, tables, meeting = sys.argv[1:]
    wait_before_programs(Path(meeting, "waits"), Path(meeting, "go"))
    spark = get_spark("second run", **SESSION)
    run(spark, source, tables, preflight="off", checkpoints=f"{meeting}/progress")
    spark.stop()


if __name__ == "__main__":
    main()
