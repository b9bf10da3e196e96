"""DataFrames in, DataFrames out, and the SQL functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

import prox_spark as prox
from prox_spark.config import GuardSettings, job_settings
from prox_spark.spark.job import prepare
from prox_spark.spark.work import BATCH_BYTES, BATCH_ROWS, Desk
from tests.helpers.spark_jobs import LONG, last_query, page, plans_with_python, udf_rows

pytestmark = [pytest.mark.integration, pytest.mark.oldest]


@pytest.fixture(scope="module")
def pages(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = [
        ("a", page(1), 1),
        ("b", f"{LONG}\n{LONG}", 2),
        ("c", None, 3),
        ("d", page(4, "##ERROR##"), 4),
        ("e", page(5), 5),
        ("e", page(5), 5),
        ("f", page(6), 6),
        ("f", page(7), 7),
    ]
    path = str(tmp_path_factory.mktemp("frames") / "pages")
    spark.createDataFrame(rows, "doc_id string, text string, n int").write.parquet(path)
    return spark.read.parquet(path)


STATUSES = {"a": "refined", "b": "unchanged", "c": "quarantined", "d": "quarantined", "e": "refined"}


def test_refine_is_one_plan_in_which_each_stage_stands_once(spark: Any, pages: Any, tmp_path: Any) -> None:
    since = last_query(spark)
    prox.refine(pages, "scripted:noise").write.parquet(str(tmp_path / "out"))
    assert udf_rows(spark, since) == {"WriteUdf": 4, "ExecuteUdf": 4}
    assert set(plans_with_python(spark, since).values()) == {2}
    rows = spark.read.parquet(str(tmp_path / "out")).collect()
    assert {row.doc_id: row.status for row in rows if row.doc_id != "f"} == STATUSES
    assert [row.reason for row in rows if row.doc_id == "f"] == ["duplicate_id", "duplicate_id"]
    by_id = {row.doc_id: row for row in rows}
    assert len(rows) == 7
    assert by_id["a"].text == f"{LONG} 1\nAnother good line of page 1: {LONG}" and by_id["a"].n == 1
    assert (by_id["c"].reason, by_id["c"].n, by_id["d"].reason) == ("null_text", 3, "program_error")


def test_write_then_execute_gives_the_same(spark: Any, pages: Any, tmp_path: Any) -> None:
    prox.write_programs(pages, "scripted:noise").write.parquet(str(tmp_path / "programs"))
    programs = spark.read.parquet(str(tmp_path / "programs"))
    assert {row.doc_id for row in programs.collect()} == {"a", "b", "d", "e"}
    done = prox.execute_programs(pages, programs, refiner="scripted:noise", mode="tag").collect()
    by_id = {row.doc_id: row for row in done}
    assert {i: by_id[i].status for i in STATUSES} == STATUSES
    assert by_id["a"].text == page(1) and len(by_id["a"].edits) == 2


def test_sql_functions(spark: Any, pages: Any) -> None:
    prox.register(spark)
    pages.createOrReplaceTempView("pages")
    query = (
        "SELECT doc_id, prox_execute(text, 'remove_lines(line_start=1, line_end=1)') AS text, {} AS edits FROM pages"
    )
    edits = "prox_edits(text, 'remove_lines(line_start=1, line_end=1)')"
    rows = {row.doc_id: row for row in spark.sql(query.format(edits)).collect()}
    assert rows["a"].text == page(1).replace("\nHome", "")
    assert [(e.operation, e.first_line, e.removed) for e in rows["a"].edits] == [("remove_lines", 1, "Home")]
    assert rows["c"].text is None and rows["c"].edits is None
    dropped = spark.sql(
        "SELECT prox_execute('some text', 'drop_doc()') AS text, prox_execute('t', NULL) AS same"
    ).first()
    assert dropped.text is None and dropped.same == "t"


def test_a_slice_bounds_what_reaches_python_by_rows_and_bytes(spark: Any, pages: Any, tables: str) -> None:
    """In a session that knows better: 40 texts of a mebibyte come before 600 short ones, in one partition."""

    def measured(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"rows": [batch.num_rows], "bytes": [batch.nbytes]})

    session = spark.newSession()
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "5000")
    source = pages.inputFiles()[0].rpartition("/")[0]
    settings = job_settings(source=source, format="parquet", tables=tables, refiners=("scripted:noise",))
    desk = Desk(session, prepare(session, settings, "refine", "a run"), 0)
    desk.bound_batches(1 << 20)
    texts = desk.spark.range(0, 640, 1, 1).selectExpr("repeat('x', if(id < 40, 1048576, 8)) AS text")
    found = texts.mapInArrow(measured, "rows long, bytes long").collect()
    assert sum(row.rows for row in found) == 640
    assert max(row.rows for row in found) <= BATCH_ROWS
    assert sum(row.bytes for row in found) >= 40 << 20
    # Spark looks before it adds a row.
    assert max(row.bytes for row in found) <= BATCH_BYTES + (1 << 20) + 4096


def test_equal_rows_without_an_id_are_one_document(spark: Any) -> None:
    """An id that is null is told by the row's hash: equal rows must not be joined with each other."""
    rows = [(None, None, 1)] * 4 + [(None, page(1), 2)] * 3 + [("a", page(1), 3)]
    df = spark.createDataFrame(rows, "doc_id string, text string, n int")
    found = prox.refine(df, "scripted:noise").collect()
    assert sorted((row.n, row.status) for row in found) == [(1, "quarantined"), (2, "quarantined"), (3, "refined")]


def test_what_is_too_large_to_execute_is_too_large_to_write(spark: Any) -> None:
    df = spark.createDataFrame([("a", page(1)), ("b", page(2) * 50)], "doc_id string, text string")
    for guards, ids in ((GuardSettings(max_bytes=2_000), {"a"}), (GuardSettings(), {"a", "b"})):
        programs = prox.write_programs(df, "scripted:noise", guards=guards)
        assert {row.doc_id for row in programs.select("doc_id").collect()} == ids
