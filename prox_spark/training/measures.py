"""The figures of an evaluation as plain data, and how they come from refined texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prox_spark.program.execute import Refined
from prox_spark.training.contenders import Writing
from prox_spark.training.data import RENDERINGS
from prox_spark.training.intervals import Draws, Interval, draw, interval, share_interval
from prox_spark.training.labelled import LabelledPage, PlainText
from prox_spark.training.metrics import DocumentScore, TextScore, harmonic, score_document, summarise, words

# The breakdown by length: bounds in words of the raw text, and what the parts are called, in their order.
LENGTHS = (300, 1000, 3000)
LENGTH_NAMES = {
    name: place for place, name in enumerate(("under 300 words", "300 to 999", "1,000 to 2,999", "3,000 and more"))
}


@dataclass(frozen=True)
class LineScore:
    """Removed lines against lines labelled ``remove``; each between 0 and 1. A dropped document removes all lines."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Measured:
    """One contender on one set of pages.

    ``intervals``: 95% intervals of the scores of the same name. ``ahead``: how much the F1 of the evaluated refiner is
    above this one's, with its interval; ``None`` for itself. ``dropped``: documents; ``by_verdict``: of these, those
    that a document verdict dropped and no guard. ``lines``: only where programs remove whole lines.
    """

    name: str
    text: TextScore
    intervals: dict[str, Interval]
    ahead: tuple[float, Interval] | None
    dropped: int
    by_verdict: int
    changed: int
    lines: LineScore | None
    writing: Writing | None


@dataclass(frozen=True)
class Group:
    """One set of pages, and all contenders on it. ``by`` and ``value``: what its pages have in common."""

    rendering: str
    by: str
    value: str
    documents: int
    domains: int
    contenders: tuple[Measured, ...]


@dataclass(frozen=True)
class Verdicts:
    """Which documents were dropped, against which should be.

    Worth dropping: pages without a line labelled ``keep``, and negatives; worth keeping: all other pages, clean texts.
    ``pages_dropped``: share of labelled pages worth keeping that were dropped, with its 95% interval.
    """

    name: str
    precision: float
    recall: float
    f1: float
    worth_dropping: int
    worth_keeping: int
    pages_dropped: float
    pages_dropped_interval: Interval


@dataclass(frozen=True)
class Harmed:
    """A page that was harmed: recall of the gold text before and after, each between 0 and 1."""

    id: str
    rendering: str
    source: str
    language: str
    recall: float
    raw_recall: float
    words_lost: int
    status: str
    reason: str | None


@dataclass(frozen=True)
class TextsMeasured:
    """One contender on texts of one kind of a set; ``f1`` against the texts themselves, shares between 0 and 1.

    ``intervals``: 95% intervals of the figures of the same name.
    """

    set: str
    kind: str
    name: str
    documents: int
    dropped: float
    changed: float
    words_removed: float
    f1: float
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class Output:
    """What a contender made of the pages, and the score of each."""

    name: str
    made: tuple[Refined, ...]
    scores: tuple[DocumentScore, ...]
    removes_lines: bool
    writing: Writing | None


def score_pages(pages: Sequence[LabelledPage], made: Iterable[Refined]) -> tuple[DocumentScore, ...]:
    """The score of each page."""
    pairs = zip(pages, made, strict=True)
    return tuple(score_document(one.text, page.gold, page.raw) for page, one in pairs)


def measure(pages: Sequence[LabelledPage], outputs: Sequence[Output], at: Sequence[int], by: str, value: str) -> Group:
    """All contenders on the pages at these places; the first that is neither raw nor labels is the one evaluated."""
    some = [pages[i] for i in at]
    domains = [page.domain for page in some]
    drawn = [draw([output.scores[i] for i in at], domains) for output in outputs]
    return Group(
        rendering=some[0].rendering,
        by=by,
        value=value,
        documents=len(some),
        domains=len(set(domains)),
        contenders=tuple(
            _measured(some, output, at, draws, drawn[0], outputs[0])
            for output, draws in zip(outputs, drawn, strict=True)
        ),
    )


def _measured(
    pages: Sequence[LabelledPage], output: Output, at: Sequence[int], draws: Draws, first: Draws, evaluated: Output
) -> Measured:
    text = summarise([output.scores[i] for i in at])
    made = [output.made[i] for i in at]
    ahead = None
    if output is not evaluated:
        ahead = (summarise([evaluated.scores[i] for i in at]).f1 - text.f1, interval(first.f1 - draws.f1))
    return Measured(
        name=output.name,
        text=text,
        intervals={name: interval(values) for name, values in vars(draws).items()},
        ahead=ahead,
        dropped=sum(one.text is None for one in made),
        by_verdict=sum(one.reason == "drop_doc" for one in made),
        changed=sum(one.text != page.raw for one, page in zip(made, pages, strict=True)),
        lines=line_score(zip(pages, made, strict=True)) if output.removes_lines else None,
        writing=output.writing,
    )


def breakdown(pages: Sequence[LabelledPage], outputs: Sequence[Output]) -> list[Group]:
    """All contenders by source, language and length of the pages, for each rendering."""
    found: list[Group] = []
    for by, of in _GROUPS.items():
        places: dict[tuple[str, str], list[int]] = {}
        for number, page in enumerate(pages):
            places.setdefault((page.rendering, of(page)), []).append(number)
        order = sorted(places, key=lambda key: (RENDERINGS.index(key[0]), LENGTH_NAMES.get(key[1], 0), key[1]))
        found.extend(measure(pages, outputs, places[key], by, key[1]) for key in order)
    return found


def _length(page: LabelledPage) -> str:
    many = len(words(page.raw))
    return tuple(LENGTH_NAMES)[sum(many >= bound for bound in LENGTHS)]


_GROUPS: dict[str, Callable[[LabelledPage], str]] = {
    "source": lambda page: page.source,
    "language": lambda page: page.language,
    "length": _length,
}


def line_score(pairs: Iterable[tuple[LabelledPage, Refined]]) -> LineScore:
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
    return LineScore(precision, recall, harmonic(precision, recall))


def harmed(pages: Sequence[LabelledPage], output: Output) -> list[Harmed]:
    """Every page whose recall fell by more than 0.1, or from 0.8 or more to less; the worst first."""
    found = [
        Harmed(
            page.id,
            page.rendering,
            page.source,
            page.language,
            score.recall,
            score.raw_recall,
            score.lost,
            made.status,
            made.reason,
        )
        for page, made, score in zip(pages, output.made, output.scores, strict=True)
        if score.harmed_relative or (score.harmed_absolute and score.raw_recall >= 0.8)
    ]
    return sorted(found, key=lambda one: one.recall - one.raw_recall)


def verdicts(
    pages: Sequence[LabelledPage],
    output: Output,
    negatives: Sequence[Refined],
    clean: Sequence[Refined],
) -> Verdicts:
    """Precision, recall and F1 of dropping documents."""
    nothing = [all(page.remove) for page in pages]
    pairs = [(made.text is None, empty) for made, empty in zip(output.made, nothing, strict=True)]
    pairs += [(made.text is None, True) for made in negatives] + [(made.text is None, False) for made in clean]
    counts = Counter(pairs)
    hit, wrong, missed = counts[True, True], counts[True, False], counts[False, True]
    precision, recall = hit / max(1, hit + wrong), hit / max(1, hit + missed)
    worth_keeping = [(made, page) for made, page in zip(output.made, pages, strict=True) if not all(page.remove)]
    lost_pages = [made.text is None for made, _ in worth_keeping]
    return Verdicts(
        name=output.name,
        precision=precision,
        recall=recall,
        f1=harmonic(precision, recall),
        worth_dropping=hit + missed,
        worth_keeping=len(pairs) - hit - missed,
        pages_dropped=sum(lost_pages) / max(1, len(lost_pages)),
        pages_dropped_interval=share_interval(lost_pages, [page.domain for _, page in worth_keeping]),
    )


def measure_texts(name: str, which: str, texts: Sequence[PlainText], made: Sequence[Refined]) -> list[TextsMeasured]:
    """A contender on a set of texts: all of them, then each kind."""
    kinds = sorted({text.kind for text in texts})
    pairs = list(zip(texts, made, strict=True))
    found = [_texts(name, which, "all", pairs)]
    if len(kinds) > 1:
        found += [_texts(name, which, kind, [pair for pair in pairs if pair[0].kind == kind]) for kind in kinds]
    return found


def _texts(name: str, which: str, kind: str, pairs: Sequence[tuple[PlainText, Refined]]) -> TextsMeasured:
    count = max(1, len(pairs))
    scores = [score_document(made.text, text.text, text.text) for text, made in pairs]
    score, domains = summarise(scores), [text.domain for text, _ in pairs]
    dropped = [made.text is None for _, made in pairs]
    changed = [made.text != text.text for text, made in pairs]
    draws = draw(scores, domains)
    return TextsMeasured(
        set=which,
        kind=kind,
        name=name,
        documents=len(pairs),
        dropped=sum(dropped) / count,
        changed=sum(changed) / count,
        words_removed=score.gold_words_removed,
        f1=score.f1,
        intervals={
            "dropped": share_interval(dropped, domains),
            "changed": share_interval(changed, domains),
            "words_removed": interval(draws.gold_words_removed),
            "f1": interval(draws.f1),
        },
    )
