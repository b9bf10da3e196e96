"""Records, with labels of lines or as pairs of raw and clean text, to verdicts on their lines and a program."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prox_spark.errors import SourceError
from prox_spark.program.execute import Guards, execute
from prox_spark.training.alignment import Aligned, Span, after_deletions, align
from prox_spark.training.data import MIXED
from prox_spark.training.programs import Verdict, Written, write_programs

# Deletions have to tell of as many words as the label's own coverage does: a clean text that breaks a line up holds all
# of its words, though its best partner does not.
_AGREES = 0.1

# Programs are checked as they stand, without what a job would guard against.
_OPEN = Guards(max_removed_ratio=1.0, min_words=0)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class LabelledLine:
    """One line of the raw text: what is to become of it, and how far that can be relied on.

    Attributes:
        text: the line.
        remove: it is to go whole.
        coverage: share of its words that the clean text has.
        deletions: characters to delete from a line that stays.
        role: ``title`` or ``comment``, where the source says so.
        mask: why a trainer should not learn from the verdict (``mixed``, ``title``, ``comment``), else None.
        sure: a person decided about this very line, where the other labels are tools'.
    """

    text: str
    remove: bool
    coverage: float
    deletions: tuple[Span, ...] = ()
    role: str | None = None
    mask: str | None = None
    sure: bool = False

    @property
    def verdict(self) -> Verdict:
        """What the program's writer needs of it."""
        return Verdict(self.text, self.remove, self.deletions)

    def to_json(self) -> dict[str, Any]:
        """The line as a record has it; what is not set is left out."""
        row: dict[str, Any] = {"text": self.text, "label": "remove" if self.remove else "keep"}
        row["cov"] = round(self.coverage, 3)
        more = {"role": self.role, "mask": self.mask, "delete": self.deletions, "sure": int(self.sure)}
        return row | {name: value for name, value in more.items() if value}


def labelled_lines(record: Mapping[str, Any]) -> list[LabelledLine]:
    """The lines of a record, by its own labels where it has any, else from ``raw_text`` and ``gold_text``.

    Raises SourceError for a record that has neither labels nor a clean text.
    """
    try:
        raw, clean = record["raw_text"].split("\n"), record["gold_text"].split("\n")
    except (KeyError, AttributeError) as error:
        raise SourceError(f"record {record.get('id', '?')!r} has no raw_text or no gold_text") from error
    if "lines" not in record:
        return _from_alignment(raw, align(raw, clean))
    # What extractors agree on tells lines apart, not what stands within them.
    exact = str(record.get("label_quality", "gold")).startswith("gold") and _any_mixed(record["lines"])
    aligned = align(raw, clean) if exact else [Aligned()] * len(raw)
    if [line["text"] for line in record["lines"]] != raw:
        raise SourceError(f"record {record.get('id', '?')!r}: its lines are not those of its raw_text")
    return [
        _from_label(line, became, clean if became.partner is not None else ())
        for line, became in zip(record["lines"], aligned, strict=True)
    ]


def written_for(lines: Sequence[LabelledLine], dialect: str) -> Written | None:
    """The program for these lines, tried out; None where the executor makes something else of it."""
    written = write_programs([line.verdict for line in lines], dialect)
    done = execute("\n".join(line.text for line in lines), written.program, dialect=dialect, guards=_OPEN)
    return None if done.errors or done.text != written.clean else written


def _from_alignment(raw: Sequence[str], aligned: Sequence[Aligned]) -> list[LabelledLine]:
    lines = []
    for text, became in zip(raw, aligned, strict=True):
        whole = became.partner is not None
        mixed = not whole and MIXED[0] <= became.coverage <= MIXED[1]
        # A partner that deletions do not lead to was rewritten: the line stays as it is, and teaches nothing.
        mixed = mixed or (whole and not became.deletions and became.coverage <= MIXED[1] and text.strip() != "")
        remove = not whole and became.coverage < sum(MIXED) / 2
        lines.append(LabelledLine(text, remove, became.coverage, became.deletions, mask="mixed" if mixed else None))
    return lines


def _any_mixed(lines: Sequence[Mapping[str, Any]]) -> bool:
    return any(MIXED[0] <= line["cov"] < 1 for line in lines)


def _from_label(line: Mapping[str, Any], became: Aligned, clean: Sequence[str]) -> LabelledLine:
    text, coverage, role = line["text"], float(line["cov"]), line.get("role")
    mask = role if role in ("title", "comment") else None
    remove = line["label"] == "remove"
    mixed = MIXED[0] <= coverage <= MIXED[1]
    mendable = mask is None and (mixed or (not remove and MIXED[1] < coverage < 1))
    deletions: tuple[Span, ...] = ()
    if mendable and abs(coverage - became.coverage) <= _AGREES and _leads_to(text, became, clean):
        remove, deletions = False, became.deletions
    mask = mask or ("mixed" if mixed else None)
    return LabelledLine(text, remove, coverage, deletions, role, mask, sure=bool(line.get("sure")))


def _leads_to(text: str, became: Aligned, clean: Sequence[str]) -> bool:
    """Whether there are deletions that leave the clean line's words, all of them, and that took words."""
    if became.partner is None or not became.deletions:
        return False
    partner = clean[became.partner]
    left = after_deletions(text, became.deletions)
    return left.split() == partner.split() and len(_WORD.findall(text)) > len(_WORD.findall(partner))
