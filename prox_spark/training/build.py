"""Build training data: records or pairs in, splits with programs and a data card out; the same for the same seed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from prox_spark.errors import ConfigError, SourceError
from prox_spark.program.dialects import get_dialect
from prox_spark.training.alignment import TooLong
from prox_spark.training.data import foreign_lines, read_pages
from prox_spark.training.heldout_negatives import heldout_negatives
from prox_spark.training.labelling import LabelledLine, labelled_lines, written_for
from prox_spark.training.negatives import negative
from prox_spark.training.page import Page
from prox_spark.training.planting import planted
from prox_spark.training.records import (
    MADE_NEGATIVE,
    MADE_OF_CLEAN,
    Record,
    collapsed,
    line_share,
    read_records,
    sha256,
    write_records,
)
from prox_spark.training.splitting import Groups, in_share

SPLITS = ("train", "valid")
# A gold text below this many words is no example of a document that is worth keeping.
_LEAST_CLEAN_WORDS = 30


@dataclass(frozen=True)
class BuildSettings:
    """What decides the data, beside the sources.

    valid_share: share of the groups of domains that are held out. negative_share, clean_share, planted_share: made
    documents for each record of a split: worth dropping, to come through untouched, with noise planted into lines.
    """

    dialect: str = "prox"
    seed: int = 1
    valid_share: float = 0.1
    negative_share: float = 0.15
    clean_share: float = 0.1
    planted_share: float = 0.1


@dataclass
class Built:
    """The figures of the data card.

    ``documents`` by split, kind and language; ``sources`` by name, licence and quality of labels; ``left_out`` by
    reason; ``lines`` by label and mask; ``programs`` by what they say; ``copies``: near-duplicates between domains;
    ``hashes`` by what the file was for and its name.
    """

    settings: BuildSettings
    documents: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    sources: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    programs: Counter[str] = field(default_factory=Counter)
    copies: int = 0
    hashes: dict[tuple[str, str], str] = field(default_factory=dict)

    def count(self, split: str, record: Record) -> None:
        """Take in one document that is written."""
        self.documents[split, _shown_kind(record), record["lang"]] += 1
        if record["source"] != "made":
            self.sources[record["source"], record["license"], record["label_quality"]] += 1
        for line in record["lines"]:
            label = "keep, with deletions" if "delete" in line else line["label"]
            self.lines[f"{label}, masked: {line['mask']}" if "mask" in line else label] += 1
        calls = {call.split("(")[0] for call in record["program"].split("\n")}
        self.programs.update(f"with {name}" for name in calls | {record["doc_program"].split("(")[0]})
        self.programs["exactly the clean text"] += record["exact"]


def build(sources: Sequence[Path], out: Path, settings: BuildSettings, apart: Sequence[Path] = ()) -> Built:
    """Write ``train.jsonl.gz`` and ``valid.jsonl.gz`` into a directory; the card is `data_card`'s.

    apart: records whose domains and near-duplicates must be in neither split, such as a test set that is given.
    Raises SourceError for what cannot be read, ConfigError for an unknown dialect or an impossible share.
    """
    get_dialect(settings.dialect)
    if not 0 <= settings.valid_share < 1:
        raise ConfigError(f"the held-out share must be at least 0 and below 1, not {settings.valid_share}")
    out.mkdir(parents=True, exist_ok=True)
    targets = [out / f"{split}.jsonl.gz" for split in SPLITS]
    if set(map(Path.resolve, targets)) & set(map(Path.resolve, [*sources, *apart])):
        raise ConfigError(f"{out} holds the sources themselves; write into another directory")
    builder = _Builder(sources, apart, settings)
    for split, path in zip(SPLITS, targets, strict=True):
        write_records(path, builder.from_sources(split))
        write_records(path, builder.negatives(split, path), more=True)
    files = (("source", sources), ("kept apart", apart), ("written", targets))
    builder.built.hashes = {(use, path.name): sha256(path) for use, paths in files for path in paths}
    return builder.built


def write_negatives(source: Path, out: Path, count: int, seed: int) -> Counter[str]:
    """Write documents for evaluation that are worth dropping, as JSON lines (id, kind, text); return counts by kind.

    They are made from labelled pages; raises SourceError for a file of pairs, and for one without pages.
    """
    languages = Counter[str]()
    for record in read_records(source):
        if "lines" not in record:
            raise SourceError(f"{source} has no labels of lines; build training data from it first, and take that")
        languages[record["lang"]] += 1
    pages, foreign = _pool(source, languages)
    if not pages:
        raise SourceError(f"{source} has no pages that documents could be made from")
    rows = list(heldout_negatives(pages, count, seed, foreign))
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return Counter(row["kind"] for row in rows)


class _Builder:
    """Goes through the sources once for the groups, and once for each split, so that few documents are held at once."""

    def __init__(self, sources: Sequence[Path], apart: Sequence[Path], settings: BuildSettings) -> None:
        self.sources, self.settings = sources, settings
        self.groups = Groups()
        self._add(apart)
        others = self.groups.domains()
        self._add(sources)
        self.forbidden = {self.groups.group(domain) for domain in others}
        self.built = Built(settings, copies=self.groups.copies)

    def _add(self, paths: Iterable[Path]) -> None:
        for path in paths:
            for record in read_records(path):
                self.groups.add(record["domain"], record["gold_text"])

    def from_sources(self, split: str) -> Iterator[Record]:
        """A split's records with their programs, and what is made from their clean texts."""
        cleaned: set[str] = set()
        for record in self._records(split):
            chance = Random(f"{self.settings.seed}/{record['id']}")
            try:
                lines = labelled_lines(record)
            except TooLong:
                self.built.left_out["too long to be lined up"] += 1
                continue
            yield from self._counted(split, record, lines)
            clean = [line for line in record["gold_text"].split("\n") if line.strip()]
            reliable = record["label_quality"].startswith("gold") and record["gold_text"] not in cleaned
            if reliable and sum(len(line.split()) for line in clean) >= _LEAST_CLEAN_WORDS:
                cleaned.add(record["gold_text"])
                yield from self._made_of(record, clean, split, chance)

    def negatives(self, split: str, path: Path) -> Iterator[Record]:
        """Documents made from what was written of a split; those held out come from generators of their own."""
        languages = Counter[str]()
        for (name, _, language), number in self.built.documents.items():
            languages[language] += number if name == split else 0
        pages, foreign = _pool(path, languages)
        count = round(self.settings.negative_share * languages.total()) if pages else 0
        seed = self.settings.seed
        made: Iterator[tuple[str, list[str]]]
        if split == "train":
            made = (negative(pages, Random(f"{seed}/negative/{number}"), foreign) for number in range(count))
        else:
            rows = heldout_negatives(pages, count, seed, foreign)
            made = ((row["kind"], row["text"].split("\n")) for row in rows)
        for number, (kind, lines) in enumerate(made):
            name = f"negative-{split}-{seed}-{number}"
            record = {"id": name, "source": "made", "url": "", "domain": name, "license": "", "gold_text": ""}
            record |= {"lang": _main(languages), "kind": f"{MADE_NEGATIVE}{kind}"}
            record |= {"label_quality": "made", "rendering": "wet"}
            yield from self._counted(split, record, [LabelledLine(line, True, 0.0) for line in lines])

    def _records(self, split: str) -> Iterator[Record]:
        seen: set[bytes] = set()
        for path in self.sources:
            for record in read_records(path):
                group = self.groups.group(record["domain"])
                if SPLITS[in_share(group, self.settings.valid_share, self.settings.seed)] != split:
                    continue
                text = f"{record['rendering']}/{record['raw_text']}".encode("utf-8", "surrogatepass")
                same = hashlib.sha256(text).digest()
                if group in self.forbidden:
                    self.built.left_out["domain or text of a set to be kept apart"] += 1
                elif same in seen:
                    self.built.left_out["raw text was there before"] += 1
                elif collapsed(record):
                    self.built.left_out["one line holds most of the text"] += 1
                else:
                    seen.add(same)
                    yield record

    def _made_of(self, record: Record, clean: list[str], split: str, chance: Random) -> Iterator[Record]:
        shares = (self.settings.clean_share, self.settings.planted_share)
        for kind, share in zip(MADE_OF_CLEAN, shares, strict=True):
            if chance.random() >= share:
                continue
            noisy = planted(clean, chance) if kind == "planted" else []
            lines = [LabelledLine(v.text, False, 1.0, v.deletions) for v in noisy]
            changes = {"id": f"{record['id']}#{kind}", "kind": kind, "rendering": "extracted", "hints": {}}
            made = {**record, **changes, "gold_text": "\n".join(clean)}
            yield from self._counted(split, made, lines or [LabelledLine(line, False, 1.0) for line in clean])

    def _counted(self, split: str, record: Record, lines: list[LabelledLine]) -> Iterator[Record]:
        """The record with its lines and program, unless the executor finds fault with that."""
        written = written_for(lines, self.settings.dialect)
        if written is None:
            self.built.left_out["no program that does what it should"] += 1
            return
        keeps = any(not line.remove and line.text.strip() for line in lines)
        made = {**record, "split": split, "raw_text": "\n".join(line.text for line in lines)}
        made |= {"hints": {**record.get("hints", {}), "max_line_share": round(line_share(made), 3)}}
        made |= {"lines": [line.to_json() for line in lines], "doc_program": "keep_doc()" if keeps else "drop_doc()"}
        made |= {"program": written.program, "dialect": self.settings.dialect}
        made |= {"exact": written.clean == record["gold_text"]}
        self.built.count(split, made)
        yield made


def _pool(path: Path, languages: Counter[str]) -> tuple[list[Page], list[str]]:
    """Pages in a file's main language, and lines in its others, for making documents."""
    main = _main(languages)
    return read_pages(path, (main,)), foreign_lines(path, (main,))


def _main(languages: Counter[str]) -> str:
    return min(languages, key=lambda name: (-languages[name], name), default="und")


def _shown_kind(record: Record) -> str:
    kind = str(record["kind"])
    made = kind in MADE_OF_CLEAN or record["source"] == "made"
    return kind if made else f"page, {record['rendering']}"
