"""Sources: Delta, parquet, jsonl(.gz) and WET, all read by Spark's own readers, all giving rows of the same shape.

A source's rows come as *documents*: `doc_id`, `text` (bytes as stored, in a string), `_problem`, `_detail`, `_raw` for
rows that could not be read, and the carried columns under their own names and types.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from prox_spark.config import HASH_ID, JobSettings
from prox_spark.errors import SchemaError, SourceError
from prox_spark.spark.check import CHANGE, is_utf8
from prox_spark.spark.columns import carried_columns, id_name_of
from prox_spark.spark.staging import local_path
from prox_spark.spark.tables import quoted
from prox_spark.spark.wet import RECORD_SEPARATOR, WET_FIELDS, wet_documents, wet_types

INTERNAL = ("_problem", "_detail", "_raw")
CORRUPT = "_corrupt_record"
FILE_ENDINGS = (".jsonl", ".json", ".ndjson", ".gz", ".bz2", ".zst", ".parquet", ".wet", ".warc", ".txt")
PEEKED_LINES = 100
CAUSE = re.compile(r"Caused by: [\w.$]+: ([^\n]+)")
SQLSTATE = re.compile(r"\s*SQLSTATE: \w+\s*$")
# What Delta says when the versions are not there that a stream has to read next.
HISTORY_GONE = re.compile(
    r"DELTA_MISSING_CHANGE_DATA|DELTA_VERSIONS_NOT_CONTIGUOUS|DELTA_FILE_NOT_FOUND_DETAILED|DELTA_VERSION_NOT_FOUND"
    r"|MISSING_FILES_UNEXPECTED_VERSION|DIFFERENT_DELTA_TABLE_READ_BY_STREAMING_SOURCE|CHANGE_DATA_FILE_NOT_FOUND"
    r"|DELTA_CHANGE_TABLE_FEED_DISABLED|Cannot time travel Delta table to version"
)
# What Delta says when the columns of a source changed between two versions that a stream has to read.
ALTERED = re.compile(
    r"DELTA_SCHEMA_CHANGED|DELTA_STREAMING_(?:INCOMPATIBLE_SCHEMA_CHANGE|METADATA_EVOLUTION|SCHEMA_MISMATCH_ON_RESTART"
    r"|CANNOT_CONTINUE_PROCESSING)|DELTA_CHANGE_DATA_FEED_INCOMPATIBLE|DELTA_CHANGELOG_SCHEMA_CHANGE"
    r"|assertion failed: Invalid batch"
)
# What Spark says of parquet files in which a column has one name and several types.
UNMERGEABLE = re.compile(r"CANNOT_MERGE_SCHEMAS|Failed merging schema")
# A file may be copied in with the date that it had elsewhere. Spark passes over what is a week older than the newest
# file that it has read.
ANY_AGE = {"maxFileAge": "36500d"}
# What Spark says of a file that is there and cannot be read, somewhere in a long message.
UNREADABLE = re.compile(
    r"\[FAILED_READ_FILE[.\w]*\] Encountered error while reading file (?P<file>\S+?)\.(?=\s|$)(?P<hint>[^\n]*)"
)


# `s3://…`, `dbfs:/…`; a name before the colon that is one letter long is a drive.
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True)
class Source:
    """An opened source: where it is, and which columns it has.

    location: table name, or the folder or glob that Spark is given.
    pattern: name of the one file in that folder, for a source that is a single file; else None.
    by_name: whether `location` is a table's name.
    id_type: Spark type of the id column; None where the id is the text's hash.
    carried: columns that are carried through, in the source's order.
    version: version of a Delta source, else None.
    changes: whether its stream is a change data feed: rows then have a kind of change.
    schema: of parquet files the columns of all of them, looked up once, in every file's footer; else None.
    """

    settings: JobSettings
    location: str
    pattern: str | None
    by_name: bool
    carried: tuple[StructField, ...]
    version: int | None = None
    changes: bool = False
    schema: StructType | None = None

    @property
    def as_text(self) -> bool:
        """Whether Spark reads the files as text: to count their rows is to read them whole."""
        return self.settings.format in ("jsonl", "wet")

    @property
    def carried_names(self) -> tuple[str, ...]:
        """Names of the carried columns."""
        return tuple(field.name for field in self.carried)

    def batch(self, spark: SparkSession) -> DataFrame:
        """Return the source's rows as they are, all of them."""
        reader = _with_options(spark.read, self._options())
        if self.by_name:
            return reader.table(self.location)
        return self._of_format(reader).load(self.location)

    def planned(self, spark: SparkSession) -> DataFrame:
        """Return the rows that a new stream would bring: all, or those of `from_version` and later."""
        version = self.settings.from_version
        if not version:
            return self.batch(spark)
        changes = {"readChangeFeed": "true", "startingVersion": str(version)}
        reader = _with_options(
            spark.read.format("delta"), changes if self.changes else {"versionAsOf": str(version - 1)}
        )
        rows: DataFrame = reader.table(self.location) if self.by_name else reader.load(self.location)
        if self.changes:
            return rows
        # Without a feed: of files that the version before had not.
        before = rows.select(F.col("_metadata.file_path").alias("_file")).distinct()
        now = self.batch(spark).withColumn("_file", F.col("_metadata.file_path"))
        return now.join(before, "_file", "left_anti").drop("_file")

    def stream(self, spark: SparkSession, batch_bytes: int) -> DataFrame:
        """Return the source's rows as a stream that is cut into micro-batches of about `batch_bytes`."""
        options = {**self._options(), **self._cut(spark, batch_bytes)}
        if self.settings.format == "delta":
            # Without a feed a changed file comes again as a whole; what is done already is skipped by its keys, and
            # deletes are not followed.
            options["readChangeFeed" if self.changes else "ignoreChanges"] = "true"
            if self.settings.from_version is not None:
                options["startingVersion"] = str(self.settings.from_version)
        else:
            options |= ANY_AGE
        reader = _with_options(spark.readStream, options)
        if self.by_name:
            return reader.table(self.location)
        return self._of_format(reader).load(self.location)

    def documents(self, rows: DataFrame) -> DataFrame:
        """Return the source's rows as documents; see the module."""
        settings = self.settings
        if settings.format == "wet":
            documents = wet_documents(rows)
        elif settings.format == "jsonl":
            documents = _jsonl_documents(rows, settings)
        else:
            no_problem = [
                F.lit(None).cast(kind).alias(name)
                for name, kind in zip(INTERNAL, ("string", "string", "binary"), strict=True)
            ]
            documents = rows.select("*", *no_problem)
        # The feed has that column; the table itself, which is asked as well, has not.
        told = self.changes and "_change_type" in rows.columns
        change = [F.col("_change_type").alias(CHANGE)] if told else []
        text = "text" if settings.format == "wet" else settings.text_column
        hashed = settings.id_column == HASH_ID
        doc_id = F.sha2(_quoted(text).cast("binary"), 256) if hashed else _quoted(id_name_of(settings)).cast("string")
        return documents.select(
            doc_id.alias("doc_id"),
            _quoted(text).cast("string").alias("text"),
            *INTERNAL,
            *change,
            *[_quoted(name) for name in self.carried_names],
        )

    def _of_format(self, reader: Any) -> Any:
        reader = reader.format("text" if self.as_text else self.settings.format)
        return reader if self.schema is None else reader.schema(self.schema)

    def _options(self) -> dict[str, str]:
        options = {}
        if self.settings.format == "jsonl":
            options["lineSep"] = "\n"
        if self.settings.format == "wet":
            options["lineSep"] = RECORD_SEPARATOR
        if self.settings.format == "parquet" and self.schema is None:
            # Else the columns of one file were those of all, and what newer files have beside them were lost unsaid.
            options["mergeSchema"] = "true"
        if self.pattern:
            options["pathGlobFilter"] = self.pattern
        return options

    def _cut(self, spark: SparkSession, batch_bytes: int) -> dict[str, str]:
        if self.settings.format == "delta" or int(spark.version.split(".")[0]) >= 4:
            return {"maxBytesPerTrigger": str(batch_bytes)}
        # Spark 3.5 counts files only: as many as make up that size on average.
        files = _with_options(spark.read, {"pathGlobFilter": self.pattern} if self.pattern else {}).format("binaryFile")
        average = files.load(self.location).agg(F.avg("length")).first()[0] or 1.0
        return {"maxFilesPerTrigger": str(max(1, int(batch_bytes / average)))}


def open_source(spark: SparkSession, settings: JobSettings) -> Source:
    """Look at the source without reading its rows; raises SourceError or SchemaError with what to do about it."""
    location, pattern, by_name = _locate(spark, settings)
    if settings.format != "delta" and _is_delta(spark, location):
        raise SourceError(f"{settings.source!r} is a Delta table; its files hold deleted rows too: --format delta")
    found = Source(settings, location, pattern, by_name, ())
    schema = _schema(spark, found)
    fields = {"wet": lambda: list(WET_FIELDS), "jsonl": lambda: _declared(spark, settings)}.get(
        settings.format, lambda: list(schema.fields)
    )()
    carried = carried_columns(fields, settings)
    found = replace(found, carried=carried, version=_delta_version(spark, settings, location, by_name))
    source = replace(found, schema=schema) if settings.format == "parquet" else found
    if settings.format == "jsonl":
        _peek(spark, source)
    if settings.format == "wet":
        _peek_wet(spark, source)
    if settings.from_version is not None and settings.from_version > (source.version or 0):
        raise SourceError(f"{settings.source!r} has no version {settings.from_version}; its newest is {source.version}")
    return source


def _schema(spark: SparkSession, found: Source) -> StructType:
    """Return the columns of the source's rows; of parquet files those that any file has."""
    settings = found.settings
    try:
        return found.batch(spark).schema
    except Exception as error:
        if UNMERGEABLE.search(str(error)) and settings.carry is not None:
            # What is wanted of the files was named: the rest of their columns need not fit together.
            reader = _with_options(spark.read, {**found._options(), "mergeSchema": "false"})
            return found._of_format(reader).load(found.location).schema
        raise SourceError(
            f"cannot read {settings.format} source {settings.source!r}: {_why(error, settings)}"
        ) from None


def _locate(spark: SparkSession, settings: JobSettings) -> tuple[str, str | None, bool]:
    name = settings.source
    if settings.format == "delta":
        looks_like_path = "/" in name or ":" in name or os.path.isdir(name)
        if not looks_like_path and not spark.catalog.tableExists(name):
            raise SourceError(f"no table {name!r}; a path to a Delta table holds a '/' (./{name})")
        # SQL's delta.`path` takes a relative path for a table's name.
        is_local = looks_like_path and ":" not in name
        return os.path.abspath(name) if is_local else name, None, not looks_like_path
    local = local_path(name)
    if not any(c in local for c in "*?[{"):
        if not os.path.exists(local) and not local.startswith("/") and not URI.match(local):
            raise SourceError(f"no file or folder {name!r}")
        if os.path.isdir(local):
            return name, None, False
        if os.path.isfile(local):
            return os.path.dirname(os.path.abspath(local)), os.path.basename(local), False
    if name.lower().endswith(FILE_ENDINGS) and _is_single_file(spark, settings):
        folder, _, file = name.rpartition("/")
        return folder, file, False
    return name, None, False


def _is_delta(spark: SparkSession, location: str) -> bool:
    """Whether a folder of files is a Delta table's."""
    local = local_path(location)
    if not URI.match(local):
        return os.path.isdir(os.path.join(local, "_delta_log"))
    if any(c in location for c in "*?[{"):
        return False
    try:
        log = spark.read.format("binaryFile").load(f"{location.rstrip('/')}/_delta_log/*.json")
        return log.select("path").first() is not None
    except Exception:  # no such folder, or one that nobody may list: reading the source says what is the matter
        return False


def _is_single_file(spark: SparkSession, settings: JobSettings) -> bool:
    name = settings.source
    if any(c in name for c in "*?[{"):
        return False
    try:
        first = spark.read.format("binaryFile").load(name).select("path").first()
    except AnalysisException as error:
        raise SourceError(f"cannot read {settings.format} source {name!r}: {_why(error, settings)}") from None
    return first is not None and str(first[0]).endswith("/" + name.rpartition("/")[2])


def _declared(spark: SparkSession, settings: JobSettings) -> list[StructField]:
    """Fields of a jsonl source: the declared ones, else id and text."""
    if settings.source_schema is None:
        names = [settings.text_column] if settings.id_column == HASH_ID else [settings.id_column, settings.text_column]
        return [StructField(name, StringType()) for name in names]
    try:
        # Spark parses the DDL: an empty frame of that schema.
        fields = list(spark.createDataFrame([], settings.source_schema).schema.fields)
    except Exception as error:
        raise SchemaError(f"--schema {settings.source_schema!r} is not Spark DDL: {_first_line(error)}") from None
    if any(field.name.lower() == CORRUPT for field in fields):
        raise SchemaError(f"--schema may not declare {CORRUPT}: it is where unreadable lines go")
    return fields


def _peek(spark: SparkSession, source: Source) -> None:
    """Raise SourceError when none of a jsonl source's first lines is JSON, or has the id, or the text."""
    settings = source.settings
    good = F.col("_problem").isNull()
    seen = [F.when(good, value.isNotNull()) for value in (F.lit(1), F.col("doc_id"), F.col("text"))]
    try:
        # Taken, not aggregated: an aggregate over a limit opens every file of a source for it.
        rows = source.documents(source.batch(spark)).select(*seen).take(PEEKED_LINES)
    except Exception as error:
        raise SourceError(
            f"cannot read {settings.format} source {settings.source!r}: {_why(error, settings)}"
        ) from None
    objects, with_id, with_text = (sum(bool(row[n]) for row in rows) for n in range(3))
    if not rows:
        return
    if not objects:
        raise SourceError(
            f"none of the first {len(rows)} lines of {settings.source!r} is a JSON object; jsonl has one a line. "
            "Other formats: --format delta, parquet, wet"
        )
    keys = source.batch(spark).select(F.json_object_keys("value").alias("keys")).where("keys IS NOT NULL").first()
    there = f"; it has: {', '.join(keys[0])}" if keys else ""
    for many, name, option in (
        (with_text, settings.text_column, "--text-column"),
        (with_id, settings.id_column, "--id-column"),
    ):
        if not many:
            offer = ", or take the text's sha256 as id: --id-column text_hash" if option == "--id-column" else ""
            raise SourceError(
                f"none of the first {objects} lines has a value for {name!r}{there}. "
                f"Name the field with {option}{offer}"
            )


def _peek_wet(spark: SparkSession, source: Source) -> None:
    """Raise SourceError where the first records are those of another kind of WARC file, none of them a page's text."""
    try:
        records = wet_types(source.batch(spark)).select("type", "inside").take(PEEKED_LINES)
    except Exception as error:
        raise SourceError(
            f"cannot read wet source {source.settings.source!r}: {_why(error, source.settings)}"
        ) from None
    kinds = {row["type"] for row in records}
    if kinds & {None, "conversion"}:
        return
    if any(row["inside"] for row in records):
        raise SourceError(
            f"the records of {source.settings.source!r} end in line feeds alone; WARC has a carriage return "
            "before each (as in the files that Common Crawl publishes)"
        )
    if others := sorted(kinds - {"warcinfo"}):
        raise SourceError(
            f"none of the first records of {source.settings.source!r} is a page's text: they are of type "
            f"{', '.join(others)}. Those of WET files are (*.warc.wet.gz)"
        )


def _jsonl_documents(rows: DataFrame, settings: JobSettings) -> DataFrame:
    """Parse lines by the declared schema; a line that is no JSON, or not UTF-8, becomes a problem with its bytes."""
    if settings.source_schema is None:
        names = [settings.text_column] if settings.id_column == HASH_ID else [settings.id_column, settings.text_column]
        schema = ", ".join(f"`{name}` STRING" for name in names)
    else:
        schema = settings.source_schema
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT, "maxStringLen": str(2**31 - 1)}
    parsed = rows.where(F.regexp_replace("value", r"^[ \t\r]+$", "") != "").select(
        "value",
        is_utf8(F.col("value"), rows).alias("_utf8"),
        F.from_json("value", f"{schema}, `{CORRUPT}` STRING", options).alias("_row"),
    )
    bad_bytes = ~F.col("_utf8")
    unread = F.col("_row").isNull() | F.col(f"_row.{CORRUPT}").isNotNull()
    problem = F.when(bad_bytes, "invalid_utf8").when(unread, "malformed_record")
    detail = F.when(bad_bytes, "the JSON line's bytes are not UTF-8").when(
        unread, "the line is not JSON of the declared schema"
    )
    fields = StructType.fromDDL(schema).fields if hasattr(StructType, "fromDDL") else None
    names = [field.name for field in fields] if fields else list(parsed.select("_row.*").drop(CORRUPT).columns)
    values: list[Column] = []
    for name in names:
        value = F.col("_row").getField(name)
        if name.lower() == settings.text_column.lower():
            value = F.when(problem.isNull(), value)
        if name.lower() == settings.id_column.lower():
            # A replacement character stands where bytes were lost: two ids could become one.
            value = F.when(problem.isNull() | ~F.contains(value.cast("string"), F.lit("\ufffd")), value)
        values.append(value.alias(name))
    raw = F.when(problem.isNotNull(), F.col("value").cast("binary"))
    return parsed.select(*values, problem.alias("_problem"), detail.alias("_detail"), raw.alias("_raw"))


def _delta_version(spark: SparkSession, settings: JobSettings, location: str, by_name: bool) -> int | None:
    if settings.format != "delta":
        return None
    name = location if by_name else f"delta.`{location}`"
    row = spark.sql(f"DESCRIBE HISTORY {name} LIMIT 1").select("version").first()
    return int(row[0]) if row else None


def _with_options(reader: Any, options: dict[str, str]) -> Any:
    for key, value in options.items():
        reader = reader.option(key, value)
    return reader


def _quoted(name: str) -> Column:
    return F.col(quoted(name))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _why(error: Exception, settings: JobSettings) -> str:
    """Return why a source cannot be opened, in words where Spark's own say too little."""
    broken = unreadable(error)
    if broken is not None:
        return str(broken)
    said = _first_line(error)
    if settings.format == "delta" and ("DELTA_TABLE_NOT_FOUND" in said or "is not a Delta table" in said):
        return "there is no Delta table. Delta is the default; for files say --format parquet, jsonl or wet"
    if "UNABLE_TO_INFER_SCHEMA" in said:
        return f"there are no {settings.format} files in it"
    if "PATH_NOT_FOUND" in said:
        return "no such file or folder"
    if UNMERGEABLE.search(str(error)):
        return (
            "a column has another type in some of its files than in others. Name the columns to carry with --carry, or "
            "the files that go together with a glob"
        )
    return SQLSTATE.sub("", said)


def interrupted(error: Exception, settings: JobSettings) -> SourceError | SchemaError | None:
    """Return why a stream over a Delta source cannot go on where it stopped, as an error of ours; None otherwise."""
    if settings.format != "delta":
        return None
    if ALTERED.search(str(error)):
        return SchemaError(
            f"the columns of {settings.source!r} were changed while the run read it. What was committed stays. Run the "
            "same command again (--evolve takes new columns in); if it ends like this again, columns were renamed, "
            "removed or given another type: --reconcile compares all of it with the tables, and --from-version N "
            "begins with its version N. Nothing is done twice"
        )
    if not HISTORY_GONE.search(str(error)):
        return None
    return SourceError(
        f"{settings.source!r} cannot be read on from where the last run stopped: its past is gone (files removed, log "
        "cleaned, the change data feed off for a while) or it is another table by now. --reconcile compares all of it "
        "with the tables; --from-version N begins anew at its version N, and other --checkpoints with all that it "
        "holds. Nothing is done twice"
    )


@contextmanager
def reading() -> Iterator[None]:
    """Raise what Spark says of a file that it cannot read as a SourceError."""
    try:
        yield
    except Exception as error:
        raise unreadable(error) or error from None


def unreadable(error: Exception) -> SourceError | None:
    """Return what Spark said of a file that it could not read, as an error of ours; None for another failure."""
    found = UNREADABLE.search(str(error))
    if found is None:
        return None
    causes = CAUSE.findall(str(error))
    hint = SQLSTATE.sub("", found["hint"]).strip() or (causes[-1] if causes else "")
    return SourceError(f"the file {found['file']} cannot be read{': ' if hint else ''}{hint}")
