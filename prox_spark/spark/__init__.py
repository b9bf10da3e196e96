"""Everything that knows Spark: sources, the two stages, tables, runs, SQL. The only place that imports pyspark."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prox_spark.spark.frames import execute_programs, refine
    from prox_spark.spark.job import Plan, Progress, RunSummary, plan_job, run_job
    from prox_spark.spark.session import get_spark
    from prox_spark.spark.sql import register
    from prox_spark.spark.write import write_programs

# Looked up when first used: the workers import their own modules only.
_HOMES = {
    "Plan": "job",
    "Progress": "job",
    "RunSummary": "job",
    "execute_programs": "frames",
    "get_spark": "session",
    "plan_job": "job",
    "refine": "frames",
    "register": "sql",
    "run_job": "job",
    "write_programs": "write",
}

__all__ = [
    "Plan",
    "Progress",
    "RunSummary",
    "execute_programs",
    "get_spark",
    "plan_job",
    "refine",
    "register",
    "run_job",
    "write_programs",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"prox_spark.spark.{home}"), name)
    globals()[name] = value
    return value
