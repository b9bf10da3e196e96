"""What every refiner is to the rest of the project, whatever writes its programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prox_spark.config import GrammarMode
from prox_spark.program.programs import DocumentPrograms
from prox_spark.program.scores import Thresholds
from prox_spark.refiner.budget import NO_BOUND, Budget

SCRIPTED = "scripted:"
RULES = "rules:"


@dataclass(frozen=True)
class RefinerInfo:
    """What a refiner is, known without starting an inference session.

    name, version: of the bundle.
    fingerprint: sha256, lower hex, of all that decides a program.
    writes: ``score``, ``decode`` or ``script``.
    level: ``document`` (doc_program), ``chunk`` (chunk programs) or ``both``.
    dialect: of the programs it writes.
    languages: BCP 47 codes it was trained for; empty: any.
    precision: of its weights.
    grammar: whether it decodes by the grammar when nobody says otherwise.
    thresholds: caution (``cautious``, ``balanced``, ``aggressive``) to probabilities; empty if it does not score.
    limits: ``window_tokens``, ``max_new_tokens`` and the like.
    preflight: bounds for a sample of a source, see docs/bundles.md.
    card: licence, training data, metrics.
    """

    name: str
    version: str
    fingerprint: str
    writes: str
    level: str
    dialect: str = "prox"
    languages: tuple[str, ...] = ()
    precision: str = "none"
    grammar: bool = False
    thresholds: Mapping[str, Thresholds] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    preflight: Mapping[str, float] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)

    def decodes_by_grammar(self, mode: GrammarMode) -> bool:
        """Whether a setting makes it write only what the chunk allows; it has no meaning where nothing is decoded."""
        return self.writes == "decode" and (self.grammar if mode == "auto" else mode == "on")


class Refiner(ABC):
    """Reads documents, writes programs. Made by ``Refiner.load``; holds one inference session of one process.

    provider: execution provider that the session really has, e.g. ``CPUExecutionProvider``; ``none`` for scripts.
    device: ``cpu`` or ``cuda:N``.
    budget: what one document may take; to be set before ``write``. Rules cost next to nothing and do not look at it.
    grammar: what ``load`` was told.
    """

    info: RefinerInfo
    provider: str
    device: str
    budget: Budget = NO_BOUND
    grammar: GrammarMode = "auto"

    @staticmethod
    def describe(name_or_path: str | Path) -> RefinerInfo:
        """What the refiner is, from its files alone: every file is verified, no session is started.

        Raises BundleError for a bundle that is missing, tampered with or half copied.
        """
        if str(name_or_path).startswith(SCRIPTED):
            from prox_spark.refiner.scripted import ScriptedRefiner

            return ScriptedRefiner(str(name_or_path)).info
        if str(name_or_path).startswith(RULES):
            from prox_spark.refiner.rules import RulesRefiner

            return RulesRefiner(str(name_or_path)).info
        from prox_spark.refiner.bundle import Bundle

        return Bundle.find(name_or_path).info

    @staticmethod
    def load(
        name_or_path: str | Path,
        device: str = "auto",
        *,
        device_id: int | None = None,
        threads: int | None = None,
        batch_size: int = 16,
        grammar: GrammarMode = "auto",
    ) -> Refiner:
        """The refiner, ready to write.

        name_or_path: ``web-lite`` or another bundle that ships with the project, a bundle's directory, or
            ``rules:NAME`` (published filter rules, no model) or ``scripted:NAME`` (for tests).
        device: ``cpu``; ``cuda`` or ``cuda:N``, an error if it cannot be had; ``auto``: the GPU if ``device_id`` is
            given or if there is one, else the CPU.
        device_id: the GPU's address, where the caller was given one, as a Spark task is.
        threads: of one session on the CPU; default ``PROX_SPARK_THREADS``, else the cores this process may use.
        batch_size: most prompts in one run of the graph; no program depends on it.
        grammar: ``on``: a refiner that decodes writes only calls that can be carried out on their chunk; ``off``: what
            its model writes; ``auto``: as the bundle says.
        Raises BundleError, DeviceError, EngineError.
        """
        if str(name_or_path).startswith(SCRIPTED):
            from prox_spark.refiner.scripted import ScriptedRefiner

            return ScriptedRefiner(str(name_or_path))
        if str(name_or_path).startswith(RULES):
            from prox_spark.refiner.rules import RulesRefiner

            return RulesRefiner(str(name_or_path))
        from prox_spark.refiner.model import ModelRefiner

        return ModelRefiner.open(
            name_or_path, device, device_id=device_id, threads=threads, batch_size=batch_size, grammar=grammar
        )

    @abstractmethod
    def write(self, texts: Iterable[str]) -> Iterator[DocumentPrograms]:
        """Programs of the texts, in order, streaming. A text that fails gives ``DocumentPrograms(error=...)``."""

    @property
    def name(self) -> str:
        """Name of the bundle, or ``rules:NAME``, ``scripted:NAME``."""
        return self.info.name

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.info.version

    @property
    def fingerprint(self) -> str:
        """sha256, lower hex, of all that decides a program."""
        return self.info.fingerprint

    @property
    def dialect(self) -> str:
        """Dialect of its programs."""
        return self.info.dialect

    @property
    def level(self) -> str:
        """``document``, ``chunk`` or ``both``."""
        return self.info.level

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages it was trained for; empty: any."""
        return self.info.languages

    @property
    def thresholds(self) -> Mapping[str, Thresholds]:
        """Calibrated thresholds by caution; empty if it does not score."""
        return self.info.thresholds

    @property
    def limits(self) -> Mapping[str, int]:
        """Window and output limits, in tokens."""
        return self.info.limits

    @property
    def preflight(self) -> Mapping[str, float]:
        """Bounds that a sample of a source has to meet."""
        return self.info.preflight
