"""One slice (micro-batch) of a run: check it, write the programs that are missing, execute them, count.

Everything here may be repeated: what a crash left half done is found by its keys and finished, never done twice.
"""

from __future__ import annotations

import time
from functools import cached_property

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark.errors import BusyError, ErrorBudgetExceeded, PreflightError, ProxError
from prox_spark.refiner.budget import CODED, Budget
from prox_spark.schemas import STATUSES
from prox_spark.spark import ledger
from prox_spark.spark.changes import CheckedSlice, check_slice
from prox_spark.spark.check import explain, is_utf8
from prox_spark.spark.commits import ATTEMPTS, is_conflict
from prox_spark.spark.execute import execute_joined
from prox_spark.spark.failures import beside
from prox_spark.spark.frames import execute_policy
from prox_spark.spark.ledger import SliceReport
from prox_spark.spark.moves import carried_json, leaving, put_in_quarantine, take_out
from prox_spark.spark.preflight import judge, measure, probe
from prox_spark.spark.reconcile import without_others
from prox_spark.spark.removal import HOLDING, remove
from prox_spark.spark.sizes import parts
from prox_spark.spark.sources import unreadable
from prox_spark.spark.tables import ACTION
from prox_spark.spark.tally import Tally, place_and_count
from prox_spark.spark.work import Desk, Work
from prox_spark.spark.write import as_programs, beside_programs, identified, write_checked

# A few bad documents are no reason to stop, whatever share of a small slice they are.
MIN_ERRORS = 20
# What counts against max_error_rate, of which documents, and what is said of it. A null text or an id that stands twice
# is the source's own doing; rows that cannot be read are lost to the corpus as those are on which a stage fails.
UNREADABLE_ROWS = (
    ("quarantined.malformed_record", "quarantined.invalid_utf8"),
    ("documents",),
    "{errors} of {of} documents of this run cannot be read, max_error_rate is {rate}. They are in `quarantine`, stage "
    "check, with the reason. The same command stops here again until the source is mended or the rate is higher",
)
NOT_WRITTEN = (
    ("write_errors",),
    ("written",),
    "the refiner failed on {errors} of {of} documents in this run, max_error_rate is {rate}. They are in `quarantine`, "
    "stage write, with the reason. What was done stays, and the next run goes on",
)
NOT_EXECUTED = (
    ("execute_failed",),
    ("refined", "unchanged", "dropped", "fallback"),
    "EXECUTE failed on {errors} of {of} documents in this run, max_error_rate is {rate}. They are in `refined` as they "
    "were, with the reason (execute_failed). What was done stays, and the next run goes on",
)
# `execute` looks at all rows every time; those that cannot be read were told by `write`.
BUDGETS = {
    "refine": (UNREADABLE_ROWS, NOT_WRITTEN, NOT_EXECUTED),
    "write": (UNREADABLE_ROWS, NOT_WRITTEN),
    "execute": (NOT_EXECUTED,),
}
# By these a slice's report tells that something was done.
WORKED = ("written", *STATUSES)
# What a slice that is done again keeps of its report, by how their names begin: these were done once.
DONE_ONCE = ("written", "write_errors", "bytes_written", "deleted.")


def run_slice(work: Work, rows: DataFrame, number: int) -> None:
    """Do one slice; its report tells an error as well, which loses its class on the way to the driver."""
    most = work.settings.max_batches
    # A slice in which there was nothing to do is none of those that were asked for: `execute` looks at all, every time.
    if most is not None and sum(any(map(one.counts.get, WORKED)) for one in work.so_far) >= most:
        # The stream ends here without having taken this slice: the next run begins with it.
        ledger.write_report(rows.sparkSession, work.reports, SliceReport(number, failure=(ledger.ENOUGH, "")))
        raise ledger.Enough
    one = Slice(work, rows, number)
    try:
        for _ in range(ATTEMPTS):
            if one.run_undisturbed():
                break
            one = one.again()
        else:
            raise BusyError(
                f"other runs write to the tables at {work.tables.location} all the time: slice {number} was overtaken "
                f"{ATTEMPTS} times. What was committed stays; run again when they have ended"
            )
    except Exception as error:
        ours = error if isinstance(error, ProxError) else unreadable(error)
        failure = (type(ours).__name__, str(ours)) if ours else ("", str(error))
        told = one.report.add(failure=failure)
        beside(f"slice {number} left no report", lambda: ledger.write_report(one.spark, work.reports, told))
        raise
    ledger.write_report(one.spark, work.reports, one.report)
    work.so_far.append(one.report)


class Slice:
    """One slice at work."""

    def __init__(self, work: Work, rows: DataFrame, number: int) -> None:
        self.work = work
        self.spark: SparkSession = rows.sparkSession
        self.desk = Desk(self.spark, work, number)
        self.rows = rows
        self.report = SliceReport(number)
        self.tally = Tally()
        self.cleans_noise: bool | None = None
        self.written = {"written": 0, "write_errors": 0, "prompt_tokens": 0, "new_tokens": 0}
        self.failed = 0
        # Before this run wrote anything there were no programs: the only errors are those that it counts itself.
        self.first_programs = "programs" in work.empty

    def run_undisturbed(self) -> bool:
        """All stages; False where another run has written to the tables meanwhile: the slice is to be done again."""
        try:
            self.run()
        except Exception as error:
            if not is_conflict(error):
                raise
            return False
        return True

    def again(self) -> Slice:
        """Return this slice to be done again, by what the tables hold now."""
        self.desk.commits.forget()
        other = Slice(self.work, self.rows, self.report.slice)
        kept = {name: many for name, many in self.report.counts.items() if name.startswith(DONE_ONCE)}
        other.report = other.report.add(
            counts={**kept, "done_again": 1 + self.report.counts.get("done_again", 0)},
            prompt_tokens=self.report.prompt_tokens,
            new_tokens=self.report.new_tokens,
            write_seconds=self.report.write_seconds,
        )
        return other

    def run(self) -> None:
        """All stages; a document moves into quarantine before it leaves `refined`, and back likewise."""
        self.desk.commits.look(("programs", "refined", "quarantine"))
        self._check()
        self._remove_gone()
        if self.work.command != "execute" and self.tally.todo:
            self._prepare()
            self._write()
        self._quarantine_failed()
        if self.work.command != "write":
            self._execute()
        # Last, so that a run that is stopped leaves every document of its slices in one place.
        self._keep_budget()
        self._tell("done")

    # ---- CHECK ----

    @cached_property
    def _slice(self) -> CheckedSlice:
        return check_slice(self.desk, self.rows)

    @property
    def checked(self) -> DataFrame:
        """The slice's documents, checked, one row an id and text."""
        return self._slice.documents

    def _all_rows(self, tally: Tally) -> int:
        return tally.rows if self._slice.rows is None else self._slice.rows

    def count_all(self) -> Tally:
        """Count what is there, and what of it is done; writes nothing."""
        tally = self._known[1]
        tally.duplicates = (self._all_rows(tally) - tally.rows) + tally.done_here
        return tally

    def _check(self) -> None:
        self.tally = tally = self.count_all()
        self.desk.bound_batches(tally.largest)
        all_rows, again = self._all_rows(tally), tally.duplicates
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
            text = F.when(F.col("reason") == "too_large", is_utf8(F.col("text"), bad)).otherwise(
                F.col("reason") != "invalid_utf8"
            )
            readable = F.col("_raw").isNull() & F.coalesce(text, F.lit(True))
            rows = bad.select(
                "doc_id",
                "text_hash",
                F.lit("check").alias("stage"),
                "reason",
                explain(self.work.settings.guards).alias("detail"),
                F.when(readable, F.col("text")).alias("text"),
                F.when(~readable, F.coalesce("_raw", F.col("text").cast("binary"))).alias("bytes"),
                "size_bytes",
                carried_json(self._carried).alias("carried"),
            )
            put_in_quarantine(self.desk, rows, "check", known=tally.in_quarantine > 0)
            if tally.replaces and self.work.command == "write":
                take_out(self.desk, "refined", bad)
        self._tell("check")

    def _remove_gone(self) -> None:
        """Delete what the source has no more: of a source with a change data feed, from every table."""
        if self._slice.gone is None:
            return
        gone = without_others(self.desk, self._slice.gone)
        for name in HOLDING:
            deleted = remove(self.spark, self.work.tables, gone, name, self.desk.commits)
            self.report = self.report.add(counts={f"deleted.{name}": deleted} if deleted else {})
        # Ids that were in none of the tables count, too.
        self.report = self.report.add(counts={"gone": int(gone.count())})

    @cached_property
    def _known(self) -> tuple[DataFrame, Tally]:
        """The checked documents with what the tables knew of them before this slice wrote anything, and their count."""
        return place_and_count(self.desk, self.checked)

    # ---- WRITE ----

    @cached_property
    def todo(self) -> DataFrame:
        """The documents that passed CHECK and are not done: carried columns and all."""
        columns = ("doc_id", "text", "text_hash", "size_bytes", *self._carried)
        if not self.tally.done:
            return self.checked.where("reason IS NULL").select(*columns)
        # Into files: what is done would be looked up anew at every reading, and this slice changes it.
        return self.desk.staged(self._known[0].where("reason IS NULL AND NOT _done").select(*columns), "todo")

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
            told = {name: getattr(found, name) for name in ("provider", "device", "runtime", "processor")}
            self.report = self.report.add(**told)
            self.cleans_noise = found.changed
        return self.cleans_noise

    def _preflight(self) -> None:
        """Write the programs of a sample, keep them, and look at what they do before any more are written."""
        work, settings = self.work, self.work.settings
        began = time.monotonic()
        sample = self.todo.select("doc_id", "text_hash", "text").orderBy("text_hash", "doc_id")
        sample = self.desk.staged(sample.limit(settings.preflight_documents), "sample")
        if self.tally.unwritten:
            known = self._stored().select("doc_id", "text_hash")
            missing = sample.join(known, ["doc_id", "text_hash"], "left_anti").repartition(self._tasks, "doc_id")
            self._append_programs(missing)
        stored = self._stored()
        joined = sample.join(stored.withColumn("_identified", identified(stored)), ["doc_id", "text_hash"])
        # Of the sample's rows, not of what was written just now: a second try finds the first one's failures.
        counts = joined.agg(F.count(F.lit(1)).alias("written"), F.count("error").alias("write_errors")).first()
        assert counts is not None
        # A document that no refiner was asked about says nothing about the refiner.
        asked = joined.where("error IS NULL AND (doc_program IS NOT NULL OR size(chunks) > 0)")
        measured = {**measure(asked, work.refiners), **counts.asDict()}
        bounds = {**work.refiners.preflight, "max_write_errors": settings.max_error_rate}
        judgement = judge(measured, bounds, cleans_noise=bool(self.cleans_noise))
        if judgement.wrong and self.cleans_noise is None:
            judgement = judge(measured, bounds, cleans_noise=self._probe())
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
        if self.written["written"] < self.tally.unwritten:
            for part in self._parts():
                self._append_programs(part.repartition(self._tasks, "doc_id"))
        self.report = self.report.add(
            counts={"bytes_written": self.tally.unwritten_bytes}, write_seconds=time.monotonic() - began
        )
        self._tell("write")

    def _parts(self) -> list[DataFrame]:
        """The documents whose programs are missing, in as many parts as there are to be commits."""
        many = parts(self.spark, self.work, self.tally.unwritten_bytes)
        unwritten = self._unwritten()
        if many <= 1:
            return [unwritten]
        part = F.pmod(F.xxhash64("doc_id"), F.lit(many)).cast("int")
        return self.desk.staged_parts(unwritten.withColumn("_part", part), "parts", many)

    def _append_programs(self, documents: DataFrame) -> None:
        """Write documents' programs, and count this slice's rows in `programs`: only its own files are read."""
        work = self.work
        budget = Budget(work.settings.max_tokens, work.settings.max_seconds)
        written = write_checked(documents, work.refiners, work.settings.device, budget=budget)
        rows = as_programs(written, work.refiners, work.run_id, self.desk.at)
        note = self.desk.commits.append(rows, "programs")
        mine = (F.col("run_id") == work.run_id) & (F.col("written_at") == F.lit(self.desk.at))
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
        more = {name: many - self.written[name] for name, many in counted.asDict().items()}
        self.written = counted.asDict()
        # At once: what ends the slice before its end does not undo this.
        tokens = {name: more.pop(name) for name in ("prompt_tokens", "new_tokens")}
        self.report = self.report.add(counts=more, **tokens)
        if not more["written"]:
            self.desk.commits.need("programs", note)

    def _keep_budget(self) -> None:
        rate = self.work.settings.max_error_rate
        for failed, tried, told in BUDGETS[self.work.command]:
            errors, of = self._so_far(failed), self._so_far(tried)
            if errors > rate * of and (errors >= MIN_ERRORS or rate == 0):
                raise ErrorBudgetExceeded(told.format(errors=errors, of=of, rate=f"{rate:g}"))

    def _so_far(self, names: tuple[str, ...]) -> int:
        """Sum of these counts in this run."""
        reports = [*self.work.so_far, self.report]
        return sum(report.counts.get(name, 0) for report in reports for name in names)

    # ---- EXECUTE ----

    def _joined(self) -> DataFrame:
        """The documents beside their programs."""
        language = self.work.settings.language_column
        known = F.col(f"`{language}`") if language else F.lit(None).cast("string")
        documents = self.todo.select("doc_id", "text_hash", "text", known.alias("_language"))
        return beside_programs(documents, self._stored())

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
        code = F.regexp_extract("error", f"^{CODED.pattern}", 1)
        rows = failed.select(
            "doc_id",
            "text_hash",
            F.lit("write").alias("stage"),
            F.when(code == "", "program_error").otherwise(code).alias("reason"),
            F.col("error").alias("detail"),
            "text",
            F.lit(None).cast("binary").alias("bytes"),
            "size_bytes",
            carried_json(self._carried).alias("carried"),
        )
        rows = self.desk.staged(rows, "failed")
        counts = {f"quarantined.{row['reason']}": int(row["count"]) for row in rows.groupBy("reason").count().take(100)}
        self.failed = many = sum(counts.values())
        if many:
            put_in_quarantine(self.desk, rows, "write", known=self.tally.in_quarantine > 0)
            if self.work.command == "write" and self.tally.replaces:
                take_out(self.desk, "refined", rows)
            self.report = self.report.add(counts={"quarantined": many, **counts})

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
                "refined_at": F.lit(self.desk.at),
            }
        )
        if self.tally.replaces:
            # A merge reads its source twice: programs are executed once, into files.
            staged = self.desk.staged(rows, "refined").withColumn(ACTION, F.lit("put"))
            gone = leaving(self.desk, "refined", self._bad_ids())
            note = self.desk.commits.merge(staged.unionByName(gone, allowMissingColumns=True), "refined")
        else:
            note = self.desk.commits.append(rows, "refined")
        counts = self._statuses(note)
        if self.tally.in_quarantine:
            take_out(self.desk, "quarantine", self._good_ids())
        self.report = self.report.add(counts=counts, execute_seconds=time.monotonic() - began)
        self._tell("execute")

    def _good_ids(self) -> DataFrame:
        """Ids of this slice's documents that are in `refined`: it put them there, or a slice that was stopped then."""
        good = self.checked.where("reason IS NULL").select("doc_id", "text_hash")
        there = self.work.tables.read(self.spark, "refined").select("doc_id", "text_hash")
        return good.join(there, ["doc_id", "text_hash"], "left_semi")

    def _bad_ids(self) -> DataFrame:
        """Ids of the documents that this slice has put into quarantine."""
        bad = self.checked.where("reason IS NOT NULL").select("doc_id")
        if self._failed_keys is None:
            return bad
        failed = self.todo.join(self._failed_keys, ["doc_id", "text_hash"], "left_semi")
        return bad.unionByName(failed.select("doc_id"))

    def _statuses(self, note: str | None) -> dict[str, int]:
        """Count what this slice has put into `refined`, by the write that is called `note`."""
        mine = (F.col("run_id") == self.work.run_id) & (F.col("refined_at") == F.lit(self.desk.at))
        grouped = self.work.tables.read(self.spark, "refined").where(mine).groupBy("status")
        # Of the edits the one column is read that takes least room.
        edits = F.sum(F.size("edits.operation")).alias("edits")
        other = F.count_if(F.col("reason") == "language").alias("other")
        broken = F.count_if(F.col("reason").startswith("execute_failed")).alias("broken")
        partial = F.count_if("partial").alias("partial")
        rows = grouped.agg(F.count(F.lit(1)).alias("n"), partial, edits, other, broken).take(20)
        counts = {row["status"]: int(row["n"]) for row in rows}
        done = sum(counts.values())
        if not done:
            self.desk.commits.need("refined", note)
        counts["other_language"] = sum(int(row["other"]) for row in rows)
        counts["execute_failed"] = sum(int(row["broken"]) for row in rows)
        counts["partial"] = sum(int(row["partial"]) for row in rows)
        counts["edits"] = sum(int(row["edits"] or 0) for row in rows)
        counts["without_programs"] = self.tally.todo - self.failed - done
        return counts

    def _tell(self, stage: str) -> None:
        listener = ledger.LISTENERS.get(self.work.run_id)
        if listener is not None:
            listener(stage, self.report)
