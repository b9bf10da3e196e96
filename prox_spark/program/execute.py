"""Apply programs to a text: the cheap half of the job, and the one that can be repeated with other settings."""

from __future__ import annotations

from prox_spark.program.operations import ProgramError
from prox_spark.program.programs import DocumentPrograms
from prox_spark.program.refined import Edit, Guards, Refined
from prox_spark.program.scores import Thresholds

__all__ = ["Edit", "Guards", "ProgramError", "Refined", "execute"]


def execute(
    text: str,
    programs: DocumentPrograms | str,
    policy: str = "strict",
    *,
    dialect: str = "prox",
    guards: Guards = Guards(),
    language: str | None = None,
    languages: tuple[str, ...] | None = None,
    thresholds: Thresholds | None = None,
    mode: str = "refine",
) -> Refined:
    """Apply a document's programs to its text. Never raises because of a text or a program."""
    raise NotImplementedError
