"""What a policy hands back to `execute`: the decision, before it is counted and dressed as a `Refined`."""

from __future__ import annotations

from dataclasses import dataclass

from prox_spark.program.operations import ProgramError
from prox_spark.program.refined import Edit


@dataclass(slots=True)
class Outcome:
    """A policy's decision on one document.

    Attributes:
        status: as in `Refined`.
        reason: as in `Refined`.
        text: the text after the edits; None where it is the text as it was.
        lines_out: number of lines of `text`; only read where `text` is not None.
        words_in, words_out: words before and after, where the policy has counted them; -1 where not.
        partial, edits, errors: as in `Refined`.
    """

    status: str
    reason: str | None = None
    text: str | None = None
    lines_out: int = 0
    words_in: int = -1
    words_out: int = -1
    partial: bool = False
    edits: tuple[Edit, ...] = ()
    errors: tuple[ProgramError, ...] = ()
