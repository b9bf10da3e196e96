"""Refine a source: write programs for what is new, and execute them.

spark-submit [Spark's options] jobs/refine.py [the options of `prox-spark refine`]
"""

from __future__ import annotations

import sys

from prox_spark.cli import run

if __name__ == "__main__":
    # Not `sys.exit(0)`: some platforms take any SystemExit for a failed task.
    if code := run(["refine", *sys.argv[1:]]):
        sys.exit(code)
