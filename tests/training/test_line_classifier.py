from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from prox_spark.cli import app
from prox_spark.errors import BundleError, SourceError
from prox_spark.training.line_features import NEIGHBOURS, line_features, neighbour_features
from tests.helpers.labelled_pages import MENU, PROSE, record, write_records

if TYPE_CHECKING:
    from prox_spark.training.line_classifier import LineClassifier


@pytest.mark.parametrize("lines", [[""], ["one line"], ["", "", ""], list(MENU)])
def test_features_of_any_document(lines: list[str]) -> None:
    features = line_features(lines, np.zeros(len(lines)))
    assert features.shape[0] == len(lines)
    assert features.shape[1] == line_features(["x"], np.zeros(1)).shape[1]
    assert not np.isinf(features).any()


def test_neighbours_are_the_lines_around() -> None:
    found = neighbour_features(np.arange(10, dtype=np.float32)[:, None])
    # The lines one by one, from the third above to the third below, without the line itself.
    np.testing.assert_array_equal(found[5, : 2 * NEIGHBOURS], [2, 3, 4, 6, 7, 8])
    assert np.isnan(found[0, :NEIGHBOURS]).all() and np.isnan(found[9, NEIGHBOURS : 2 * NEIGHBOURS]).all()
    # Means over two lines before, after, and around.
    np.testing.assert_array_equal(found[5, 2 * NEIGHBOURS : 2 * NEIGHBOURS + 3], [3.5, 6.5, 5])


def pages(path: Path, count: int) -> Path:
    return write_records(path, [record(n, kind) for n in range(count) for kind in ("wet", "extracted")])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> LineClassifier:
    from prox_spark.training.line_classifier import train_classifier

    return train_classifier(pages(tmp_path_factory.mktemp("pages") / "pages.jsonl.gz", 60))


@pytest.mark.train
def test_menus_go_and_prose_stays(classifier: LineClassifier) -> None:
    from prox_spark.training.line_classifier import ClassifierContender

    text = "\n".join([*MENU[:3], *PROSE[1:], *MENU[3:]])
    (made,) = ClassifierContender(classifier).refine([(text, "en")])
    assert made.text == "\n".join(PROSE[1:])


@pytest.mark.train
def test_what_is_saved_decides_the_same(classifier: LineClassifier, tmp_path: Path) -> None:
    from prox_spark.training.line_classifier import LineClassifier

    classifier.save(tmp_path / "classifier")
    loaded = LineClassifier.load(tmp_path / "classifier")
    lines = [*MENU, *PROSE, "", "Something that it has never seen"]
    np.testing.assert_array_equal(loaded.probabilities([lines])[0], classifier.probabilities([lines])[0])
    assert loaded.threshold == classifier.threshold
    (tmp_path / "classifier" / "linear.npz").write_bytes(b"")
    with pytest.raises(BundleError, match="no line classifier"):
        LineClassifier.load(tmp_path / "classifier")


@pytest.mark.train
def test_too_few_domains_are_an_error(tmp_path: Path) -> None:
    from prox_spark.training.line_classifier import train_classifier

    with pytest.raises(SourceError, match="too few domains"):
        train_classifier(pages(tmp_path / "pages.jsonl.gz", 1))


@pytest.mark.train
def test_the_command_trains_it_once(tmp_path: Path) -> None:
    data, directory = pages(tmp_path / "pages.jsonl.gz", 60), tmp_path / "classifier"
    command = ["evaluate", "scripted:short-lines", str(data), "--classifier", str(directory)]
    assert CliRunner().invoke(app, command).exit_code == 1
    assert not directory.exists()
    first = CliRunner().invoke(app, [*command, "--train", str(data)], catch_exceptions=False)
    assert first.exit_code == 0 and "lightgbm" in first.output
    written = (directory / "booster.txt").stat().st_mtime_ns
    second = CliRunner().invoke(app, command, catch_exceptions=False)
    assert second.output == first.output
    assert (directory / "booster.txt").stat().st_mtime_ns == written
