from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from prox_spark.errors import EngineError
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.cache import Cache
from prox_spark.refiner.decode import CACHE_BYTES, PIECE_TOKENS, DecodeEngine
from prox_spark.refiner.device import open_session
from prox_spark.refiner.refiner import Refiner
from prox_spark.text.chunks import Chunk
from tests.helpers.tiny_models import decode_bundle, llama_tokenizer, plain_decoder, scorer

PAGES = [
    "hello world\n\nthe quick",
    "a\n" * 60,
    "x" * 3_000 + "\nfoo",
    "",
    "</s> [/doc]\nlast",
    "é漢\ud800 \r\u2028\0|",
] * 3
SEED = 12


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return decode_bundle(tmp_path_factory.mktemp("bundles") / "decode", SEED)


@pytest.fixture(scope="module")
def plain(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A session of the bundle's network in plain operations."""
    path = tmp_path_factory.mktemp("plain") / "model.onnx"
    plain_decoder(path, llama_tokenizer().get_vocab_size(), SEED)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def engine(bundle: Bundle, new_tokens: int = 12, rows: int = 16) -> DecodeEngine:
    manifest = bundle.manifest
    session = open_session(bundle.graph, "cpu", threads=1)
    return DecodeEngine(session, manifest.end_tokens, new_tokens, bundle.tokenizer().decode, rows)


def prompts(bundle: Bundle) -> list[Chunk]:
    prompt = bundle.prompt(bundle.tokenizer())
    return [chunk for page in PAGES[:6] for chunk in prompt.chunks(page)]


def greedy(plain: Any, ids: tuple[int, ...], ends: tuple[int, ...], most: int) -> tuple[list[int], bool]:
    """The plainest way: the whole text through the graph for every token, no cache, no pieces, no batch."""
    found: list[int] = []
    while len(found) < most:
        all_ids = np.asarray([[*ids, *found]], dtype=np.int64)
        feed = {"input_ids": all_ids, "attention_mask": np.ones_like(all_ids)}
        token = int(plain.run(["logits"], feed)[0][0, -1].argmax())
        if token in ends:
            return found, False
        found.append(token)
    return found, True


def test_tokens_equal_decoding_without_cache_pieces_or_batch(bundle: Bundle, plain: Any) -> None:
    chunks = prompts(bundle)
    outcomes = set()
    together = engine(bundle, rows=3).run(chunks)
    for chunk, beside in zip(chunks, together, strict=True):
        expected, truncated = greedy(plain, chunk.token_ids, bundle.manifest.end_tokens, 12)
        (written,) = engine(bundle).run([chunk])
        assert (list(written.tokens), written.truncated) == (expected, truncated)
        assert written.program == bundle.tokenizer().decode(expected)
        assert beside == written, "whatever is decoded beside it, and wherever its row moves"
        outcomes.add((len(expected), truncated))
    assert len(outcomes) > 3, "rows that end early, late and not at all"


def test_long_prompts_are_read_in_pieces(bundle: Bundle, plain: Any) -> None:
    running = engine(bundle)
    for tokens in (1, PIECE_TOKENS["cpu"], PIECE_TOKENS["cpu"] + 1, 700):
        ids = tuple(3 + (7 * n + n // 11) % 300 for n in range(tokens))
        feed = {"input_ids": np.asarray([ids]), "attention_mask": np.ones((1, tokens), dtype=np.int64)}
        expected = plain.run(["logits"], feed)[0][0, -1]
        np.testing.assert_allclose(running.prompt_logits([Chunk(0, 0, 0, False, ids)])[0], expected, atol=1e-4)


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


def test_a_row_that_ends_makes_room_for_the_next_prompt(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    running = engine(bundle)
    sizes = []
    step = running._step

    def recorded(slots: Any) -> Any:
        sizes.append(len(slots))
        return step(slots)

    monkeypatch.setattr(running, "_step", recorded)
    chunks = prompts(bundle) * 4
    written = running.run(chunks)
    assert sizes[0] == 16
    assert sizes == sorted(sizes, reverse=True), "full as long as prompts wait, then fewer and fewer"
    # The prompt gives the first token, every step one more; the last may be the end.
    after_first = [len(w.tokens) - w.truncated for w in written]
    assert sum(sizes) == sum(after_first), "no step is spent on a row that has ended"


def test_long_prompts_take_fewer_rows(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    running = engine(bundle)
    expected = running.run(prompts(bundle))
    needed = [running._capacity(chunk) for chunk in prompts(bundle)]
    monkeypatch.setitem(CACHE_BYTES, "cpu", 3 * max(needed) * running.cache.token_bytes)
    small = engine(bundle)
    shapes = []
    shape = small.cache.shape

    def recorded(rows: int, capacity: int) -> None:
        shapes.append((rows, capacity))
        shape(rows, capacity)

    monkeypatch.setattr(small.cache, "shape", recorded)
    assert small.run(prompts(bundle)) == expected
    assert shapes[0] == (3, max(needed))
    assert len(shapes) > 1
    assert all(rows * capacity <= 3 * max(needed) for rows, capacity in shapes)


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


def test_memory_that_could_not_be_had_is_asked_for_again(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose cache was refused the room for long prompts still writes short ones."""
    one, allocate = engine(bundle, rows=4), Cache._allocate
    short, long = (Chunk(0, 0, 0, False, tuple(range(3, 3 + tokens)), text="a") for tokens in (5, 900))
    expected = one.run([short] * 2)

    def refused(cache: Cache, numbers: int) -> Any:
        raise MemoryError

    monkeypatch.setattr(Cache, "_allocate", refused)
    with pytest.raises(MemoryError):
        one.run([long] * 4)
    monkeypatch.setattr(Cache, "_allocate", allocate)
    assert one.run([short] * 2) == expected


def test_two_threads_do_not_write_into_each_others_cache(bundle: Bundle) -> None:
    one = engine(bundle, rows=3)
    chunks = prompts(bundle)
    expected = [one.run([chunk])[0] for chunk in chunks]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(one.run, [chunks] * 8):
            assert found == expected


def test_a_row_that_comes_to_no_numbers_ends_alone(bundle: Bundle, tmp_path: Path) -> None:
    """A token whose embedding is not a number, in one prompt of several."""
    poison, vocabulary = 5, llama_tokenizer().get_vocab_size()
    model = onnx.load(str(bundle.graph))
    embeddings = next(weight for weight in model.graph.initializer if weight.dims[:1] == [vocabulary])
    values = numpy_helper.to_array(embeddings).copy()
    values[poison] = np.nan
    embeddings.CopyFrom(numpy_helper.from_array(values, embeddings.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    session = open_session(tmp_path / "model.onnx", "cpu", threads=1)
    hurt = DecodeEngine(session, bundle.manifest.end_tokens, 12, bundle.tokenizer().decode, rows=3)
    chunks = prompts(bundle)
    assert not any(poison in chunk.token_ids for chunk in chunks)
    expected = engine(bundle, rows=3).run(chunks)
    assert not any(poison in written.tokens for written in expected)
    first = chunks[0]
    bad = replace(first, token_ids=(*first.token_ids[:-1], poison))
    found = hurt.run([bad, *chunks[:3], bad, *chunks[3:]])
    assert [n for n, written in enumerate(found) if written.error] == [0, 4]
    assert found[0].error == "EngineError: the graph gave a logit that is not a number"
    assert [written for written in found if not written.error] == expected
    with pytest.raises(EngineError, match="not a number"):
        hurt.prompt_logits([first, bad])
