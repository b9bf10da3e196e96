"""Readers other than Spark: delta-rs and DuckDB see the same rows, by the statements that docs/tables.md shows."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.spark_jobs import page, rows_of, run

pytestmark = pytest.mark.integration
DOCS = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


@pytest.fixture(scope="module")
def refined(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tables after two runs: files have been added, and merged over."""
    base = tmp_path_factory.mktemp("readers")
    source, tables = str(base / "source"), str(base / "tables")
    for rows in ([("a", page(1)), ("b", page(2, "##DROP##")), ("n", None)], [("a", page(3)), ("c", page(4))]):
        spark.createDataFrame(rows, "doc_id string, text string").write.format("delta").mode("append").save(source)
        run(spark, source, tables, preflight="off")
    return tables


def test_delta_rs_reads_every_table(spark: Any, refined: str) -> None:
    deltalake = pytest.importorskip("deltalake")
    for name in ("programs", "refined", "quarantine", "runs"):
        table = deltalake.DeltaTable(f"{refined}/{name}")
        assert table.protocol().min_reader_version == 1
        assert table.to_pyarrow_table().num_rows == len(rows_of(spark, refined, name))
    there = {row["doc_id"]: row for row in deltalake.DeltaTable(f"{refined}/refined").to_pyarrow_table().to_pylist()}
    here = {row.doc_id: row for row in rows_of(spark, refined, "refined")}
    assert {i: (row["text"], row["status"]) for i, row in there.items()} == {
        i: (r.text, r.status) for i, r in here.items()
    }
    assert there["a"]["edits"][0]["removed"] == "Home"


def test_duckdb_reads_refined_by_arrow(spark: Any, refined: str) -> None:
    deltalake, duckdb = pytest.importorskip("deltalake"), pytest.importorskip("duckdb")
    dataset = deltalake.DeltaTable(f"{refined}/refined").to_pyarrow_dataset()
    found = duckdb.connect()
    found.register("refined", dataset)
    counts = dict(found.sql("SELECT status, count(*) FROM refined GROUP BY status").fetchall())
    assert counts == Counter(row.status for row in rows_of(spark, refined, "refined"))
    removed = "SELECT doc_id, e.removed FROM (SELECT doc_id, unnest(edits) AS e FROM refined)"
    assert ("a", "Home") in found.sql(removed).fetchall()


def test_duckdb_reads_refined_by_its_own_extension(spark: Any, refined: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    try:
        duckdb.sql("INSTALL delta; LOAD delta")
    except duckdb.Error as error:
        pytest.skip(f"DuckDB's extension cannot be had here: {str(error).splitlines()[0]}")
    rows = duckdb.sql(f"SELECT doc_id, status FROM delta_scan('{refined}/refined')").fetchall()
    assert sorted(rows) == sorted((row.doc_id, row.status) for row in rows_of(spark, refined, "refined"))


def test_the_cookbook_runs_as_printed(spark: Any, refined: str) -> None:
    queries = re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(queries) >= 8
    for name in ("programs", "refined", "quarantine", "runs"):
        spark.read.format("delta").load(f"{refined}/{name}").createOrReplaceTempView(name)
    from prox_spark.spark.tables import Tables, create_views

    create_views(spark, Tables(refined))
    for query in queries:
        for statement in (part.strip() for part in query.split(";")):
            if statement and not statement.startswith("--"):
                spark.sql(statement).take(5)
