"""What a set of rules says about one document, before it is written as programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """The lines that go, what is deleted within lines that stay, and whether the document goes as a whole.

    remove: for each line whether it goes; empty where no line does.
    delete: number of a line that stays, to the strings that are deleted in it.
    drop: the rule that the document fails, in a word; None for a document worth keeping.
    """

    remove: Sequence[bool] = ()
    delete: Mapping[int, Sequence[str]] = field(default_factory=dict)
    drop: str | None = None
