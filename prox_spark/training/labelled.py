"""What a refiner is measured on: labelled pages, and plain sets of texts that should go or stay as a whole."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prox_spark.errors import SourceError
from prox_spark.training.data import MAX_LINE_SHARE


@dataclass(frozen=True)
class LabelledPage:
    """One rendering of a page with what people kept of it, and where it comes from."""

    id: str
    source: str
    domain: str
    language: str
    rendering: str
    lines: tuple[str, ...]
    remove: tuple[bool, ...]
    raw: str
    gold: str

    @property
    def labelled(self) -> str:
        """The lines labelled ``keep``: the best that removing whole lines can do."""
        return "\n".join(line for line, remove in zip(self.lines, self.remove, strict=True) if not remove)


@dataclass(frozen=True)
class PlainText:
    """A text of a set: ``kind`` says what it is, for the breakdown."""

    id: str
    kind: str
    text: str


def read_labelled(path: Path, languages: Sequence[str] = ("en",)) -> list[LabelledPage]:
    """The usable pages of a records file (see docs/training.md) in these languages; none given: in all."""
    return [_page(record) for record in _records(path) if _usable(record, languages)]


def read_texts(path: Path) -> list[PlainText]:
    """A set of texts: JSON lines with ``id``, ``kind`` and ``text``, gzipped or not."""
    return [PlainText(str(record["id"]), str(record["kind"]), record["text"]) for record in _records(path)]


def _usable(record: dict[str, Any], languages: Sequence[str]) -> bool:
    collapsed = record["rendering"] == "extracted" and record["hints"]["max_line_share"] > MAX_LINE_SHARE
    return not collapsed and (not languages or record["lang"] in languages)


def _page(record: dict[str, Any]) -> LabelledPage:
    return LabelledPage(
        id=record["id"],
        source=record.get("source", ""),
        domain=record["domain"],
        language=record["lang"],
        rendering=record["rendering"],
        lines=tuple(line["text"] for line in record["lines"]),
        remove=tuple(line["label"] == "remove" for line in record["lines"]),
        raw=record["raw_text"],
        gold=record["gold_text"],
    )


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise SourceError(f"no such file: {path}")
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise SourceError(f"{path}, line {number}: not JSON") from error
