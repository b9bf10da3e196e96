"""Files of records, JSON lines: read with defaults for what may be left out, written to the same bytes each time."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prox_spark.errors import SourceError

Record = dict[str, Any]
MAX_LINE_SHARE = 0.5
# How the kind of a made document that is worth dropping begins; its generator follows.
MADE_NEGATIVE = "negative:"
# Kinds of documents that are made of a page's clean text, as they are and with noise put into their lines.
MADE_OF_CLEAN = ("clean", "planted")


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file. A pair needs ``id``, ``raw_text`` and ``gold_text``; the rest has defaults.

    Raises SourceError that names the line which is no record.
    """
    for number, line in numbered_lines(path):
        yield _record(line, path, number)


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, gzipped or not, with their numbers from 1. Raises SourceError where there is no file."""
    if not path.is_file():
        raise SourceError(f"no such file: {path}")
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        yield from enumerate(file, 1)


def _record(line: bytes, path: Path, number: int) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise SourceError(f"{path}, line {number}: {error}") from error
    for key in ("id", "raw_text", "gold_text"):
        if not isinstance(record, dict) or not isinstance(record.get(key), str):
            raise SourceError(f"{path}, line {number}: a record needs a text as its {key}")
    url = record.get("url") or ""
    domain = urlsplit(url).hostname or f"{path.name}/{record['id']}"
    defaults: Record = {"source": path.name, "url": url, "domain": domain}
    defaults |= {"license": "", "lang": "und", "kind": "page", "label_quality": "gold", "rendering": "wet"}
    return {**defaults, **record}


def write_records(path: Path, records: Iterable[Record], more: bool = False) -> None:
    """Write records as jsonl.gz, or append them (``more``); the same records make the same bytes."""
    # Neither a time nor a file's name goes into the header, and members of a gzip file may follow each other.
    with path.open("ab" if more else "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for record in records:
            packed.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")


def collapsed(record: Record) -> bool:
    """Whether an ``extracted`` text is an old table layout that came out as one giant line: it is no example."""
    return record["rendering"] == "extracted" and line_share(record) > MAX_LINE_SHARE


def is_page(record: Record, languages: Sequence[str]) -> bool:
    """Whether a record is a usable page with labelled lines in one of these languages; none given: in any."""
    # What was made is no page: counted as one, it would say of real pages what is true of texts that we wrote.
    made = record["kind"] in MADE_OF_CLEAN or record["kind"].startswith(MADE_NEGATIVE)
    labelled = "lines" in record and not made
    return labelled and not collapsed(record) and (not languages or record["lang"] in languages)


def line_share(record: Record) -> float:
    """Share of the text's characters that stand in its longest line, or the share that the record tells itself."""
    told = record.get("hints", {}).get("max_line_share")
    if told is not None:
        return float(told)
    lengths = [len(line) for line in record["raw_text"].split("\n")]
    return max(lengths) / max(1, sum(lengths))


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
