"""Many requests at once: in bounded number, tried again where that may help, given up where it cannot."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from prox_spark.annotate.client import Client, Failure, Reply
from prox_spark.annotate.readings import Reading

LONGEST_BACKOFF = 60.0
# An endpoint that asks for more patience than this is given up for now; the next run asks again.
LONGEST_WAIT = 300.0
# So many requests without an answer, one after the other: the endpoint is down, and the rest need not be tried.
ENOUGH_FAILURES = 10
# An answer that cannot be used is asked for once more: sampling, or a proxy's mood, may give another one.
MAX_UNUSABLE = 2

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    status: `ok`; `unusable` (the endpoint has answered, and that cannot be used); `failed` (it has not answered).
    error, detail: why, where it is not `ok`. content: what the model said. attempts: requests sent.
    prompt_tokens, new_tokens: of all attempts, as the endpoint counts. seconds: of the last attempt.
    fatal: nothing else of this run can go well either.
    """

    status: str
    error: str | None = None
    detail: str | None = None
    content: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    reading: Reading = field(default_factory=Reading)
    attempts: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    fatal: bool = False


class Gate:
    """What the threads of one worker tell each other: when to wait, and when to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_at = 0.0
        self._failures = 0
        self.stopped = False

    def hold(self, seconds: float) -> None:
        """Let nobody ask before so many seconds have passed."""
        with self._lock:
            self._open_at = max(self._open_at, time.monotonic() + seconds)

    def pass_through(self) -> bool:
        """Wait until asking is allowed; return False where it no longer makes sense."""
        while not self.stopped:
            left = self._open_at - time.monotonic()
            if left <= 0:
                return True
            # Not all at the same moment.
            time.sleep(left + random.uniform(0, min(1.0, left / 10)))
        return False

    def count(self, answer: Answer) -> None:
        """Stop when nothing can go well, or nothing has for a while."""
        with self._lock:
            self._failures = self._failures + 1 if answer.status == "failed" else 0
            self.stopped = self.stopped or answer.fatal or self._failures >= ENOUGH_FAILURES


Job = TypeVar("Job")


class Asker(Generic[Job]):
    """Asks an endpoint about many jobs.

    messages: what to send about a job. read: how to read the answer to it.
    attempts, backoff, concurrency: see `AnnotateSettings`.
    """

    def __init__(
        self,
        client: Client,
        messages: Callable[[Job], Messages],
        read: Callable[[Job, str], Reading],
        *,
        attempts: int,
        backoff: float,
        concurrency: int,
    ) -> None:
        self._client = client
        self._messages = messages
        self._read = read
        self._attempts = attempts
        self._backoff = backoff
        self._concurrency = concurrency
        self._gate = Gate()

    def ask_all(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Answer]]:
        """Yield jobs with their answers as these come in. Jobs that were no longer asked about are left out."""
        with ThreadPoolExecutor(self._concurrency) as pool:
            asked: dict[Future[Answer | None], Job] = {}
            for job in jobs:
                if self._gate.stopped:
                    continue  # the rest is read, so that whoever hands it over can finish
                asked[pool.submit(self.ask, job)] = job
                if len(asked) >= self._concurrency:
                    yield from self._finished(asked)
            while asked:
                yield from self._finished(asked)

    def _finished(self, asked: dict[Future[Answer | None], Job]) -> Iterator[tuple[Job, Answer]]:
        done, _ = wait(asked, return_when=FIRST_COMPLETED)
        for future in done:
            job, answer = asked.pop(future), future.result()
            if answer is not None:
                yield job, answer

    def ask(self, job: Job) -> Answer | None:
        """Return what came of one job, tried as often as makes sense; None where nothing was sent. Never raises."""
        tally = _Tally()
        answer: Answer | None = None
        for attempt in range(1, self._attempts + 1):
            if not self._gate.pass_through():
                break
            tally.attempts = attempt
            latest, delay = self._try(job, tally)
            # An answer that cannot be used is one nevertheless: it was paid for, and tells more than a later failure.
            bought = answer is not None and answer.status == "unusable" and latest.status == "failed"
            answer = replace(answer, attempts=attempt) if answer is not None and bought else latest
            if bought or delay is None or attempt == self._attempts:
                break
            time.sleep(max(delay, self._pause(attempt)))
        if answer is not None:
            self._gate.count(answer)
        return answer

    def _pause(self, attempt: int) -> float:
        return min(LONGEST_BACKOFF, self._backoff * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)

    def _try(self, job: Job, tally: _Tally) -> tuple[Answer, float | None]:
        """Send one request; return the answer, and the least wait before another try; None: there is to be none."""
        began = time.monotonic()
        try:
            reply = self._client.ask(self._messages(job))
        except Failure as failure:
            tally.add(failure.prompt_tokens, failure.new_tokens, began)
            status = "unusable" if failure.refused else "failed"
            answer = tally.answer(status, failure.code, failure.detail, fatal=failure.fatal)
            if not failure.passing or (failure.wait or 0) > LONGEST_WAIT:
                return answer, None
            if failure.wait:
                self._gate.hold(failure.wait)
            return answer, failure.wait or 0.0
        except Exception as error:
            tally.add(0, 0, began)
            return tally.answer("failed", "unexpected", f"{type(error).__name__}: {error}"[:500]), None
        tally.add(reply.prompt_tokens, reply.new_tokens, began)
        return self._judge(job, reply, tally)

    def _judge(self, job: Job, reply: Reply, tally: _Tally) -> tuple[Answer, float | None]:
        if reply.finish_reason in ("length", "content_filter"):
            # The same limit, or the same filter, would end it again.
            code = "truncated" if reply.finish_reason == "length" else "filtered"
            return tally.answer("unusable", code, f"finish_reason is {reply.finish_reason}", reply), None
        if not reply.content.strip():
            reading = Reading(problem=("empty", "the message has no text"))
        else:
            try:
                reading = self._read(job, reply.content)
            except Exception as error:
                reading = Reading(problem=("unexpected", f"{type(error).__name__}: {error}"[:500]))
        if reading.problem is None:
            return tally.answer("ok", None, None, reply, reading), None
        tally.unusable += 1
        answer = tally.answer("unusable", *reading.problem, reply, reading)
        return answer, 0.0 if tally.unusable < MAX_UNUSABLE else None


class _Tally:
    """What the attempts at one answer have cost so far."""

    def __init__(self) -> None:
        self.attempts = self.unusable = self.prompt_tokens = self.new_tokens = 0
        self.seconds = 0.0

    def add(self, prompt_tokens: int, new_tokens: int, began: float) -> None:
        self.prompt_tokens += prompt_tokens
        self.new_tokens += new_tokens
        self.seconds = time.monotonic() - began

    def answer(
        self,
        status: str,
        error: str | None,
        detail: str | None,
        reply: Reply | None = None,
        reading: Reading = Reading(),
        fatal: bool = False,
    ) -> Answer:
        return Answer(
            status=status,
            error=error,
            detail=detail,
            content=reply.content if reply else None,
            finish_reason=reply.finish_reason if reply else None,
            model=reply.model if reply else None,
            reading=reading,
            attempts=self.attempts,
            prompt_tokens=self.prompt_tokens,
            new_tokens=self.new_tokens,
            seconds=self.seconds,
            fatal=fatal,
        )
