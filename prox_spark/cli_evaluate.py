"""The command `evaluate`: its options, and its figures on the screen, as JSON and as a page."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prox_spark.config import Caution
from prox_spark.errors import ConfigError

if TYPE_CHECKING:
    from prox_spark.report.evaluation import WorstPage

FREE_BASELINE = "rules:c4"
_PAGES, _RIVALS, _SETS, _OUTPUT = "Pages", "Compared with", "Sets of texts", "Output"


def _option(panel: str, *names: str, help: str, min: int | None = None) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, min=min)


def evaluate(
    refiner: Annotated[str, typer.Argument(help="Bundle: a name or a directory; or rules:NAME.")],
    data: Annotated[Path, typer.Argument(help="Labelled pages (jsonl.gz).")],
    caution: Annotated[Caution, typer.Option(help="Which of the bundle's thresholds to take.")] = "balanced",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    limit: Annotated[int | None, _option(_PAGES, help="Only so many pages of each rendering.", min=1)] = None,
    language: Annotated[
        list[str] | None, _option(_PAGES, help="Pages of this language, again for more; or all.")
    ] = None,
    any_language: Annotated[
        bool, _option(_PAGES, "--any-language", help="Refine languages too that the refiner was not made for.")
    ] = False,
    against: Annotated[list[str] | None, _option(_RIVALS, help="Another bundle, rules:NAME, datatrove:NAME.")] = None,
    baselines: Annotated[bool, _option(_RIVALS, "--baselines", help="All rules, and datatrove's filters.")] = False,
    classifier: Annotated[Path | None, _option(_RIVALS, help="Directory of a LightGBM line classifier.")] = None,
    train_pages: Annotated[
        Path | None, _option(_RIVALS, "--train", help="Labelled pages to train the classifier on, if it is not there.")
    ] = None,
    gold: Annotated[bool, _option(_SETS, "--gold", help="Also refine the gold texts, which should stay.")] = False,
    negatives: Annotated[Path | None, _option(_SETS, help="JSON lines of texts that should be dropped.")] = None,
    clean: Annotated[Path | None, _option(_SETS, help="JSON lines of texts that should stay as they are.")] = None,
    json_file: Annotated[Path | None, _option(_OUTPUT, "--json", help="Write the figures to this file.")] = None,
    html_file: Annotated[Path | None, _option(_OUTPUT, "--html", help="Write a page with the worst documents.")] = None,
) -> None:
    """Measure a refiner on labelled pages, side by side with the raw text, rules, filters and other refiners."""
    from prox_spark import cli
    from prox_spark.report import evaluation as drawing

    evaluating = importlib.import_module("prox_spark.training.evaluate")
    languages = ("en",) if not language else () if "all" in language else tuple(language)
    if classifier is not None:
        cli._needs("lightgbm", "train")
        _ready_classifier(classifier, train_pages)
    elif train_pages is not None:
        raise ConfigError("--train needs --classifier: the directory in which the line classifier is kept")
    for file in (json_file, html_file):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
    with cli.log.status("evaluating"):
        found = evaluating.evaluate(
            refiner,
            data,
            caution=caution,
            limit=limit,
            languages=languages,
            any_language=any_language,
            device=device,
            against=(*(evaluating.BASELINES if baselines else _free_baseline(refiner)), *(against or ())),
            classifier=classifier,
            gold=gold,
            negatives=negatives,
            clean=clean,
        )
    figures = found.figures()
    for table in drawing.evaluation_tables(figures):
        cli.out.print(table)
    if json_file is not None:
        json_file.write_text(evaluating.to_json(found), encoding="utf-8")
    if html_file is not None:
        html_file.write_text(
            drawing.render_evaluation(figures, [_worst(page) for page in found.worst]), encoding="utf-8"
        )


def _free_baseline(refiner: str) -> tuple[str, ...]:
    """What costs nothing is in every report: a refiner that does not beat it need not be run."""
    return () if refiner == FREE_BASELINE else (FREE_BASELINE,)


def _ready_classifier(directory: Path, pages: Path | None) -> None:
    """Train the classifier where its directory is not there yet."""
    from prox_spark import cli

    if directory.exists():
        return
    if pages is None:
        raise ConfigError(f"there is no line classifier in {directory}; --train LABELLED_PAGES trains it")
    training = importlib.import_module("prox_spark.training.line_classifier")
    with cli.log.status("training the line classifier"):
        training.train_classifier(pages).save(directory)


def _worst(page: Any) -> WorstPage:
    """A page of the evaluation in the words of the report, which does not know programs."""
    from prox_spark.report.evaluation import WorstPage
    from prox_spark.report.summary import EditRow, SamplePage

    names = EditRow.__dataclass_fields__.keys() - {"doc_id"}
    edits = [EditRow(**{name: getattr(edit, name) for name in names}) for edit in page.made.edits]
    if page.made.text is None:
        edits = [EditRow("remove_lines", 0, len(page.remove) - 1, page.raw)]
    drawn = SamplePage(
        page.id, page.made.status, page.made.reason, page.raw, len(page.remove), tuple(edits), original=True
    )
    return WorstPage(drawn, page.rendering, page.source, page.f1, page.reachable, page.remove)
