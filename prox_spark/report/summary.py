"""The figures of a set of tables as plain data: what a report shows, and nothing about how it was queried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

# Commands that take documents from a source to the tables; the others look after what is there, or ask an endpoint.
WORK = ("refine", "write", "execute", "retry")
STATUSES = ("refined", "unchanged", "dropped", "fallback", "quarantined")


# Counts of runs that are no statuses, as a report names them.
_TOLD = {"written": "programs written", "gone": "gone from the source", "asked": "answers asked for"}


def nothing_new(counts: Mapping[str, int], duplicates: int) -> bool:
    """Whether a run that counted so found all rows done, but for those that stand there twice, and none gone."""
    rows = counts.get("rows", 0) - duplicates
    return rows <= counts.get("already", 0) and not counts.get("gone")


@dataclass(frozen=True)
class RunFacts:
    """One row of `runs`. Seconds are wall time; tokens are the refiner's own."""

    run_id: str
    command: str
    source: str = ""
    source_version: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    write_seconds: float = 0.0
    execute_seconds: float = 0.0
    refiner: str = ""
    fingerprint: str = ""
    provider: str = ""
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    error: str | None = None

    @property
    def did_nothing(self) -> bool:
        """True for a run that found nothing new (or ended before it had looked)."""
        return self.command in WORK and nothing_new(self.counts, self.duplicates)

    @property
    def outcome(self) -> tuple[tuple[str, int], ...]:
        """(what became of documents, or what a run wrote or deleted; how many) of this run, those that occur."""
        names = (*STATUSES, *(name for name in self.counts if name in _TOLD or name.startswith("deleted.")))
        # What a run that executes has written is told by what became of it.
        hidden = {"written"} if any(map(self.counts.get, STATUSES)) else set()
        return tuple((_TOLD.get(n, n), self.counts[n]) for n in names if self.counts.get(n) and n not in hidden)


@dataclass(frozen=True)
class StatusCount:
    """How many documents have a status for a reason, and what that did to their lines and words (0 for quarantined)."""

    status: str
    reason: str | None
    documents: int
    lines_in: int = 0
    lines_out: int = 0
    words_in: int = 0
    words_out: int = 0


@dataclass(frozen=True)
class RemovedLine:
    """A line that was removed: how often in all, and from how many documents."""

    text: str
    times: int
    documents: int


@dataclass(frozen=True)
class EditRow:
    """One edit of one document; `start` and `end` are characters within the line, None for whole lines."""

    operation: str
    first_line: int
    last_line: int
    removed: str
    inserted: str = ""
    start: int | None = None
    end: int | None = None
    chunk: int | None = None
    reason: str | None = None
    doc_id: str = ""


@dataclass(frozen=True)
class SamplePage:
    """A document with its edits: enough to draw it before and after. `text` is None for a dropped document.

    original: `text` is the document as it came, and its edits are yet to be made (mode `tag`, a fallback).
    """

    doc_id: str
    status: str
    reason: str | None
    text: str | None
    lines_in: int
    edits: tuple[EditRow, ...] = ()
    original: bool = False


@dataclass(frozen=True)
class QuarantineRow:
    """How many documents were set aside at a stage for a reason, with one of them as an example."""

    stage: str
    reason: str
    documents: int
    example_id: str = ""
    example_detail: str = ""
    largest_bytes: int = 0


@dataclass(frozen=True)
class Summary:
    """All that a report shows about one set of tables; `runs` are newest first."""

    tables: str
    runs: tuple[RunFacts, ...] = ()
    counts: tuple[StatusCount, ...] = ()
    removed_lines: tuple[RemovedLine, ...] = ()
    largest_edits: tuple[EditRow, ...] = ()
    pages: tuple[SamplePage, ...] = ()
    quarantine: tuple[QuarantineRow, ...] = ()

    @property
    def documents(self) -> int:
        """All documents that the tables account for."""
        return sum(count.documents for count in self.counts)

    def with_status(self, status: str) -> int:
        """The number of documents with this status."""
        return sum(count.documents for count in self.counts if count.status == status)

    @property
    def statuses(self) -> tuple[tuple[str, int], ...]:
        """(status, documents) in the order in which people read them, those that occur or not."""
        return tuple((status, self.with_status(status)) for status in STATUSES)

    @property
    def words(self) -> tuple[int, int]:
        """Words before and after, over all documents that were refined or judged."""
        return sum(c.words_in for c in self.counts), sum(c.words_out for c in self.counts)

    @property
    def lines(self) -> tuple[int, int]:
        """Lines before and after, over all documents that were refined or judged."""
        return sum(c.lines_in for c in self.counts), sum(c.lines_out for c in self.counts)

    @property
    def last_work(self) -> RunFacts | None:
        """The newest run over a source that did something, else the newest over one; None where there is none yet."""
        runs = [run for run in self.runs if run.command in WORK]
        return next((run for run in runs if not run.did_nothing), runs[0] if runs else None)
