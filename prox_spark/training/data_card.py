"""The card of built data: what is in it, where it comes from, and how to make it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prox_spark.training.build import SPLITS, Built
from prox_spark.training.splitting import SIMILAR
from prox_spark.version import __version__

_TEXT = """# Training data of a refiner

Built by `prox-spark build-data` {version}; the same sources and settings make the same files, byte for byte. A record
is one rendering of a page with a label for every line and a program that was executed once to see that it does what
it says. The fields are explained in the project's `docs/data.md`.

{documents}

Splits share no domain and no near-duplicate (Jaccard similarity of five-word shingles above {similar}); {copies}
near-duplicates were found between domains, and their domains put together. Negatives of `train` and of `valid` come
from two families of generators that share neither code nor templates.

## Settings

{settings}

## Where it comes from

The texts of pages belong to their publishers; the licence is that of the collection or its labels.

{sources}

## Left out

{left_out}

## Lines

A masked line has a label that should not be learnt from.

{lines}

## Programs

{programs}

## Files

{hashes}
"""


def write_card(built: Built, path: Path) -> None:
    """Write the card as Markdown; it names neither a time nor a place, so it is the same each time too."""
    settings = asdict(built.settings)
    values = {
        "documents": _documents(built),
        "settings": _table(("setting", "value"), settings.items()),
        "sources": _table(("source", "licence", "labels", "records"), _rows(built.sources)),
        "left_out": _table(("reason", "records"), _rows(built.left_out)),
        "lines": _table(("label", "lines"), _rows(built.lines)),
        "programs": _table(("programs", "records"), _rows(built.programs)),
        "hashes": _table(("use", "file", "sha256"), _rows(built.hashes)),
    }
    path.write_text(_TEXT.format(version=__version__, similar=SIMILAR, copies=built.copies, **values), encoding="utf-8")


def _documents(built: Built) -> str:
    kinds, languages = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for (split, kind, language), number in built.documents.items():
        kinds[split, kind] += number
        languages[language, split] += number
    codes = sorted({code for code, _ in languages}, key=lambda code: (-languages[code, SPLITS[0]], code))
    rows = [(code, *(languages[code, split] for split in SPLITS)) for code in codes]
    return f"{_table(('split', 'kind', 'documents'), _rows(kinds))}\n\n{_table(('language', *SPLITS), rows)}"


def _rows(counts: Mapping[Any, object]) -> list[tuple[object, ...]]:
    return [(*((key,) if isinstance(key, str) else key), counts[key]) for key in sorted(counts)]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines) if len(lines) > 2 else "Nothing."
