"""Run an annotation: settings to a stream, by the machinery of every other job."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import SecretStr
from pyspark.sql import SparkSession

from prox_spark.annotate.client import Endpoint
from prox_spark.annotate.prompt import Prompt, load_prompt
from prox_spark.annotate.settings import AnnotateSettings
from prox_spark.errors import ConfigError
from prox_spark.schemas import ANNOTATE_TABLES
from prox_spark.spark.annotate import AnnotateSlice, Annotation, annotate_slice
from prox_spark.spark.ask import Question
from prox_spark.spark.job import BYTES_A_TOKEN, PLAN, Progress, Run, RunSummary, run_stream
from prox_spark.spark.keys import canonical_hash, stream_key
from prox_spark.spark.refiners import RefinerSet
from prox_spark.spark.session import get_spark
from prox_spark.spark.sources import open_source
from prox_spark.spark.tables import Tables
from prox_spark.spark.work import Work

# Counted up when reading answers comes to give other results from the same ones.
ANSWER_FORMAT = 1
# Tokens of an answer: of a verdict with its reason, of a program; a clean text is about as long as its chunk.
TYPICAL_ANSWER = {"score": 60, "program": 80}


@dataclass(frozen=True)
class AnnotationPlan:
    """What an annotation would do (`--dry-run`); nothing was asked or written.

    documents: rows that pass CHECK. skipped, left_out: see `schemas.ANNOTATION_COUNTS`.
    requests: answers that there are to be had. answered: those that are there. to_ask: those that a run would ask for.
    prompt_tokens: of these, at 4 bytes a token. new_tokens: what they may come to.
    max_new_tokens: what they cannot exceed.
    """

    documents: int
    skipped: int
    left_out: int
    requests: int
    answered: int
    to_ask: int
    prompt_tokens: int
    new_tokens: int
    max_new_tokens: int
    prompt: str
    prompt_hash: str


def run_annotation(
    settings: AnnotateSettings,
    on_progress: Callable[[Progress], None] | None = None,
    spark: SparkSession | None = None,
) -> RunSummary:
    """Ask what was not answered yet about the documents of a source, and keep the answers in `annotations`.

    spark: session to use; default: the active one, else a local one.
    Raises ConfigError, SourceError and SchemaError before any work; EndpointError and ErrorBudgetExceeded from it.
    What was answered before an error stays, and the next run asks for the rest.
    """
    kept = {"annotate": settings.to_dict()}
    run = Run(settings.job, "annotate", spark or get_spark(), on_progress, kept=kept)
    annotation = prepare_annotation(run.spark, settings, run.run_id, read_key(settings, run.spark))
    work = annotation.work
    work.empty.update(work.tables.create(run.spark, names=ANNOTATE_TABLES))
    return run_stream(run, work, partial(annotate_slice, annotation))


def plan_annotation(settings: AnnotateSettings, spark: SparkSession | None = None) -> AnnotationPlan:
    """Return what a run would do. Reads the source and `annotations`; asks nothing, and needs no key."""
    spark = spark or get_spark()
    annotation = prepare_annotation(spark, settings, PLAN, None)
    everything = AnnotateSlice(annotation, annotation.work.source.batch(spark), -1)
    counts = everything.count_all().counts
    requests, answered = counts.get("requests", 0), counts.get("answered_before", 0)
    missing = requests - answered
    to_ask = missing if settings.max_requests is None else min(missing, settings.max_requests)
    text_bytes = everything.missing_bytes * to_ask // max(1, missing)
    prompt = annotation.question.prompt
    typical = TYPICAL_ANSWER.get(settings.task)
    return AnnotationPlan(
        documents=counts["documents"] - counts["skipped"],
        skipped=counts["skipped"],
        left_out=counts.get("left_out", 0),
        requests=requests,
        answered=answered,
        to_ask=to_ask,
        prompt_tokens=(text_bytes + to_ask * prompt.size) // BYTES_A_TOKEN,
        new_tokens=text_bytes // BYTES_A_TOKEN if typical is None else typical * to_ask,
        max_new_tokens=settings.answer_tokens * to_ask,
        prompt=prompt.name,
        prompt_hash=annotation.prompt_hash,
    )


def prepare_annotation(
    spark: SparkSession, settings: AnnotateSettings, run_id: str, key: SecretStr | None
) -> Annotation:
    """Look at everything that can be wrong before any work starts, and return what the slices need."""
    prompt = load_prompt(settings.task, settings.dialect, settings.prompt)
    hashed = prompt_hash(settings, prompt)
    job = settings.job
    tables = Tables(job.tables)
    tables.need_version(spark)
    source = open_source(spark, job)
    write_key = canonical_hash({"prompt_hash": hashed, "model": settings.model})
    # The model stands where other jobs have a refiner.
    model = RefinerSet((), settings.model, (hashed,), write_key, settings.dialect)
    progress = "" if run_id == PLAN else tables.progress(spark, job.checkpoints)
    stream = stream_key(job, "annotate", write_key, None)
    directory = f"{progress}/{write_key[:16]}/annotate-{stream[:16]}"
    work = Work(
        settings=job,
        command="annotate",
        run_id=run_id,
        source=source,
        refiners=model,
        policy_key=None,
        tables=tables,
        programs_in=tables,
        progress=directory,
        checkpoint=f"{directory}/runs/{run_id}",
    )
    endpoint = Endpoint(settings.base_url, request_body(settings), settings.timeout, settings.concurrency, key)
    question = Question(
        endpoint=endpoint,
        prompt=prompt,
        task=settings.task,
        dialect=settings.dialect,
        max_chars=settings.max_chars,
        attempts=settings.attempts,
        backoff=settings.backoff,
    )
    tasks = job.write_partitions or int(spark.conf.get("spark.sql.shuffle.partitions", "4"))
    return Annotation(work, settings, question, hashed, tasks)


def prompt_hash(settings: AnnotateSettings, prompt: Prompt) -> str:
    """Return the key of the answers that a prompt, sent and read in this way, brings; the model is apart from it."""
    return canonical_hash(
        {
            "format": ANSWER_FORMAT,
            "system": prompt.system,
            "user": prompt.user,
            "task": settings.task,
            "dialect": settings.dialect if settings.task == "program" else None,
            "max_chars": settings.max_chars,
            "body": {name: value for name, value in request_body(settings).items() if name != "model"},
        }
    )


def request_body(settings: AnnotateSettings) -> dict[str, Any]:
    """Return the fields of every request but the messages."""
    fields = {"model": settings.model, "temperature": 0, "max_tokens": settings.answer_tokens}
    return {name: value for name, value in (fields | settings.extra_body).items() if value is not None}


def read_key(settings: AnnotateSettings, spark: SparkSession) -> SecretStr | None:
    """Return the endpoint's key from where the settings say; raises ConfigError where it is not there."""
    if settings.api_key_env:
        key = os.environ.get(settings.api_key_env, "").strip()
        if not key:
            raise ConfigError(f"the environment variable {settings.api_key_env} is not set, or empty")
        return SecretStr(_fit_for_a_header(key, settings.api_key_env))
    if settings.api_key_secret:
        key = _databricks_secret(spark, *settings.api_key_secret.split("/"))
        return SecretStr(_fit_for_a_header(key, settings.api_key_secret))
    return None


def _fit_for_a_header(key: str, name: str) -> str:
    """Refuse a key that no request could carry, before an error of the HTTP library shows it."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"the key in {name} has a blank, a line break or a character that is not ASCII in it")
    return key


def _databricks_secret(spark: SparkSession, scope: str, name: str) -> str:
    try:
        from pyspark.dbutils import DBUtils
    except ImportError:
        raise ConfigError("--api-key-secret works on Databricks; elsewhere use --api-key-env") from None
    try:
        return str(DBUtils(spark).secrets.get(scope, name)).strip()
    except Exception as error:
        raise ConfigError(f"cannot read the secret {scope}/{name}: {type(error).__name__}") from None
