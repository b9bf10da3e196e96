"""The Delta tables of a job: where they are, making them, and the two ways of writing to them: append and merge."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType

from prox_spark.config import is_directory, no_secret
from prox_spark.errors import ConfigError, ProxError, SchemaError
from prox_spark.schemas import REFINE_TABLES, SCHEMA_PROPERTY, SCHEMA_VERSION, TABLES, VIEWS, Column, column_ddl, ddl
from prox_spark.spark.staging import local_path

# Nothing that a reader other than Spark could not read: no deletion vectors, no column mapping, no row tracking.
PROPERTIES = {
    "delta.enableDeletionVectors": "false",
    "delta.enableRowTracking": "false",
    "delta.columnMapping.mode": "none",
    "delta.checkpointPolicy": "classic",
    SCHEMA_PROPERTY: str(SCHEMA_VERSION),
}
STATISTICS = "delta.dataSkippingStatsColumns"
# Columns whose smallest and largest values Delta keeps in its log for each file: what rows are looked up by. Of all
# others, texts and carried columns among them, nothing stands in the log, which is not rewritten when rows are deleted.
INDEXED = (
    "doc_id", "text_hash", "write_key", "policy_key", "status", "reason", "stage", "run_id", "written_at", "refined_at",
    "quarantined_at", "task", "prompt_hash", "model", "answered_at", "command", "started_at",
)  # fmt: skip
# Of a table, from its making on: one that is dropped and made again is another table.
ID_PROPERTY = "prox_spark.tableId"
ACTION = "_action"


@dataclass(frozen=True)
class Tables:
    """The tables under one `--tables`: a directory, or a schema's name (`schema` or `catalog.schema`).

    Raises ConfigError for an address with a password or a signature in it.
    """

    location: str

    def __post_init__(self) -> None:
        try:
            no_secret(self.location)
        except ValueError as error:
            raise ConfigError(f"tables: {error}") from None

    @property
    def in_directory(self) -> bool:
        """Whether the tables are in a directory; else in a schema."""
        return is_directory(self.location)

    @property
    def root(self) -> str:
        """The directory, absolute where it is a local one."""
        plain = "://" not in self.location and not self.location.startswith(("dbfs:", "file:"))
        return os.path.abspath(self.location) if plain else self.location.rstrip("/")

    def name(self, table: str) -> str:
        """Return the SQL name of a table."""
        if self.in_directory:
            return f"delta.`{self.root}/{table}`"
        return ".".join(f"`{part}`" for part in (*self.location.split("."), table))

    def read(self, spark: SparkSession, table: str) -> DataFrame:
        """Return a table's rows."""
        return spark.table(self.name(table))

    def exists(self, spark: SparkSession, table: str) -> bool:
        """Return whether a table is there."""
        try:
            self.read(spark, table).schema  # noqa: B018
        except Exception as error:
            if "NOT_FOUND" in str(error) or "DOES_NOT_EXIST" in str(error) or "MISSING_DELTA_TABLE" in str(error):
                return False
            if "is not a Delta table" in str(error) or "PATH_NOT_EXIST" in str(error):
                return False
            raise
        return True

    def version(self, spark: SparkSession, table: str) -> int:
        """Return the schema version of a table that is there; 1 where it is older than the property."""
        row = spark.sql(f"SHOW TBLPROPERTIES {self.name(table)} ('{SCHEMA_PROPERTY}')").first()
        value = "" if row is None else str(row["value"])
        return int(value) if value.isdigit() else 1

    def other_properties(self, spark: SparkSession, table: str) -> dict[str, str]:
        """Return of schema version and statistics, as they are to be, what a table that is there has otherwise."""
        rows = spark.sql(f"SHOW TBLPROPERTIES {self.name(table)}")
        wanted = {key: value for key, value in properties_of(table).items() if key in (SCHEMA_PROPERTY, STATISTICS)}
        there = {row["key"]: row["value"] for row in rows.where(F.col("key").isin(*wanted)).take(len(wanted))}
        return {key: value for key, value in wanted.items() if there.get(key) != value}

    def identity(self, spark: SparkSession, names: Iterable[str]) -> str:
        """Return the ids of tables that are there, joined; empty where they are older than ids."""
        ids = []
        for name in names:
            row = spark.sql(f"SHOW TBLPROPERTIES {self.name(name)}").where(F.col("key") == ID_PROPERTY).first()
            ids.append("" if row is None else str(row["value"]))
        return " ".join(ids).strip()

    def need_version(self, spark: SparkSession, names: Iterable[str] = tuple(TABLES)) -> None:
        """Raise SchemaError where one of these tables is there, and of another version than this code's."""
        for name in names:
            if not self.exists(spark, name):
                continue
            version = self.version(spark, name)
            if version < SCHEMA_VERSION:
                raise SchemaError(
                    f"table {name} in {self.location} has schema version {version}, this prox_spark works with "
                    f"{SCHEMA_VERSION}. When no job runs on the tables: prox-spark migrate --tables {self.location}"
                )
            if version > SCHEMA_VERSION:
                raise SchemaError(
                    f"table {name} in {self.location} has schema version {version}, newer than {SCHEMA_VERSION}, the "
                    "newest that this prox_spark knows. Nothing was touched: install the prox_spark that made it"
                )

    def progress(self, spark: SparkSession, checkpoints: str | None) -> str:
        """Return the directory for checkpoints and what is staged between two commits."""
        if checkpoints:
            return checkpoints.rstrip("/")
        if self.in_directory:
            return f"{self.root}/_progress"
        rows = spark.sql(f"DESCRIBE SCHEMA {self._make_schema(spark)}")
        # Spark and Databricks give the two columns different names.
        row = rows.where(F.lower(F.col(f"`{rows.columns[0]}`")) == "location").first()
        if row is None or not row[1]:
            raise SchemaError(
                f"schema {self.location} has no location; say where progress is to be kept with checkpoints"
            )
        return f"{row[1].rstrip('/')}/_progress"

    def create(
        self,
        spark: SparkSession,
        carried: Sequence[StructField] = (),
        names: Sequence[str] = REFINE_TABLES,
        evolve: bool = False,
        fitting: bool = True,
    ) -> set[str]:
        """Create what is missing of these tables, and return the names of those.

        evolve: add the carried columns that a table lacks. fitting: look at carried columns in tables that are there;
        without it only what is created gets them. Raises SchemaError where a table that is there has a column
        of another type, or lacks one, unless that is a carried one and `evolve`.
        """
        if not self.in_directory:
            self._make_schema(spark)
        created = set()
        for name in names:
            extra = carried if name == "refined" else ()
            if self.exists(spark, name):
                self._fit(spark, name, extra if fitting else (), evolve)
                continue
            try:
                self._create(spark, name, extra)
                created.add(name)
            except ProxError:
                raise
            except Exception:
                # Another run that began at the same time has made it.
                if not self.exists(spark, name):
                    raise
        return created

    def _make_schema(self, spark: SparkSession) -> str:
        """Return the schema's name in SQL; made if it is not there."""
        name = ".".join(f"`{part}`" for part in self.location.split("."))
        if not spark.catalog.databaseExists(self.location):
            spark.sql(f"CREATE SCHEMA IF NOT EXISTS {name}")
        return name

    def _create(self, spark: SparkSession, name: str, extra: Sequence[StructField]) -> None:
        columns = [column_ddl(column) for column in TABLES[name].columns]
        columns += [_carried_ddl(field) for field in extra]
        made = {**properties_of(name), ID_PROPERTY: uuid.uuid4().hex}
        properties = ", ".join(f"'{key}' = '{value}'" for key, value in made.items())
        comment = TABLES[name].comment.replace("'", "\\'")
        try:
            spark.sql(
                f"CREATE TABLE IF NOT EXISTS {self.name(name)} ({', '.join(columns)}) USING DELTA "
                f"COMMENT '{comment}' TBLPROPERTIES ({properties})"
            )
        except Exception as error:
            if "DELTA_CANNOT_CREATE_LOG_PATH" not in str(error):
                raise
            raise ConfigError(f"nothing can be written at {self.root}; --tables names another place") from None

    def _fit(self, spark: SparkSession, name: str, extra: Sequence[StructField], evolve: bool) -> None:
        lacking = self.lacking(spark, name)
        if lacking:
            raise SchemaError(
                f"table {name} in {self.location} lacks the column {', '.join(column.name for column in lacking)}. "
                f"When no job runs on the tables: prox-spark migrate --tables {self.location}"
            )
        there = self._types(spark, name)
        self._need_types(there, name, extra)
        new = [field for field in extra if field.name.lower() not in there]
        if new and not evolve:
            raise SchemaError(
                f"the source has columns that table {name} in {self.location} lacks: "
                f"{', '.join(field.name for field in new)}. --evolve adds them (null in the rows that are there); "
                "or choose with --carry which columns come along"
            )
        if new:
            self.add_columns(spark, name, [_carried_ddl(field) for field in new])

    def lacking(self, spark: SparkSession, name: str) -> list[Column]:
        """Return the declared columns that a table lacks; SchemaError where it has one of another type."""
        there = self._types(spark, name)
        declared = spark.createDataFrame([], ddl(name, comments=False)).schema.fields
        self._need_types(there, name, declared)
        return [column for column in TABLES[name].columns if column.name.lower() not in there]

    def add_columns(self, spark: SparkSession, name: str, columns: Sequence[str]) -> None:
        """Add columns, given as DDL, to a table: the one place where a schema changes."""
        spark.sql(f"ALTER TABLE {self.name(name)} ADD COLUMNS ({', '.join(columns)})")

    def _types(self, spark: SparkSession, name: str) -> dict[str, str]:
        return {field.name.lower(): field.dataType.simpleString() for field in self.read(spark, name).schema.fields}

    def _need_types(self, there: dict[str, str], name: str, fields: Sequence[StructField]) -> None:
        for field in fields:
            wanted, found = field.dataType.simpleString(), there.get(field.name.lower())
            if found not in (None, wanted):
                raise SchemaError(
                    f"column {field.name!r} of table {name} in {self.location} is {found}, now it would be {wanted}; "
                    "rename the source's column, leave it out with --carry, or take other --tables"
                )

    def align(self, rows: DataFrame, table: str) -> DataFrame:
        """Return the rows with exactly the table's columns, in its order and of its types; what they lack is null."""
        have = {name.lower() for name in rows.columns}
        columns = []
        for field in self.read(rows.sparkSession, table).schema.fields:
            value = F.col(f"`{field.name}`") if field.name.lower() in have else F.lit(None)
            columns.append(value.cast(field.dataType).alias(field.name))
        return rows.select(*columns)

    def history(self, spark: SparkSession, table: str, most: int | None) -> DataFrame:
        """Return the newest so many versions of a table (None: all): version, operation, userMetadata and more."""
        return spark.sql(f"DESCRIBE HISTORY {self.name(table)}{'' if most is None else f' LIMIT {most}'}")

    def append(
        self, rows: DataFrame, table: str, transaction: tuple[str, int] | None = None, note: str | None = None
    ) -> None:
        """Append rows; with a transaction (application id, version) once: a version not above the last is skipped.

        note: kept with the version in the table's history (userMetadata).
        """
        # Said, because a session's setting would otherwise decide: no column comes in by the way.
        writer = self.align(rows, table).write.format("delta").mode("append").option("mergeSchema", "false")
        if transaction is not None:
            # Options of this writer: in the session's settings they would be shared by whatever else writes.
            writer = writer.option("txnAppId", transaction[0]).option("txnVersion", str(transaction[1]))
        if note is not None:
            writer = writer.option("userMetadata", note)
        if self.in_directory:
            writer.save(f"{self.root}/{table}")
        else:
            writer.saveAsTable(self.name(table))

    def merge(self, rows: DataFrame, table: str) -> None:
        """Put rows in by the table's key; a row whose column `_action` is `delete` takes the one that is there away.

        `rows` must be cheap and the same at every reading (staged files): a merge reads its source more than once.
        """
        session = rows.sparkSession
        actions = rows.select(*[F.col(name) for name in rows.columns if name == ACTION])
        action = F.col(ACTION) if actions.columns else F.lit("put")
        names = self.read(session, table).columns
        have = {name.lower() for name in rows.columns}
        source = rows.select(
            action.alias(ACTION),
            *[(F.col(f"`{name}`") if name.lower() in have else F.lit(None)).alias(name) for name in names],
        )
        match = " AND ".join(f"t.`{key}` <=> s.`{key}`" for key in TABLES[table].key)
        sets = ", ".join(f"t.`{name}` = s.`{name}`" for name in names)
        columns = ", ".join(f"`{name}`" for name in names)
        values = ", ".join(f"s.`{name}`" for name in names)
        with temporary_view(source) as view:
            session.sql(
                f"MERGE INTO {self.name(table)} t USING {view} s ON {match} "
                f"WHEN MATCHED AND s.{ACTION} = 'delete' THEN DELETE "
                f"WHEN MATCHED THEN UPDATE SET {sets} "
                f"WHEN NOT MATCHED AND s.{ACTION} = 'put' THEN INSERT ({columns}) VALUES ({values})"
            )


@contextmanager
def temporary_view(rows: DataFrame) -> Iterator[str]:
    """Give rows a name that SQL takes, one of its own: runs beside each other may share a session."""
    view = f"prox_spark_{uuid.uuid4().hex}"
    rows.createOrReplaceTempView(view)
    try:
        yield view
    finally:
        rows.sparkSession.catalog.dropTempView(view)


def properties_of(name: str) -> dict[str, str]:
    """Return the properties that a table is to have, beside the id of its own."""
    indexed = ",".join(column for column in TABLES[name].names if column in INDEXED)
    return {**PROPERTIES, STATISTICS: indexed}


def _carried_ddl(field: StructField) -> str:
    return f"{quoted(field.name)} {type_ddl(field.dataType)} COMMENT 'carried from the source'"


def quoted(name: str) -> str:
    """Return a name as SQL takes it, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"


def type_ddl(kind: DataType) -> str:
    """Return a type as SQL takes it; Spark's own `simpleString` leaves the names of nested fields as they are."""
    if isinstance(kind, StructType):
        return f"STRUCT<{', '.join(f'{quoted(field.name)}: {type_ddl(field.dataType)}' for field in kind.fields)}>"
    if isinstance(kind, ArrayType):
        return f"ARRAY<{type_ddl(kind.elementType)}>"
    if isinstance(kind, MapType):
        return f"MAP<{type_ddl(kind.keyType)}, {type_ddl(kind.valueType)}>"
    return str(kind.simpleString())


def view_sql(tables: Tables) -> dict[str, str]:
    """Return the query of every view over these tables, by the view's name."""
    names = {name: tables.name(name) for name in TABLES}
    return {view.name: view.sql.format(**names) for view in VIEWS.values()}


def create_views(spark: SparkSession, tables: Tables) -> None:
    """Make the views: permanent ones in a schema; for a directory temporary ones in this session and a `views.sql`."""
    queries = view_sql(tables)
    for name, query in queries.items():
        if tables.in_directory:
            spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW {name} AS {query}")
        else:
            spark.sql(f"CREATE OR REPLACE VIEW {tables.name(name)} AS {query}")
    if tables.in_directory:
        _write_views_file(spark, tables, queries)


def _write_views_file(spark: SparkSession, tables: Tables, queries: dict[str, str]) -> None:
    text = "".join(
        f"-- {VIEWS[name].comment}\nCREATE OR REPLACE TEMPORARY VIEW {name} AS\n{query};\n\n"
        for name, query in queries.items()
    )
    here = local_path(tables.root)
    # A path without a scheme may be one of the cluster's file system.
    if os.path.isdir(here):
        Path(here, "views.sql").write_text(text, encoding="utf-8")
        return
    # Elsewhere: a folder of that name with one text file, the form in which Spark writes text.
    target = f"{tables.root}/views.sql"
    spark.createDataFrame([(text,)], "value STRING").coalesce(1).write.mode("overwrite").text(target)
