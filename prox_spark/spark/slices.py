"""One slice (micro-batch) of a run: check it, write the programs that are missing, execute them, count.

Everything here may be repeated: what a crash left half done is found by its keys and finished, never done twice.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark.config import Command, JobSettings
from prox_spark.errors import ErrorBudgetExceeded, PreflightError, ProxError
from prox_spark.spark import ledger
from prox_spark.spark.check import check, explain, repeated_ids, resolve_repeated
from prox_spark.spark.execute import execute_joined
from prox_spark.spark.frames import execute_policy
from prox_spark.spark.ledger import SliceReport
from prox_spark.spark.preflight import judge, measure, probe
from prox_spark.spark.refiners import RefinerSet
from prox_spark.spark.sources import Source
from prox_spark.spark.tables import ACTION, Tables
from prox_spark.spark.write import as_programs, write_checked

# A few bad documents are no reason to stop, whatever share of a small slice they are.
MIN_ERRORS = 20
ARROW_SETTINGS = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(16 * 1024 * 1024),
}


@dataclass(frozen=True)
class Work:
    """What every slice of a run needs; it travels to wherever `foreachBatch` runs.

    programs_in: the tables whose `programs` are read (and written, but for `execute`).
    progress: directory of this stream: staged files and reports. checkpoint: its checkpoint.
    empty: tables that were made for this run and that nothing was written to yet: they need not be asked.
    so_far: reports of this run's slices, kept, like `empty`, by the process that runs them.
    """

    settings: JobSettings
    command: Command
    run_id: str
    source: Source
    refiners: RefinerSet
    policy_key: str | None
    tables: Tables
    programs_in: Tables
    progress: str
    checkpoint: str
    empty: set[str] = field(default_factory=set)
    so_far: list[SliceReport] = field(default_factory=list)

    @property
    def reports(self) -> str:
        """Directory of this run's reports."""
        return f"{self.progress}/reports/{self.run_id}"

    def __call__(self, rows: DataFrame, number: int) -> None:
        """Do one slice; its report tells an error as well, which loses its class on the way to the driver."""
        if self.settings.max_batches is not None and len(self.so_far) >= self.settings.max_batches:
            # The stream ends here without having taken this slice: the next run begins with it.
            ledger.write_report(rows.sparkSession, self.reports, SliceReport(number, failure=(ledger.ENOUGH, "")))
            raise ledger.Enough
        one = Slice(self, rows, number)
        try:
            one.run()
        except Exception as error:
            failure = (type(error).__name__, str(error)) if isinstance(error, ProxError) else ("", str(error))
            ledger.write_report(one.spark, self.reports, one.report.add(failure=failure))
            raise
        ledger.write_report(one.spark, self.reports, one.report)
        self.so_far.append(one.report)


SUMMED = (
    "rows",
    "bytes",
    "done",
    "done_here",
    "replaces",
    "superseded",
    "in_quarantine",
    "written",
    "unwritten",
    "unwritten_bytes",
)


@dataclass
class Tally:
    """What a slice holds, counted in one reading: rows after equal ones were taken together.

    rows, bad, bytes: documents, those with a reason, bytes of text.
    reasons: bad rows by reason. done: already executed (refine, execute) or written (write), `done_here`: in this run.
    replaces: rows whose id is in `refined`. superseded: rows in whose place this run had put another one before.
    in_quarantine: rows whose id is there. written: good, with programs. unwritten, unwritten_bytes: good, not done and
    without programs. good_bytes: bytes of good rows. duplicates: rows with the id and the text of another row.
    """

    rows: int = 0
    bad: int = 0
    bytes: int = 0
    done: int = 0
    done_here: int = 0
    replaces: int = 0
    superseded: int = 0
    in_quarantine: int = 0
    written: int = 0
    unwritten: int = 0
    unwritten_bytes: int = 0
    good_bytes: int = 0
    duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def todo(self) -> int:
        """Documents that passed CHECK and are not done."""
        return self.rows - self.bad - self.done


class Slice:
    """One slice at work."""

    def __init__(self, work: Work, rows: DataFrame, number: int) -> None:
        self.work = work
        self.number = number
        self.spark: SparkSession = rows.sparkSession
        self.rows = rows
        self.at: datetime = ledger.utc_now()
        self.report = SliceReport(number)
        self.tally = Tally()
        self.all_rows: int | None = None
        self.cleans_noise: bool | None = None
        self.written = {"written": 0, "write_errors": 0, "prompt_tokens": 0, "new_tokens": 0}
        # Before this run wrote anything there were no programs: the only errors are those that it counts itself.
        self.first_programs = "programs" in work.empty
        for key, value in ARROW_SETTINGS.items():
            self._set(key, value)

    def run(self) -> None:
        """All stages; a document moves into quarantine before it leaves `refined`, and back likewise."""
        self._check()
        if self.work.command != "execute" and self.tally.todo:
            self._prepare()
            self._write()
        self._quarantine_failed()
        if self.work.command != "write":
            self._execute()
        self._tell("done")

    # ---- CHECK ----

    @cached_property
    def checked(self) -> DataFrame:
        """The slice's documents, checked, one row an id and text.

        The source is read once, into files: what comes after reads columns of those, and plans nothing of CHECK again.
        """
        documents = self.work.source.documents(self.rows)
        checked = self._staged(check(documents, self.work.settings.guards), "slice")
        repeated = repeated_ids(checked)
        if repeated.first() is None:
            return checked
        self.all_rows = int(checked.count())
        return self._staged(resolve_repeated(checked, repeated), "resolved")

    def count_all(self) -> Tally:
        """Count what is there, and what of it is done; writes nothing."""
        tally = self._count()
        all_rows = tally.rows if self.all_rows is None else self.all_rows
        tally.duplicates = (all_rows - tally.rows) + tally.done_here
        return tally

    def _check(self) -> None:
        self.tally = tally = self.count_all()
        all_rows = tally.rows if self.all_rows is None else self.all_rows
        again = tally.duplicates
        self.report = self.report.add(
            counts={
                "rows": all_rows,
                "documents": all_rows - again,
                "already": tally.done - tally.done_here,
                "quarantined": tally.bad,
                "superseded": tally.superseded,
                **{f"quarantined.{reason}": n for reason, n in tally.reasons.items()},
            },
            bytes=tally.bytes,
            duplicates=again,
        )
        if tally.bad:
            bad = self.checked.where("reason IS NOT NULL")
            # Bytes that are no text are kept as bytes, and a text that is not UTF-8 is no text.
            readable = (F.col("reason") != "invalid_utf8") & F.col("_raw").isNull()
            rows = bad.select(
                "doc_id",
                "text_hash",
                F.lit("check").alias("stage"),
                "reason",
                explain(self.work.settings.guards).alias("detail"),
                F.when(readable, F.col("text")).alias("text"),
                F.when(~readable, F.coalesce("_raw", F.col("text").cast("binary"))).alias("bytes"),
                "size_bytes",
            )
            self._quarantine(rows, "check")
            if tally.replaces and self.work.command == "write":
                self._take_out_of_refined(bad)
        self._tell("check")

    @cached_property
    def placed(self) -> DataFrame:
        """The checked documents with what the tables know of them: the columns of FLAGS."""
        work, tables = self.work, self.work.tables
        run = F.lit(work.run_id)
        placed = self.checked
        for table, columns in (
            ("refined", ("text_hash", "write_key", "policy_key", "run_id")),
            ("programs", ("text_hash", "run_id")),
            ("quarantine", ("run_id",)),
        ):
            owner = work.programs_in if table == "programs" else tables
            known = table not in work.empty and owner.exists(self.spark, table)
            there = owner.read(self.spark, table) if known else None
            if there is not None and table == "programs":
                there = there.where(F.col("write_key") == work.refiners.write_key)
            if there is not None and table == "quarantine":
                there = there.groupBy("doc_id").agg(F.max("run_id").alias("run_id"))
            if there is None or there.select("run_id").first() is None:
                placed = placed.select("*", *_nothing(table, columns))
                continue
            there = there.select(
                F.col("doc_id").alias(f"_{table}_id"), *[F.col(c).alias(f"_{table}_{c}") for c in columns]
            )
            match = placed["doc_id"].eqNullSafe(there[f"_{table}_id"])
            if table == "programs":
                match &= placed["text_hash"].eqNullSafe(there["_programs_text_hash"])
            placed = placed.join(there, match, "left")
        good = F.col("reason").isNull()
        same = F.col("_refined_text_hash").eqNullSafe(F.col("text_hash"))
        written = F.col("_programs_id").isNotNull()
        if work.command == "write":
            done, here = good & written, F.col("_programs_run_id") == run
        else:
            done = (
                good
                & same
                & (F.col("_refined_write_key") == work.refiners.write_key)
                & (F.col("_refined_policy_key") == work.policy_key)
            )
            here = F.col("_refined_run_id") == run
        done = F.coalesce(done, F.lit(False))
        flags = {
            "_done": done,
            "_here": done & F.coalesce(here, F.lit(False)),
            "_replaces": F.col("_refined_id").isNotNull(),
            "_superseded": F.coalesce(F.col("_refined_run_id") == run, F.lit(False)) & ~same
            | F.coalesce(F.col("_quarantine_run_id") == run, F.lit(False)),
            "_there": F.col("_quarantine_id").isNotNull(),
            "_written": written,
        }
        return placed.select(*self.checked.columns, *[flag.alias(name) for name, flag in flags.items()])

    def _count(self) -> Tally:
        bad = F.col("reason").isNotNull()

        def many(condition: Column) -> Column:
            return F.coalesce(F.sum(F.when(condition, 1).otherwise(0)), F.lit(0)).cast("bigint")

        unwritten = ~bad & ~F.col("_done") & ~F.col("_written")
        rows = (
            self.placed.groupBy("reason")
            .agg(
                F.count(F.lit(1)).alias("rows"),
                F.coalesce(F.sum("size_bytes"), F.lit(0)).alias("bytes"),
                many(F.col("_done")).alias("done"),
                many(F.col("_here")).alias("done_here"),
                many(F.col("_replaces")).alias("replaces"),
                many(F.col("_superseded")).alias("superseded"),
                many(F.col("_there")).alias("in_quarantine"),
                many(unwritten).alias("unwritten"),
                many(~bad & F.col("_written")).alias("written"),
                F.coalesce(F.sum(F.when(unwritten, F.col("size_bytes"))), F.lit(0)).alias("unwritten_bytes"),
            )
            .take(100)
        )
        tally = Tally()
        for row in rows:
            for name in SUMMED:
                setattr(tally, name, getattr(tally, name) + int(row[name]))
            if row["reason"] is None:
                tally.good_bytes = int(row["bytes"])
            else:
                tally.bad += int(row["rows"])
                tally.reasons[row["reason"]] = int(row["rows"])
        return tally

    # ---- WRITE ----

    @cached_property
    def todo(self) -> DataFrame:
        """The documents that passed CHECK and are not done: carried columns and all."""
        rows = self.placed.where(~F.col("_done")) if self.tally.done else self.checked
        return rows.where("reason IS NULL").select("doc_id", "text", "text_hash", "size_bytes", *self._carried)

    @property
    def _carried(self) -> list[str]:
        return [f"`{name}`" for name in self.work.source.carried_names]

    def _unwritten(self) -> DataFrame:
        """The documents whose programs are missing; limited to this slice by the join."""
        known = self._stored().select(F.col("doc_id").alias("_id"), F.col("text_hash").alias("_hash"))
        match = F.col("doc_id").eqNullSafe(F.col("_id")) & F.col("text_hash").eqNullSafe(F.col("_hash"))
        return self.todo.select("doc_id", "text_hash", "text").join(known, match, "left_anti")

    def _stored(self) -> DataFrame:
        programs = self.work.programs_in.read(self.spark, "programs")
        return programs.where(F.col("write_key") == self.work.refiners.write_key)

    def _prepare(self) -> None:
        """Before the first programs of a run: does the refiner load, and are a sample's programs as they should be?"""
        judged = any(report.counts.get("judged") for report in self.work.so_far)
        if judged:
            return
        self.report = self.report.add(counts={"judged": 1})
        if self.tally.unwritten:
            self._probe()
        if self.work.settings.preflight != "off":
            self._preflight()

    def _probe(self) -> bool:
        """Load the refiners in one worker; return whether they clean a noisy page."""
        if self.cleans_noise is None:
            found = probe(self.spark, self.work.refiners, self.work.settings.device)
            self.report = self.report.add(provider=found.provider, device=found.device, runtime=found.runtime)
            self.cleans_noise = found.changed
        return self.cleans_noise

    def _preflight(self) -> None:
        """Write the programs of a sample, keep them, and look at what they do before any more are written."""
        work, settings = self.work, self.work.settings
        began = time.monotonic()
        sample = self.todo.select("doc_id", "text_hash", "text").orderBy("text_hash", "doc_id")
        sample = self._staged(sample.limit(settings.preflight_documents), "sample")
        if self.tally.unwritten:
            known = self._stored().select("doc_id", "text_hash")
            missing = sample.join(known, ["doc_id", "text_hash"], "left_anti").repartition(self._tasks, "doc_id")
            self._append_programs(missing, f"sample {work.run_id}")
        joined = sample.join(self._stored().where("error IS NULL"), ["doc_id", "text_hash"])
        measured = measure(joined, work.refiners)
        judgement = judge(measured, work.refiners.preflight, cleans_noise=bool(self.cleans_noise))
        if judgement.wrong and self.cleans_noise is None:
            judgement = judge(measured, work.refiners.preflight, cleans_noise=self._probe())
        message = judgement.message(work.refiners.name)
        told = message if judgement.wrong or judgement.warnings else None
        self.report = self.report.add(message=told, write_seconds=time.monotonic() - began)
        self._tell("preflight")
        if judgement.wrong and settings.preflight == "fail":
            raise PreflightError(message)

    @property
    def _tasks(self) -> int:
        return self.work.settings.write_partitions or int(self.spark.conf.get("spark.sql.shuffle.partitions", "4"))

    def _write(self) -> None:
        began = time.monotonic()
        for purpose in ("programs", f"programs {self.work.run_id}"):
            # Delta takes an append of this version for one that it has, if it has; the rows that are missing tell.
            if self.written["written"] < self.tally.unwritten:
                self._append_programs(self._unwritten().repartition(self._tasks, "doc_id"), purpose)
        written = dict(self.written)
        self.report = self.report.add(
            prompt_tokens=written.pop("prompt_tokens"),
            new_tokens=written.pop("new_tokens"),
            counts={**written, "bytes_written": self.tally.unwritten_bytes},
            write_seconds=time.monotonic() - began,
        )
        self._tell("write")
        self._keep_budget()

    def _append_programs(self, documents: DataFrame, purpose: str) -> None:
        """Write documents' programs, and count this slice's rows in `programs`: only its own files are read."""
        work = self.work
        written = write_checked(documents, work.refiners, work.settings.device)
        rows = as_programs(written, work.refiners, work.run_id, self.at)
        work.programs_in.append(rows, "programs", self._transaction(purpose))
        work.empty.discard("programs")
        mine = (F.col("run_id") == work.run_id) & (F.col("written_at") == F.lit(self.at))
        counted = (
            work.programs_in.read(self.spark, "programs")
            .where(mine)
            .agg(
                F.count(F.lit(1)).alias("written"),
                F.count("error").alias("write_errors"),
                F.coalesce(F.sum("prompt_tokens"), F.lit(0)).alias("prompt_tokens"),
                F.coalesce(F.sum("new_tokens"), F.lit(0)).alias("new_tokens"),
            )
            .first()
        )
        assert counted is not None
        self.written = counted.asDict()

    def _keep_budget(self) -> None:
        reports = [*self.work.so_far, self.report]
        errors = sum(report.counts.get("write_errors", 0) for report in reports)
        written = sum(report.counts.get("written", 0) for report in reports)
        rate = self.work.settings.max_error_rate
        if errors > rate * written and (errors >= MIN_ERRORS or rate == 0):
            raise ErrorBudgetExceeded(
                f"the refiner failed on {errors} of {written} documents in this run, max_error_rate is {rate:g}. "
                "The column `error` of `programs` says why. What was written is kept; the "
                "next run goes on from this slice"
            )

    # ---- EXECUTE ----

    def _joined(self) -> DataFrame:
        """The documents beside their programs."""
        stored = self._stored().select(
            F.col("doc_id").alias("_id"),
            F.col("text_hash").alias("_hash"),
            "doc_program",
            "doc_score",
            "chunks",
            "error",
        )
        match = F.col("doc_id").eqNullSafe(F.col("_id")) & F.col("text_hash").eqNullSafe(F.col("_hash"))
        language = self.work.settings.language_column
        known = F.col(f"`{language}`") if language else F.lit(None).cast("string")
        documents = self.todo.select("doc_id", "text_hash", "text", known.alias("_language"))
        return documents.join(stored, match).drop("_id", "_hash")

    @cached_property
    def _failed_keys(self) -> DataFrame | None:
        """Keys of all documents on which these refiners failed, ever; None when there are none, which is the rule."""
        if self.first_programs and not self.written["write_errors"]:
            return None
        failed = self._stored().where("error IS NOT NULL").select("doc_id", "text_hash", "error")
        return None if failed.select("error").first() is None else failed

    def _quarantine_failed(self) -> None:
        if self._failed_keys is None:
            return
        failed = self.todo.join(self._failed_keys, ["doc_id", "text_hash"])
        rows = failed.select(
            "doc_id",
            "text_hash",
            F.lit("write").alias("stage"),
            F.lit("program_error").alias("reason"),
            F.col("error").alias("detail"),
            "text",
            F.lit(None).cast("binary").alias("bytes"),
            "size_bytes",
        )
        rows = self._staged(rows, "failed")
        many = rows.count()
        if many:
            self._quarantine(rows, "write")
            if self.work.command == "write" and self.tally.replaces:
                self._take_out_of_refined(rows)
            self.report = self.report.add(counts={"quarantined": many, "quarantined.program_error": many})

    def _execute(self) -> None:
        work, settings = self.work, self.work.settings
        if not self.tally.todo and not self.tally.replaces:
            return
        began = time.monotonic()
        joined = self._joined().where("error IS NULL")
        rows = execute_joined(joined, execute_policy(settings, work.refiners), "_language")
        if self._carried:
            rows = rows.join(self.todo.select("doc_id", *self._carried), "doc_id", "left")
        rows = rows.withColumns(
            {
                "write_key": F.lit(work.refiners.write_key),
                "policy_key": F.lit(work.policy_key),
                "refiner": F.lit(work.refiners.name),
                "policy": F.lit(settings.policy),
                "run_id": F.lit(work.run_id),
                "refined_at": F.lit(self.at),
            }
        )
        if self.tally.replaces:
            # A merge reads its source twice: programs are executed once, into files.
            staged = self._staged(rows, "refined").withColumn(ACTION, F.lit("put"))
            work.tables.merge(staged.unionByName(self._gone_bad(), allowMissingColumns=True), "refined")
        else:
            work.tables.append(rows, "refined", self._transaction("refined"))
        work.empty.discard("refined")
        if self.tally.in_quarantine:
            self._take_out_of_quarantine()
        self.report = self.report.add(counts=self._statuses(), execute_seconds=time.monotonic() - began)
        self._tell("execute")

    def _statuses(self) -> dict[str, int]:
        mine = (F.col("run_id") == self.work.run_id) & (F.col("refined_at") == F.lit(self.at))
        grouped = self.work.tables.read(self.spark, "refined").where(mine).groupBy("status")
        edits = F.sum(F.size("edits")).alias("edits")
        rows = grouped.agg(F.count(F.lit(1)).alias("n"), F.count_if("partial").alias("partial"), edits).take(20)
        counts = {row["status"]: int(row["n"]) for row in rows}
        done = sum(counts.values())
        failed = self.report.counts.get("quarantined.program_error", 0)
        counts["partial"] = sum(int(row["partial"]) for row in rows)
        counts["edits"] = sum(int(row["edits"] or 0) for row in rows)
        counts["without_programs"] = self.tally.todo - failed - done
        return counts

    # ---- moving rows between tables ----

    def _quarantine(self, rows: DataFrame, purpose: str) -> None:
        """Put rows into quarantine, in place of whatever is there under their ids."""
        tables = self.work.tables
        stamped = rows.withColumns({"run_id": F.lit(self.work.run_id), "quarantined_at": F.lit(self.at)})
        self.work.empty.discard("quarantine")
        if not self.tally.in_quarantine:
            tables.append(stamped, "quarantine", self._transaction(f"quarantine {purpose}"))
            return
        staged = self._staged(stamped, f"quarantine_{purpose}").withColumn(ACTION, F.lit("put"))
        keys = staged.select(F.col("doc_id").alias("_id"), F.col("text_hash").alias("_hash"))
        there = tables.read(self.spark, "quarantine").select("doc_id", "text_hash")
        match = F.col("doc_id").eqNullSafe(F.col("_id"))
        old = there.join(keys.select("_id"), match, "left_semi")
        old = old.join(keys, match & F.col("text_hash").eqNullSafe(F.col("_hash")), "left_anti")
        gone = self._staged(old.withColumn(ACTION, F.lit("delete")), "quarantine_old")
        tables.merge(staged.unionByName(gone, allowMissingColumns=True), "quarantine")

    def _take_out_of_quarantine(self) -> None:
        """Delete from quarantine what this slice has refined."""
        good = self.todo.select("doc_id")
        if self._failed_keys is not None:
            good = self.todo.join(self._failed_keys, ["doc_id", "text_hash"], "left_anti").select("doc_id")
        there = self.work.tables.read(self.spark, "quarantine").select("doc_id", "text_hash")
        gone = there.join(good, "doc_id", "left_semi").withColumn(ACTION, F.lit("delete"))
        self.work.tables.merge(self._staged(gone, "quarantine_gone"), "quarantine")

    def _gone_bad(self) -> DataFrame:
        """Rows that delete from `refined` what this slice has put into quarantine."""
        bad = self.checked.where("reason IS NOT NULL").select("doc_id")
        if self._failed_keys is not None:
            bad = bad.unionByName(
                self.todo.join(self._failed_keys, ["doc_id", "text_hash"], "left_semi").select("doc_id")
            )
        there = self.work.tables.read(self.spark, "refined").select("doc_id")
        gone = there.join(bad, "doc_id", "left_semi").withColumn(ACTION, F.lit("delete"))
        return self._staged(gone, "refined_gone")

    def _take_out_of_refined(self, bad: DataFrame) -> None:
        there = self.work.tables.read(self.spark, "refined").select("doc_id")
        gone = there.join(bad.select("doc_id"), "doc_id", "left_semi").withColumn(ACTION, F.lit("delete"))
        self.work.tables.merge(self._staged(gone, "refined_gone"), "refined")

    # ---- small things ----

    @cached_property
    def _stream_id(self) -> str:
        """Spark's id of this stream, new with every new checkpoint: the application id of its appends."""
        line = self.spark.read.text(f"{self.work.checkpoint}/metadata").first()
        return str(json.loads(line[0])["id"]) if line else self.work.run_id

    def _transaction(self, purpose: str) -> tuple[str, int]:
        return f"prox_spark {self._stream_id} {purpose}", self.number

    def _staged(self, rows: DataFrame, name: str) -> DataFrame:
        """Write rows to files and return what was read back: evaluated once, whatever reads them how often."""
        if self.number < 0:
            return rows  # a plan writes nothing
        path = f"{self.work.progress}/staged/{name}"
        # No dictionaries: ids, hashes and texts hardly repeat.
        rows.write.mode("overwrite").option("parquet.enable.dictionary", "false").parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)

    def _set(self, key: str, value: str) -> None:
        try:
            self.spark.conf.set(key, value)
        except Exception:  # serverless platforms refuse settings that they choose themselves
            return

    def _tell(self, stage: str) -> None:
        listener = ledger.LISTENERS.get(self.work.run_id)
        if listener is not None:
            listener(stage, self.report)


def _nothing(table: str, columns: tuple[str, ...]) -> list[Column]:
    return [F.lit(None).cast("string").alias(f"_{table}_{name}") for name in ("id", *columns)]
