"""Settings of a job as frozen models: what command line, `jobs/` and notebooks fill in. Unknown keys are errors."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from prox_spark.errors import ConfigError

SourceFormat = Literal["delta", "parquet", "jsonl", "wet"]
Mode = Literal["refine", "tag"]
Policy = Literal["strict", "gair"]
Caution = Literal["cautious", "balanced", "aggressive"]
PreflightMode = Literal["fail", "warn", "off"]
GrammarMode = Literal["auto", "on", "off"]
Command = Literal["refine", "write", "execute", "annotate", "retry"]

# `--id-column text_hash`: the id is the sha256 of the text, for sources that have none.
HASH_ID = "text_hash"

# A password in front of a host: `s3a://KEY:SECRET@bucket`. A port (`hdfs://host:8020/a@b`) and a container of Azure's
# (`abfss://container@account`) are none; a bucket has no port.
_PASSWORD = re.compile(r"://[^/?#@\[]*:(?!\d+(?:/|$))[^@?]*@|\bs3[an]?://[^/?#@\[]*:[^@?]*@", re.I)
# A signature or the like in a query: `?sv=2024&sig=...`, `?X-Amz-Signature=...`.
_SIGNED = re.compile(
    r"\?(?:[^#]*&)?[\w.-]*(?:sig|signature|token|secret|password|credential|(?:api|access|account)[_-]?key)=", re.I
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GuardSettings(_Frozen):
    """Guards of policy `strict`, in the order in which they are asked; each has a reason code of its own.

    max_bytes, max_lines: a larger document goes to quarantine before Python sees it.
    max_errors: this many errors in a document's programs, and it stays as it was (`fallback`).
    max_removed_ratio: removed words / words above which a document is dropped (0 to 1).
    min_words: fewer words than this left, and the document is dropped.
    allow_new_words: whether a program may bring in words that do not stand in its chunk.
    """

    max_bytes: int = Field(default=16 * 1024 * 1024, gt=0)
    max_lines: int = Field(default=1_000_000, gt=0)
    max_errors: int = Field(default=2, ge=1)
    max_removed_ratio: float = Field(default=0.95, ge=0.0, le=1.0)
    min_words: int = Field(default=10, ge=0)
    allow_new_words: bool = False


# Guards that the other policy does not ask.
NOT_GAIR = ("max_errors", "max_removed_ratio", "min_words", "allow_new_words")


class JobSettings(_Frozen):
    """Everything that a run is told.

    source: path or table name (a name only for format delta); a single file, a folder, or a glob of files.
    format: of the source.
    tables: where programs, refined, quarantine and runs are: a directory (holds a `/` or a `:`) or a schema's name.
    programs: read `programs` from these tables instead (execute only); default: from `tables`.
    refiners: one bundle, or a document bundle and a chunk bundle. None for `execute`.
    id_column, text_column: of the source; `text_hash` as id column takes the text's sha256.
    language_column: column with the document's language; without one WRITE identifies it where refiners name theirs.
    any_language: do not identify it, and pass over no document for its language.
    carry: columns to carry through; default all others.
    source_schema: Spark DDL of a jsonl source; default: only id and text.
    evolve: add columns that the source has come to have to `refined`; else they are an error.
    from_version: begin with the changes of this version of a Delta source; default: with all that it holds.
    ignore_deletes: keep documents that a Delta source's change data feed says are gone.
    reconcile: look at the whole source, and delete documents that came from it and that it has no more.
    mode: `tag` does everything but touch the text.
    policy, caution, guards: how programs are applied.
    device: `auto`, `cpu`, `cuda`: where refiners run.
    grammar: whether refiners that decode are kept to calls that their chunk allows; `auto`: as the bundle says.
    preflight: what a sample outside the bundle's bounds does: `fail`, `warn`, or `off` (not looked at).
    preflight_documents: size of that sample.
    batch_bytes: source bytes of a micro-batch; default: ten minutes of work as the last run measured it, else 128 MiB.
    max_batches: stop after so many micro-batches (the next run goes on); default: all there are.
    write_partitions: tasks of WRITE in a micro-batch; default: the session's shuffle partitions.
    max_tokens, max_seconds: most that a document may take of a refiner, else it goes to quarantine; None: no bound.
    max_error_rate: share of documents whose programs may fail before the run stops (exit code 3).
    write_key: which programs `execute` takes where `programs` holds those of several refiners.
    checkpoints: where streams keep their progress; default: under the tables.
    """

    source: str = Field(min_length=1)
    format: SourceFormat = "delta"
    tables: str = Field(min_length=1)
    programs: str | None = None
    refiners: tuple[str, ...] = ()
    id_column: str = "doc_id"
    text_column: str = "text"
    language_column: str | None = None
    any_language: bool = False
    carry: tuple[str, ...] | None = None
    source_schema: str | None = None
    evolve: bool = False
    from_version: int | None = Field(default=None, ge=0)
    ignore_deletes: bool = False
    reconcile: bool = False
    mode: Mode = "refine"
    policy: Policy = "strict"
    caution: Caution = "balanced"
    guards: GuardSettings = GuardSettings()
    device: str = "auto"
    grammar: GrammarMode = "auto"
    preflight: PreflightMode = "fail"
    preflight_documents: int = Field(default=200, ge=1, le=10_000)
    batch_bytes: int | None = Field(default=None, ge=1)
    max_batches: int | None = Field(default=None, ge=1)
    write_partitions: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=1_000_000, ge=1)
    max_seconds: float | None = Field(default=None, gt=0.0)
    max_error_rate: float = Field(default=0.05, ge=0.0, le=1.0)
    write_key: str | None = None
    checkpoints: str | None = None

    @field_validator("source", "tables", "programs", "checkpoints")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        return value if value is None else no_secret(value)

    @field_validator("refiners")
    @classmethod
    def _no_secrets(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(no_secret(value) for value in values)

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            raise ValueError("must be auto, cpu, cuda or cuda:N")
        return value

    @model_validator(mode="after")
    def _whole(self) -> JobSettings:
        if len(self.refiners) > 2:
            raise ValueError("takes one refiner, or two: a document bundle, then a chunk bundle")
        if self.source_schema is not None and self.format != "jsonl":
            raise ValueError(f"a schema is declared for jsonl only; {self.format} brings its own")
        if self.any_language and self.language_column is not None:
            raise ValueError("a language column tells languages apart, any_language does not; take one of them")
        if self.from_version is not None and self.format != "delta":
            raise ValueError(f"from_version names a version of a Delta source; this one is {self.format}")
        if self.ignore_deletes and self.format != "delta":
            raise ValueError(f"ignore_deletes is for the change data feed of a Delta source; this one is {self.format}")
        ignored = [name for name in NOT_GAIR if getattr(self.guards, name) != GuardSettings.model_fields[name].default]
        if self.policy == "gair" and ignored:
            raise ValueError(f"policy gair has no guards: {', '.join(ignored)} would do nothing")
        if self.reconcile and (self.from_version is not None or self.ignore_deletes):
            raise ValueError("reconcile compares the whole source: no from_version or ignore_deletes goes with it")
        if self.reconcile and self.max_batches is not None:
            raise ValueError("reconcile compares the whole source: no max_batches goes with it")
        if self.id_column == self.text_column:
            raise ValueError(f"id column and text column are both {self.id_column!r}")
        return self

    @property
    def identifies(self) -> bool:
        """Whether WRITE identifies the language of documents, for refiners that name theirs."""
        return not self.any_language and self.language_column is None

    def to_json(self) -> str:
        """Canonical JSON of the settings, as `runs.settings` keeps it."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def is_directory(tables: str) -> bool:
    """Return whether a `--tables` value names a directory: it holds a `/` or a `:`."""
    return "/" in tables or ":" in tables


def no_secret(address: str) -> str:
    """Return a path that may be kept and shown; raises ValueError, which does not repeat it, if it holds a secret."""
    if _PASSWORD.search(address) or _SIGNED.search(address):
        raise ValueError(
            "may hold no password, key or signature: it is kept in `runs` and shown. Give Spark the credentials by its "
            "settings (spark.hadoop.fs...) or the machine's role"
        )
    return address


def job_settings(**values: Any) -> JobSettings:
    """Build settings; raises ConfigError that names each wrong setting in words, not pydantic's own error."""
    try:
        return JobSettings(**values)
    except ValidationError as error:
        raise wrong_settings(error) from None


def wrong_settings(error: ValidationError) -> ConfigError:
    """Return what pydantic found wrong, in words."""
    wrong = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        wrong.append(f"{name}: {message}" if name else message)
    return ConfigError("; ".join(wrong))
