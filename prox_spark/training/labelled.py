"""What a refiner is measured on: labelled pages, and plain sets of texts that should go or stay as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prox_spark.errors import SourceError
from prox_spark.text.language import identify
from prox_spark.training.records import MADE_NEGATIVE, is_page, numbered_lines, read_records


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
    """A text of a set: ``kind`` says what it is, for the breakdown; ``language`` is a code.

    domain: texts of one are drawn together where intervals are drawn; of a set without domains each text is its own.
    """

    id: str
    kind: str
    text: str
    language: str
    domain: str


def read_labelled(path: Path, languages: Sequence[str] = ("en",)) -> list[LabelledPage]:
    """The usable pages of a records file (see docs/training.md) in these languages; none given: in all."""
    return [_page(record) for record in read_records(path) if is_page(record, languages)]


def read_texts(path: Path) -> list[PlainText]:
    """A set of texts: JSON lines with ``id``, ``kind`` and ``text``, gzipped or not.

    Their language is identified as a job does it; a text whose language is not certain counts as English.
    Raises SourceError for a file that is missing or not of this form.
    """
    return [_text(line, f"{path}, line {number}") for number, line in numbered_lines(path)]


def read_negatives(path: Path, languages: Sequence[str] = ("en",)) -> list[PlainText]:
    """The made documents worth dropping that ``build-data`` put among the pages of a records file."""
    return [
        PlainText(one["id"], one["kind"].removeprefix(MADE_NEGATIVE), one["raw_text"], one["lang"], one["id"])
        for one in read_records(path)
        if one["kind"].startswith(MADE_NEGATIVE) and (not languages or one["lang"] in languages)
    ]


def _text(line: bytes, where: str) -> PlainText:
    try:
        record = json.loads(line)
        found = PlainText(str(record["id"]), str(record["kind"]), str(record["text"]), "en", str(record["id"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{where}: not an object with id, kind and text") from error
    return replace(found, language=identify(found.text) or "en")


def _page(record: dict[str, Any]) -> LabelledPage:
    return LabelledPage(
        id=record["id"],
        source=record["source"],
        domain=record["domain"],
        language=record["lang"],
        rendering=record["rendering"],
        lines=tuple(line["text"] for line in record["lines"]),
        remove=tuple(line["label"] == "remove" for line in record["lines"]),
        raw=record["raw_text"],
        gold=record["gold_text"],
    )
