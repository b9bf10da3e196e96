"""One request to an OpenAI-compatible endpoint, and what can become of it. The key leaves in a header only."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from pydantic import SecretStr

from prox_spark.version import __version__

# No answer is this long; what is, is garbage.
MAX_BODY_BYTES = 8 * 1024 * 1024
CONNECT_SECONDS = 10.0
MAX_DETAIL = 500
# A shorter key may be a word of the text; endpoints that need none are given such ones.
SHORTEST_KEY = 8

# What is wrong with the run and not with this request: the key, the model, the address, the account.
FATAL = {401, 402, 403, 404, 405}
# What may pass: too slow, too early, too many.
PASSING = {408, 409, 425, 429}


@dataclass(frozen=True)
class Endpoint:
    """Whom to ask, and how. timeout: seconds for one request in all. body: fields of every request but the messages."""

    base_url: str
    body: Mapping[str, Any]
    timeout: float
    connections: int
    key: SecretStr | None = None


@dataclass(frozen=True)
class Reply:
    """What a model said. model: the name that the endpoint gave."""

    content: str
    finish_reason: str | None
    prompt_tokens: int
    new_tokens: int
    model: str | None


class Failure(Exception):
    """Why a request brought no answer.

    code: one of `schemas.ANNOTATION_ERRORS`. detail: in words, without the key.
    passing: worth another try. fatal: no request of this run can go well.
    refused: the endpoint has answered for good: it will not take this request.
    wait: seconds that the endpoint asked for. prompt_tokens, new_tokens: what it counted nevertheless.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        passing: bool = False,
        fatal: bool = False,
        refused: bool = False,
        wait: float | None = None,
        tokens: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.passing = passing
        self.fatal = fatal
        self.refused = refused
        self.wait = wait
        self.prompt_tokens, self.new_tokens = tokens


class Client:
    """Keeps connections to an endpoint; may be used by several threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._key = endpoint.key.get_secret_value() if endpoint.key else None
        headers = {"User-Agent": f"prox-spark/{__version__}"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connect = min(CONNECT_SECONDS, endpoint.timeout)
        self._http = httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(endpoint.timeout, connect=connect),
            limits=httpx2.Limits(max_connections=endpoint.connections, max_keepalive_connections=endpoint.connections),
            # A redirect would take the key elsewhere.
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        """Send one request. Raises Failure, and nothing else, when there is no answer."""
        body = {**self._endpoint.body, "messages": list(messages)}
        url = f"{self._endpoint.base_url}/chat/completions"
        deadline = time.monotonic() + self._endpoint.timeout
        try:
            with self._http.stream("POST", url, json=body) as response:
                raw = _read(response, deadline)
                status, headers = response.status_code, response.headers
        except httpx2.TimeoutException:
            raise Failure("timeout", f"no answer within {self._endpoint.timeout:g} s", passing=True) from None
        except httpx2.DecodingError as error:
            raise Failure("bad_response", self._safe(str(error)), passing=True) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise Failure("connection", self._safe(f"{type(error).__name__}: {error}"), passing=True) from None
        if status != 200:
            raise self._refusal(status, headers, raw)
        return self._reply(raw)

    def _refusal(self, status: int, headers: httpx2.Headers, raw: bytes) -> Failure:
        detail = self._safe(_message(raw))
        fatal = status in FATAL or 300 <= status < 400
        passing = status in PASSING or status >= 500
        refused = not fatal and not passing and 400 <= status < 500
        wait = _seconds(headers.get("retry-after")) if passing else None
        return Failure(f"http_{status}", detail, passing=passing, fatal=fatal, refused=refused, wait=wait)

    def _reply(self, raw: bytes) -> Reply:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Failure("bad_response", f"not a JSON object: {self._safe(_decoded(raw))}", passing=True)
        usage = value.get("usage")
        counted = usage if isinstance(usage, dict) else {}
        tokens = (_count(counted.get("prompt_tokens")), _count(counted.get("completion_tokens")))
        choices = value.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        message = first.get("message") if isinstance(first, dict) else None
        if not isinstance(first, dict) or not isinstance(message, dict):
            raise Failure("no_choices", self._safe(_decoded(raw)), passing=True, tokens=tokens)
        finish, model = first.get("finish_reason"), value.get("model")
        return Reply(
            content=self._safe(_content(message.get("content")), limit=None),
            finish_reason=finish if isinstance(finish, str) else None,
            prompt_tokens=tokens[0],
            new_tokens=tokens[1],
            model=model[:MAX_DETAIL] if isinstance(model, str) else None,
        )

    def _safe(self, text: str, limit: int | None = MAX_DETAIL) -> str:
        """Return what an endpoint said without our key: some repeat it in their errors."""
        if self._key and len(self._key) >= SHORTEST_KEY:
            # An exception may show it as Python writes it.
            text = text.replace(self._key, "[key]").replace(repr(self._key)[1:-1], "[key]")
        return text if limit is None else text[:limit]


def _read(response: httpx2.Response, deadline: float) -> bytes:
    """Return the body; the library's own time-out starts anew with every byte that drops in."""
    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise httpx2.DecodingError(f"a body of more than {MAX_BODY_BYTES} bytes")
        if time.monotonic() > deadline:
            raise httpx2.ReadTimeout("the whole request")
    return b"".join(parts)


def _content(value: object) -> str:
    """Return a message's text: a string, or the text parts of a list."""
    if isinstance(value, list):
        parts = [part.get("text") for part in value if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**40 else 0


def _message(raw: bytes) -> str:
    """Return an error's message: OpenAI's form, or the body as it is."""
    try:
        value = json.loads(raw)
        error = value.get("error", value)
        message = error.get("message") if isinstance(error, dict) else error
        return str(message or value)
    except (ValueError, RecursionError, AttributeError):
        return _decoded(raw)


def _decoded(raw: bytes) -> str:
    return raw[: 4 * MAX_DETAIL].decode("utf-8", "replace")


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a Retry-After header: a number, or a date; None where it is neither."""
    if retry_after is None:
        return None
    try:
        return max(0.0, min(float(retry_after), 1e9))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return max(0.0, (at - datetime.now(timezone.utc)).total_seconds())
