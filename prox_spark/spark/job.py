"""Run a job: a stream over the source, cut into slices; each slice is checked, written, executed and accounted for."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark import errors
from prox_spark.config import Command, JobSettings
from prox_spark.errors import BusyError, ConfigError, ProxError
from prox_spark.report.summary import nothing_new
from prox_spark.schemas import ANNOTATE_TABLES, REFINE_TABLES, RUNS
from prox_spark.spark import ledger
from prox_spark.spark.changes import has_feed
from prox_spark.spark.commits import merge_alone
from prox_spark.spark.failures import beside, explained, known
from prox_spark.spark.keys import canonical_hash, make_policy_key, stream_key
from prox_spark.spark.ledger import SliceReport
from prox_spark.spark.reconcile import Absent, Comparison
from prox_spark.spark.refiners import RefinerSet, describe_refiners, find_refiners
from prox_spark.spark.session import get_spark
from prox_spark.spark.sizes import batch_bytes
from prox_spark.spark.slices import Slice, run_slice
from prox_spark.spark.sources import interrupted, open_source, reading
from prox_spark.spark.staging import clear_staged, local_path
from prox_spark.spark.tables import Tables, create_views
from prox_spark.spark.work import Desk, Work
from prox_spark.text.language import need_identifier_package

BYTES_A_TOKEN = 4
# Commands that look at every document each time, and pass over what is done by its keys: what they need may have come
# later than the documents (programs), or be asked for again (answers). So their checkpoint serves one run.
LOOKING_AT_ALL = ("execute", "annotate")
# What Spark says when two streams share a checkpoint.
TWICE = re.compile(r"Multiple streaming jobs detected|CONCURRENT_STREAM_LOG_UPDATE|CONCURRENT_QUERY|already active")
# Stands for a run's id where there is no run.
PLAN = "plan"
# Stands for a slice's number where what is staged belongs to none.
RECONCILING = 0


@dataclass(frozen=True)
class Progress:
    """How far a run is; handed to `on_progress` at the end of every stage of every slice.

    stage: `check`, `preflight`, `write`, `execute` (an annotation: `cut`, `ask`) or `done`: what has just ended.
    slice: number of the slice, from 0.
    documents: source rows that are accounted for so far in this run; answers, for an annotation.
    total: how many there are in all; None where that is not known without reading the source.
    prompt_tokens, new_tokens: of refiners, so far.
    bytes: of source text, so far.
    seconds: wall time since the run began.
    message: something that a person should read (a preflight's warning), else None.
    unit: what is counted as documents, in words.
    """

    stage: str
    slice: int
    documents: int
    total: int | None
    prompt_tokens: int
    new_tokens: int
    bytes: int
    seconds: float
    message: str | None = None
    unit: str = "documents"


@dataclass(frozen=True)
class RunSummary:
    """What a run did: the row of `runs`, for people and programs.

    counts: as in `runs.counts`; `counts["rows"] == 0` means that there was nothing new.
    """

    run_id: str
    command: Command
    tables: str
    counts: Mapping[str, int]
    duplicates: int
    prompt_tokens: int
    new_tokens: int
    write_seconds: float
    execute_seconds: float
    seconds: float
    refiner: str | None
    write_key: str
    policy_key: str | None
    provider: str | None
    device: str | None
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def nothing_new(self) -> bool:
        """Whether the source held nothing that was not already done, and had lost nothing."""
        return nothing_new(self.counts, self.duplicates)


@dataclass(frozen=True)
class Plan:
    """What a run would do (`--dry-run`); nothing was written.

    documents, bytes: rows of the source and bytes of text that pass CHECK.
    quarantined: rows that CHECK would put aside, by reason.
    duplicates: rows with the id and the text of another row.
    written: documents whose programs are already in `programs`; to_write: those that a refiner would read.
    estimated_tokens: of the documents to write, at 4 bytes a token.
    estimated_seconds: of WRITE, at the rate of the last run with these refiners; None where there was none.
    already: documents that are done: same text, programs and policy. to_do: the others by what is new about them:
    `new` (not in `refined`), `text`, `refiner` (executed by programs of another one), `policy`, `carried` (other values
    in columns that are carried).
    slices: micro-batches, roughly.
    absent: what a reconciling run would delete; None for any other.
    """

    documents: int
    bytes: int
    quarantined: Mapping[str, int]
    duplicates: int
    written: int
    to_write: int
    estimated_tokens: int
    estimated_seconds: float | None
    already: int
    to_do: Mapping[str, int]
    slices: int
    refiner: str | None
    write_key: str
    policy_key: str | None
    absent: Absent | None = None


@dataclass
class Run:
    """One run while it lasts.

    kept: what `runs.settings` holds beside the job's settings and the refiners. counted: outside of slices.
    """

    settings: JobSettings
    command: Command
    spark: SparkSession
    on_progress: Callable[[Progress], None] | None
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    began: float = field(default_factory=time.monotonic)
    started_at: datetime = field(default_factory=ledger.utc_now)
    finished: list[SliceReport] = field(default_factory=list)
    total: int | None = None
    kept: Mapping[str, object] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)

    def told(self, stage: str, report: SliceReport) -> None:
        """Hand on how far the run is; `report` is of the slice in work."""
        if stage == "done":
            self.finished.append(report)
        if self.on_progress is None:
            return
        so_far = ledger.total([*self.finished, *([] if stage == "done" else [report])])
        total = self.total
        if self.command == "annotate":
            documents = so_far.counts.get("asked", 0)
            # Of the slices that were read so far.
            total = so_far.counts.get("requests", 0) - so_far.counts.get("answered_before", 0)
        else:
            # A slice's rows are accounted for when all its stages are done.
            documents = sum(one.counts.get("rows", 0) for one in self.finished)
        self.on_progress(
            Progress(
                stage=stage,
                slice=report.slice,
                documents=documents,
                total=total,
                prompt_tokens=so_far.prompt_tokens,
                new_tokens=so_far.new_tokens,
                bytes=so_far.bytes,
                seconds=time.monotonic() - self.began,
                message=report.message if stage == "preflight" else None,
                unit="answers" if self.command == "annotate" else "documents",
            )
        )


def run_job(
    settings: JobSettings,
    command: Command = "refine",
    on_progress: Callable[[Progress], None] | None = None,
    spark: SparkSession | None = None,
) -> RunSummary:
    """Run `refine` (write, then execute), `write` (programs only) or `execute` (no model) over what is new.

    spark: session to use; default: the active one, else a local one (`prox_spark.spark.session.get_spark`).
    Raises ConfigError, SourceError, SchemaError and BundleError before any work; PreflightError, DeviceError and
    ErrorBudgetExceeded from the work; BusyError and StorageError at any time. What was committed before an error stays,
    and the next run goes on from there.
    """
    run = Run(settings, command, spark or get_spark(), on_progress)
    with explained(settings.tables):
        work = prepare(run.spark, settings, command, run.run_id)
        fitting = command != "write"  # which never looks at carried columns; whoever executes says what becomes of them
        work.empty.update(work.tables.create(run.spark, work.source.carried, evolve=settings.evolve, fitting=fitting))
        if work.programs_in != work.tables:
            work.empty.discard("programs")  # that is said of the tables' own, which nobody reads
        work = bound_to_tables(run.spark, work)
        create_views(run.spark, work.tables)
        run.total = _rows_to_come(run.spark, work)
    return run_stream(run, work, partial(run_slice, work))


def bound_to_tables(spark: SparkSession, work: Work) -> Work:
    """Return the work with progress of its own for these tables: what was done to tables that are gone is not done."""
    if work.checkpoint.endswith(work.run_id):
        return work
    names = [name for name in REFINE_TABLES if name != "runs"]
    decides: dict[str, object] = {"tables": work.tables.identity(spark, names)}
    if work.command == "refine" and not work.source.changes and "runs" not in work.empty:
        decides["since"] = _executed_otherwise(spark, work)
    decides = {name: value for name, value in decides.items() if value}
    if not decides:
        return work
    return replace(work, checkpoint=f"{work.checkpoint}-{canonical_hash(decides)[:12]}")


def _executed_otherwise(spark: SparkSession, work: Work) -> str | None:
    """Return the newest run that put this source's documents into these tables by other programs or another policy.

    After it a stream that had come to its end looks at everything again, and passes over what is as it would make it.
    Not so with a change data feed, whose stream would miss what is gone meanwhile: there `execute` goes back.
    """
    runs = work.tables.read(spark, "runs").where(F.col("command").isin("refine", "execute"))
    runs = runs.where(ledger.is_over(work.settings.source))
    mine = F.col("write_key").eqNullSafe(work.refiners.write_key) & F.col("policy_key").eqNullSafe(work.policy_key)
    row = runs.where(~mine).orderBy(F.col("started_at").desc()).select("run_id").first()
    return None if row is None else str(row["run_id"])


def run_stream(run: Run, work: Work, do_slice: Callable[[DataFrame, int], None]) -> RunSummary:
    """Run a stream over the source, `do_slice` for each of its slices, and put the run's row into `runs`.

    The row is there before anything is written: rows of other tables say by their run where they came from, also those
    of a run that was killed.
    """
    with explained(work.tables.location):
        work.tables.append(ledger.runs_row(run.spark, {**_known(run, work), "error": ledger.NOT_ENDED}), "runs")
    ledger.LISTENERS[run.run_id] = run.told
    try:
        _stream(run, work, do_slice)
        if work.settings.reconcile:
            run.counted.update(Comparison(Desk(run.spark, work, RECONCILING)).remove())
    except BaseException as raised:
        if not beside(
            "the reports of slices cannot be read",
            lambda: ledger.left_one(ledger.read_reports(run.spark, work.reports)),
        ):
            error = _explain(run, work, raised)
            beside("the run has no row in runs", lambda: _finish(run, work, error))
            if error is raised:
                raise
            raise error from None
    finally:
        ledger.LISTENERS.pop(run.run_id, None)
    try:
        return _finish(run, work, None)
    except Exception as raised:
        error = _explain(run, work, raised)
        if error is raised:
            raise
        raise error from None


def plan_job(settings: JobSettings, command: Command = "refine", spark: SparkSession | None = None) -> Plan:
    """Return what a run would do. Reads the source and `programs`; writes nothing and loads no model."""
    spark = spark or get_spark()
    work = prepare(spark, settings, command, PLAN)
    with reading():
        tally = Slice(work, work.source.planned(spark), -1).count_all()
    rate = None
    if tally.unwritten and work.programs_in.exists(spark, "runs"):
        rate = ledger.last_rate(work.programs_in.read(spark, "runs"), work.refiners.write_key)
    good = tally.rows - tally.bad
    seconds = tally.unwritten_bytes / rate if rate and command != "execute" else None
    return Plan(
        documents=good,
        bytes=tally.good_bytes,
        quarantined=dict(tally.reasons),
        duplicates=tally.duplicates,
        written=tally.written,
        to_write=0 if command == "execute" else tally.unwritten,
        estimated_tokens=0 if command == "execute" else tally.unwritten_bytes // BYTES_A_TOKEN,
        estimated_seconds=seconds,
        already=tally.done,
        to_do=dict(tally.causes),
        slices=max(1, -(-tally.bytes // batch_bytes(spark, work))) if tally.rows else 0,
        refiner=work.refiners.name,
        write_key=work.refiners.write_key,
        policy_key=work.policy_key,
        absent=_absent(spark, work),
    )


def _absent(spark: SparkSession, work: Work) -> Absent | None:
    if not work.settings.reconcile:
        return None
    there = work.tables.exists(spark, "runs")
    return Comparison(Desk(spark, work, -1)).count() if there else Absent({}, 0)


def prepare(spark: SparkSession, settings: JobSettings, command: Command, run_id: str) -> Work:
    """Look at everything that can be wrong before any work starts, and return what the slices need."""
    tables = Tables(settings.tables)
    if settings.programs and command != "execute":
        raise ConfigError(f"`programs` of other tables can be executed, not written: {command} does not take it")
    programs_in = Tables(settings.programs) if settings.programs else tables
    for location in {tables, programs_in}:
        location.need_version(spark)
    if command == "execute":
        refiners = find_refiners(spark, settings, programs_in)
    else:
        refiners = refiners_to_write(settings)
    policy_key = policy_key_of(settings, command, refiners)
    source = open_source(spark, settings)
    # `execute` looks at the source as it is, each time: there is no feed to follow.
    if not (command in LOOKING_AT_ALL or settings.reconcile or settings.ignore_deletes):
        source = replace(source, changes=has_feed(spark, source))
    stream = stream_key(settings, command, refiners.write_key, policy_key, source.changes)
    # A plan writes nothing, not even the schema whose location this would be.
    progress = "" if run_id == PLAN else tables.progress(spark, settings.checkpoints)
    directory = f"{progress}/{refiners.write_key[:16]}/{command}-{stream[:16]}"
    at_all = command in LOOKING_AT_ALL or settings.reconcile
    checkpoint = f"{directory}/runs/{run_id}" if at_all else f"{directory}/checkpoint"
    return Work(settings, command, run_id, source, refiners, policy_key, tables, programs_in, directory, checkpoint)


def refiners_to_write(settings: JobSettings) -> RefinerSet:
    """Return the refiners of the settings; the identifier of languages is there if they need it, else ConfigError."""
    refiners = describe_refiners(settings.refiners, settings.identifies, settings.grammar)
    if refiners.identified:
        need_identifier_package()
    return refiners


def policy_key_of(settings: JobSettings, command: Command, refiners: RefinerSet) -> str | None:
    """Return the key of what EXECUTE does, None for a command without it; ConfigError where it cannot be done."""
    if command != "write" and settings.policy == "gair" and refiners.dialect != "prox":
        raise ConfigError(
            f"policy gair reads programs in dialect prox alone, and {refiners.name} writes {refiners.dialect}: "
            "--policy strict"
        )
    return None if command == "write" else make_policy_key(settings, refiners.thresholds_for(settings.caution))


def _stream(run: Run, work: Work, do_slice: Callable[[DataFrame, int], None]) -> None:
    """Run the stream to its end."""
    rows = work.source.stream(run.spark, batch_bytes(run.spark, work))
    writer = (
        rows.writeStream.foreachBatch(do_slice).option("checkpointLocation", work.checkpoint).trigger(availableNow=True)
    )
    # Else a second start in this application would end the first, as if it had come to its end.
    with contextlib.suppress(Exception):
        run.spark.conf.set("spark.sql.streaming.stopActiveRunOnRestart", "false")
    query = writer.queryName(f"prox_spark {run.command} {run.run_id[:8]}").start()
    try:
        query.awaitTermination()
    except KeyboardInterrupt:
        query.stop()
        raise


def _explain(run: Run, work: Work, raised: BaseException) -> BaseException:
    """Return the error to end a run with: one of ours where it can be found out which, else the one that was raised."""
    return beside("the error cannot be looked into", lambda: _own_error(run.spark, work, raised)) or raised


def _own_error(spark: SparkSession, work: Work, raised: BaseException) -> BaseException:
    """Return the error that a slice raised, which the stream wraps in one of its own."""
    if not isinstance(raised, Exception) or isinstance(raised, ProxError):
        return raised
    ours = interrupted(raised, work.settings) or known(raised, work.tables.location)
    if ours is not None:
        return ours
    if TWICE.search(str(raised)):
        return BusyError(
            f"another run of the same {work.command} over {work.settings.source} is at work: the progress under "
            f"{work.checkpoint} moved on without this one. What was committed stays, nothing twice; run again when the "
            "other one has ended"
        )
    names = ANNOTATE_TABLES if work.command == "annotate" else REFINE_TABLES
    missing = [name for name in names if not work.tables.exists(spark, name)]
    failure = ledger.total(ledger.read_reports(spark, work.reports)).failure
    kind = getattr(errors, failure[0], None) if failure else None
    # Slices read every table but `runs`: what they say of themselves is no consequence of its being gone.
    if missing and (kind is None or missing != ["runs"]):
        again = "" if missing == ["runs"] else " and looks at the whole source"
        return ConfigError(
            f"table {', '.join(missing)} at {work.tables.location} is gone since the run began. The next run makes it "
            f"anew{again}; what is in the other tables is not done twice"
        )
    if failure is None or kind is None:
        return raised
    error = kind(failure[1])
    assert isinstance(error, ProxError)
    return error


def _finish(run: Run, work: Work, error: BaseException | None) -> RunSummary:
    """Count, add the run's row to `runs`, and clear up."""
    whole = ledger.total(ledger.read_reports(run.spark, work.reports))
    summary = RunSummary(
        run_id=run.run_id,
        command=run.command,
        tables=work.tables.location,
        counts=dict(sorted((k, v) for k, v in {**whole.counts, **run.counted}.items() if k != "judged")),
        duplicates=whole.duplicates,
        prompt_tokens=whole.prompt_tokens,
        new_tokens=whole.new_tokens,
        write_seconds=whole.write_seconds,
        execute_seconds=whole.execute_seconds,
        seconds=time.monotonic() - run.began,
        refiner=work.refiners.name,
        write_key=work.refiners.write_key,
        policy_key=work.policy_key,
        provider=whole.provider,
        device=whole.device,
        versions=ledger.versions(run.spark, whole.runtime, whole.processor),
        warnings=(whole.message,) if whole.message else (),
    )
    row = {
        **{name: getattr(summary, name, None) for name in RUNS.names},
        **_known(run, work),
        "finished_at": ledger.utc_now(),
        "error": f"{type(error).__name__}: {error}"[:2000] if error is not None else None,
    }
    merge_alone(work.tables, ledger.runs_row(run.spark, row), "runs")
    work.empty.discard("runs")
    _clear(run.spark, work)
    return summary


def _known(run: Run, work: Work) -> dict[str, object]:
    """Return what is known of a run before it has done anything."""
    kept = {"job": json.loads(run.settings.to_json()), "refiner": work.refiners.to_dict(), **run.kept}
    return {
        "run_id": run.run_id,
        "command": run.command,
        "source": run.settings.source,
        "source_version": work.source.version,
        "started_at": run.started_at,
        "refiner": work.refiners.name,
        "fingerprint": work.refiners.fingerprint,
        "write_key": work.refiners.write_key,
        "policy_key": work.policy_key,
        "settings": json.dumps(kept, sort_keys=True),
    }


def _clear(spark: SparkSession, work: Work) -> None:
    """Remove what this run staged; reports and a run's own checkpoint only where they are on this machine."""
    clear_staged(spark, work.staging)
    unneeded = [work.reports]
    if work.command in LOOKING_AT_ALL or work.settings.reconcile:
        unneeded.append(work.checkpoint)
    for path in (local_path(name) for name in unneeded):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)


def _rows_to_come(spark: SparkSession, work: Work) -> int | None:
    """Return how many rows there are to come where that costs nothing: the first run over a source with statistics."""
    if work.source.as_text:
        return None
    if work.command != "execute" and "runs" not in work.empty:
        same = (
            (F.col("source") == work.settings.source)
            & (F.col("command") == work.command)
            & (F.col("write_key") == work.refiners.write_key)
        )
        if work.tables.read(spark, "runs").where(same).select("run_id").first() is not None:
            return None
    with reading():
        return int(work.source.batch(spark).count())
