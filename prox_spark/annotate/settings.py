"""Settings of an annotation: whom to ask, what, and how hard. The key itself is never a setting."""

from __future__ import annotations

import json
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from prox_spark.config import JobSettings, wrong_settings
from prox_spark.errors import ConfigError

Task = Literal["score", "clean", "program"]
DialectName = Literal["prox", "refinex", "ultrax"]

# Tokens that an answer may have, by task: a verdict, a text as long as the chunk, a list of calls.
MAX_TOKENS: dict[str, int] = {"score": 512, "clean": 4096, "program": 1024}


# Fields of a request that are not for `extra_body`: they decide under what an answer is filed, or how it is read.
OURS = {
    "model": "say it with --model",
    "messages": "say it with --prompt",
    "stream": "answers are read whole",
    "n": "one answer is read",
}


class AnnotateSettings(BaseModel):
    """Everything that an annotation is told.

    job: source, tables, slices, error budget; its other settings are not used.
    task: `score` (documents), `clean` or `program` (chunks).
    dialect: of the programs (`program` only).
    base_url: of the endpoint, up to and without `/chat/completions`.
    model: name by which the endpoint knows the model.
    api_key_env: environment variable of the driver that holds the key. api_key_secret: `scope/key` of a Databricks
        secret that does. Neither: no key is sent.
    prompt: file with a prompt of one's own; default: the task's.
    max_chars: characters of a document that `score` shows, and of a chunk.
    max_tokens: tokens that an answer may have; default by task (`MAX_TOKENS`).
    extra_body: more fields of the request; one that is null takes a field away.
    concurrency: requests in flight in each Spark task.
    timeout: seconds that one request may take in all.
    attempts: requests that are sent for one answer before it is given up.
    backoff: seconds before the second of them, doubled for each further one up to a minute, less up to half by chance.
    max_requests: stop after so many answers were asked for; default: all there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: JobSettings
    task: Task
    dialect: DialectName = "prox"
    base_url: str
    model: str = Field(min_length=1)
    api_key_env: str | None = None
    api_key_secret: str | None = None
    prompt: str | None = None
    max_chars: int = Field(default=8_000, ge=200, le=1_000_000)
    max_tokens: int | None = Field(default=None, ge=1)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    concurrency: int = Field(default=8, ge=1, le=256)
    timeout: float = Field(default=120.0, gt=0, le=3_600)
    attempts: int = Field(default=5, ge=1, le=20)
    backoff: float = Field(default=1.0, ge=0, le=60)
    max_requests: int | None = Field(default=None, ge=1)

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
        except ValueError:
            raise ValueError("is no address") from None  # the message of urlsplit repeats what may be a password
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https address, such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("may hold no user, password, query or fragment: it is kept in `runs`, and a key is not")
        return value.rstrip("/").removesuffix("/chat/completions")

    @field_validator("extra_body")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, instead in OURS.items():
            if name in value:
                raise ValueError(f"{name} is not for extra_body: {instead}")
        return value

    @field_validator("api_key_secret")
    @classmethod
    def _scope_and_key(cls, value: str | None) -> str | None:
        if value is not None and (value.count("/") != 1 or value.startswith("/") or value.endswith("/")):
            raise ValueError("must be SCOPE/KEY")
        return value

    @model_validator(mode="after")
    def _whole(self) -> AnnotateSettings:
        if self.api_key_env and self.api_key_secret:
            raise ValueError("the key comes from an environment variable or from a secret, not from both")
        return self

    @property
    def answer_tokens(self) -> int:
        """Tokens that an answer may have."""
        return self.max_tokens or MAX_TOKENS[self.task]

    def to_dict(self) -> dict[str, Any]:
        """Return what `runs.settings` keeps beside the job's own settings."""
        return self.model_dump(mode="json", exclude={"job"})


def annotate_settings(extra_body: str | None = None, **values: Any) -> AnnotateSettings:
    """Build settings; `extra_body` as JSON. Raises ConfigError that names each wrong setting in words."""
    try:
        if extra_body is not None:
            values["extra_body"] = json.loads(extra_body)
        return AnnotateSettings(**values)
    except json.JSONDecodeError as error:
        raise ConfigError(f"extra_body is not JSON: {error}") from None
    except ValidationError as error:
        raise wrong_settings(error) from None
