"""Whatever turns a text into a refined one, so that all are measured in the same way: refiners, rules, filters."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from prox_spark.program.execute import Refined, execute
from prox_spark.program.programs import DocumentPrograms
from prox_spark.refiner.refiner import Refiner

# A text and the code of its language.
Text = tuple[str, str]


@dataclass(frozen=True)
class Writing:
    """What writing programs took: counts of programs, errors and the like, mean tokens, seconds of writing alone."""

    programs: int
    errors: int
    truncated: int
    looped: int
    prompt_tokens: float
    new_tokens: float
    seconds: float


class Contender(ABC):
    """Refines texts.

    ``name``: as in tables. ``removes_lines``: its edits say which lines went. ``writing``: what the last ``refine``
    took, where programs were written.
    """

    name: str
    removes_lines = False
    writing: Writing | None = None

    @abstractmethod
    def refine(self, texts: Sequence[Text]) -> list[Refined]:
        """What becomes of the texts."""


class Unchanged(Contender):
    """The text as it came."""

    name = "raw"

    def refine(self, texts: Sequence[Text]) -> list[Refined]:
        """The texts as they are."""
        return [Refined(text, "unchanged") for text, _ in texts]


class RefinerContender(Contender):
    """A bundle or rules: programs are written, then executed by policy ``strict``, as a job does it."""

    removes_lines = True

    def __init__(self, refiner: Refiner, caution: str = "balanced", any_language: bool = False) -> None:
        self.refiner, self.caution, self.any_language = refiner, caution, any_language
        self.name = refiner.name

    def refine(self, texts: Sequence[Text]) -> list[Refined]:
        """Write and execute; what writing took is in ``writing`` afterwards."""
        started = time.monotonic()
        programs = list(self.refiner.write(text for text, _ in texts))
        seconds = time.monotonic() - started
        thresholds = self.refiner.thresholds.get(self.caution)
        made = [
            execute(
                text,
                written,
                dialect=self.refiner.dialect,
                language=language,
                languages=() if self.any_language else self.refiner.languages,
                thresholds=thresholds,
            )
            for (text, language), written in zip(texts, programs, strict=True)
        ]
        self.writing = _writing(programs, made, seconds)
        return made


def _writing(programs: Sequence[DocumentPrograms], made: Sequence[Refined], seconds: float) -> Writing:
    chunks = [chunk for written in programs for chunk in written.chunks]
    count = max(1, len(chunks))
    return Writing(
        programs=len(chunks),
        errors=sum(len(one.errors) for one in made),
        truncated=sum(chunk.truncated for chunk in chunks),
        looped=sum(chunk.looped for chunk in chunks),
        prompt_tokens=sum(written.prompt_tokens for written in programs) / count,
        new_tokens=sum(written.new_tokens for written in programs) / count,
        seconds=seconds,
    )
