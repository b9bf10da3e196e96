from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from prox_spark.errors import EngineError
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.decode import DecodeEngine
from prox_spark.refiner.device import open_session
from prox_spark.refiner.refiner import Refiner
from prox_spark.text.chunks import Chunk
from tests.helpers.tiny_models import HEADS, LAYERS, SIZE, decode_bundle, scorer

PAGES = [
    "hello world\n\nthe quick",
    "a\n" * 60,
    "x" * 3_000 + "\nfoo",
    "",
    "</s> [/doc]\nlast",
    "é漢\ud800 \r\u2028\0|",
] * 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return decode_bundle(tmp_path_factory.mktemp("bundles") / "decode")


def engine(bundle: Bundle, new_tokens: int = 12) -> DecodeEngine:
    manifest = bundle.manifest
    session = open_session(bundle.graph, "cpu", threads=1)
    return DecodeEngine(session, manifest.end_tokens, new_tokens, bundle.tokenizer().decode)


def prompts(bundle: Bundle) -> list[Chunk]:
    prompt = bundle.prompt(bundle.tokenizer())
    return [chunk for page in PAGES[:6] for chunk in prompt.chunks(page)]


def greedy(session: Any, ids: tuple[int, ...], ends: tuple[int, ...], most: int) -> tuple[list[int], bool]:
    """The plainest way: the whole text through the graph for every token, no cache, no padding, no batch."""
    found: list[int] = []
    empty = np.zeros((1, HEADS, 0, SIZE), dtype=np.float32)
    past = {f"past_key_values.{n}.{kind}": empty for n in range(LAYERS) for kind in ("key", "value")}
    while len(found) < most:
        all_ids = np.asarray([[*ids, *found]], dtype=np.int64)
        feed = {"input_ids": all_ids, "attention_mask": np.ones_like(all_ids)}
        positions = np.arange(all_ids.shape[1], dtype=np.int64)[None]
        token = int(session.run(["logits"], {**feed, "position_ids": positions, **past})[0][0, -1].argmax())
        if token in ends:
            return found, False
        found.append(token)
    return found, True


def test_tokens_equal_decoding_without_cache_padding_or_batch(bundle: Bundle) -> None:
    session = onnxruntime.InferenceSession(str(bundle.graph), providers=["CPUExecutionProvider"])
    chunks = prompts(bundle)
    outcomes = set()
    for chunk in chunks:
        expected, truncated = greedy(session, chunk.token_ids, bundle.manifest.end_tokens, 12)
        (written,) = engine(bundle).run([chunk])
        assert (list(written.tokens), written.truncated) == (expected, truncated)
        assert written.program == bundle.tokenizer().decode(expected)
        outcomes.add((len(expected), truncated))
    assert len(outcomes) > 3, "rows that end early, late and not at all"


def test_programs_are_the_same_in_every_batch(bundle: Bundle) -> None:
    one, four, sixteen = (
        list(Refiner.load(bundle.directory, "cpu", batch_size=size, threads=1).write(PAGES)) for size in (1, 4, 16)
    )
    assert one == four == sixteen
    assert [next(Refiner.load(bundle.directory, "cpu").write([page])) for page in PAGES[:6]] == one[:6]


def test_logits_of_a_row_do_not_depend_on_its_neighbours(bundle: Bundle) -> None:
    running = engine(bundle)
    chunks = [Chunk(n, 0, 0, False, tuple(range(3, 70 + n))) for n in range(16)]
    together = running.prompt_logits(chunks)
    for number, chunk in enumerate(chunks):
        np.testing.assert_array_equal(running.prompt_logits([chunk])[0], together[number])


def test_rows_that_have_ended_leave_the_cache(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    running = engine(bundle)
    sizes = []
    step = running._logits

    def recorded(rows: Any, ids: Any) -> Any:
        sizes.append(len(ids))
        return step(rows, ids)

    monkeypatch.setattr(running, "_logits", recorded)
    chunks = [c for c in prompts(bundle) * 4 if 65 <= len(c.token_ids) <= 128]
    running.run(chunks)
    assert sizes[0] == len(chunks)
    assert sizes[-1] < len(chunks)


def test_a_program_cut_off_by_the_limit_is_flagged(bundle: Bundle) -> None:
    (written,) = engine(bundle, new_tokens=1).run(prompts(bundle)[:1])
    assert len(written.tokens) <= 1
    assert written.truncated == (len(written.tokens) == 1)


def test_chunk_programs(bundle: Bundle) -> None:
    programs = list(Refiner.load(bundle.directory, "cpu").write(PAGES[:6]))
    assert all(p.doc_program is None and p.doc_score is None and p.error is None for p in programs)
    assert [c.cut_line for c in programs[2].chunks] == [True, False]
    assert all(c.prompt_tokens > 90 and c.new_tokens <= 12 for p in programs for c in p.chunks)
    assert any(c.truncated for p in programs for c in p.chunks)


def test_document_programs(tmp_path: Path) -> None:
    decode_bundle(tmp_path / "d", level="document")
    programs = list(Refiner.load(tmp_path / "d", "cpu").write(PAGES[:3]))
    assert all(p.doc_program and not p.chunks and p.error is None for p in programs)
    assert programs[2].prompt_tokens == 260
    assert 0 < programs[0].new_tokens <= 12


def test_another_graph_is_refused(tmp_path: Path) -> None:
    scorer(tmp_path / "m.onnx", 300)
    with pytest.raises(EngineError, match="not a decoder with a cache"):
        DecodeEngine(open_session(tmp_path / "m.onnx", "cpu"), [2], 4, lambda ids: "")
