"""The functions that Spark calls to ask an endpoint: documents in, chunks out; chunks in, answers out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from prox_spark.annotate.asking import Answer, Asker
from prox_spark.annotate.client import Client, Endpoint
from prox_spark.annotate.pieces import cut, numbered
from prox_spark.annotate.prompt import Prompt
from prox_spark.annotate.readings import Reading, read_answer
from prox_spark.spark import arrow

PIECES = "doc_id STRING, text_hash STRING, chunk INT, first_line INT, last_line INT, text STRING, skip STRING"
ASKED = (
    "doc_id STRING, text_hash STRING, chunk INT, first_line INT, last_line INT, status STRING, error STRING, "
    "detail STRING, education INT, format INT, keep BOOLEAN, text STRING, program STRING, answer STRING, "
    "finish_reason STRING, served_model STRING, attempts INT, prompt_tokens BIGINT, new_tokens BIGINT, seconds DOUBLE"
)
_PIECE = ("doc_id", "text_hash", "chunk", "first_line", "last_line")
_ARROW = {
    "STRING": pa.string(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
}
# Answers are handed on in small batches: they come in slowly, and a batch that waits could be lost.
BATCH_ANSWERS = 32

Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """What is asked, and how: everything that the workers need. `endpoint` hides its key."""

    endpoint: Endpoint
    prompt: Prompt
    task: str
    dialect: str
    max_chars: int
    attempts: int
    backoff: float

    def messages(self, row: Row) -> list[dict[str, str]]:
        """Return the chat messages about a piece."""
        text = row["text"]
        shown = numbered(text, row["first_line"], self.dialect) if self.task == "program" else text
        return self.prompt.messages(shown)

    def read(self, row: Row, content: str) -> Reading:
        """Read the answer about a piece."""
        return read_answer(content, self.task, row["text"], row["first_line"], self.dialect)


@dataclass(frozen=True)
class PiecesUdf:
    """Cuts documents (doc_id, text_hash, text) into what is asked about."""

    task: str
    max_chars: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the pieces of the batches' documents: the columns of PIECES."""
        for whole in batches:
            for batch in arrow.bounded(whole):
                rows = [
                    {"doc_id": row["doc_id"], "text_hash": row["text_hash"], **asdict(piece)}
                    for row in batch.to_pylist()
                    for piece in cut(row["text"], self.task, self.max_chars)
                ]
                yield _batch(rows, PIECES)


@dataclass(frozen=True)
class AskUdf:
    """Asks about pieces; a piece that was not asked about, because the endpoint gave way, has no row."""

    question: Question

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the answers about the batches' pieces, as they come in: the columns of ASKED."""
        rows = (row for whole in batches for batch in arrow.bounded(whole) for row in batch.to_pylist())
        question = self.question
        client = Client(question.endpoint)
        try:
            asker = Asker[Row](
                client,
                question.messages,
                question.read,
                attempts=question.attempts,
                backoff=question.backoff,
                concurrency=question.endpoint.connections,
            )
            ready: list[Row] = []
            for row, answer in asker.ask_all(rows):
                ready.append({name: row[name] for name in _PIECE} | _told(answer))
                if len(ready) >= BATCH_ANSWERS:
                    yield _batch(ready, ASKED)
                    ready = []
            if ready:
                yield _batch(ready, ASKED)
        finally:
            client.close()


@dataclass(frozen=True)
class KnockUdf:
    """Sends one short request, to see whether the endpoint takes the key, the model and a request of this form."""

    question: Question

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield one row of ASKED for each row that comes in."""
        question = self.question
        client = Client(question.endpoint)
        try:
            asker = Asker[None](
                client,
                lambda _: question.prompt.messages("Home\nA page of one line."),
                lambda _, __: Reading(),
                attempts=question.attempts,
                backoff=question.backoff,
                concurrency=1,
            )
            for batch in batches:
                answers = [asker.ask(None) for _ in range(batch.num_rows)]
                yield _batch([_told(answer) for answer in answers if answer is not None], ASKED)
        finally:
            client.close()


def cut_documents(documents: DataFrame, task: str, max_chars: int) -> DataFrame:
    """Return what is to be asked about checked documents: the columns of PIECES."""
    return documents.select("doc_id", "text_hash", "text").mapInArrow(PiecesUdf(task, max_chars), PIECES)


def ask(pieces: DataFrame, question: Question) -> DataFrame:
    """Return the answers about pieces: the columns of ASKED. Each reading of the result asks again: write it to files.

    As many requests are in flight as tasks run at a time, times `question.endpoint.connections`.
    """
    return pieces.mapInArrow(AskUdf(question), ASKED)


def knock(spark: SparkSession, question: Question) -> Row:
    """Ask one worker to send a short request, and return its answer: a row of ASKED."""
    row = spark.range(1, numPartitions=1).mapInArrow(KnockUdf(question), ASKED).first()
    assert row is not None
    told: Row = row.asDict()
    return told


def _told(answer: Answer) -> Row:
    reading = answer.reading
    return {
        "status": answer.status,
        "error": answer.error,
        "detail": answer.detail,
        "education": reading.education,
        "format": reading.format,
        "keep": reading.keep,
        "text": reading.text,
        "program": reading.program,
        "answer": answer.content,
        "finish_reason": answer.finish_reason,
        "served_model": answer.model,
        "attempts": answer.attempts,
        "prompt_tokens": answer.prompt_tokens,
        "new_tokens": answer.new_tokens,
        "seconds": answer.seconds,
    }


def _batch(rows: list[Row], schema: str) -> pa.RecordBatch:
    """Return rows as an Arrow batch of a flat schema; what a row lacks is null."""
    fields = [field.split() for field in schema.split(", ")]
    return pa.RecordBatch.from_pydict(
        {name: arrow.column([row.get(name) for row in rows], _ARROW[kind]) for name, kind in fields}
    )
