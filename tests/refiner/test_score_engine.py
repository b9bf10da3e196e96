from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from prox_spark.errors import EngineError
from prox_spark.program.scores import program_from_scores
from prox_spark.refiner import model
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.device import open_session
from prox_spark.refiner.refiner import Refiner
from prox_spark.refiner.score import LineJudge, ScoreEngine
from prox_spark.refiner.shapes import line_shapes
from prox_spark.refiner.written import Written
from prox_spark.text.chunks import Chunk
from prox_spark.text.lines import split_lines
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


def test_scores_equal_those_of_the_graphs_without_padding(bundle: Bundle) -> None:
    reads, judges = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (bundle.graph, bundle.line_graph)
    )
    prompt = bundle.prompt(bundle.tokenizer())
    for page, programs in zip(PAGES[:6], Refiner.load(bundle.directory, "cpu").write(PAGES[:6]), strict=True):
        vectors = []
        for chunk in prompt.chunks(page):
            ids = np.asarray([chunk.token_ids], dtype=np.int64)
            feed = {"input_ids": ids, "line_positions": np.asarray(chunk.line_ends)}
            vectors += reads.run(["line_vectors"], feed)
        feed = {"vectors": np.concatenate(vectors), "shapes": line_shapes(split_lines(page))}
        lines, document = judges.run(["line_scores", "document_score"], feed)
        found = [score for chunk in programs.chunks for score in chunk.line_scores or ()]
        np.testing.assert_allclose(found, lines, atol=1e-5)
        assert programs.doc_score == pytest.approx(document[0], abs=1e-5)
        assert programs.doc_program == ("drop_doc()" if programs.doc_score >= 0.5 else "keep_doc()")
        for chunk, program in zip(prompt.chunks(page), programs.chunks, strict=True):
            assert program.program == program_from_scores(program.line_scores or (), chunk.first_line, 0.5)
            assert (program.prompt_tokens, program.new_tokens) == (len(chunk.token_ids), 0)


def test_very_long_documents_are_judged_in_sections_of_whole_chunks(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "".join(f"line {n}\n" for n in range(900))
    sizes: list[int] = []
    judge = LineJudge.judge

    def counted(self: LineJudge, lines: list[str], vectors: Any) -> Any:
        sizes.append(len(lines))
        return judge(self, lines, vectors)

    monkeypatch.setattr(LineJudge, "judge", counted)
    monkeypatch.setattr(model, "SECTION_LINES", 200)
    (whole,) = Refiner.load(bundle.directory, "cpu").write([page])
    first = list(sizes)
    assert sum(sizes) == 901
    assert max(sizes) <= 200 < min(sizes[:-1]) + 130
    monkeypatch.setattr(model, "SCORE_WINDOW_TOKENS", 500)
    (in_windows,) = Refiner.load(bundle.directory, "cpu").write([page])
    assert sizes[len(first) :] == first
    assert in_windows == whole


def test_a_chunk_that_fails_leaves_the_others_of_its_document(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ScoreEngine.run

    def fails(self: ScoreEngine, chunks: list[Chunk]) -> list[Written]:
        if any(chunk.chunk == 1 for chunk in chunks):
            raise RuntimeError("not a number")
        return run(self, chunks)

    monkeypatch.setattr(ScoreEngine, "run", fails)
    (programs,) = Refiner.load(bundle.directory, "cpu").write(["a line\n" * 100])
    errors = [chunk.error for chunk in programs.chunks]
    assert errors[1] == "RuntimeError: not a number"
    assert set(errors[:1] + errors[2:]) == {None}
    assert programs.chunks[1].line_scores is None
    assert all(len(c.line_scores or ()) == c.last_line - c.first_line + 1 for c in programs.chunks if not c.error)
    assert (programs.doc_program, programs.doc_score) == ("keep_doc()", None)


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
