"""How good a refiner is on labelled pages, side by side with rules, filters, classifiers and other refiners."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prox_spark.errors import SourceError
from prox_spark.program.execute import Refined
from prox_spark.refiner.refiner import Refiner
from prox_spark.training.contenders import Contender, RefinerContender, Unchanged
from prox_spark.training.data import RENDERINGS
from prox_spark.training.datatrove_filters import DATATROVE, INSTALL, DatatroveContender, installed
from prox_spark.training.labelled import LabelledPage, PlainText, read_labelled, read_negatives, read_texts
from prox_spark.training.measures import (
    Group,
    Harmed,
    Output,
    TextsMeasured,
    Verdicts,
    breakdown,
    harmed,
    measure,
    measure_texts,
    score_pages,
    verdicts,
)

RAW, LABELS = "raw", "labels"
BASELINES = ("rules:c4-lines", "rules:c4", "rules:gopher", "datatrove:c4", "datatrove:gopher", "datatrove:fineweb")
WORST = 10


@dataclass(frozen=True)
class WorstPage:
    """A page on which the refiner stayed furthest below what the labels reach, with all that is needed to draw it.

    ``f1`` and ``reachable``: F1 of the refined text and of the lines labelled ``keep``, each between 0 and 1.
    """

    id: str
    rendering: str
    source: str
    f1: float
    reachable: float
    raw: str
    remove: tuple[bool, ...]
    made: Refined


@dataclass(frozen=True)
class Evaluation:
    """Everything measured. ``refiner``: name, version and fingerprint; ``notes``: what could not be measured, and why.

    ``pages``: a group a rendering; ``parts``: the same by source, language and length. ``worst`` has texts of pages, so
    it is for the HTML page alone.
    """

    refiner: dict[str, str]
    caution: str
    pages: tuple[Group, ...]
    parts: tuple[Group, ...]
    verdicts: tuple[Verdicts, ...]
    harmed: tuple[Harmed, ...]
    texts: tuple[TextsMeasured, ...]
    notes: tuple[str, ...]
    worst: tuple[WorstPage, ...]

    def figures(self) -> dict[str, Any]:
        """All figures as plain data, rounded to four digits; no text of any page."""
        plain = asdict(replace(self, worst=()))
        del plain["worst"]
        rounded: dict[str, Any] = _rounded(plain)
        return rounded


def evaluate(
    refiner: str | Path,
    data: Path | str,
    caution: str = "balanced",
    limit: int | None = None,
    languages: Sequence[str] = ("en",),
    any_language: bool = False,
    device: str = "auto",
    against: Sequence[str] = (),
    classifier: Path | None = None,
    gold: bool = False,
    negatives: Path | None = None,
    clean: Path | None = None,
) -> Evaluation:
    """Measure a refiner on a records file.

    caution: ``cautious``, ``balanced`` or ``aggressive``: which of the refiners' thresholds to take.
    limit: only so many pages of each rendering. languages: of the pages taken; none: all.
    any_language: let refiners read texts in languages that they were not made for; otherwise these pass through.
    against: bundles, ``rules:NAME`` or ``datatrove:NAME`` to compare with. classifier: a line classifier's directory.
    gold: also give the pages' gold texts to every contender. negatives, clean: sets of texts that should be dropped, or
    come through untouched, see ``read_texts``; without ``negatives`` those that ``build-data`` put among the pages.
    Raises BundleError for a bundle that cannot be read, SourceError for a file that cannot.
    """
    # Before any model runs: a file that is missing or of another form is told at once.
    pages = _pages(Path(data), languages, limit)
    worth_dropping = read_negatives(Path(data), languages) if negatives is None else read_texts(negatives)
    sets = _sets(pages, gold, worth_dropping, clean)
    evaluated = RefinerContender(Refiner.load(refiner, device=device), caution, any_language)
    rivals, notes = _rivals(against, classifier, evaluated, device)
    outputs = [_output(contender, pages) for contender in (evaluated, *rivals)]
    shown = [outputs[0], _output(Unchanged(), pages), _labels(pages), *outputs[1:]]
    made = {
        contender.name: {
            which: contender.refine([(text.text, text.language) for text in texts]) for which, texts in sets.items()
        }
        for contender in (evaluated, *rivals)
    }
    info = evaluated.refiner.info
    return Evaluation(
        refiner={"name": info.name, "version": info.version, "fingerprint": info.fingerprint},
        caution=caution,
        pages=tuple(
            measure(pages, shown, at, "rendering", rendering)
            for rendering in RENDERINGS
            if (at := [number for number, page in enumerate(pages) if page.rendering == rendering])
        ),
        parts=tuple(breakdown(pages, shown)),
        verdicts=tuple(
            verdicts(pages, output, made[output.name].get("negatives", []), made[output.name].get("clean", []))
            for output in outputs
        ),
        harmed=tuple(harmed(pages, outputs[0])),
        texts=tuple(
            row
            for which, texts in sets.items()
            for name in made
            for row in measure_texts(name, which, texts, made[name][which])
        ),
        notes=tuple(notes),
        worst=tuple(_worst(pages, outputs[0], shown[2])),
    )


def to_json(evaluation: Evaluation) -> str:
    """The figures as indented JSON."""
    return json.dumps(evaluation.figures(), indent=2, ensure_ascii=False) + "\n"


def _pages(data: Path, languages: Sequence[str], limit: int | None) -> list[LabelledPage]:
    pages = read_labelled(data, languages)
    if not pages:
        raise SourceError(f"{data}: no pages in {', '.join(languages) or 'any language'}; --language names another one")
    return [page for rendering in RENDERINGS for page in [p for p in pages if p.rendering == rendering][:limit]]


def _rivals(
    against: Sequence[str], classifier: Path | None, evaluated: RefinerContender, device: str
) -> tuple[list[Contender], list[str]]:
    rivals: list[Contender] = []
    notes = []
    for name in dict.fromkeys(against):
        if not name.startswith(DATATROVE):
            rival = RefinerContender(Refiner.load(name, device=device), evaluated.caution, evaluated.any_language)
            if rival.name in {evaluated.name, *(other.name for other in rivals)}:
                rival.name = f"{rival.name} ({name})"
            rivals.append(rival)
        elif installed():
            rivals.append(DatatroveContender(name))
        else:
            notes.append(f"{name} was left out: datatrove and spacy are not installed ({INSTALL})")
    if classifier is not None:
        # LightGBM is needed only here, and is not in every environment that evaluates.
        from prox_spark.training.line_classifier import ClassifierContender, LineClassifier

        rivals.append(ClassifierContender(LineClassifier.load(classifier)))
    return rivals, notes


def _output(contender: Contender, pages: Sequence[LabelledPage]) -> Output:
    made = tuple(contender.refine([(page.raw, page.language) for page in pages]))
    return Output(contender.name, made, score_pages(pages, made), contender.removes_lines, contender.writing)


def _labels(pages: Sequence[LabelledPage]) -> Output:
    made = tuple(Refined(page.labelled, "refined") for page in pages)
    return Output(LABELS, made, score_pages(pages, made), False, None)


def _sets(
    pages: Sequence[LabelledPage], gold: bool, negatives: list[PlainText], clean: Path | None
) -> dict[str, list[PlainText]]:
    sets = {}
    if gold:
        # Both renderings of a page have the same gold text.
        once = {page.id: page for page in pages}.values()
        sets["gold"] = [PlainText(page.id, "gold", page.gold, page.language, page.domain) for page in once]
    if negatives:
        sets["negatives"] = negatives
    if clean is not None:
        sets["clean"] = read_texts(clean)
    return sets


def _worst(pages: Sequence[LabelledPage], output: Output, labels: Output) -> list[WorstPage]:
    found = [
        WorstPage(page.id, page.rendering, page.source, score.f1, reachable.f1, page.raw, page.remove, made)
        for page, made, score, reachable in zip(pages, output.made, output.scores, labels.scores, strict=True)
    ]
    return sorted(found, key=lambda page: page.f1 - page.reachable)[:WORST]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value
