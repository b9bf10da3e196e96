"""Tables of other versions, and sources that change their columns: nothing changes by the way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from prox_spark.config import job_settings
from prox_spark.errors import SchemaError
from prox_spark.schemas import SCHEMA_PROPERTY, SCHEMA_VERSION, TABLES
from prox_spark.spark.compare import compare
from prox_spark.spark.job import plan_job
from prox_spark.spark.summaries import summarise
from prox_spark.spark.tables import Tables
from prox_spark.spark.upkeep import maintain, migrate
from tests.helpers.spark_jobs import page, rows_of, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# The columns that came with each version, and so are missing from tables of the one before.
CAME_WITH = {2: {"quarantine": ("carried",), "programs": ("language",)}}
MADE = ("programs", "refined", "quarantine", "runs")


def make_source(spark: Any, path: str, columns: str, *rows: tuple[Any, ...]) -> str:
    spark.createDataFrame(list(rows), columns).coalesce(1).write.format("delta").mode("append").save(path)
    return path


def columns_of(spark: Any, tables: str, table: str) -> list[str]:
    return list(spark.read.format("delta").load(f"{tables}/{table}").columns)


@pytest.fixture(scope="module")
def made(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of a refined source, as this version makes them."""
    base = tmp_path_factory.mktemp("versions")
    source = make_source(spark, str(base / "source"), "doc_id string, text string", ("a", page(1)), ("b", None))
    run(spark, source, str(base / "tables"), preflight="off")
    return base


def as_version_1(spark: Any, made: Path, tables: str) -> None:
    """Write the tables as they were before they had a version: without the property, and without newer columns."""
    for name in MADE:
        frame = spark.read.format("delta").load(f"{made}/tables/{name}")
        frame.drop(*CAME_WITH[2].get(name, ())).write.format("delta").save(f"{tables}/{name}")


def test_older_tables_are_refused_until_they_are_migrated(spark: Any, made: Path, tables: str, tmp_path: Path) -> None:
    as_version_1(spark, made, tables)
    settings = job_settings(source=f"{made}/source", tables=tables, refiners=("scripted:noise",), preflight="off")
    for use in (
        lambda: run(spark, f"{made}/source", tables, preflight="off"),
        lambda: run(spark, f"{made}/source", str(tmp_path / "other"), "execute", programs=tables),
        lambda: plan_job(settings, spark=spark),
        lambda: summarise(spark, tables),
        lambda: compare(spark, f"{made}/tables", tables),
        lambda: maintain(spark, tables),
    ):
        with pytest.raises(SchemaError, match=rf"has schema version 1.*prox-spark migrate --tables {tables}"):
            use()
    assert columns_of(spark, tables, "quarantine") == [n for n in TABLES["quarantine"].names if n != "carried"]

    before = {name: len(rows_of(spark, tables, name)) for name in MADE}
    done = {one.table: one for one in migrate(spark, tables)}
    assert set(done) == set(MADE)
    assert {name: set(one.added) for name, one in done.items() if one.added} == {
        name: set(columns) for name, columns in CAME_WITH[2].items()
    }
    for name in MADE:
        assert Tables(tables).version(spark, name) == SCHEMA_VERSION
        assert set(columns_of(spark, tables, name)) == set(TABLES[name].names)
        assert len(rows_of(spark, tables, name)) == before[name] + (name == "runs")
    assert migrate(spark, tables) == []
    # The checkpoint of the tables' own past is gone with the copy: everything is looked at, and nothing done again.
    again = run(spark, f"{made}/source", tables, preflight="off")
    assert again.counts["already"] == 1 and "written" not in again.counts


def test_newer_tables_are_refused_and_left_alone(spark: Any, made: Path, tables: str) -> None:
    shutil.copytree(made / "tables", tables)
    newer = f"ALTER TABLE delta.`{tables}/programs` SET TBLPROPERTIES ('{SCHEMA_PROPERTY}' = '{SCHEMA_VERSION + 1}')"
    spark.sql(newer)
    for use in (
        lambda: run(spark, f"{made}/source", tables),
        lambda: migrate(spark, tables),
        lambda: compare(spark, tables, f"{made}/tables"),
    ):
        with pytest.raises(SchemaError, match=r"programs .* has schema version 3, newer than 2"):
            use()
    assert Tables(tables).version(spark, "refined") == SCHEMA_VERSION
    assert len(rows_of(spark, tables, "runs")) == 1


def test_new_columns_of_a_source_wait_for_evolve_and_no_setting_lets_them_in(
    spark: Any, tables: str, tmp_path: Path
) -> None:
    source = make_source(spark, str(tmp_path / "a"), "doc_id string, text string, n int", ("a", page(1), 1))
    wider = "doc_id string, text string, n int, url string"
    # The first document is here again, as it was: null in the new column.
    rows = [("a", page(1), 1, None), ("b", page(2), 2, "u"), ("bad", None, 3, "v")]
    second = make_source(spark, str(tmp_path / "b"), wider, *rows)
    third = make_source(spark, str(tmp_path / "c"), "doc_id string, text string, n string", ("c", page(3), "x"))
    fewer = make_source(spark, str(tmp_path / "d"), "doc_id string, text string", ("d", page(4)), ("b", page(2)))
    run(spark, source, tables, preflight="off")
    spark.conf.set("spark.databricks.delta.schema.autoMerge.enabled", "true")
    try:
        with pytest.raises(SchemaError, match=r"columns that table refined .* lacks: url\. --evolve adds them"):
            run(spark, second, tables, preflight="off")
        # What is carried is nothing to the one who only writes programs.
        assert run(spark, second, tables, "write", preflight="off").counts["written"] == 1
        assert columns_of(spark, tables, "refined") == [*TABLES["refined"].names, "n"]
        # A column more or less is no reason to execute anything again: only a value that is another one is.
        assert run(spark, second, tables, preflight="off", evolve=True).counts["already"] == 1
        assert run(spark, fewer, tables, preflight="off").counts["already"] == 1
    finally:
        spark.conf.unset("spark.databricks.delta.schema.autoMerge.enabled")
    assert columns_of(spark, tables, "refined") == [*TABLES["refined"].names, "n", "url"]
    assert {(row.doc_id, row.n, row.url) for row in rows_of(spark, tables, "refined")} == {
        ("a", 1, None),
        ("b", 2, "u"),
        ("d", None, None),
    }
    assert [row.carried for row in rows_of(spark, tables, "quarantine")] == ['{"n":3,"url":"v"}']
    for evolve in (False, True):
        with pytest.raises(SchemaError, match=r"column 'n' of table refined .* is int, now it would be string"):
            run(spark, third, tables, preflight="off", evolve=evolve)
    assert len(rows_of(spark, tables, "runs")) == 4
