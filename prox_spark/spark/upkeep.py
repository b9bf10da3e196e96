"""What tables need beside jobs: documents forgotten by name, small files put together, older tables migrated."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark.errors import ConfigError, SourceError
from prox_spark.schemas import SCHEMA_VERSION, TABLES, column_ddl
from prox_spark.spark.failures import explained
from prox_spark.spark.ledger import runs_row, utc_now, versions
from prox_spark.spark.removal import HOLDING, remove
from prox_spark.spark.staging import clear_staged
from prox_spark.spark.tables import STATISTICS, Tables

# Delta's own bound: a reader that began before a VACUUM may need files this old.
SAFE_HOURS = 168
_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"
# Where slices stage what they write between two commits.
STAGED = "{}/*/*/staged/*"


@dataclass(frozen=True)
class Migration:
    """What was done to one table: its schema version before (it is SCHEMA_VERSION now), and the columns added.

    statistics: whether the columns that Delta keeps statistics of were others.
    """

    table: str
    before: int
    added: tuple[str, ...]
    statistics: bool = False


@dataclass(frozen=True)
class Upkeep:
    """What was done to one table: rows deleted, and its files and bytes before and after."""

    table: str
    deleted: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int


def forget(spark: SparkSession, location: str, ids: str, checkpoints: str | None = None) -> list[Upkeep]:
    """Delete documents from every table under ``location``, with what was staged of them between commits.

    ids: a text file, one doc_id a line (of a document whose id was null, the hash that stands in ``quarantine``); a
    line names the id that it is, and the one that it is without the blanks at its ends.
    checkpoints: where runs kept their progress, if not under the tables; what they had staged there goes.
    The rows are gone from the tables' newest version; older versions and their files go with ``maintain``. No job may
    run on the tables meanwhile. Raises SourceError where there are no tables, no file or no id in it; BusyError where
    a job wrote to the tables all the same.
    """
    tables = Tables(location)
    there = _there(spark, tables)
    started = utc_now()
    named = _read_ids(spark, ids)
    done = []
    with explained(location):
        for table in (name for name in there if name in HOLDING):
            deleted: list[int] = []

            def delete(table: str = table, deleted: list[int] = deleted) -> None:
                deleted.append(remove(spark, tables, named, table))

            found = _measured(spark, tables, table, delete)
            done.append(Upkeep(table, deleted[0], *found))
        clear_staged(spark, STAGED.format(tables.progress(spark, checkpoints)))
        _record(spark, tables, "forget", started, {f"deleted.{one.table}": one.deleted for one in done})
    return done


def maintain(
    spark: SparkSession,
    location: str,
    hours: float | None = None,
    cluster: bool = False,
    checkpoints: str | None = None,
    vacuum: bool = True,
) -> list[Upkeep]:
    """Put the small files of every table under ``location`` together, and remove the files of older versions.

    What runs that were killed had staged between two commits goes as well, so no job may run on the tables meanwhile.
    cluster: lay rows out by doc_id (Delta's liquid clustering), from now on and by every later call; the first one
    rewrites the tables. ConfigError where this runtime has none.
    hours: files that no version of the last so many hours needs are removed; default: as many as the tables' property
    `delta.deletedFileRetentionDuration` says, which is 168 where nobody has set it. Any number but 0 becomes that
    property, and stays. Below 168 hours a job or a query that runs meanwhile may fail, and time travel ends sooner.
    vacuum: without it no file of an older version is removed.
    checkpoints: where runs kept their progress, if not under the tables; what they had staged there goes.
    Raises SourceError where there are no tables, ConfigError for negative hours, BusyError where a job wrote to the
    tables all the same.
    """
    if hours is not None and hours < 0:
        raise ConfigError(f"--retain-hours {hours}: there is no negative time to retain")
    tables = Tables(location)
    there = _there(spark, tables)
    started = utc_now()
    done = []
    with explained(location):
        for table in there:
            name = tables.name(table)

            def put_together(name: str = name, holding: bool = table in HOLDING) -> None:
                if cluster and holding:
                    _cluster(spark, name)
                spark.sql(f"OPTIMIZE {name}")
                if vacuum:
                    _vacuum(spark, name, hours)

            done.append(Upkeep(table, 0, *_measured(spark, tables, table, put_together)))
        clear_staged(spark, STAGED.format(tables.progress(spark, checkpoints)))
        _record(spark, tables, "maintain", started, {f"files.{one.table}": one.files_after for one in done})
    return done


def migrate(spark: SparkSession, location: str) -> list[Migration]:
    """Bring every table under ``location`` to this code's schema version; one that has it stays as it is.

    What older versions lack are columns: they are added, and are null in the rows that are there. Which columns Delta
    keeps the smallest and largest values of in its log, texts once among them, becomes as it is now. Nothing is
    rewritten, and a migration that was stopped is finished by the next one. No job may run on the tables meanwhile.
    Raises SourceError where there are no tables; SchemaError, before anything is changed, where one is of a newer
    version or has a column of another type; BusyError where a job wrote to the tables all the same.
    """
    tables = Tables(location)
    started = utc_now()
    there = {name: tables.version(spark, name) for name in _there(spark, tables, versioned=False)}
    tables.need_version(spark, [name for name, version in there.items() if version > SCHEMA_VERSION])
    lacking = {name: tables.lacking(spark, name) for name in there}
    done = []
    with explained(location):
        for name, version in there.items():
            added = lacking[name]
            if added:
                # A column that may not be null cannot be added to rows that lack it.
                tables.add_columns(spark, name, [column_ddl(replace(column, nullable=True)) for column in added])
            other = tables.other_properties(spark, name)
            if other:
                settings = ", ".join(f"'{key}' = '{value}'" for key, value in other.items())
                spark.sql(f"ALTER TABLE {tables.name(name)} SET TBLPROPERTIES ({settings})")
            if added or other:
                names = tuple(column.name for column in added)
                done.append(Migration(name, version, names, STATISTICS in other))
        if done:
            _record(spark, tables, "migrate", started, {f"added.{one.table}": len(one.added) for one in done})
    return done


def _cluster(spark: SparkSession, name: str) -> None:
    """Cluster a table by doc_id, if it is not."""
    row = spark.sql(f"DESCRIBE DETAIL {name}").first()
    if row is not None and "clusteringColumns" in row and row["clusteringColumns"]:
        return
    try:
        spark.sql(f"ALTER TABLE {name} CLUSTER BY (doc_id)")
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"this Spark and Delta cannot cluster {name}: {reason}. Leave --cluster out") from None


def _there(spark: SparkSession, tables: Tables, versioned: bool = True) -> list[str]:
    found = [name for name in TABLES if tables.exists(spark, name)]
    if not found:
        raise SourceError(f"no tables of prox_spark at {tables.location}")
    if versioned:
        tables.need_version(spark, found)
    return found


def _read_ids(spark: SparkSession, path: str) -> DataFrame:
    try:
        lines = spark.read.text(path).select(F.explode(F.array("value", F.trim("value"))).alias("doc_id"))
        ids = lines.where("trim(doc_id) <> ''").distinct()
        if ids.first() is None:
            raise SourceError(f"{path}: no id in it; one doc_id a line is expected")
    except AnalysisException as error:
        raise SourceError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    return ids


def _measured(spark: SparkSession, tables: Tables, table: str, action: Callable[[], None]) -> tuple[int, int, int, int]:
    """Files before and after the action, and bytes before and after."""
    detail = f"DESCRIBE DETAIL {tables.name(table)}"
    before = spark.sql(detail).select("numFiles", "sizeInBytes").first()
    action()
    after = spark.sql(detail).select("numFiles", "sizeInBytes").first()
    assert before is not None
    assert after is not None
    return before[0], after[0], before[1], after[1]


def _vacuum(spark: SparkSession, name: str, hours: float | None) -> None:
    """Remove files of older versions."""
    if hours:
        # From the statement itself newer Deltas take 0 hours alone, and pass over any other number with a warning.
        kept = f"interval {round(hours * 3600)} seconds"
        spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('delta.deletedFileRetentionDuration' = '{kept}')")
    with _short_retention(spark, hours):
        spark.sql(f"VACUUM {name}" + ("" if hours is None else f" RETAIN {hours} HOURS"))


@contextmanager
def _short_retention(spark: SparkSession, hours: float | None) -> Iterator[None]:
    """Delta refuses less than a week unless its check is off; it is on again afterwards."""
    if hours is None or hours >= SAFE_HOURS:
        yield
        return
    before = spark.conf.get(_CHECK, "true")
    spark.conf.set(_CHECK, "false")
    try:
        yield
    finally:
        spark.conf.set(_CHECK, str(before))


def _record(spark: SparkSession, tables: Tables, command: str, started: datetime, counts: dict[str, int]) -> None:
    values = {
        "run_id": uuid.uuid4().hex,
        "command": command,
        "started_at": started,
        "finished_at": utc_now(),
        "counts": counts,
        "versions": versions(spark),
    }
    if tables.exists(spark, "runs"):
        tables.append(runs_row(spark, values), "runs")
