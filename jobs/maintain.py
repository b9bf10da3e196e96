"""Put the tables' small files together and remove old ones.

spark-submit [Spark's options] jobs/maintain.py [the options of `prox-spark maintain`]
"""

from __future__ import annotations

import sys

from prox_spark.cli import run

if __name__ == "__main__":
    # Not `sys.exit(0)`: some platforms take any SystemExit for a failed task.
    if code := run(["maintain", *sys.argv[1:]]):
        sys.exit(code)
