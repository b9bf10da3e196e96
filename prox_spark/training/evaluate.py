"""How good a refiner is on labelled pages: text against gold, lines against labels, errors and tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from prox_spark.program.execute import Refined, execute
from prox_spark.program.programs import DocumentPrograms
from prox_spark.refiner.refiner import Refiner
from prox_spark.training.data import RENDERINGS, Page, read_pages
from prox_spark.training.metrics import TextScore, score


@dataclass(frozen=True)
class LineScore:
    """Removed lines against lines labelled ``remove``; each between 0 and 1. A dropped document removes all lines."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one rendering of the pages.

    ``raw``: the text as it came; ``labels``: the lines labelled ``keep``, the best that removing lines can do;
    ``refined``: what the refiner made of it. ``dropped`` counts documents; ``errors``, ``truncated``, ``looped`` count
    programs; tokens are means over programs; ``seconds`` is the time of writing alone.
    """

    rendering: str
    raw: TextScore
    labels: TextScore
    refined: TextScore
    lines: LineScore
    documents: int
    programs: int
    dropped: int
    errors: int
    truncated: int
    looped: int
    prompt_tokens: float
    new_tokens: float
    seconds: float


def evaluate(
    refiner: str | Path,
    data: Path | str,
    caution: str = "balanced",
    limit: int | None = None,
    languages: tuple[str, ...] = ("en",),
    device: str = "auto",
) -> list[Evaluation]:
    """Measure a bundle on a records file, a result a rendering (``wet``, then ``extracted``).

    caution: ``cautious``, ``balanced`` or ``aggressive``: which of the bundle's thresholds to take.
    limit: only so many pages of each rendering. languages: of the pages taken; default English.
    Raises BundleError for a bundle that cannot be read.
    """
    loaded = Refiner.load(refiner, device=device)
    pages = read_pages(Path(data), languages)
    results = []
    for rendering in RENDERINGS:
        some = [page for page in pages if page.rendering == rendering][:limit]
        if some:
            results.append(_measure(loaded, some, rendering, caution))
    return results


def to_json(results: Iterable[Evaluation]) -> str:
    """The results as indented JSON, scores rounded to four digits."""

    def rounded(value: object) -> object:
        if isinstance(value, dict):
            return {key: rounded(inner) for key, inner in value.items()}
        return round(value, 4) if isinstance(value, float) else value

    return json.dumps([rounded(asdict(result)) for result in results], indent=2) + "\n"


def tables(results: Iterable[Evaluation]) -> list[Table]:
    """The results for a screen: a table a rendering."""
    made = []
    for result in results:
        table = Table(title=f"{result.rendering}: {result.documents} documents, {result.seconds:.0f} s", box=None)
        for heading in ("", "P", "R", "F1", "harmed", "harmed (rel.)", "gold words removed"):
            table.add_column(heading, justify="left" if not heading else "right")
        for name in ("raw", "labels", "refined"):
            row: TextScore = getattr(result, name)
            figures = (row.precision, row.recall, row.f1, row.harmed_absolute, row.harmed_relative)
            table.add_row(name, *(f"{value:.4f}" for value in (*figures, row.gold_words_removed)))
        lines = result.lines
        table.add_row("lines", *(f"{value:.4f}" for value in (lines.precision, lines.recall, lines.f1)))
        table.caption = (
            f"{result.dropped} dropped, {result.errors} errors, {result.truncated} truncated, {result.looped} looped; "
            f"{result.prompt_tokens:.0f} tokens read and {result.new_tokens:.0f} written a program"
        )
        made.append(table)
    return made


def _measure(refiner: Refiner, pages: list[Page], rendering: str, caution: str) -> Evaluation:
    started = time.monotonic()
    programs = list(refiner.write(page.raw for page in pages))
    seconds = time.monotonic() - started
    thresholds = refiner.thresholds.get(caution)
    refined = [
        execute(page.raw, written, dialect=refiner.dialect, thresholds=thresholds)
        for page, written in zip(pages, programs, strict=True)
    ]
    chunks = [chunk for written in programs for chunk in written.chunks]
    count = max(1, len(chunks))
    return Evaluation(
        rendering=rendering,
        raw=score((page.raw, page.gold, page.raw) for page in pages),
        labels=score((_labelled(page), page.gold, page.raw) for page in pages),
        refined=score((made.text, page.gold, page.raw) for page, made in zip(pages, refined, strict=True)),
        lines=line_score(zip(pages, refined, strict=True)),
        documents=len(pages),
        programs=len(chunks),
        dropped=sum(made.status == "dropped" for made in refined),
        errors=sum(_failures(written, made) for written, made in zip(programs, refined, strict=True)),
        truncated=sum(chunk.truncated for chunk in chunks),
        looped=sum(chunk.looped for chunk in chunks),
        prompt_tokens=sum(written.prompt_tokens for written in programs) / count,
        new_tokens=sum(written.new_tokens for written in programs) / count,
        seconds=seconds,
    )


def line_score(pairs: Iterable[tuple[Page, Refined]]) -> LineScore:
    """Precision, recall and F1 of whole-line removals over all lines of all pages."""
    hit = removed = labelled = 0
    for page, made in pairs:
        gone: set[int] = set(range(len(page.lines))) if made.text is None else set()
        for edit in made.edits:
            if edit.start is None:
                gone.update(range(edit.first_line, edit.last_line + 1))
        wanted = {number for number, remove in enumerate(page.remove) if remove}
        hit, removed, labelled = hit + len(gone & wanted), removed + len(gone), labelled + len(wanted)
    precision, recall = hit / max(1, removed), hit / max(1, labelled)
    return LineScore(precision, recall, 2 * precision * recall / max(1e-9, precision + recall))


def _labelled(page: Page) -> str:
    return "\n".join(line for line, remove in zip(page.lines, page.remove, strict=True) if not remove)


def _failures(written: DocumentPrograms, made: Refined) -> int:
    return len(made.errors) + (written.error is not None) + sum(chunk.error is not None for chunk in written.chunks)
