"""What a person reads after a run: summaries of the tables as plain data, shown on a terminal or as one HTML file.

Nothing here knows Spark: `prox_spark.spark.summaries` fills a `Summary`, `render_html` and `show` draw it.
"""

from __future__ import annotations

from prox_spark.report.diff import DiffLine, diff_page
from prox_spark.report.page import render_html
from prox_spark.report.screen import show
from prox_spark.report.summary import (
    EditRow,
    QuarantineRow,
    RemovedLine,
    RunFacts,
    SamplePage,
    StatusCount,
    Summary,
)

__all__ = [
    "DiffLine",
    "EditRow",
    "QuarantineRow",
    "RemovedLine",
    "RunFacts",
    "SamplePage",
    "StatusCount",
    "Summary",
    "diff_page",
    "render_html",
    "show",
]
