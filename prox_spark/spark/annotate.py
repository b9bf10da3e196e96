"""One slice of an annotation: check it, cut it, find what was not answered yet, ask, keep, count.

Answers are kept in rounds, so that a crash loses those of one round at most; what is kept is never asked again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from prox_spark.annotate.settings import AnnotateSettings
from prox_spark.errors import BusyError, EndpointError, ErrorBudgetExceeded, ProxError
from prox_spark.schemas import ANNOTATIONS
from prox_spark.spark import ledger
from prox_spark.spark.ask import Question, ask, cut_documents, knock
from prox_spark.spark.changes import check_slice
from prox_spark.spark.commits import ATTEMPTS, is_conflict
from prox_spark.spark.ledger import SliceReport
from prox_spark.spark.slices import MIN_ERRORS
from prox_spark.spark.work import Desk, Work

# Answers between two commits, for each request that may be in flight; and bounds of it.
ROUND_OF_EACH = 25
SMALLEST_ROUND, LARGEST_ROUND = 200, 5_000
# Errors that every further request of the run would meet as well.
FATAL_ERRORS = ("http_3", "http_401", "http_402", "http_403", "http_404", "http_405")
PIECE_KEYS = ("doc_id", "text_hash", "chunk")


@dataclass(frozen=True)
class Annotation:
    """What every slice of an annotation needs; it travels to wherever `foreachBatch` runs.

    prompt_hash: see `annotations.prompt_hash`. tasks: Spark tasks that ask at a time.
    """

    work: Work
    settings: AnnotateSettings
    question: Question
    prompt_hash: str
    tasks: int

    @property
    def round_size(self) -> int:
        """Answers between two commits."""
        return min(max(SMALLEST_ROUND, ROUND_OF_EACH * self.tasks * self.settings.concurrency), LARGEST_ROUND)

    def asked_so_far(self) -> int:
        """Answers that this run has asked for in its finished slices."""
        return sum(report.counts.get("asked", 0) for report in self.work.so_far)


def annotate_slice(annotation: Annotation, rows: DataFrame, number: int) -> None:
    """Do one slice; its report tells an error as well, which loses its class on the way to the driver."""
    work, most = annotation.work, annotation.settings.max_requests
    if most is not None and annotation.asked_so_far() >= most:
        ledger.write_report(rows.sparkSession, work.reports, SliceReport(number, failure=(ledger.ENOUGH, "")))
        raise ledger.Enough
    one = AnnotateSlice(annotation, rows, number)
    try:
        one.run()
    except Exception as error:
        failure = (type(error).__name__, str(error)) if isinstance(error, ProxError) else ("", str(error))
        ledger.write_report(one.spark, work.reports, one.report.add(failure=failure))
        raise
    ledger.write_report(one.spark, work.reports, one.report)
    work.so_far.append(one.report)


class AnnotateSlice:
    """One slice at work; with a number below 0 it only counts."""

    def __init__(self, annotation: Annotation, rows: DataFrame, number: int) -> None:
        self.annotation = annotation
        self.work = annotation.work
        self.spark = rows.sparkSession
        self.desk = Desk(self.spark, self.work, number)
        self.rows = rows
        self.report = SliceReport(number)
        self.missing_bytes = 0

    def run(self) -> None:
        """All stages."""
        self.desk.commits.look(("annotations",))
        self.count_all()
        missing = self._count("requests") - self._count("answered_before")
        try:
            if missing:
                self._ask(missing)
        finally:
            asked = self._count("asked")
            # All pieces count for equally long: this is the rate by which the next run is cut into slices.
            size = self.missing_bytes * asked // max(1, missing)
            self.report = self.report.add(counts={"not_asked": missing - asked, "bytes_written": size})
        self._tell("done")

    def count_all(self) -> SliceReport:
        """Count what is there, and what of it is answered (`missing_bytes`: text of what is not); asks nothing."""
        found = check_slice(self.desk, self.rows)
        checked = found.documents
        self._count_documents(checked, found.rows)
        good = checked.where("reason IS NULL").repartition(self._cutters, "doc_id")
        settings = self.annotation.settings
        self.pieces = self.desk.staged(cut_documents(good, settings.task, settings.max_chars), "pieces")
        skips = self.pieces.groupBy("skip").agg(F.count(F.lit(1)).alias("n")).take(10)
        by_skip = {row["skip"]: int(row["n"]) for row in skips}
        requests = by_skip.pop(None, 0)
        left_out = {f"left_out.{reason}": n for reason, n in by_skip.items()}
        counts = {"requests": requests, "left_out": sum(by_skip.values()), **left_out}
        if requests:
            numbers = self.missing.agg(F.count(F.lit(1)), F.coalesce(F.sum(F.octet_length("text")), F.lit(0))).first()
            assert numbers is not None
            counts["answered_before"] = requests - int(numbers[0])
            self.missing_bytes = int(numbers[1])
        self.report = self.report.add(counts=counts)
        self._tell("cut")
        return self.report

    def _count_documents(self, checked: DataFrame, all_rows: int | None) -> None:
        size = F.coalesce(F.sum("size_bytes"), F.lit(0)).alias("bytes")
        rows = checked.groupBy("reason").agg(F.count(F.lit(1)).alias("n"), size).take(100)
        documents = sum(int(row["n"]) for row in rows)
        every = documents if all_rows is None else all_rows
        skipped = {f"skipped.{row['reason']}": int(row["n"]) for row in rows if row["reason"] is not None}
        self.report = self.report.add(
            counts={"rows": every, "documents": documents, "skipped": sum(skipped.values()), **skipped},
            bytes=sum(int(row["bytes"]) for row in rows),
            duplicates=every - documents,
        )

    @property
    def _cutters(self) -> int:
        return int(self.spark.conf.get("spark.sql.shuffle.partitions", "4"))

    # ---- what is missing ----

    @cached_property
    def missing(self) -> DataFrame:
        """The pieces that have no answer yet; a request that failed has none."""
        wanted = self.pieces.where("skip IS NULL").drop("skip")
        return wanted if self._known is None else self.desk.staged(self._unanswered(wanted), "missing")

    def _unanswered(self, rows: DataFrame) -> DataFrame:
        """The rows whose piece (PIECE_KEYS) has no answer in the table."""
        answered = self._there.where("status <> 'failed'").select(*[F.col(n).alias(f"_{n}") for n in PIECE_KEYS])
        match = F.lit(True)
        for name in PIECE_KEYS:
            match &= F.col(name).eqNullSafe(F.col(f"_{name}"))
        return rows.join(answered, match, "left_anti")

    @cached_property
    def _known(self) -> DataFrame | None:
        """What the table holds for this task, prompt and model; None where it holds nothing."""
        if "annotations" in self.work.empty or not self.work.tables.exists(self.spark, "annotations"):
            return None
        known = self._there
        return None if known.select("doc_id").first() is None else known

    @property
    def _there(self) -> DataFrame:
        """The table's rows for this task, prompt and model."""
        settings = self.annotation.settings
        return self.work.tables.read(self.spark, "annotations").where(
            (F.col("task") == settings.task)
            & (F.col("prompt_hash") == self.annotation.prompt_hash)
            & (F.col("model") == settings.model)
        )

    @cached_property
    def _replaces(self) -> bool:
        """Whether requests failed before, whose rows give way to answers."""
        return self._known is not None and self._known.where("status = 'failed'").first() is not None

    # ---- asking ----

    def _ask(self, missing: int) -> None:
        self._knock()
        most = self.annotation.settings.max_requests
        wanted = missing if most is None else min(missing, most - self.annotation.asked_so_far())
        chosen = self.missing
        if wanted < missing:
            chosen = self.desk.staged(chosen.orderBy(*PIECE_KEYS).limit(wanted), "chosen")
        rounds = -(-wanted // self.annotation.round_size)
        # No more tasks than have enough to do.
        tasks = min(self.annotation.tasks, -(-wanted // (rounds * self.annotation.settings.concurrency)))
        # Whether a row failed is looked up before this slice writes rows itself.
        replaces = self._replaces
        of_round = F.pmod(F.xxhash64(*PIECE_KEYS), F.lit(rounds))
        for number in range(rounds):
            self._round(chosen.where(of_round == number).repartition(tasks), replaces)

    def _round(self, pieces: DataFrame, replaces: bool) -> None:
        """Ask about some pieces and keep the answers."""
        began = time.monotonic()
        # Into files first: each reading of what `ask` returns asks again.
        asked = self.desk.staged(ask(pieces, self.annotation.question), "answers")
        settings = self.annotation.settings
        rows = asked.withColumns(
            {
                "task": F.lit(settings.task),
                "prompt_hash": F.lit(self.annotation.prompt_hash),
                "model": F.lit(settings.model),
                "dialect": F.lit(settings.dialect if settings.task == "program" else None).cast("string"),
                "prompt": F.lit(self.annotation.question.prompt.name),
                "run_id": F.lit(self.work.run_id),
                "answered_at": F.lit(self.desk.at),
            }
        ).select(*ANNOTATIONS.names)
        self._keep(rows, replaces)
        self._count_answers(asked, time.monotonic() - began)
        self._tell("ask")
        self._keep_budget(asked)

    def _keep(self, rows: DataFrame, replaces: bool) -> None:
        """Put answers into the table; of what another run has answered since this slice looked, its answers stay."""
        commits, new = self.desk.commits, rows
        for _ in range(ATTEMPTS):
            try:
                write = commits.merge if replaces else commits.append
                commits.need("annotations", write(new, "annotations"))
                break
            except Exception as error:
                if not is_conflict(error):
                    raise
            commits.forget()
            commits.look(("annotations",))
            # What failed over there gives way to what was answered here.
            new, replaces = self.desk.staged(self._unanswered(rows), "unanswered"), True
        else:
            where = self.work.tables.location
            raise BusyError(
                f"other runs write to the tables at {where} all the time: the answers of a round found no gap in "
                f"{ATTEMPTS} attempts and are lost. What was kept before stays; run again when they have ended"
            )
        if new is not rows:
            self.report = self.report.add(counts={"paid_twice": rows.count() - new.count()})

    def _count_answers(self, asked: DataFrame, seconds: float) -> None:
        sums = [F.coalesce(F.sum(n), F.lit(0)).alias(n) for n in ("attempts", "prompt_tokens", "new_tokens")]
        rows = asked.groupBy("status", "error").agg(F.count(F.lit(1)).alias("n"), *sums).take(1000)
        counts: dict[str, int] = {}
        for row in rows:
            names = ["asked", row["status"], *([f"{row['status']}.{row['error']}"] if row["error"] else [])]
            for name in names:
                counts[name] = counts.get(name, 0) + int(row["n"])
        self.report = self.report.add(
            counts={**counts, "calls": sum(int(row["attempts"]) for row in rows)},
            prompt_tokens=sum(int(row["prompt_tokens"]) for row in rows),
            new_tokens=sum(int(row["new_tokens"]) for row in rows),
            write_seconds=seconds,
        )

    def _keep_budget(self, asked: DataFrame) -> None:
        """Raise when the run goes wrong: at once where no request can go well, else by the share of errors."""
        fatal = next((n for n in self.report.counts if n.startswith(tuple(f"failed.{e}" for e in FATAL_ERRORS))), None)
        if fatal is not None:
            code = fatal.removeprefix("failed.")
            row = asked.where(F.col("error") == code).select("detail").first()
            raise EndpointError(refusal(self.annotation.settings, code, row["detail"] if row else ""))
        reports = [*self.work.so_far, self.report]
        total = sum(report.counts.get("asked", 0) for report in reports)
        errors = sum(report.counts.get(name, 0) for report in reports for name in ("failed", "unusable"))
        rate = self.work.settings.max_error_rate
        if errors > rate * total and (errors >= MIN_ERRORS or rate == 0):
            kinds = sorted({n for report in reports for n in report.counts if n.startswith(("failed.", "unusable."))})
            raise ErrorBudgetExceeded(
                f"{errors} of {total} answers of this run are of no use ({', '.join(kinds)}), max_error_rate is "
                f"{rate:g}. The columns `error` and `detail` of `annotations` say why. What was answered is kept"
            )

    def _knock(self) -> None:
        """Before the first question of a run: does the endpoint answer at all, with this key and this model?"""
        if any(report.counts.get("judged") for report in self.work.so_far):
            return
        told = knock(self.spark, self.annotation.question)
        self.report = self.report.add(
            counts={"judged": 1, "calls": told["attempts"]},
            prompt_tokens=told["prompt_tokens"],
            new_tokens=told["new_tokens"],
        )
        # That an answer this short was cut off, or says nothing, is no sign that others will be.
        if told["status"] == "failed" or (told["error"] or "").startswith("http_"):
            raise EndpointError(refusal(self.annotation.settings, told["error"], told["detail"] or ""))

    def _count(self, name: str) -> int:
        return self.report.counts.get(name, 0)

    def _tell(self, stage: str) -> None:
        listener = ledger.LISTENERS.get(self.work.run_id)
        if listener is not None:
            listener(stage, self.report)


def refusal(settings: AnnotateSettings, code: str, detail: str) -> str:
    """Return what is to be said of an endpoint that does not do what it is asked."""
    key = settings.api_key_env or settings.api_key_secret
    said = f" It said: {detail}" if detail else ""
    if code in ("http_401", "http_403"):
        which = f"the key from {key}" if key else "requests without a key: name where it is with --api-key-env"
        return f"{settings.base_url} refuses {which} ({code}).{said}"
    if code == "http_404":
        return f"{settings.base_url} has no model {settings.model!r}, or is not the endpoint's base URL ({code}).{said}"
    return f"{settings.base_url} gave no answer to a short question: {code}.{said}"
