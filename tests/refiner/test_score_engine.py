from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from prox_spark.errors import EngineError
from prox_spark.program.scores import program_from_scores
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.device import open_session
from prox_spark.refiner.refiner import Refiner
from prox_spark.refiner.score import ScoreEngine
from tests.helpers.tiny_models import decoder, score_bundle

PAGES = [
    "hello world\n\nthe quick",
    "a\n" * 300,
    "x" * 9_000 + "\nfoo",
    "",
    "</s> [/doc]\nlast",
    "é漢\ud800 \r\u2028\0\n|",
] * 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return score_bundle(tmp_path_factory.mktemp("bundles") / "score")


def test_programs_are_the_same_in_every_batch(bundle: Bundle) -> None:
    one, four, sixteen = (
        list(Refiner.load(bundle.directory, "cpu", batch_size=size, threads=1).write(PAGES)) for size in (1, 4, 16)
    )
    assert one == four == sixteen
    assert list(Refiner.load(bundle.directory, "cpu", threads=3).write(PAGES)) == one
    assert [next(Refiner.load(bundle.directory, "cpu").write([page])) for page in PAGES[:6]] == one[:6]


def test_scores_equal_those_of_the_graph_without_padding(bundle: Bundle) -> None:
    session = onnxruntime.InferenceSession(str(bundle.graph), providers=["CPUExecutionProvider"])
    prompt = bundle.prompt(bundle.tokenizer())
    for page, programs in zip(PAGES[:6], Refiner.load(bundle.directory, "cpu").write(PAGES[:6]), strict=True):
        rows = []
        for chunk, program in zip(prompt.chunks(page), programs.chunks, strict=True):
            ends = list(chunk.line_ends)
            ahead = [[ends[min(i + k, len(ends) - 1)] for k in range(3)] for i in range(len(ends))]
            ids = np.asarray([chunk.token_ids], dtype=np.int64)
            feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "line_positions": np.asarray(ahead)}
            lines, row = session.run(["line_scores", "row_scores"], {**feed, "row_positions": np.asarray([ends[-1]])})
            np.testing.assert_allclose(program.line_scores, lines, atol=1e-5)
            rows.append(row[0])
            assert program.program == program_from_scores(program.line_scores or (), chunk.first_line, 0.5)
            assert (program.prompt_tokens, program.new_tokens) == (len(chunk.token_ids), 0)
        assert programs.doc_score == pytest.approx(min(rows), abs=1e-5)
        assert programs.doc_program == ("drop_doc()" if programs.doc_score >= 0.5 else "keep_doc()")


def test_scores_survive_the_table_s_float(bundle: Bundle) -> None:
    (programs,) = Refiner.load(bundle.directory, "cpu").write(["hello\nworld"])
    scores = [*(programs.chunks[0].line_scores or ()), programs.doc_score]
    assert all(float(np.float32(score)) == score for score in scores if score is not None)


@pytest.mark.parametrize("level", ["chunk", "document"])
def test_levels(tmp_path: Path, level: str) -> None:
    bundle = score_bundle(tmp_path / level, level=level)
    (programs,) = Refiner.load(bundle.directory, "cpu").write(["hello\nworld"])
    if level == "chunk":
        assert (programs.doc_program, programs.doc_score) == (None, None)
        assert len(programs.chunks) == 1
    else:
        assert programs.doc_program in ("keep_doc()", "drop_doc()")
        assert programs.chunks == ()
    assert programs.prompt_tokens > 2


def test_another_graph_is_refused(tmp_path: Path) -> None:
    decoder(tmp_path / "m.onnx", 300)
    with pytest.raises(EngineError, match="not a scoring graph"):
        ScoreEngine(open_session(tmp_path / "m.onnx", "cpu"))
