"""Ask a large model about the documents of a source: scores, clean versions, programs.

spark-submit [Spark's options] jobs/annotate.py [the options of `prox-spark annotate`]
"""

from __future__ import annotations

import sys

from prox_spark.cli import run

if __name__ == "__main__":
    # Not `sys.exit(0)`: some platforms take any SystemExit for a failed task.
    if code := run(["annotate", *sys.argv[1:]]):
        sys.exit(code)
