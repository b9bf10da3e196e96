"""Run a job: a stream over the source, cut into slices; each slice is checked, written, executed and accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pyspark.sql import SparkSession

from prox_spark.config import Command, JobSettings


@dataclass(frozen=True)
class Progress:
    """How far a run is; handed to `on_progress` at the end of every stage of every slice.

    stage: `check`, `preflight`, `write`, `execute` or `done`: what has just ended.
    slice: number of the slice, from 0.
    documents: source rows that are accounted for so far in this run.
    total: source rows that there are in all; None where that is not known without reading the source.
    prompt_tokens, new_tokens: of refiners, so far.
    bytes: of source text, so far.
    seconds: wall time since the run began.
    message: something that a person should read (a preflight's warning), else None.
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
        """Whether the source held nothing that was not already done."""
        return self.counts.get("rows", 0) == self.counts.get("already", 0)


@dataclass(frozen=True)
class Plan:
    """What a run would do (`--dry-run`); nothing was written.

    documents, bytes: rows of the source and bytes of text that pass CHECK.
    quarantined: rows that CHECK would put aside, by reason.
    duplicates: rows with the id and the text of another row.
    written: documents whose programs are already in `programs`; to_write: those that a refiner would read.
    estimated_tokens: of the documents to write, at 4 bytes a token.
    estimated_seconds: of WRITE, at the rate of the last run with these refiners; None where there was none.
    slices: micro-batches, roughly.
    """

    documents: int
    bytes: int
    quarantined: Mapping[str, int]
    duplicates: int
    written: int
    to_write: int
    estimated_tokens: int
    estimated_seconds: float | None
    slices: int
    refiner: str | None
    write_key: str
    policy_key: str | None


def run_job(
    settings: JobSettings,
    command: Command = "refine",
    on_progress: Callable[[Progress], None] | None = None,
    spark: SparkSession | None = None,
) -> RunSummary:
    """Run `refine` (write, then execute), `write` (programs only) or `execute` (no model) over what is new in the source.

    spark: session to use; default: the active one, else a local one (`prox_spark.spark.session.get_spark`).
    Raises ConfigError, SourceError, SchemaError and BundleError before any work; PreflightError, DeviceError and
    ErrorBudgetExceeded from the work. What was committed before an error stays, and the next run goes on from there.
    """
    raise NotImplementedError


def plan_job(settings: JobSettings, command: Command = "refine", spark: SparkSession | None = None) -> Plan:
    """Return what a run would do. Reads the source and `programs`; writes nothing and loads no model."""
    raise NotImplementedError
