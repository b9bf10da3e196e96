"""What comes out of EXECUTE for one document, and the guards that decide about it."""

from __future__ import annotations

from dataclasses import dataclass

from prox_spark.errors import PolicyError
from prox_spark.program.operations import ProgramError


@dataclass(frozen=True, slots=True)
class Guards:
    """Bounds within which programs are trusted, applied by the policy `strict` in the order given in docs/program.md.

    The policy `gair` has its own constants and takes only `max_bytes` and `max_lines` from here.

    Attributes:
        max_bytes: a text of more UTF-8 bytes is quarantined; default 16 MiB.
        max_lines: a text of more lines is quarantined; default 1,000,000.
        max_errors: from this number of errors in a document on, nothing of its programs is applied.
        max_removed_ratio: a document that would lose a greater part of its words is dropped, 0 to 1.
        min_words: a document of which fewer words would be left is dropped.
        allow_new_words: replacements may bring in words that the chunk does not have.
    """

    max_bytes: int = 16 * 1024 * 1024
    max_lines: int = 1_000_000
    max_errors: int = 2
    max_removed_ratio: float = 0.95
    min_words: int = 10
    allow_new_words: bool = False

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_lines", "max_errors"):
            if getattr(self, name) < 1:
                raise PolicyError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.min_words < 0:
            raise PolicyError(f"min_words must be at least 0, not {self.min_words}")
        if not 0 <= self.max_removed_ratio <= 1:
            raise PolicyError(f"max_removed_ratio must lie between 0 and 1, not {self.max_removed_ratio}")


@dataclass(frozen=True, slots=True)
class Edit:
    """What one operation did at one place; the fields are those of `refined.edits`.

    Attributes:
        operation: name of the operation, such as `remove_lines` or `normalize`.
        chunk: number of the chunk whose program asked for it; None where the policy joins all programs.
        first_line: first line concerned, from 0 through the document as it was.
        last_line: last line concerned, included.
        start: first character concerned within the line, from 0; None for whole lines and for summaries.
        end: character after the last one concerned; None for whole lines and for summaries.
        removed: the text that went away; lines joined by newlines.
        inserted: the text that came in its place.
        reason: `occurrences=N` when the edit sums up N occurrences, otherwise None.
    """

    operation: str
    chunk: int | None
    first_line: int
    last_line: int
    start: int | None
    end: int | None
    removed: str
    inserted: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Refined:
    """What became of one document.

    Attributes:
        text: the refined text; None when dropped (in mode `tag` always the text as it was).
        status: `refined`, `unchanged`, `dropped`, `fallback` or `quarantined`.
        reason: a reason code of docs/program.md, or None when the status says it all.
        partial: at least one program of the document had an error and was not applied.
        edits: what was changed, in the order of the text.
        errors: what could not be read or applied.
        lines_in, lines_out: number of lines before and after.
        words_in, words_out: number of words before and after.
        chars_in, chars_out: number of code points before and after.
    """

    text: str | None
    status: str
    reason: str | None = None
    partial: bool = False
    edits: tuple[Edit, ...] = ()
    errors: tuple[ProgramError, ...] = ()
    lines_in: int = 0
    lines_out: int = 0
    words_in: int = 0
    words_out: int = 0
    chars_in: int = 0
    chars_out: int = 0
