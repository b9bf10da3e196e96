"""Documents that take more than they may, or break engine or tokenizer: an error of theirs alone, with a code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from prox_spark.program.programs import DocumentPrograms
from prox_spark.refiner import model
from prox_spark.refiner.budget import CODES, Budget, code_of, describe, of_a_text
from prox_spark.refiner.model import ModelRefiner
from prox_spark.refiner.refiner import Refiner
from prox_spark.refiner.written import Written
from prox_spark.text.chunks import Chunk
from prox_spark.text.prompts import CompactFormat
from prox_spark.text.tokenize import TextTokenizer
from tests.helpers.tiny_models import WIDTH, decode_bundle, score_bundle


@pytest.fixture
def refiner(tmp_path: Path) -> ModelRefiner:
    return ModelRefiner(score_bundle(tmp_path / "score"), "cpu", threads=1)


class Hungry:
    """An engine on a real session, which can get the memory for one line and for no more."""

    def __init__(self) -> None:
        shape = [helper.make_node("ConstantOfShape", ["size"], ["memory"])]
        size = helper.make_tensor_value_info("size", TensorProto.INT64, [1])
        out = helper.make_node("ReduceSum", ["memory", "axes"], ["sum"], keepdims=0)
        total = helper.make_tensor_value_info("sum", TensorProto.FLOAT, [])
        axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
        graph = helper.make_graph([*shape, out], "hungry", [size], [total], [axes])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(made.SerializeToString(), options, ["CPUExecutionProvider"])
        # An arena that is refused a huge block while it has none takes, the next time, all memory that there is.
        self.session.run(None, {"size": np.array([1 << 18], np.int64)})
        self.runs: list[int] = []

    def run(self, chunks: Sequence[Chunk]) -> list[Written]:
        self.runs.append(len(chunks))
        lines = sum(chunk.lines for chunk in chunks)
        # The second is more than any address space has.
        self.session.run(None, {"size": np.array([1 << 18 if lines == 1 else 1 << 58], np.int64)})
        return [Written(line_vectors=np.ones((chunk.lines, WIDTH), np.float32)) for chunk in chunks]


def test_out_of_memory_halves_the_batch_and_then_it_is_the_one_documents(refiner: ModelRefiner) -> None:
    refiner.engine = engine = Hungry()
    texts = ["one"] * 3 + ["two\nlines"] + ["one"] * 4
    found = list(refiner.write(texts))
    assert [programs.error is not None for programs in found] == [text != "one" for text in texts]
    assert found[3].error is not None and found[3].error.startswith("out_of_memory: Fail: [ONNXRuntimeError]")
    assert (found[3].doc_program, found[3].chunks) == (None, ())
    assert sorted(engine.runs) == [1] * 8 + [2] * 4 + [4] * 2 + [8]
    assert all(programs.doc_score is not None for programs in found if programs.error is None)


def test_a_document_out_of_memory_in_one_chunk_goes_whole(refiner: ModelRefiner) -> None:
    class Last(Hungry):
        def run(self, chunks: Sequence[Chunk]) -> list[Written]:
            if any(chunk.chunk == 1 for chunk in chunks):
                raise MemoryError
            return [Written(line_vectors=np.ones((chunk.lines, WIDTH), np.float32)) for chunk in chunks]

    refiner.engine = Last()
    first, second = refiner.write(["word\n" * 200, "word"])
    assert first.error == "out_of_memory: MemoryError: "
    assert second.error is None


def test_a_document_whose_lines_cannot_be_judged_for_want_of_memory_goes_whole(
    refiner: ModelRefiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refiner.judge is not None
    session, judge = Hungry().session, refiner.judge.judge
    judged: list[Sequence[str]] = []

    def hungry(lines: Sequence[str], vectors: np.ndarray) -> tuple[tuple[float, ...], float]:
        judged.append(lines)
        if "large" in lines:
            session.run(None, {"size": np.array([1 << 58], np.int64)})
        return judge(lines, vectors)

    monkeypatch.setattr(refiner.judge, "judge", hungry)
    monkeypatch.setattr(model, "SECTION_LINES", 100)
    first, second, third = refiner.write(["word", "word\n" * 150 + "large\n" + "word\n" * 600, "word"])
    assert second.error is not None and second.error.startswith("out_of_memory: Fail: [ONNXRuntimeError]")
    assert (second.doc_program, second.chunks) == (None, ())
    assert first.error is None and third == first
    # Nothing is asked of a document once it has failed.
    assert ["large" in lines for lines in judged if len(lines) > 1] == [False, True]


def test_a_panic_of_the_tokenizer_ends_one_document(refiner: ModelRefiner) -> None:
    """A regular expression gives up on some texts, and the tokenizer's Rust panics: no `Exception` in Python."""
    tokenizer = Tokenizer(models.BPE({"x": 0, "y": 1, "a": 2, "\n": 3}, [], unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(x+x+)+y"), "isolated")
    hostile = "x" * 60
    with pytest.raises(BaseException) as caught:
        tokenizer.encode(hostile)
    assert not isinstance(caught.value, Exception) and of_a_text(caught.value)
    assert not of_a_text(KeyboardInterrupt()) and not of_a_text(SystemExit())

    refiner.prompt = CompactFormat(TextTokenizer(tokenizer), 2, window_tokens=64)
    found = list(refiner.write(["xxy", hostile, "a"]))
    assert [programs.error and code_of(programs.error) for programs in found] == [None, "tokenizer_failed", None]


def test_a_tokenizer_that_lacks_a_character_ends_one_document(refiner: ModelRefiner) -> None:
    refiner.prompt = CompactFormat(TextTokenizer(Tokenizer(models.WordLevel({"a": 0, "\n": 1}))), 0, window_tokens=64)
    good, bad = refiner.write(["a", "b"])
    assert good.error is None
    assert bad.error == "tokenizer_failed: Exception: WordLevel error: Missing [UNK] token from the vocabulary"


def test_a_document_of_too_many_tokens_is_not_run_at_all(
    refiner: ModelRefiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Chunk] = []
    run = refiner.engine.run
    monkeypatch.setattr(refiner.engine, "run", lambda chunks: (ran.extend(chunks), run(chunks))[1])
    monkeypatch.setattr(model, "SCORE_WINDOW_TOKENS", 200)
    text = "word\n" * 300
    (programs,) = refiner.write([text])
    tokens = programs.prompt_tokens
    refiner.budget = Budget(tokens=tokens)
    assert list(refiner.write([text])) == [programs]
    ran.clear()
    refiner.budget = Budget(tokens=tokens - 1)
    small, large, after = refiner.write(["word", text, "word"])
    assert large.error == f"too_many_tokens: more than max_tokens, which is {tokens - 1}"
    assert (large.doc_program, large.chunks) == (None, ())
    assert small.error is None and after.error is None
    assert len(ran) == 2


def test_a_document_that_takes_too_long_is_not_run_to_its_end(
    refiner: ModelRefiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    run = refiner.engine.run

    def slowly(chunks: Sequence[Chunk]) -> list[Written]:
        """Take a second by the clock that the refiner reads."""
        ran.append(len(chunks))
        return run(chunks)

    refiner.engine.run = slowly  # type: ignore[method-assign]
    monkeypatch.setattr(model, "time", SimpleNamespace(monotonic=lambda: float(len(ran))))
    # Without a second thread: this clock would run on while a page is tokenized.
    refiner._pool = None
    monkeypatch.setattr(model, "WINDOW_TOKENS", 200)
    refiner.batch_size = 1
    refiner.budget = Budget(seconds=5)
    short, long, after = refiner.write(["word", "word\n" * 3_000, "word"])
    assert long.error is not None and code_of(long.error) == "too_slow"
    assert short.error is None and after.error is None
    # Of more than sixty batches: those that five seconds allow, and what was on its way meanwhile.
    assert 5 <= len(ran) <= 15


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("std::bad_alloc"), "out_of_memory"),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), "out_of_memory"),
        (RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"), "out_of_memory"),
        (RuntimeError("Available memory of 10 is smaller than requested bytes of 20"), "out_of_memory"),
        (ValueError("shape"), None),
        (ValueError("too_slow: spelt by a page"), None),
    ],
)
def test_errors_are_known_by_what_they_say(error: Exception, code: str | None) -> None:
    assert code_of(describe(error)) == code
    assert len(describe(RuntimeError("x" * 10_000))) == 500
    assert all(code_of(f"{one}: words") == one for one in CODES)


def test_scripted_refiners_keep_to_the_budget_of_tokens() -> None:
    refiner = Refiner.load("scripted:noise")
    refiner.budget = Budget(tokens=3)

    def written(texts: Iterable[str]) -> Iterator[DocumentPrograms]:
        return refiner.write(texts)

    few, many = written(["one two three", "one two three four"])
    assert few.error is None and many.error == "too_many_tokens: 4 words, not 3"


def test_numbers_of_lines_and_templates_count_towards_a_documents_tokens(tmp_path: Path) -> None:
    """A page of blank lines is a few characters and many tokens."""
    blank = "\n" * 400
    decoding = ModelRefiner(decode_bundle(tmp_path / "decode"), "cpu", threads=1)
    tokens = sum(len(chunk.token_ids) for chunk in decoding.prompt.chunks(blank))
    assert tokens > 2 * model.TOKENS_A_CHAR * len(blank)
    decoding.budget = Budget(tokens=tokens - 1)
    (found,) = decoding.write([blank])
    assert found.error is not None and code_of(found.error) == "too_many_tokens"
