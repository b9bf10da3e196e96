"""Delete documents from every table by their ids.

spark-submit [Spark's options] jobs/forget.py [the options of `prox-spark forget`]
"""

from __future__ import annotations

import sys

from prox_spark.cli import run

if __name__ == "__main__":
    # Not `sys.exit(0)`: some platforms take any SystemExit for a failed task.
    if code := run(["forget", *sys.argv[1:]]):
        sys.exit(code)
