"""What a slice commits: each write once, and only where no other run wrote since the slice looked at the table.

Appends do not conflict in Delta, and two runs that find the same document missing would both add it. So every write of
a run carries one application id, and the number that follows the last one: that of the run's own last write, or the one
that the table's history told before the run read anything. Delta skips a write whose number is not above the last one
that it has, and refuses it while another one is under way. Numbers only rise, so a write of another run since then has
this number or a higher one: either way the slice was overtaken. It is then done again, and finds what the other run has
done. Versions that carry no number (files put together, a column added) change nothing about that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark.spark.tables import Tables

APPLICATION = "prox_spark"
# How often a slice is done again before a run gives way to others.
ATTEMPTS = 10
# How far back a write is looked for among later ones.
NEWEST = 20
# What a version is told to keep (userMetadata): command, run and slice, and the write's number on its table.
NOTED = r"^\w+ \w+ slice -?\d+(?: #(\d+))?"
_SESSION = "spark.databricks.delta."
_CONFLICT = re.compile(
    r"DELTA_CONCURRENT_|DELTA_METADATA_CHANGED|Concurrent(?:Transaction|Append|DeleteRead|DeleteDelete|Write)Exception"
)


class Overtaken(Exception):
    """Raised when another run has written to a table after the slice had looked at it; the slice begins again."""


class Commits:
    """The writes of one slice to one set of tables.

    numbers: of the last write by table, kept from slice to slice. empty: tables that were made for this run.
    """

    def __init__(
        self, spark: SparkSession, tables: Tables, numbers: dict[str, int], empty: set[str], note: str
    ) -> None:
        self.spark = spark
        self.tables = tables
        self.numbers = numbers
        self.empty = empty
        self.note = note

    def look(self, names: tuple[str, ...]) -> None:
        """Remember how far these tables are; to be called before they are read."""
        for name in names:
            if name not in self.numbers:
                self.numbers[name] = 0 if name in self.empty else self._last(name)

    def forget(self) -> None:
        """Forget how far tables were, after another run was found to have written; `look` asks them anew."""
        self.empty.clear()
        self.numbers.clear()

    def append(self, rows: DataFrame, table: str) -> str:
        """Append rows, and return what `need` takes; raises Overtaken where Delta refuses them."""
        number, note = self._next(table)
        with conflicts():
            self.tables.append(rows, table, (APPLICATION, number), note)
        return note

    def merge(self, rows: DataFrame, table: str) -> str | None:
        """Merge rows in by the table's key (see `Tables.merge`), and return what `need` takes; raises Overtaken."""
        with self.statement(table) as note:
            self.tables.merge(rows, table)
        return note

    @contextmanager
    def statement(self, table: str) -> Iterator[str | None]:
        """Make one statement of SQL that writes to a table a write of this slice; yields what `need` takes.

        Raises Overtaken where Delta refuses it.
        """
        number, note = self._next(table)
        settings = {
            "write.txnAppId": APPLICATION,
            "write.txnVersion": str(number),
            "commitInfo.userMetadata": note,
        }
        # The session of a slice is its stream's own, so that no other write shares these.
        with _settings(self.spark, settings) as told, conflicts():
            if not told:
                self.numbers[table] -= 1
            yield note if told else None

    def need(self, table: str, note: str | None) -> None:
        """Raise Overtaken where a write is not among the table's newest versions, because Delta has skipped it.

        To be asked after every write of which no row can be seen. note: of the write; None where it could have none.
        """
        if note is None:
            return
        history = self.tables.history(self.spark, table, NEWEST)
        if history.where(F.col("userMetadata") == note).select("version").first() is None:
            raise Overtaken(table)

    def _next(self, table: str) -> tuple[int, str]:
        self.look((table,))
        self.numbers[table] += 1
        self.empty.discard(table)
        return self.numbers[table], f"{self.note} #{self.numbers[table]}"

    def _last(self, table: str) -> int:
        """Return the number of the last write of a run, by the table's history.

        Where no version that is left of it is a run's, the one with which it begins: no number is above the version
        that it made, so all before it were lower; and every run that looks finds the same.
        """
        for most in (NEWEST, None):
            history = self.tables.history(self.spark, table, most)
            number = F.regexp_extract("userMetadata", NOTED, 1)
            # Before versions told numbers, each was at most the version.
            number = F.when(number == "", F.col("version")).otherwise(number.cast("bigint"))
            of_runs = history.where(F.col("userMetadata").rlike(NOTED))
            last = of_runs.orderBy(F.col("version").desc()).select(number).first()
            if last is not None:
                return int(last[0])
        first = history.agg(F.min("version")).first()
        assert first is not None
        return int(first[0])


def merge_alone(tables: Tables, rows: DataFrame, table: str) -> None:
    """Merge rows in beside no slice, again where another run's write came between."""
    for _ in range(ATTEMPTS - 1):
        with suppress(Overtaken), conflicts():
            tables.merge(rows, table)
            return
    tables.merge(rows, table)


def is_conflict(error: BaseException) -> bool:
    """Return whether an error is Delta's refusal of a write because of another one."""
    return isinstance(error, Overtaken) or _CONFLICT.search(str(error)) is not None


@contextmanager
def conflicts() -> Iterator[None]:
    """Raise Delta's refusal of a write because of another one as Overtaken."""
    try:
        yield
    except Exception as error:
        if is_conflict(error):
            raise Overtaken(str(error).splitlines()[0]) from None
        raise


@contextmanager
def _settings(spark: SparkSession, values: Mapping[str, str]) -> Iterator[bool]:
    """Set settings of Delta for one statement; yields whether the platform lets a job set them."""
    try:
        for name, value in values.items():
            spark.conf.set(_SESSION + name, value)
        told = True
    except Exception:  # serverless platforms refuse settings that they do not know
        told = False
    try:
        yield told
    finally:
        for name in values if told else ():
            spark.conf.unset(_SESSION + name)
