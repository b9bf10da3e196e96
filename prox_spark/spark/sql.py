"""SQL functions: programs in a query, for looking at single documents and for trying programs out."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, _parse_datatype_string

from prox_spark.program.execute import execute
from prox_spark.schemas import EDIT_STRUCT


def register(spark: SparkSession) -> None:
    """Give a session `prox_execute(text, program)` and `prox_edits(text, program)`.

    Both take one program in dialect `prox` for the whole document as one chunk, and execute it with policy `strict`.
    `prox_execute` returns the text, null where it is dropped; `prox_edits` what was done, as in `refined.edits`.
    A null text gives null; a null program is an empty one.
    """
    spark.udf.register("prox_execute", F.udf(sql_execute, StringType(), useArrow=True))
    spark.udf.register("prox_edits", F.udf(sql_edits, _edits_type(), useArrow=True))


def sql_execute(text: str | None, program: str | None) -> str | None:
    """Return the text after its program; None where it is dropped."""
    if text is None:
        return None
    return execute(text, program or "").text


def sql_edits(text: str | None, program: str | None) -> list[dict[str, Any]] | None:
    """Return what the program does to the text, one struct an edit."""
    if text is None:
        return None
    names = ("operation", "chunk", "first_line", "last_line", "start", "end", "removed", "inserted", "reason")
    return [{name: getattr(edit, name) for name in names} for edit in execute(text, program or "").edits]


def _edits_type() -> Any:
    return _parse_datatype_string(f"ARRAY<{EDIT_STRUCT}>")
