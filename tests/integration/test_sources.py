"""Sources of every kind, and what is said when one cannot be used: before any work starts."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from prox_spark.config import job_settings
from prox_spark.errors import ConfigError, SchemaError, SourceError
from prox_spark.spark.job import plan_job
from prox_spark.spark.sources import open_source
from prox_spark.spark.tables import Tables
from tests.helpers.spark_jobs import check_accounts, check_places, page, rows_of, run

pytestmark = pytest.mark.integration


def wet_record(number: int, body: bytes, kind: str = "conversion", length: int | str | None = None) -> bytes:
    """Return one WARC record, its end included."""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: https://example.org/seite/{number}\r\n"
        f"WARC-Date: 2024-05-0{number}T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:0000-{number}>\r\n"
        "WARC-Identified-Content-Language: eng\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def documents(spark: Any, **settings: Any) -> list[Any]:
    """Return the documents of a source as they are read."""
    source = open_source(spark, job_settings(tables="/tmp/none", **settings))
    return sorted(source.documents(source.batch(spark)).collect(), key=lambda row: str(row.doc_id))


@pytest.mark.oldest
def test_wet_of_many_gzip_members(spark: Any, tmp_path: Path) -> None:
    folder = tmp_path / "wet"
    folder.mkdir()
    tricky = "Zeile mit ü\nthe text WARC/1.0 inside a line\nlast line\n".encode()
    first = [wet_record(0, b"Software-Info: x\r\n", "warcinfo"), wet_record(1, page(1).encode()), wet_record(2, tricky)]
    second = [
        wet_record(3, page(3).encode()),
        wet_record(4, b""),
        wet_record(5, b"short", length=9_000),
        wet_record(8, b"twelve bytes", length="12 bytes"),
        wet_record(9, b"short", length="9" * 25),
        wet_record(6, b"bad \xff bytes"),
        wet_record(7, b"a page that quotes a record:\r\n\r\nWARC/1.0 and goes on"),
    ]
    (folder / "a.warc.wet.gz").write_bytes(b"".join(gzip.compress(record) for record in first))
    (folder / "b.warc.wet").write_bytes(b"".join(second))
    there = documents(spark, source=str(folder), format="wet")
    good = {row.doc_id: row for row in there if row._problem is None}
    assert good["<urn:uuid:0000-1>"].text == page(1)
    assert good["<urn:uuid:0000-1>"].url == "https://example.org/seite/1"
    assert good["<urn:uuid:0000-1>"].content_languages == "eng"
    assert good["<urn:uuid:0000-2>"].text == tricky.decode()
    assert good["<urn:uuid:0000-4>"].text == ""
    problems = {row.doc_id: row._detail for row in there if row._problem is not None}
    assert problems["<urn:uuid:0000-5>"] == "Content-Length is 9000, bytes there: 5"
    assert problems["<urn:uuid:0000-8>"].startswith("Content-Length is missing")
    # A quoted record boundary cannot be told from a real one; what it breaks is put aside, not taken for text.
    assert "<urn:uuid:0000-7>" in problems and len(there) == 11 - 2 + 1

    tables = str(tmp_path / "tables")
    done = run(spark, str(folder), tables, format="wet", preflight="off")
    check_accounts(done)
    reasons = {row.reason for row in rows_of(spark, tables, "quarantine")}
    assert reasons == {"malformed_record", "invalid_utf8"}
    assert {row.warc_date for row in rows_of(spark, tables, "refined")} >= {"2024-05-01T00:00:00Z"}


@pytest.mark.oldest
def test_jsonl_of_one_gzip_file_with_a_schema(spark: Any, tmp_path: Path) -> None:
    lines = [
        json.dumps({"id": 1, "body": page(1), "n": 7, "tags": ["a", "b"]}).encode(),
        json.dumps({"id": 2, "body": page(2), "n": 8}).encode(),
        b"",
        b"{not json",
        b'{"id": 3, "body": "bytes \xff here", "n": 9}',
        b'{"id": 4, "n": 9}',
        b'{"id": 5, "body": "the number is a word", "n": "nine"}',
    ]
    file = tmp_path / "pages.jsonl.gz"
    file.write_bytes(gzip.compress(b"\n".join(lines[:3]) + b"\n") + gzip.compress(b"\n".join(lines[3:])))
    (tmp_path / "other.jsonl").write_text('{"id": 100, "body": "not of this source"}\n')
    tables = str(tmp_path / "tables")
    settings: dict[str, Any] = {
        "format": "jsonl",
        "id_column": "id",
        "text_column": "body",
        "source_schema": "id BIGINT, body STRING, n INT, tags ARRAY<STRING>",
        "preflight": "off",
    }
    done = run(spark, str(file), tables, **settings)
    check_accounts(done)
    assert done.counts["rows"] == 6
    refined = {row.doc_id: row for row in rows_of(spark, tables, "refined")}
    assert set(refined) == {"1", "2"}
    assert (refined["1"].n, refined["1"].tags, refined["2"].tags) == (7, ["a", "b"], None)
    quarantine = {row.reason: row for row in rows_of(spark, tables, "quarantine")}
    assert set(quarantine) == {"malformed_record", "invalid_utf8", "null_text"}
    assert bytes(quarantine["invalid_utf8"].bytes) == lines[4]
    assert quarantine["invalid_utf8"].doc_id == "3"
    malformed = {bytes(row.bytes) for row in rows_of(spark, tables, "quarantine") if row.reason == "malformed_record"}
    assert malformed == {lines[3], lines[6]}
    check_places(spark, tables, {"1", "2", "3", "4"} | {r.doc_id for r in rows_of(spark, tables, "quarantine")})
    again = run(spark, str(file), tables, **settings)
    assert again.counts == {}


def test_parquet_binary_text_hashed_id_and_carried_types(spark: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "source")
    frame = spark.createDataFrame(
        [(bytearray(page(1).encode()), 1), (bytearray(b"caf\xe9 not utf-8"), 2), (bytearray(page(1).encode()), 3)],
        "raw binary, n int",
    )
    frame = frame.selectExpr(
        "raw",
        "n",
        "cast(n as decimal(10,2)) as price",
        "named_struct('a', n, 'b', array(named_struct('x:y', n))) as nested",
        "map('k', n) as m",
        "timestamp'2024-01-01 00:00:00' as at",
        "cast('x' as binary) as bin",
    )
    frame.coalesce(1).write.parquet(path)
    tables = str(tmp_path / "tables")
    # A map cannot be part of the row's own hash's order: carried all the same.
    plan = plan_job(
        job_settings(
            source=path,
            format="parquet",
            tables=tables,
            text_column="raw",
            id_column="text_hash",
            refiners=("scripted:noise",),
        )
    )
    assert (plan.documents, plan.to_write, plan.duplicates, dict(plan.quarantined)) == (1, 1, 1, {"invalid_utf8": 1})
    assert not Path(tables).exists()
    done = run(spark, path, tables, format="parquet", text_column="raw", id_column="text_hash")
    check_accounts(done)
    refined = spark.read.format("delta").load(f"{tables}/refined")
    types = {field.name: field.dataType.simpleString() for field in refined.schema.fields}
    assert types["price"] == "decimal(10,2)" and types["nested"] == "struct<a:int,b:array<struct<x:y:int>>>"
    assert types["m"] == "map<string,int>" and types["at"] == "timestamp" and types["bin"] == "binary"
    row = refined.first()
    assert row.doc_id == row.text_hash and row.nested.a == row.n


@pytest.mark.slow
def test_parquet_files_with_an_old_date_and_with_more_columns_are_read(spark: Any, tmp_path: Path) -> None:
    folder, tables = tmp_path / "source", str(tmp_path / "tables")

    def add(name: str, columns: str, days_old: int, *row: Any) -> None:
        spark.createDataFrame([row], columns).coalesce(1).write.parquet(str(tmp_path / name))
        folder.mkdir(exist_ok=True)
        file = next((tmp_path / name).glob("*.parquet")).rename(folder / f"{name}.parquet")
        os.utime(file, (time.time() - days_old * 86_400,) * 2)

    add("first", "doc_id string, text string, n int", 0, "a", page(1), 1)
    assert run(spark, str(folder), tables, format="parquet", preflight="off").counts["refined"] == 1
    add("copied", "doc_id string, text string, url string, n int", 400, "b", page(2), "u", 2)
    with pytest.raises(SchemaError, match=r"columns that table refined .* lacks: url\. --evolve adds them"):
        run(spark, str(folder), tables, format="parquet", preflight="off")
    second = run(spark, str(folder), tables, format="parquet", preflight="off", evolve=True)
    assert (second.counts["rows"], second.counts["refined"]) == (1, 1)
    refined = {row.doc_id: (row.n, row.url) for row in rows_of(spark, tables, "refined")}
    assert refined == {"a": (1, None), "b": (2, "u")}
    add("other", "doc_id string, text string, n string", 0, "c", page(3), "three")
    with pytest.raises(SourceError, match=r"another type in some of its files than in others\. Name the columns"):
        run(spark, str(folder), tables, format="parquet", preflight="off")
    opened = open_source(spark, job_settings(source=str(folder), format="parquet", tables=tables, carry=()))
    assert {row.doc_id for row in opened.documents(opened.batch(spark)).collect()} == {"a", "b", "c"}


def test_schema_of_tables_has_views_and_takes_named_sources(spark: Any) -> None:
    spark.sql("CREATE SCHEMA IF NOT EXISTS lake")
    frame = spark.createDataFrame([(1, page(1), "en"), (2, page(2), "de")], "id bigint, text string, lang string")
    frame.write.format("delta").mode("overwrite").saveAsTable("lake.pages")
    done = run(spark, "lake.pages", "clean", id_column="id", language_column="lang")
    check_accounts(done)
    assert spark.table("clean.corpus").count() == 2
    removed = spark.table("clean.removed_lines").where("removed = 'Home'")
    assert removed.count() == 2
    assert {row.comment for row in spark.sql("DESCRIBE clean.refined").collect() if row.col_name == "lang"} == {
        "carried from the source"
    }
    assert run(spark, "lake.pages", "clean", id_column="id", language_column="lang").nothing_new


@pytest.mark.parametrize(
    ("columns", "settings", "error", "says"),
    [
        ("url STRING, text STRING", {}, SourceError, "--id-column text_hash"),
        ("doc_id STRING, body STRING", {}, SourceError, "no text column 'text'; it has: doc_id, body"),
        ("doc_id STRING, text INT", {}, SourceError, "the text column 'text' is int; it must be string or binary"),
        ("doc_id STRING, text STRING, Status STRING", {}, SchemaError, "'Status' would be carried into `refined`"),
        ("doc_id STRING, text STRING, `a b` INT", {}, SchemaError, "'a b' cannot be carried"),
        ("doc_id STRING, text STRING", {"carry": ("url",)}, SourceError, "no column url to carry"),
        ("doc_id STRING, text STRING", {"language_column": "lang"}, SourceError, "language column 'lang'"),
        ("doc_id STRUCT<a: INT>, text STRING", {}, SourceError, "an id is one value"),
        ("doc_id TIMESTAMP, text STRING", {}, SourceError, "unix_micros(doc_id)"),
        ("doc_id STRING, text STRING, h STRUCT<`a b`: INT>", {}, SchemaError, "'h' cannot be carried"),
        ("doc_id STRING, text STRING, h ARRAY<STRUCT<`a=b`: INT>>", {}, SchemaError, "'h' cannot be carried"),
        ("doc_id STRING, text STRING", {"carry": ("doc_id",)}, SourceError, "doc_id is id or text"),
    ],
)
def test_wrong_columns_are_told_before_any_work(
    spark: Any, tmp_path: Path, columns: str, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    path = str(tmp_path / "source")
    spark.createDataFrame([], columns).write.option("delta.columnMapping.mode", "name").parquet(path)
    with pytest.raises(error) as caught:
        open_source(spark, job_settings(source=path, format="parquet", tables=str(tmp_path / "t"), **settings))
    assert says in str(caught.value)


def test_other_errors_of_sources(spark: Any, tmp_path: Path) -> None:
    def opened(**settings: Any) -> None:
        open_source(spark, job_settings(tables=str(tmp_path / "t"), **settings))

    with pytest.raises(SourceError, match="no table 'nowhere'"):
        opened(source="nowhere")
    with pytest.raises(SourceError, match="cannot read jsonl source"):
        opened(source=str(tmp_path / "missing.jsonl"), format="jsonl")
    lines = tmp_path / "x.jsonl"
    lines.write_text('{"url": "u", "text": "t"}\n' * 3)
    with pytest.raises(SourceError, match=r"none of the first 3 lines has a value for 'doc_id'.*text_hash"):
        opened(source=str(lines), format="jsonl")
    with pytest.raises(SchemaError, match="is not Spark DDL"):
        opened(source=str(lines), format="jsonl", source_schema="text STRNG(")
    opened(source=str(lines), format="jsonl", id_column="text_hash")
    with pytest.raises(SourceError, match=r"no column url to carry; of jsonl nothing but id and text is read unless"):
        opened(source=str(lines), format="jsonl", id_column="text_hash", carry=("url",))
    with pytest.raises(SourceError, match=r"cannot read parquet source 'dbfs:"):
        opened(source="dbfs:/mnt/raw/pages", format="parquet")
    spark.createDataFrame([("a", "t")], "doc_id string, text string").write.format("delta").save(f"{tmp_path}/table")
    with pytest.raises(SourceError, match="is a Delta table; its files hold deleted rows too"):
        opened(source=f"file://{tmp_path}/table", format="parquet")
    other = tmp_path / "a.warc"
    for record, says in (
        (wet_record(1, b"<html>", "response"), "they are of type response. Those of WET files are"),
        (b"".join(wet_record(n, b"text") for n in (1, 2)).replace(b"\r", b""), "end in line feeds alone"),
    ):
        first = wet_record(0, b"x\r\n", "warcinfo")
        other.write_bytes((first if b"\r" in record else first.replace(b"\r", b"")) + record)
        with pytest.raises(SourceError, match=says):
            opened(source=str(other), format="wet")
    with pytest.raises(SourceError, match=r"it has: url, text. Name the field with --text-column"):
        opened(source=str(lines), format="jsonl", id_column="url", text_column="body")


def test_files_that_are_not_what_they_should_be_are_told_in_a_line(spark: Any, tmp_path: Path) -> None:
    """What Spark says of them fills screens."""
    for name in ("empty", "broken", "pages"):
        (tmp_path / name).mkdir()
    (tmp_path / "table" / "_delta_log").mkdir(parents=True)
    (tmp_path / "broken" / "a.parquet").write_bytes(b"PAR1 this is no parquet PAR1")
    (tmp_path / "pages" / "a.txt").write_text("hello\n")
    whole = gzip.compress("".join(json.dumps({"doc_id": n, "text": page(n)}) + "\n" for n in range(3_000)).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "plain.jsonl.gz").write_text('{"doc_id": 1, "text": "x"}\n')
    (tmp_path / "array.json").write_text('[\n{"doc_id":\n1, "text": "x"}\n]\n')
    for name, kind, says in (
        ("missing", "delta", "no such file or folder"),
        ("pages", "delta", "there is no Delta table. Delta is the default; for files say --format parquet"),
        ("table", "parquet", "'{}/table' is a Delta table; its files hold deleted rows too: --format delta"),
        ("empty", "parquet", "there are no parquet files in it"),
        ("broken", "parquet", "broken/a.parquet cannot be read: Could not read footer"),
        ("pages", "jsonl", "none of the first 1 lines"),
        ("array.json", "jsonl", "is a JSON object; jsonl has one a line"),
        ("plain.jsonl.gz", "jsonl", "plain.jsonl.gz cannot be read: not a gzip file"),
    ):
        with pytest.raises(SourceError) as caught:
            open_source(spark, job_settings(source=str(tmp_path / name), format=kind, tables=str(tmp_path / "t")))
        assert says.format(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SourceError, match=r"cut.jsonl.gz cannot be read: Unexpected end of input stream$"):
        run(spark, str(tmp_path / "cut.jsonl.gz"), str(tmp_path / "t"), format="jsonl", preflight="off")
    with pytest.raises(ConfigError, match="nothing can be written at"):
        Tables(str(tmp_path / "pages" / "a.txt" / "t")).create(spark)
