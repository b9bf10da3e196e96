"""DataFrames in, DataFrames out: the two stages for people who keep their tables themselves."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from prox_spark.config import HASH_ID, Caution, GrammarMode, GuardSettings, JobSettings, Mode, Policy, job_settings
from prox_spark.program.refined import Guards
from prox_spark.schemas import REFINED
from prox_spark.spark.check import CHECKED, check, repeated_ids, resolve_repeated
from prox_spark.spark.columns import need_free_names
from prox_spark.spark.execute import ExecutePolicy, execute_joined
from prox_spark.spark.keys import make_policy_key
from prox_spark.spark.refiners import RefinerSet, describe_refiners
from prox_spark.spark.write import Refiners, beside_programs, grammar_of, refiner_paths, write_checked


def checked_frame(
    df: DataFrame, id_column: str, text_column: str, guards: GuardSettings = GuardSettings()
) -> DataFrame:
    """Return a DataFrame's rows as checked documents, its other columns kept; see `check.check`."""
    hashed = id_column == HASH_ID
    own = {text_column.lower()} if hashed else {text_column.lower(), id_column.lower()}
    carried = [name for name in df.columns if name.lower() not in own]
    need_free_names(carried)
    doc_id = F.sha2(F.col(f"`{text_column}`").cast("binary"), 256) if hashed else F.col(f"`{id_column}`").cast("string")
    nothing = F.lit(None)
    documents = df.select(
        doc_id.alias("doc_id"),
        F.col(f"`{text_column}`").cast("string").alias("text"),
        nothing.cast("string").alias("_problem"),
        nothing.cast("string").alias("_detail"),
        nothing.cast("binary").alias("_raw"),
        *[F.col(f"`{name}`") for name in carried],
    )
    checked = check(documents, guards)
    return resolve_repeated(checked, repeated_ids(checked))


def execute_policy(settings: JobSettings, refiners: RefinerSet) -> ExecutePolicy:
    """Return what EXECUTE takes to the workers, of a job's settings and of the refiners whose programs are executed."""
    return ExecutePolicy(
        policy=settings.policy,
        mode=settings.mode,
        dialect=refiners.dialect,
        guards=Guards(**settings.guards.model_dump()),
        languages=refiners.languages,
        thresholds=refiners.thresholds_for(settings.caution),
    )


def execute_programs(
    df: DataFrame,
    programs: DataFrame,
    *,
    id_column: str = "doc_id",
    text_column: str = "text",
    language_column: str | None = None,
    refiner: Refiners | None = None,
    policy: Policy = "strict",
    mode: Mode = "refine",
    caution: Caution = "balanced",
    guards: GuardSettings = GuardSettings(),
) -> DataFrame:
    """Return a DataFrame's documents after their programs, one row a document, lazily; no model runs.

    df: documents. programs: rows of a `programs` table, of one write_key.
    refiner: the refiner that wrote them; needed for its thresholds, dialect and languages, else programs are taken as
        they are stored, in dialect `prox`.
    Arrow batches are as the session sets them: see `refine`.
    The result has the columns of `refined`, run_id null, then the other columns of `df`. A document that CHECK or the
    refiner could not take has status `quarantined`, its text null and the reason; one without programs is left out.
    """
    refiners = describe_refiners(refiner_paths(refiner)) if refiner is not None else None
    settings = _settings(policy, mode, caution, guards, language_column)
    checked = checked_frame(df, id_column, text_column, guards)
    joined = beside_programs(checked.where("reason IS NULL"), programs)
    return _finished(checked, joined, refiners or _any_refiner(), settings)


def refine(
    df: DataFrame,
    refiner: Refiners,
    *,
    id_column: str = "doc_id",
    text_column: str = "text",
    language_column: str | None = None,
    any_language: bool = False,
    grammar: GrammarMode = "auto",
    device: str = "auto",
    policy: Policy = "strict",
    mode: Mode = "refine",
    caution: Caution = "balanced",
    guards: GuardSettings = GuardSettings(),
) -> DataFrame:
    """Return a DataFrame's documents refined, one row a document, lazily: WRITE and EXECUTE in one plan, nothing kept.

    The columns are those of `execute_programs`. For more than fits one run use a job: it keeps the programs, and
    goes on where it stopped. Documents that are identified to be in a language that the refiner was not made for
    pass through, unless `language_column` or `any_language` is given. `grammar` is as in `Refiner.load`. Write the
    result to a table before anything else reads it: each reading runs the model again.

    Batches of rows go to Python as the session sets them, by default 10,000 rows each: for long documents set
    `spark.sql.execution.arrow.maxRecordsPerBatch` (jobs: 256) and, from Spark 4 on,
    `spark.sql.execution.arrow.maxBytesPerBatch` (jobs: 16 MiB).
    """
    identify = not any_language and language_column is None
    refiners = describe_refiners(refiner_paths(refiner), identify, grammar_of(refiner, grammar))
    settings = _settings(policy, mode, caution, guards, language_column)
    checked = checked_frame(df, id_column, text_column, guards)
    written = write_checked(checked.where("reason IS NULL"), refiners, device, passing=True)
    written = written.withColumnRenamed("language", "_identified")
    if language_column:
        written = written.join(checked.select("doc_id", F.col(f"`{language_column}`")), "doc_id")
    return _finished(checked, written, refiners, settings)


def _settings(
    policy: Policy, mode: Mode, caution: Caution, guards: GuardSettings, language_column: str | None
) -> JobSettings:
    return job_settings(
        source="-",
        tables="-",
        policy=policy,
        mode=mode,
        caution=caution,
        guards=guards,
        language_column=language_column,
    )


def _any_refiner() -> RefinerSet:
    return RefinerSet(paths=(), name="", fingerprints=(), write_key="", dialect="prox")


def _finished(checked: DataFrame, joined: DataFrame, refiners: RefinerSet, settings: JobSettings) -> DataFrame:
    """Execute, add the rows that could not be refined, and put the carried columns and keys beside them all.

    Programs with an error go through EXECUTE too and get their status there: to look at `error` a second time would be
    to run the model a second time.
    """
    done = execute_joined(joined, execute_policy(settings, refiners), settings.language_column)
    bad = checked.where("reason IS NOT NULL").select(
        "doc_id", "text_hash", "reason", F.lit("quarantined").alias("status")
    )
    rows = done.unionByName(bad, allowMissingColumns=True)
    carried = [name for name in checked.columns if name not in CHECKED]
    if carried:
        beside = checked.select(
            F.col("doc_id").alias("_id"), F.col("text_hash").alias("_hash"), *[F.col(f"`{n}`") for n in carried]
        )
        match = rows["doc_id"].eqNullSafe(beside["_id"]) & rows["text_hash"].eqNullSafe(beside["_hash"])
        rows = rows.join(beside, match, "left").drop("_id", "_hash")
    keys = {
        "write_key": F.lit(refiners.write_key),
        "policy_key": F.lit(make_policy_key(settings, refiners.thresholds_for(settings.caution))),
        "refiner": F.lit(refiners.name),
        "policy": F.lit(settings.policy),
        "run_id": F.lit(None).cast("string"),
        "refined_at": F.current_timestamp(),
    }
    return rows.withColumns(keys).select(*REFINED.names, *[F.col(f"`{name}`") for name in carried])
