"""Execute programs that are there already: plain CPU, no model.

spark-submit [Spark's options] jobs/execute.py [the options of `prox-spark execute`]
"""

from __future__ import annotations

import sys

from prox_spark.cli import run

if __name__ == "__main__":
    # Not `sys.exit(0)`: some platforms take any SystemExit for a failed task.
    if code := run(["execute", *sys.argv[1:]]):
        sys.exit(code)
