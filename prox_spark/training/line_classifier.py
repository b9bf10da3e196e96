"""A line classifier of the usual kind, to measure refiners against: hashed words, stacked into gradient boosting.

A linear model over hashed word 1-2-grams says how much a line reads like boilerplate. Its margins, taken out of fold by
domain, join the line's shape, place and neighbours as features of LightGBM. Lines weigh what they weigh in the training
of refiners; the threshold comes from pages of domains that neither model has seen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import lightgbm
import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier

from prox_spark.errors import BundleError, SourceError
from prox_spark.program.execute import Guards, Refined, execute
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.scores import program_from_scores
from prox_spark.text.lines import split_lines
from prox_spark.training.contenders import Contender, Text
from prox_spark.training.data import read_pages, split_by_domain
from prox_spark.training.line_features import Matrix, line_features
from prox_spark.training.metrics import score
from prox_spark.training.page import Page

HASHED = 2**18
FOLDS = 5
LINEAR = {"loss": "log_loss", "alpha": 1e-5, "max_iter": 10, "tol": None, "average": True, "random_state": 0}
BOOSTED = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 63,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "seed": 0,
    "deterministic": True,
    "force_col_wise": True,
    "verbose": -1,
}
ROUNDS, PATIENCE = 1200, 60
THRESHOLDS = tuple(round(0.2 + 0.025 * step, 3) for step in range(27))

BOOSTER_FILE, LINEAR_FILE, SETTINGS_FILE = "booster.txt", "linear.npz", "classifier.json"
FORMAT = 1
LINES_A_CHUNK = 50

_DIGIT = re.compile(r"\d")
Vector = npt.NDArray[np.float64]


class _Domained(Protocol):
    @property
    def domain(self) -> str: ...


@dataclass(frozen=True)
class LineClassifier:
    """A trained classifier: weights of the linear model, the booster, and from which probability on a line goes."""

    weights: npt.NDArray[np.float32]
    bias: float
    booster: Any
    threshold: float

    def probabilities(self, documents: Sequence[Sequence[str]]) -> list[Vector]:
        """For each document of lines, for each line the probability that it is to be removed."""
        return [self._document(lines) for lines in documents]

    def _document(self, lines: Sequence[str]) -> Vector:
        margins = _hashed(lines) @ self.weights + self.bias
        found: Vector = self.booster.predict(line_features(lines, margins), num_threads=1)
        return found

    def save(self, directory: Path) -> None:
        """Write the booster in LightGBM's own text format, the linear weights as numpy, the rest as JSON."""
        directory.mkdir(parents=True, exist_ok=True)
        self.booster.save_model(str(directory / BOOSTER_FILE))
        np.savez_compressed(directory / LINEAR_FILE, weights=self.weights)
        settings = {"format": FORMAT, "bias": self.bias, "threshold": self.threshold, "hashed": HASHED}
        (directory / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def load(directory: Path) -> LineClassifier:
        """Read what ``save`` wrote. Raises BundleError when a file is missing or of another format."""
        try:
            settings = json.loads((directory / SETTINGS_FILE).read_text(encoding="utf-8"))
            if settings["format"] != FORMAT or settings["hashed"] != HASHED:
                raise BundleError(f"the line classifier in {directory} is of another version: train it anew")
            with np.load(directory / LINEAR_FILE, allow_pickle=False) as arrays:
                weights = arrays["weights"]
            booster = lightgbm.Booster(model_file=str(directory / BOOSTER_FILE))
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, lightgbm.basic.LightGBMError) as error:
            raise BundleError(f"no line classifier in {directory}: {error}") from error
        return LineClassifier(weights, settings["bias"], booster, settings["threshold"])


class ClassifierContender(Contender):
    """Removes the lines that the classifier would; it has no verdict on documents, and no guard stands behind it."""

    name = "lightgbm"
    removes_lines = True

    def __init__(self, classifier: LineClassifier) -> None:
        self.classifier = classifier

    def refine(self, texts: Sequence[Text]) -> list[Refined]:
        """The texts without the lines that go."""
        documents = [split_lines(text) for text, _ in texts]
        found = self.classifier.probabilities(documents)
        return [
            execute(text, _programs(scores, self.classifier.threshold), guards=Guards(max_removed_ratio=1, min_words=0))
            for (text, _), scores in zip(texts, found, strict=True)
        ]


def train_classifier(data: Path, languages: tuple[str, ...] = ("en",)) -> LineClassifier:
    """Train on a records file; a tenth of its domains is held out, for early stopping and the threshold.

    Raises SourceError when there are too few domains to hold any out.
    """
    fitted, held_out = split_by_domain(read_pages(data, languages))
    folds = np.array([_fold(page) for page in fitted for _ in page.lines])
    if not held_out or len(set(folds.tolist())) < 2:
        raise SourceError(f"too few domains in {data} to train a line classifier")
    hashed = _hashed(line for page in fitted for line in page.lines)
    labels, weights = _labels(fitted)
    margins = np.zeros(len(labels))
    for fold in range(FOLDS):
        inside = folds == fold
        if inside.any():
            margins[inside] = _linear(hashed, labels, weights, ~inside).decision_function(hashed[inside])
    linear = _linear(hashed, labels, weights, np.full(len(labels), True))
    coefficients, bias = linear.coef_[0].astype(np.float32), float(linear.intercept_[0])
    booster = _boost(
        _stacked(fitted, margins), fitted, _stacked(held_out, _margins(held_out, coefficients, bias)), held_out
    )
    classifier = LineClassifier(coefficients, bias, booster, threshold=0.5)
    return LineClassifier(coefficients, bias, booster, best_threshold(classifier, held_out))


def best_threshold(classifier: LineClassifier, pages: Sequence[Page]) -> float:
    """The threshold with the best mean F1 over the renderings of these pages."""
    found = classifier.probabilities([page.lines for page in pages])

    def mean_f1(threshold: float) -> float:
        scores = []
        for rendering in {page.rendering for page in pages}:
            rows = [
                (
                    "\n".join(line for line, p in zip(page.lines, chance, strict=True) if p < threshold),
                    page.gold,
                    page.raw,
                )
                for page, chance in zip(pages, found, strict=True)
                if page.rendering == rendering
            ]
            scores.append(score(rows).f1)
        return sum(scores) / len(scores)

    return max(THRESHOLDS, key=mean_f1)


def _fold(page: _Domained) -> int:
    # Other digits of the hash than those that hold pages out.
    return int(hashlib.sha256(page.domain.encode()).hexdigest()[:8], 16) // 10 % FOLDS


def _hashed(lines: Iterable[str]) -> Any:
    vectorizer = HashingVectorizer(
        n_features=HASHED,
        ngram_range=(1, 2),
        alternate_sign=False,
        token_pattern=r"\w+|[^\w\s]",
        preprocessor=_plain,
        dtype=np.float32,
    )
    return vectorizer.transform(lines)


def _plain(line: str) -> str:
    return _DIGIT.sub("0", line.lower())


def _linear(hashed: Any, labels: Vector, weights: Vector, at: npt.NDArray[np.bool_]) -> Any:
    used = at & (weights > 0)
    return SGDClassifier(**LINEAR).fit(hashed[used], labels[used], sample_weight=weights[used])


def _margins(pages: Sequence[Page], coefficients: npt.NDArray[np.float32], bias: float) -> Vector:
    found: Vector = _hashed(line for page in pages for line in page.lines) @ coefficients + bias
    return found


def _labels(pages: Sequence[Page]) -> tuple[Vector, Vector]:
    labels = [float(remove) for page in pages for remove in page.remove]
    return np.array(labels), np.array([weight for page in pages for weight in page.weights])


def _stacked(pages: Sequence[Page], margins: Vector) -> Matrix:
    ends = np.cumsum([len(page.lines) for page in pages])
    parts = np.split(margins, ends[:-1])
    return np.vstack([line_features(page.lines, part) for page, part in zip(pages, parts, strict=True)])


def _boost(features: Matrix, pages: Sequence[Page], held_features: Matrix, held_out: Sequence[Page]) -> Any:
    labels, weights = _labels(pages)
    held_labels, held_weights = _labels(held_out)
    used, held = weights > 0, held_weights > 0
    data = lightgbm.Dataset(features[used], labels[used], weight=weights[used])
    check = lightgbm.Dataset(held_features[held], held_labels[held], weight=held_weights[held], reference=data)
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    return lightgbm.train(BOOSTED, data, ROUNDS, valid_sets=[check], callbacks=[stop])


def _programs(scores: Vector, threshold: float) -> DocumentPrograms:
    starts = range(0, len(scores), LINES_A_CHUNK)
    return DocumentPrograms(
        None,
        tuple(
            ChunkProgram(
                chunk=number,
                first_line=at,
                last_line=min(at + LINES_A_CHUNK, len(scores)) - 1,
                program=program_from_scores([float(p) for p in scores[at : at + LINES_A_CHUNK]], at, threshold),
            )
            for number, at in enumerate(starts)
        ),
    )
