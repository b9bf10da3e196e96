"""Published rules go through the same tables as a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.helpers.spark_jobs import LONG, rows_of

pytestmark = pytest.mark.integration


def test_c4_rules_by_the_command_line(spark: Any, tables: str, tmp_path: Path) -> None:
    from prox_spark.cli import app

    prose = "\n".join(f"{LONG}, as page {n} says." for n in range(5))
    source = tmp_path / "pages.jsonl"
    texts = {"a": f"Home\n{prose}\nLog in", "b": prose, "c": "Home\nLog in"}
    source.write_text("".join(json.dumps({"doc_id": i, "text": text}) + "\n" for i, text in texts.items()))
    arguments = ["refine", "--source", str(source), "--format", "jsonl", "--tables", tables, "--refiner", "rules:c4"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = {row.doc_id: row for row in rows_of(spark, tables, "refined")}
    assert {i: row.status for i, row in rows.items()} == {"a": "refined", "b": "unchanged", "c": "dropped"}
    assert rows["a"].text == prose
    assert [edit.removed for edit in rows["a"].edits] == ["Home", "Log in"]
    (program,) = (row for row in rows_of(spark, tables, "programs") if row.doc_id == "a")
    assert (program.refiner, program.doc_program, program.new_tokens) == ("rules:c4 1", "keep_doc()", 0)
