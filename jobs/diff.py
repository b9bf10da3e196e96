"""Write one HTML file about the tables, and show its figures on the screen.

spark-submit [Spark's options] jobs/diff.py [the options of `prox-spark diff`]
"""

from __future__ import annotations

import sys

from prox_spark.cli import run

if __name__ == "__main__":
    # Not `sys.exit(0)`: some platforms take any SystemExit for a failed task.
    if code := run(["diff", *sys.argv[1:]]):
        sys.exit(code)
