"""A labelled page, as training and calibration know it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Page:
    """One rendering of a page: its lines, whether each is to be removed, and how much that counts in the loss.

    comments: whether each line is a reader's comment; empty where that is not known.
    """

    id: str
    domain: str
    rendering: str
    lines: tuple[str, ...]
    remove: tuple[bool, ...]
    weights: tuple[float, ...]
    raw: str
    gold: str
    comments: tuple[bool, ...] = ()

    @classmethod
    def made(cls, lines: Sequence[str], remove: bool, weights: Iterable[float]) -> Page:
        """A document of no site, of which every line has the same verdict."""
        return cls("", "", "", tuple(lines), (remove,) * len(lines), tuple(weights), "", "")

    def only(self, remove: bool) -> Page:
        """The page reduced to its removed or to its kept lines."""
        picked = [i for i, value in enumerate(self.remove) if value is remove]
        lines = tuple(self.lines[i] for i in picked)
        weights = tuple(self.weights[i] for i in picked)
        kept = (remove,) * len(picked)
        return replace(self, lines=lines, remove=kept, weights=weights, raw="\n".join(lines), gold="", comments=())
