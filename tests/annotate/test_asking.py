"""Asking an endpoint that misbehaves, over real HTTP: what is tried again, what is given up, and how it is told."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from prox_spark.annotate.asking import ENOUGH_FAILURES, Answer, Asker
from prox_spark.annotate.client import Client, Endpoint, _seconds
from prox_spark.annotate.readings import read_answer
from prox_spark.schemas import ANNOTATION_ERRORS
from tests.helpers.chat_server import HABITS, KEY, ChatServer, chat_server


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


def endpoint(url: str, key: str | None = KEY, model: str = "big", connections: int = 8) -> Endpoint:
    return Endpoint(url, {"model": model}, 1.0, connections, SecretStr(key) if key else None)


def ask_all(pages: list[str], to: Endpoint, attempts: int = 4) -> dict[str, Answer]:
    client = Client(to)
    asker = Asker[str](
        client,
        lambda page: [{"role": "user", "content": f"page={page}"}],
        lambda page, content: read_answer(content, "score", page),
        attempts=attempts,
        backoff=0.02,
        concurrency=to.connections,
    )
    answers = list(asker.ask_all(pages))
    client.close()
    assert len(answers) == len(dict(answers))
    return dict(answers)


# By page: status, error, requests.
OUTCOMES = {
    "good": ("ok", None, 1),
    "limited": ("ok", None, 2),
    "shaky": ("ok", None, 3),
    "slow": ("ok", None, 2),
    "dripping": ("ok", None, 2),
    "dropped": ("ok", None, 2),
    "halved": ("ok", None, 2),
    "html": ("ok", None, 2),
    "choiceless": ("ok", None, 2),
    "moody": ("ok", None, 2),
    "chatty": ("unusable", "not_json", 2),
    "wrong": ("unusable", "wrong_score", 2),
    "empty": ("unusable", "empty", 2),
    "cut": ("unusable", "truncated", 1),
    "filtered": ("unusable", "filtered", 1),
    "long": ("unusable", "http_400", 1),
    "echo": ("unusable", "http_400", 1),
    "down": ("failed", "http_500", 4),
    "patient": ("failed", "http_429", 1),
}


def test_every_kind_of_trouble_ends_in_an_answer_of_its_own(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert set(OUTCOMES) == {"good", *HABITS}
    with caplog.at_level(logging.DEBUG):
        answers = ask_all(list(OUTCOMES), endpoint(server.url))
    got = {page: (answer.status, answer.error, answer.attempts) for page, answer in answers.items()}
    assert got == OUTCOMES
    assert dict(server.seen) == {page: requests for page, (_, _, requests) in OUTCOMES.items()}
    assert server.most_at_once <= 8
    # Retry-After: 1 was waited for.
    first, second = server.times["limited"]
    assert second - first >= 1.0
    # Tokens of all attempts that the endpoint counted, of use or not.
    assert (answers["chatty"].prompt_tokens, answers["chatty"].new_tokens) == (200, 20)
    assert answers["choiceless"].prompt_tokens == 200
    assert answers["down"].prompt_tokens == 0
    assert answers["good"].reading.keep is True and answers["good"].model == "big-2026"
    assert answers["cut"].content == '{"education": 4, "fo'
    assert answers["echo"].detail == "What is Bearer [key]?"
    assert KEY not in repr(answers) + caplog.text + repr(endpoint(server.url))


def test_every_error_is_declared_and_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "annotate.md").read_text(encoding="utf-8")
    assert [error for error in ANNOTATION_ERRORS if f"`{error}`" not in page] == []
    happened = {re.sub(r"^http_\d+$", "http_<status>", error) for _, error, _ in OUTCOMES.values() if error}
    assert happened <= set(ANNOTATION_ERRORS)


def test_a_paid_answer_is_kept_when_the_second_try_fails(server: ChatServer) -> None:
    server.habits["chatty"] = ("prose", "500")
    answer = ask_all(["chatty"], endpoint(server.url))["chatty"]
    assert (answer.status, answer.error, answer.attempts) == ("unusable", "not_json", 2)
    assert answer.content == "I would give this page a good score."


@pytest.mark.parametrize(
    ("key", "model", "error"), [("sk-wrong-wrong-wrong", "big", "http_401"), (KEY, "none", "http_404")]
)
def test_a_wrong_key_or_model_stops_everything(server: ChatServer, key: str, model: str, error: str) -> None:
    answers = ask_all([f"good-{n}" for n in range(200)], endpoint(server.url, key, model, connections=4))
    assert {answer.error for answer in answers.values()} == {error}
    assert all(answer.fatal and answer.attempts == 1 for answer in answers.values())
    assert server.asked == len(answers) <= 8
    assert key not in repr(answers)


def test_an_endpoint_that_is_down_is_left_alone(server: ChatServer) -> None:
    answers = ask_all([f"down-{n}" for n in range(500)], endpoint(server.url, connections=4), attempts=2)
    assert {answer.status for answer in answers.values()} == {"failed"}
    assert ENOUGH_FAILURES <= len(answers) <= ENOUGH_FAILURES + 4


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = ask_all(["good"], endpoint(f"http://127.0.0.1:{port}/v1"), attempts=2)["good"]
    assert (answer.status, answer.error, answer.attempts) == ("failed", "connection", 2)


def test_redirects_are_not_followed(server: ChatServer) -> None:
    with chat_server() as other:
        other.habits["good"] = ("ok",)
        answer = ask_all(["good"], endpoint(server.url.replace("/v1", "/elsewhere")))["good"]
        assert answer.fatal and answer.error == "http_404" and other.asked == 0


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("3", 3, 3), ("0.5", 0.5, 0.5), ("-1", 0, 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0)],
)
def test_retry_after_is_a_number_or_a_date(header: str, least: float, most: float) -> None:
    seconds = _seconds(header)
    assert seconds is not None and least <= seconds <= most


@pytest.mark.parametrize("header", [None, "", "soon", "99999-99"])
def test_what_is_no_retry_after(header: str | None) -> None:
    assert _seconds(header) is None
