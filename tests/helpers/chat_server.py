"""A chat completions endpoint that misbehaves as it is told, and counts what it is asked: a real HTTP server."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD_SCORE = 'Here you are:\n```json\n{"reason": "a fine page", "education": 3, "format": 2}\n```'
# What the server does at the first, second, … request about a page of that name; the last one again and again.
HABITS: dict[str, tuple[str, ...]] = {
    "limited": ("429", "ok"),
    "shaky": ("500", "503", "ok"),
    "slow": ("slow", "ok"),
    "dripping": ("drip", "ok"),
    "dropped": ("drop", "ok"),
    "halved": ("half", "ok"),
    "html": ("html", "ok"),
    "choiceless": ("no choices", "ok"),
    "moody": ("prose", "ok"),
    "chatty": ("prose",),
    "wrong": ("wrong score",),
    "empty": ("empty",),
    "cut": ("length",),
    "filtered": ("filter",),
    "long": ("400",),
    "echo": ("echo",),
    "down": ("500",),
    "patient": ("wait an hour",),
}
KEY = "sk-test-do-not-tell-0123456789"


class ChatServer(ThreadingHTTPServer):
    """Knows one key and one model. A page is known by the `page=NAME-N` in it; its name tells the server's habit.

    seen: requests by page. answers: content by page, instead of a good score.
    times: when each request about a page came. most_at_once: requests that were in work at the same time.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.habits = dict(HABITS)
        self.answers: dict[str, str] = {}
        self.seen: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.times: dict[str, list[float]] = {}
        self.key: str | None = KEY
        self.at_once = self.most_at_once = 0

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def asked(self) -> int:
        """Requests in all."""
        return sum(self.seen.values())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """Run a server for as long as the block lasts."""
    server = ChatServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        found = re.search(r"page=([a-z]+)-?(\w*)", text)
        page = found[0].removeprefix("page=") if found else "knock"
        with server.lock:
            server.seen[page] += 1
            server.bodies.append(body)
            server.times.setdefault(page, []).append(time.monotonic())
            nth = server.seen[page]
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            habit = server.habits.get(found[1] if found else "", ("ok",))
            self._behave(habit[min(nth, len(habit)) - 1], page, body)
        finally:
            with server.lock:
                server.at_once -= 1

    def _behave(self, how: str, page: str, body: dict[str, Any]) -> None:
        server = self.server
        if server.key is not None and self.headers.get("Authorization") != f"Bearer {server.key}":
            self._error(401, f"Incorrect API key provided: {self.headers.get('Authorization')}")
        elif self.path != "/v1/chat/completions" or body["model"] != "big":
            self._error(404, f"The model {body['model']} does not exist.")
        elif how == "429":
            self._error(429, "Slow down", {"Retry-After": "1"})
        elif how == "wait an hour":
            self._error(429, "Quota", {"Retry-After": "3600"})
        elif how in ("500", "503", "400"):
            self._error(int(how), "It does not work today")
        elif how == "echo":
            self._error(400, f"What is {self.headers.get('Authorization')}?")
        elif how == "slow":
            time.sleep(3)
            self._good(page)
        elif how == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            for _ in range(30):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
            self.close_connection = True
        elif how == "drop":
            self.close_connection = True  # not a byte
        elif how == "half":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"mess')
            self.close_connection = True
        elif how == "html":
            self._send(200, b"<html><body>502 Bad Gateway</body></html>")
        elif how == "no choices":
            self._send(200, json.dumps({"choices": [], "usage": {"prompt_tokens": 100}}).encode())
        else:
            contents = {
                "prose": ("I would give this page a good score.", "stop"),
                "wrong score": ('{"education": 9, "format": "high"}', "stop"),
                "empty": ("", "stop"),
                "length": ('{"education": 4, "fo', "length"),
                "filter": ("", "content_filter"),
            }
            self._good(page, *contents.get(how, (server.answers.get(page, GOOD_SCORE), "stop")))

    def _good(self, page: str, content: str = GOOD_SCORE, finish: str = "stop") -> None:
        answer = {
            "model": "big-2026",
            "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10},
        }
        self._send(200, json.dumps(answer).encode())

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps({"error": {"message": message}}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
