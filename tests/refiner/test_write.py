"""What every refiner with a model does around its engine: order, streaming, bounded memory, errors that stay local."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from prox_spark.refiner import model
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.model import ModelRefiner
from prox_spark.refiner.refiner import Refiner
from prox_spark.refiner.written import Written, batches, padded
from prox_spark.text.chunks import Chunk
from tests.helpers.tiny_models import WIDTH, decode_bundle, score_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return score_bundle(tmp_path_factory.mktemp("bundles") / "score")


@pytest.fixture
def refiner(bundle: Bundle) -> ModelRefiner:
    return ModelRefiner(bundle, "cpu", threads=1)


def chunk(tokens: int) -> Chunk:
    return Chunk(0, 0, 0, False, tuple(range(tokens)), (tokens - 1,))


def test_batches_have_one_length_and_keep_their_bounds() -> None:
    chunks = [chunk(n) for n in (10, 700, 64, 65, 60, 640, 1, 128, 700, 2000)]
    found = list(batches(chunks, batch_size=3, batch_tokens=1_000, batch_pairs=1 << 20))
    assert sorted(index for batch in found for index in batch) == list(range(10))
    for batch in found:
        assert len({padded(chunks[i]) for i in batch}) == 1
        length = padded(chunks[batch[0]])
        assert len(batch) <= 3
        assert len(batch) == 1 or (len(batch) * length <= 1_000 and len(batch) * length**2 <= 1 << 20)
    assert [len(batch) for batch in found] == [1, 1, 1, 1, 2, 3, 1]


def test_order_is_kept_and_windows_do_not_show(refiner: ModelRefiner, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"page {n}\n" * (n * 7 % 40 + 1) for n in range(60)]
    whole = list(refiner.write(texts))
    monkeypatch.setattr(model, "SCORE_WINDOW_TOKENS", 200)
    monkeypatch.setattr(model, "WINDOW_DOCUMENTS", 5)
    assert list(refiner.write(iter(texts))) == whole
    assert [p.chunks[-1].last_line for p in whole] == [text.count("\n") for text in texts]


@pytest.mark.parametrize(("bound", "value"), [("WINDOW_DOCUMENTS", 8), ("WINDOW_CHARS", 8 * len("a line"))])
def test_it_reads_only_two_windows_ahead(
    refiner: ModelRefiner, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(model, bound, value)
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "a line"

    programs = refiner.write(endless())
    for given in range(1, 50):
        next(programs)
        assert read <= given + 16


def test_a_long_document_is_run_window_by_window(refiner: ModelRefiner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "SCORE_WINDOW_TOKENS", 500)
    sizes = []
    start = refiner._start
    monkeypatch.setattr(refiner, "_start", lambda queue, running: (sizes.append(len(queue)), start(queue, running)))
    (programs,) = refiner.write(["word\n" * 2_000])
    assert programs.chunks[-1].last_line == 2_000
    assert [c.chunk for c in programs.chunks] == list(range(len(programs.chunks)))
    assert max(sizes) <= 5


def test_nothing_in_nothing_out(refiner: ModelRefiner) -> None:
    assert list(refiner.write([])) == []


class Failing:
    """An engine that fails on marked lengths."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad

    def run(self, chunks: Sequence[Chunk]) -> list[Written]:
        if self.bad & {chunk.lines for chunk in chunks}:
            raise RuntimeError("not a number")
        return [Written(line_vectors=np.ones((chunk.lines, WIDTH), np.float32)) for chunk in chunks]


def test_an_error_stays_with_its_document(refiner: ModelRefiner) -> None:
    refiner.engine = Failing({3})
    good, bad, after = refiner.write(["a\nb", "a\nb\nc", "a"])
    assert bad.error == "RuntimeError: not a number"
    assert (bad.doc_program, bad.chunks) == (None, ())
    assert good.error is None and after.error is None
    assert good.doc_score is not None


def test_a_chunk_that_fails_is_kept_and_its_document_too(refiner: ModelRefiner) -> None:
    text = "word\n" * 200 + "last"
    refiner.engine = Failing(set())
    sizes = [c.last_line - c.first_line + 1 for c in next(refiner.write([text])).chunks]
    assert sizes[-1] != sizes[0]
    refiner.engine = Failing({sizes[-1]})
    (programs,) = refiner.write([text])
    assert programs.error is None
    assert programs.chunks[-1].error == "RuntimeError: not a number"
    assert programs.chunks[0].error is None
    assert (programs.doc_program, programs.doc_score) == ("keep_doc()", None)


def test_a_text_that_cannot_be_read_is_one_error(refiner: ModelRefiner) -> None:
    texts = ["fine", 17, "also fine"]
    first, bad, last = refiner.write(texts)  # type: ignore[arg-type]
    assert bad.error is not None and bad.error.startswith("tokenizer_failed: AttributeError")
    assert first.error is None and last.error is None


def test_loops_are_flagged(tmp_path: Path) -> None:
    class Repeating:
        def run(self, chunks: Sequence[Chunk]) -> list[Written]:
            call = "remove_lines(line_start=0, line_end=0)\n"
            return [Written(program=call * 9 + "remove_l", tokens=(1,) * 256, truncated=True) for _ in chunks]

    refiner = ModelRefiner(decode_bundle(tmp_path / "d"), "cpu")
    refiner.engine = Repeating()
    (programs,) = refiner.write(["a\nb"])
    assert (programs.chunks[0].looped, programs.chunks[0].truncated, programs.new_tokens) == (True, True, 256)


def _in_child(refiner: ModelRefiner, out: object) -> None:
    out.put((os.getpid(), list(refiner.write(["a page\nof lines"]))))  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_a_fork_a_new_session_is_made(refiner: ModelRefiner) -> None:
    expected = list(refiner.write(["a page\nof lines"]))
    context = multiprocessing.get_context("fork")
    out = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(refiner, out))
    child.start()
    process, found = out.get()
    child.join()
    assert process != os.getpid()
    assert found == expected


def test_importing_and_describing_load_no_runtime(bundle: Bundle) -> None:
    code = (
        "import sys, prox_spark.refiner as r; "
        f"r.Refiner.describe({str(bundle.directory)!r}); r.Refiner.load('scripted:noise'); "
        "sys.exit(any(m in sys.modules for m in ('onnxruntime', 'pyspark', 'torch', 'transformers')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_a_loaded_refiner_says_of_itself(bundle: Bundle) -> None:
    refiner = Refiner.load(bundle.directory, "cpu")
    assert (refiner.name, refiner.version, refiner.provider, refiner.device) == (
        "tiny-score",
        "0.1",
        "CPUExecutionProvider",
        "cpu",
    )
    assert refiner.fingerprint == bundle.manifest.fingerprint
    assert refiner.thresholds["cautious"].document == 0.9
    assert refiner.languages == ("en",)
