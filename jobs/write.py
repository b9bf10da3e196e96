"""Write programs for what is new in a source: for a cluster with GPUs.

spark-submit [Spark's options] jobs/write.py [the options of `prox-spark write`]
"""

from __future__ import annotations

import sys

from prox_spark.cli import run

if __name__ == "__main__":
    # Not `sys.exit(0)`: some platforms take any SystemExit for a failed task.
    if code := run(["write", *sys.argv[1:]]):
        sys.exit(code)
