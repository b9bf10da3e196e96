"""Bring tables of an older version to this one's.

spark-submit [Spark's options] jobs/migrate.py [the options of `prox-spark migrate`]
"""

from __future__ import annotations

import sys

from prox_spark.cli import run

if __name__ == "__main__":
    # Not `sys.exit(0)`: some platforms take any SystemExit for a failed task.
    if code := run(["migrate", *sys.argv[1:]]):
        sys.exit(code)
