"""What a row depends on: which programs (`write_key`), executed how (`policy_key`), by which stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from prox_spark.config import Command, JobSettings
from prox_spark.program.scores import Thresholds
from prox_spark.text.language import IDENTIFIER

# Counted up when WRITE itself comes to give other programs from the same bundles.
WRITE_FORMAT = 1
# Counted up when a language column comes to be understood otherwise (2: codes of three letters, too; 3: of
# single languages, and those that say that it is not known).
LANGUAGES_FORMAT = 3


def canonical_hash(value: Mapping[str, Any]) -> str:
    """Return the sha256, lower hex, of a value as canonical JSON (sorted keys, no spaces)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def make_write_key(
    fingerprints: tuple[str, ...],
    languages: tuple[str, ...] = (),
    grammar: tuple[bool, ...] = (),
    dropped_from: float | None = None,
) -> str:
    """Return the key of the programs that these refiners write, in this order.

    languages: those that documents are identified to be in before a refiner reads them; others get no program.
    grammar: for each refiner whether it decodes by the grammar; empty: each as its bundle, and so fingerprint, says.
    dropped_from: of two refiners, the first's document score from which the second is not asked.
    """
    decides: dict[str, Any] = {"format": WRITE_FORMAT, "fingerprints": list(fingerprints)}
    if languages:
        decides |= {"languages": sorted(languages), "identifier": IDENTIFIER}
    if grammar:
        decides["grammar"] = list(grammar)
    if dropped_from is not None:
        decides["dropped_from"] = dropped_from
    return canonical_hash(decides)


def make_policy_key(settings: JobSettings, thresholds: Thresholds | None) -> str:
    """Return the key of how programs are executed.

    Over policy, guards, caution and the thresholds that it stands for, mode, and the column that tells languages.
    """
    return canonical_hash(
        {
            "policy": settings.policy,
            "guards": settings.guards.model_dump(),
            # Where nothing scores it decides nothing.
            "caution": settings.caution if thresholds else "balanced",
            "thresholds": [thresholds.line, thresholds.document] if thresholds else None,
            "mode": settings.mode,
            "language_column": settings.language_column and [settings.language_column, LANGUAGES_FORMAT],
        }
    )


def stream_key(
    settings: JobSettings, command: Command, write_key: str, policy_key: str | None, changes: bool = False
) -> str:
    """Return the name of the stream's progress: the same source read for the same purpose goes on where it stopped.

    changes: whether the stream is a change data feed.
    """
    decides: dict[str, Any] = {
        "command": command,
        "source": settings.source.rstrip("/"),
        "format": settings.format,
        "schema": settings.source_schema,
        "columns": [settings.id_column, settings.text_column, settings.carry],
        "guards": [settings.guards.max_bytes, settings.guards.max_lines],
        "write_key": write_key,
        "policy_key": policy_key,
    }
    if changes:
        decides["changes"] = True
    if settings.from_version is not None:
        decides["from_version"] = settings.from_version
    return canonical_hash(decides)
