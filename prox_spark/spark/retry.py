"""Documents in quarantine taken up again: the source of a run like any other, whole as quarantine keeps them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

from prox_spark.config import NOT_GAIR, GuardSettings, JobSettings, job_settings
from prox_spark.errors import ConfigError, SchemaError, SourceError
from prox_spark.schemas import QUARANTINE_REASONS, REFINED, RETRIED
from prox_spark.spark.check import JSON_TIMES
from prox_spark.spark.job import Progress, Run, RunSummary, policy_key_of, refiners_to_write, run_stream
from prox_spark.spark.ledger import is_over, over_others
from prox_spark.spark.session import get_spark
from prox_spark.spark.slices import run_slice
from prox_spark.spark.sources import INTERNAL, Source
from prox_spark.spark.tables import Tables, temporary_view
from prox_spark.spark.work import Work

# Of the last run's settings those that decide what becomes of a document, and where it is read and written.
KEPT = (
    *("source", "format", "tables", "refiners", "id_column", "text_column", "language_column", "any_language"),
    *("mode", "policy", "caution", "guards", "device", "max_tokens", "max_seconds", "write_partitions", "checkpoints"),
    "grammar",
)
# A carried text may be long: one above Spark's own bound would make all of a document's columns null.
_JSON = {**JSON_TIMES, "maxStringLen": str(2**31 - 1)}
_MOST_NAMES = 10_000


@dataclass(frozen=True)
class Quarantined(Source):
    """The documents in quarantine for one of these reasons, in place of the source that they came from.

    An id that stands there with several texts is left out: with one of them in `refined`, the others would be lost. So
    is one that a run over another source has put there.

    runs: where the table of runs is, by which documents tell their source. spellings: of each carried column the names
    that it has in what quarantine keeps; sources may differ in capitals.
    """

    reasons: tuple[str, ...] = ()
    runs: str = ""
    spellings: tuple[tuple[str, ...], ...] = ()

    def batch(self, spark: SparkSession) -> DataFrame:
        """Return the rows of `quarantine`."""
        return self._taken_up(self._all(spark), spark)

    def stream(self, spark: SparkSession, batch_bytes: int) -> DataFrame:
        """Return the rows of `quarantine` as it is when the stream begins: what a run puts back is not seen again."""
        options = {"maxBytesPerTrigger": str(batch_bytes), "skipChangeCommits": "true"}
        reader = spark.readStream.options(**options)
        rows = reader.table(self.location) if self.by_name else reader.format("delta").load(self.location)
        return self._taken_up(rows, spark)

    def _all(self, spark: SparkSession) -> DataFrame:
        return spark.read.table(self.location) if self.by_name else spark.read.format("delta").load(self.location)

    def _taken_up(self, rows: DataFrame, spark: SparkSession) -> DataFrame:
        several = self._all(spark).groupBy("doc_id").count().where("count > 1")
        others = over_others(spark.sql(f"SELECT run_id, source, command FROM {self.runs}"), self.settings.source)
        mine = rows.where(F.col("reason").isin(*self.reasons))
        return mine.join(several, "doc_id", "left_anti").join(others, "run_id", "left_anti")

    def documents(self, rows: DataFrame) -> DataFrame:
        """Return the rows as the documents that they were, with the columns that they carried."""
        # One reading has every column under one of its names; most often there is one name each, and one reading.
        many = max(map(len, self.spellings), default=0)
        for n in range(many):
            fields = [
                StructField(names[n], field.dataType)
                for field, names in zip(self.carried, self.spellings, strict=True)
                if n < len(names)
            ]
            rows = rows.withColumn(f"_carried{n}", F.from_json("carried", StructType(fields), _JSON))
        carried = [
            F.coalesce(*[F.col(f"_carried{n}").getField(name) for n, name in enumerate(names)]).alias(field.name)
            for field, names in zip(self.carried, self.spellings, strict=True)
        ]
        kinds = ("string", "string", "binary")
        nothing = [F.lit(None).cast(kind).alias(name) for name, kind in zip(INTERNAL, kinds, strict=True)]
        text = F.coalesce("text", F.col("bytes").cast("string")).alias("text")
        return rows.select("doc_id", text, *nothing, *carried)


def run_retry(
    location: str,
    reasons: Sequence[str],
    given: Mapping[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    spark: SparkSession | None = None,
) -> RunSummary:
    """Take up again what is in quarantine for these reasons: write and execute it, or only write it after a `write`.

    Documents of one source: that of the last run that wrote programs, or the one that is given.
    given: settings that differ from those of the last run that wrote programs; `guards` of them one by one. Those of
        the last run are in `runs`. A share of failures does not end the run unless `max_error_rate` is given.
    Raises ConfigError for a reason that trying again cannot change, SourceError where there are no tables or no run,
    SchemaError where a carried column cannot be brought back.
    """
    need_reasons(reasons)
    spark = spark or get_spark()
    tables = Tables(location)
    if not tables.exists(spark, "quarantine"):
        raise SourceError(f"no tables of prox_spark at {location}")
    tables.need_version(spark)
    command, settings = _settings(spark, tables, given or {})
    run = Run(settings, "retry", spark, on_progress, kept={"retry": list(reasons)})
    work = _work(run, tables, command, tuple(reasons))
    _delete_failures(run, work)
    try:
        return run_stream(run, work, partial(run_slice, work))
    finally:
        # Its progress serves this run alone. Elsewhere than on this machine an empty checkpoint stays.
        shutil.rmtree(work.progress.removeprefix("file:"), ignore_errors=True)


def need_reasons(reasons: Sequence[str]) -> None:
    """Raise ConfigError unless every reason is one that another try can change."""
    for reason in reasons:
        if reason not in RETRIED:
            meaning = QUARANTINE_REASONS.get(reason)
            why = f"to try again changes nothing: {meaning}" if meaning else "there is no such reason"
            raise ConfigError(f"--reason {reason}: {why}. Reasons that may change: {', '.join(RETRIED)}")
    if not reasons:
        raise ConfigError(f"no reason; one of {', '.join(RETRIED)}")


def _settings(spark: SparkSession, tables: Tables, given: Mapping[str, Any]) -> tuple[str, JobSettings]:
    """The command and the settings of the last run that wrote programs, with what is given in their place."""
    runs = tables.read(spark, "runs").where("command IN ('write', 'refine') AND settings IS NOT NULL")
    if "source" in given:
        runs = runs.where(is_over(str(given["source"])))
    last = runs.orderBy(F.col("started_at").desc()).select("command", "settings").first()
    if last is None:
        over = f" over {given['source']}" if "source" in given else ""
        raise SourceError(f"no run{over} in {tables.location} has written programs: there is nothing to take up again")
    stored = json.loads(last["settings"])["job"]
    values = {name: stored[name] for name in KEPT if name in stored}
    more = dict(given)
    guards = {name: more.pop(name) for name in GuardSettings.model_fields if name in more}
    had = values.get("guards", {})
    if values.get("policy") == "gair":
        # Earlier versions took guards beside this policy, which did nothing.
        had = {name: value for name, value in had.items() if name not in NOT_GAIR}
    values["guards"] = had | guards
    ours: dict[str, Any] = {"tables": tables.location, "preflight": "off", "max_error_rate": 1.0}
    return last["command"], job_settings(**(values | ours | more))


def _work(run: Run, tables: Tables, command: Any, reasons: tuple[str, ...]) -> Work:
    settings, spark = run.settings, run.spark
    refiners = refiners_to_write(settings)
    fields = tables.read(spark, "refined").schema.fields
    carried = tuple(field for field in fields if field.name not in REFINED.names)
    for field in carried:
        _need_json(field, field.dataType)
    location = f"{tables.root}/quarantine" if tables.in_directory else tables.name("quarantine")
    source = Quarantined(
        settings,
        location,
        None,
        not tables.in_directory,
        carried,
        reasons=reasons,
        runs=tables.name("runs"),
        spellings=_spellings(tables.read(spark, "quarantine"), carried),
    )
    progress = f"{tables.progress(spark, settings.checkpoints)}/{refiners.write_key[:16]}/retry-{run.run_id}"
    return Work(
        settings=settings,
        command=command,
        run_id=run.run_id,
        source=source,
        refiners=refiners,
        policy_key=policy_key_of(settings, command, refiners),
        tables=tables,
        programs_in=tables,
        progress=progress,
        checkpoint=f"{progress}/checkpoint",
    )


def _spellings(quarantine: DataFrame, carried: Sequence[StructField]) -> tuple[tuple[str, ...], ...]:
    """Return the names, alike but for capitals, that each carried column has in what quarantine keeps."""
    if not carried:
        return ()
    keys = quarantine.select(F.explode(F.json_object_keys("carried")).alias("name")).distinct().take(_MOST_NAMES)
    names = sorted(row["name"] for row in keys)
    same = ([name for name in names if name.lower() == field.name.lower()] for field in carried)
    return tuple(tuple(found) or (field.name,) for found, field in zip(same, carried, strict=True))


def _need_json(field: StructField, kind: DataType) -> None:
    """Raise SchemaError for a type that does not come back from JSON as it was."""
    if isinstance(kind, MapType) and not isinstance(kind.keyType, StringType):
        raise SchemaError(
            f"the carried column {field.name!r} holds a {kind.simpleString()}, which quarantine cannot give back. Run "
            "refine over these documents with other --checkpoints instead"
        )
    inner = [part.dataType for part in kind.fields] if isinstance(kind, StructType) else []
    inner += [kind.elementType] if isinstance(kind, ArrayType) else []
    inner += [kind.valueType] if isinstance(kind, MapType) else []
    for one in inner:
        _need_json(field, one)


def _delete_failures(run: Run, work: Work) -> None:
    """Take the error rows of these documents out of `programs`, where a document of these refiners stands once.

    Stopped after this, the documents are still in quarantine: the next retry finds them there. So does one that was
    beside another run, which leaves a document without programs where it is.
    """
    programs = work.tables.read(run.spark, "programs")
    failed = programs.where(F.col("error").isNotNull() & (F.col("write_key") == work.refiners.write_key))
    if failed.select("doc_id").first() is None:
        return
    with temporary_view(work.source.batch(run.spark).select("doc_id", "text_hash")) as view:
        run.spark.sql(
            f"MERGE INTO {work.tables.name('programs')} t USING {view} s ON t.doc_id = s.doc_id "
            f"AND t.text_hash = s.text_hash AND t.write_key = '{work.refiners.write_key}' AND t.error IS NOT NULL "
            "WHEN MATCHED THEN DELETE"
        )
