"""Take up again what is in quarantine for a reason.

spark-submit [Spark's options] jobs/retry.py [the options of `prox-spark retry`]
"""

from __future__ import annotations

import sys

from prox_spark.cli import run

if __name__ == "__main__":
    # Not `sys.exit(0)`: some platforms take any SystemExit for a failed task.
    if code := run(["retry", *sys.argv[1:]]):
        sys.exit(code)
