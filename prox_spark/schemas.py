"""Every table and view, column by column. Types are Spark's DDL; nothing is ever inferred. Imports no Spark."""

from __future__ import annotations

from dataclasses import dataclass

# The version of the tables as they stand here; every table keeps its own in the property SCHEMA_PROPERTY. It is counted
# up with every release in which a table differs, and `prox-spark migrate` brings older tables to it.
#   1: tables without the property; `programs` without `language` among them.
#   2: `quarantine.carried`, so that a retry has the whole row.
SCHEMA_VERSION = 2
SCHEMA_PROPERTY = "prox_spark.schema_version"

CHUNK_STRUCT = (
    "STRUCT<chunk: INT, first_line: INT, last_line: INT, program: STRING, line_scores: ARRAY<FLOAT>, "
    "prompt_tokens: INT, new_tokens: INT, truncated: BOOLEAN, looped: BOOLEAN, cut_line: BOOLEAN, error: STRING>"
)
EDIT_STRUCT = (
    "STRUCT<operation: STRING, chunk: INT, first_line: INT, last_line: INT, start: INT, end: INT, "
    "removed: STRING, inserted: STRING, reason: STRING>"
)

STATUSES = {
    "refined": "changed by its program",
    "unchanged": "judged clean, or passed through (reason says why)",
    "dropped": "not worth keeping; text is null (in mode tag: kept)",
    "fallback": "the program was not usable, or EXECUTE failed on it; text as it was",
}

# Why CHECK, WRITE or EXECUTE put a row into quarantine.
QUARANTINE_REASONS = {
    "malformed_record": "the line or record of a jsonl or WET source cannot be read; doc_id is the row's hash",
    "null_id": "the id is null; doc_id is the row's hash",
    "null_text": "the text is null",
    "invalid_utf8": "the text's bytes are not UTF-8; they are kept in bytes",
    "too_large": "more bytes than guards.max_bytes",
    "too_many_lines": "more lines than guards.max_lines",
    "duplicate_id": "the id stands in one slice with several texts; all of them are here",
    "too_many_tokens": "more tokens than max_tokens",
    "too_slow": "the refiner took longer than max_seconds for this document",
    "out_of_memory": "the refiner ran out of memory on this document, without any other beside it",
    "tokenizer_failed": "the refiner's tokenizer failed on the text",
    "program_error": "the refiner failed on this document in another way (detail: programs.error)",
}
# Reasons that another try can change: with other limits, another refiner, more memory.
RETRIED = (
    *("too_large", "too_many_lines", "too_many_tokens", "too_slow"),
    *("out_of_memory", "tokenizer_failed", "program_error"),
)

# Why an annotation has no use (`annotations.error`).
ANNOTATION_ERRORS = {
    "not_json": "score: the answer holds no JSON object",
    "wrong_score": "score: a score is not a whole number from 0 to 5",
    "no_clean_text": "clean: no text between <clean> and </clean>",
    "new_words": "clean: too many words that do not stand in the chunk",
    "program_error": "program: the program cannot be read, or not be executed on the chunk",
    "empty": "the message has no text",
    "truncated": "the answer was cut off by its token limit",
    "filtered": "the endpoint's content filter ended the answer",
    "http_<status>": "the endpoint answered with this status",
    "timeout": "no answer in time",
    "connection": "no connection, or one that broke",
    "bad_response": "what came is not a JSON object",
    "no_choices": "the response holds no message",
    "unexpected": "anything else; detail names it",
}


@dataclass(frozen=True)
class Column:
    """One column: name, Spark DDL type, comment (kept in the table), and whether it may be null."""

    name: str
    type: str
    comment: str
    nullable: bool = True


@dataclass(frozen=True)
class Table:
    """One Delta table: name, what a row is, what makes a row unique, and its columns in order."""

    name: str
    comment: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True)
class View:
    """One view over the tables: `sql` holds `{refined}` and the like where a table's name goes."""

    name: str
    comment: str
    sql: str


PROGRAMS = Table(
    "programs",
    "What refiners wrote: never updated, one row a document, text and write_key",
    ("doc_id", "text_hash", "write_key"),
    (
        Column("doc_id", "STRING", "id of the document in the source", nullable=False),
        Column("text_hash", "STRING", "sha256 of the text's bytes as stored, lower hex", nullable=False),
        Column(
            "write_key",
            "STRING",
            "sha256 of the refiners' fingerprints and all settings that can change a program",
            nullable=False,
        ),
        Column("refiner", "STRING", "name and version of the refiner; two are joined by ' + '"),
        Column("fingerprint", "STRING", "sha256 of what decides a refiner's programs; two are joined by ' + '"),
        Column(
            "doc_program", "STRING", "canonical program for the document: keep_doc() or drop_doc(); null: not judged"
        ),
        Column(
            "doc_score", "FLOAT", "probability that the document is to be dropped; null: the refiner does not score"
        ),
        Column("chunks", f"ARRAY<{CHUNK_STRUCT}>", "one program a chunk, in document order; line numbers from 0"),
        Column("prompt_tokens", "BIGINT", "tokens read for this document, all chunks"),
        Column("new_tokens", "BIGINT", "tokens decoded for this document, all chunks; 0 for refiners that score"),
        Column("error", "STRING", "why the refiner failed on this document; null: it did not"),
        Column(
            "language",
            "STRING",
            "language identified before a refiner read the text; null: not sure, several, or not looked at",
        ),
        Column("run_id", "STRING", "run that wrote the row"),
        Column("written_at", "TIMESTAMP", "start of the slice that the row was written in, UTC"),
    ),
)

REFINED = Table(
    "refined",
    "One row a document, the newest: its text after its program, and every edit",
    ("doc_id",),
    (
        Column("doc_id", "STRING", "id of the document in the source", nullable=False),
        Column("text", "STRING", "text to train on; null for dropped documents (mode tag: text as it was, always)"),
        Column("status", "STRING", "refined, unchanged, dropped or fallback", nullable=False),
        Column("reason", "STRING", "code that says why, where the status alone does not"),
        Column("partial", "BOOLEAN", "true: at least one chunk stayed as it was because its program had an error"),
        Column(
            "edits",
            f"ARRAY<{EDIT_STRUCT}>",
            "what was done, in order; start and end are characters in the line, null for whole lines",
        ),
        Column("lines_in", "INT", "lines of the source text"),
        Column("lines_out", "INT", "lines of the text as refined (mode tag: as it would be)"),
        Column("words_in", "INT", "words of the source text"),
        Column("words_out", "INT", "words of the text as refined"),
        Column("chars_in", "INT", "code points of the source text"),
        Column("chars_out", "INT", "code points of the text as refined"),
        Column("text_hash", "STRING", "sha256 of the source text's bytes", nullable=False),
        Column("write_key", "STRING", "which programs were executed", nullable=False),
        Column(
            "policy_key",
            "STRING",
            "sha256 of policy, guards, caution with its thresholds, mode, and the language column",
            nullable=False,
        ),
        Column("refiner", "STRING", "name and version of the refiner; two are joined by ' + '"),
        Column("policy", "STRING", "strict or gair"),
        Column("run_id", "STRING", "run that executed the programs"),
        Column("refined_at", "TIMESTAMP", "start of the slice that the row was executed in, UTC"),
    ),
)

QUARANTINE = Table(
    "quarantine",
    "What could not be refined, whole, with the reason",
    ("doc_id", "text_hash"),
    (
        Column(
            "doc_id", "STRING", "id in the source; where that is null or unreadable, sha256 of the row", nullable=False
        ),
        Column("text_hash", "STRING", "sha256 of the text's bytes; null for a null text"),
        Column("stage", "STRING", "check or write: which stage put it here"),
        Column("reason", "STRING", "code of the reason", nullable=False),
        Column("detail", "STRING", "the reason in words, with the numbers"),
        Column("text", "STRING", "the text, whole; null where it is not UTF-8"),
        Column("bytes", "BINARY", "the text's bytes where they are not UTF-8, or the unreadable record"),
        Column("size_bytes", "BIGINT", "size of the text in bytes"),
        Column("carried", "STRING", "JSON of the carried columns, for a retry; null: there are none"),
        Column("run_id", "STRING", "run that put it here"),
        Column("quarantined_at", "TIMESTAMP", "start of the slice that it was in, UTC"),
    ),
)

ANNOTATIONS = Table(
    "annotations",
    "What a large model answered: one row a document or chunk, task, prompt and model; nothing is asked twice",
    ("doc_id", "text_hash", "chunk", "task", "prompt_hash", "model"),
    (
        Column("doc_id", "STRING", "id of the document in the source", nullable=False),
        Column("text_hash", "STRING", "sha256 of the text's bytes as stored, lower hex", nullable=False),
        Column("chunk", "INT", "number of the chunk in its document, from 0; 0 for a whole document", nullable=False),
        Column("task", "STRING", "score, clean or program", nullable=False),
        Column(
            "prompt_hash",
            "STRING",
            "sha256 of the prompt and of all settings that can change an answer: task, dialect, sizes, request fields",
            nullable=False,
        ),
        Column("model", "STRING", "name of the model, as it was asked for", nullable=False),
        Column("first_line", "INT", "first line asked about, from 0 through the document"),
        Column("last_line", "INT", "last line asked about, included"),
        Column(
            "status",
            "STRING",
            "ok; unusable: answered, and of no use; failed: not answered, the next run asks again",
            nullable=False,
        ),
        Column("error", "STRING", "code of why the status is not ok"),
        Column("detail", "STRING", "the error in words"),
        Column("education", "INT", "score: what can be learned from the document, 0 to 5"),
        Column("format", "INT", "score: how cleanly it is laid out, 0 to 5"),
        Column("keep", "BOOLEAN", "score: education >= 3, or education = 2 and format >= 4"),
        Column("text", "STRING", "clean: the clean chunk; program: the chunk after its program; lines are joined"),
        Column("program", "STRING", "program: in canonical form; line numbers count through the document"),
        Column("dialect", "STRING", "program: prox, refinex or ultrax"),
        Column("answer", "STRING", "what the model said, as it came"),
        Column("finish_reason", "STRING", "why the model stopped, as the endpoint says"),
        Column("served_model", "STRING", "name of the model, as the endpoint says"),
        Column("prompt", "STRING", "name of the prompt"),
        Column("attempts", "INT", "requests that were sent for this answer"),
        Column("prompt_tokens", "BIGINT", "tokens read for it, all attempts, as the endpoint counts"),
        Column("new_tokens", "BIGINT", "tokens written for it, all attempts, as the endpoint counts"),
        Column("seconds", "DOUBLE", "wall time of the last attempt"),
        Column("run_id", "STRING", "run that asked"),
        Column("answered_at", "TIMESTAMP", "start of the slice that it was asked in, UTC"),
    ),
)

RUNS = Table(
    "runs",
    "One row a run",
    ("run_id",),
    (
        Column("run_id", "STRING", "random, unique", nullable=False),
        Column("command", "STRING", "refine, write, execute, annotate, retry, maintain, forget or migrate"),
        Column("source", "STRING", "path or table name"),
        Column("source_version", "BIGINT", "version of a Delta source when the run began"),
        Column("started_at", "TIMESTAMP", "UTC"),
        Column("finished_at", "TIMESTAMP", "UTC"),
        Column("counts", "MAP<STRING, BIGINT>", "what happened to the source's rows; see below"),
        Column("duplicates", "BIGINT", "source rows with the id and the text of another row"),
        Column("prompt_tokens", "BIGINT", "tokens read by refiners, or by the model that was asked, in this run"),
        Column("new_tokens", "BIGINT", "tokens written by them in this run"),
        Column("write_seconds", "DOUBLE", "wall time of WRITE, or of asking, commits included"),
        Column("execute_seconds", "DOUBLE", "wall time of EXECUTE, commits included"),
        Column("refiner", "STRING", "name and version of the refiner; two are joined by ' + '; annotate: the model"),
        Column(
            "fingerprint",
            "STRING",
            "sha256 of what decides a refiner's programs; two are joined by ' + '; annotate: the prompt_hash",
        ),
        Column("write_key", "STRING", "which programs the run wrote or executed; annotate: which answers it asked for"),
        Column("policy_key", "STRING", "how it executed them; null for write"),
        Column("provider", "STRING", "execution provider of the refiners' sessions; null: no model was loaded"),
        Column("device", "STRING", "cpu or cuda:N of the first session; null: no model was loaded"),
        Column(
            "versions",
            "MAP<STRING, STRING>",
            "of prox_spark, Python, Spark, Delta and the libraries that decide a result; and the workers' processor",
        ),
        Column(
            "settings", "STRING", "JSON: job (the settings), refiner (dialect, languages, thresholds), annotate, retry"
        ),
        Column("error", "STRING", "what ended the run early, 'has not ended' until it has; null: it finished"),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in (PROGRAMS, REFINED, QUARANTINE, ANNOTATIONS, RUNS)}
# Tables that a run makes where they are missing.
REFINE_TABLES = ("programs", "refined", "quarantine", "runs")
ANNOTATE_TABLES = ("annotations", "runs")

# Keys of runs.counts.
COUNTS = {
    "rows": "rows of the source that the run saw",
    "documents": "rows without duplicates",
    "already": "documents that were done before this run: nothing was done to them",
    "written": "documents whose programs this run wrote",
    "write_errors": "of these, documents on which the refiner failed",
    "bytes_written": "bytes of text of the documents whose programs were missing",
    "refined": "documents with this status",
    "unchanged": "documents with this status",
    "dropped": "documents with this status",
    "fallback": "documents with this status",
    "execute_failed": "of the fallback ones, documents on which EXECUTE itself failed",
    "quarantined": "rows put into quarantine; `quarantined.<reason>` for each reason",
    "without_programs": "documents that execute found no programs for; they are left out until they have some",
    "gone": "documents that the source has no more; `deleted.<table>` for the rows that went with them",
    "superseded": "documents in whose place this run had put another text, or other carried values, before",
    "other_language": "of the unchanged ones, documents in a language that the refiner was not made for",
    "partial": "refined documents of which a chunk stayed as it was",
    "edits": "edits of the refined documents",
    "slices": "micro-batches",
    "done_again": "slices that were done again, because another run had written to the tables meanwhile",
}
# Keys of runs.counts of an annotation, which has `rows`, `documents` and `slices` as well.
ANNOTATION_COUNTS = {
    "skipped": "rows that CHECK would quarantine: they are not asked about; `skipped.<reason>` for each reason",
    "left_out": "chunks that there is nothing to ask about; `left_out.blank`, `left_out.line_too_long`",
    "requests": "answers that there are to be had: one a document (score) or chunk",
    "answered_before": "of these, answers that were there already",
    "asked": "answers that this run asked for",
    "ok": "of these, answers of use",
    "unusable": "of these, answers of no use; `unusable.<error>` for each error",
    "failed": "of these, requests that were not answered; `failed.<error>` for each error",
    "not_asked": "answers left for the next run: the endpoint gave way, or max_requests were asked",
    "paid_twice": "of those asked for, answers that another run had kept meanwhile: its own stay, these do not",
    "calls": "HTTP requests sent, further attempts included",
    "bytes_written": "bytes of text that were asked about",
}

VIEWS: dict[str, View] = {
    "corpus": View(
        "corpus",
        "Text to train on",
        "SELECT * FROM {refined} WHERE status <> 'dropped'",
    ),
    "removed_lines": View(
        "removed_lines",
        "One row an edit, and one a dropped document: which lines went, by which operation, and why",
        "SELECT doc_id, status, e.operation, e.chunk, e.first_line, e.last_line, e.start, e.end, e.removed, "
        "e.inserted, coalesce(e.reason, reason) AS reason, refiner, policy, run_id "
        "FROM (SELECT doc_id, status, reason, refiner, policy, run_id, explode(edits) AS e FROM {refined}) "
        # Its text is the source's to tell: what went is all of it.
        "UNION ALL SELECT doc_id, status, 'drop_doc', NULL, 0, lines_in - 1, NULL, NULL, NULL, NULL, reason, refiner, "
        "policy, run_id FROM {refined} WHERE status = 'dropped'",
    ),
}


def column_ddl(column: Column, comments: bool = True) -> str:
    """Return one column as Spark DDL: name, type, NOT NULL where it is, and the comment if `comments`."""
    parts = [f"`{column.name}`", column.type]
    if not column.nullable:
        parts.append("NOT NULL")
    if comments:
        quoted = column.comment.replace("\\", "\\\\").replace("'", "\\'")
        parts.append(f"COMMENT '{quoted}'")
    return " ".join(parts)


def ddl(table: Table | str, comments: bool = True) -> str:
    """Return a table's columns as Spark DDL, comma-separated; with their comments unless told otherwise."""
    columns = (TABLES[table] if isinstance(table, str) else table).columns
    return ", ".join(column_ddl(column, comments) for column in columns)
