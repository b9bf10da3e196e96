"""The grammar over tokens: what a model writes under it, what is forced, and what it costs when it is not needed."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from prox_spark.errors import BundleError
from prox_spark.program.parser import parse_program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.refined import Guards
from prox_spark.program.strict import run_strict
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.decode import DecodeEngine
from prox_spark.refiner.device import open_session
from prox_spark.refiner.guide import Guides
from prox_spark.refiner.refiner import Refiner
from prox_spark.text.chunks import Chunk
from prox_spark.text.tokenize import TextTokenizer
from tests.helpers.tiny_models import byte_tokenizer, decode_bundle, llama_tokenizer

LIMITS = {"window_tokens": 150, "max_new_tokens": 70}
PAGES = ["hello world\n\nthe quick", 'say "é漢"\t\\', "a\n" * 60, "x" * 3_000 + "\nfoo", "", "0 (12)\n</s> [/doc]"]
PROGRAMS = [
    "keep_chunk()",
    "remove_lines(all=True)",
    "remove_lines(line_start=0, line_end=2)\nremove_lines(line_start=11, line_end=11)",
    'remove_lines(line_start=4, line_end=11)\nnormalize(source_str="é漢 \\"q\\" (1)")',
    'normalize(source_str="the (", target_str="=(")\nnormalize(source_str=" ", target_str="")',
]
LINES = Chunk(0, 0, 12, False, (), text="\n".join(['é漢 "q" (1)', "the (1", *["a line"] * 11]))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Random models, which write anything but programs."""
    directory = tmp_path_factory.mktemp("bundles")
    return [decode_bundle(directory / str(n), n, end_tokens=[2], limits=LIMITS) for n in range(3)]


def engine(bundle: Bundle, rows: int = 16, by_grammar: bool = True) -> DecodeEngine:
    tokenizer, manifest = bundle.tokenizer(), bundle.manifest
    guides = Guides(tokenizer, manifest.end_tokens, manifest.dialect, manifest.level) if by_grammar else None
    session = open_session(bundle.graph, "cpu", threads=1)
    return DecodeEngine(session, manifest.end_tokens, LIMITS["max_new_tokens"], tokenizer.decode, rows, guides)


def prompts(bundle: Bundle, pages: list[str]) -> list[Chunk]:
    prompt = bundle.prompt(bundle.tokenizer())
    return [chunk for page in pages for chunk in prompt.chunks(page)]


@settings(max_examples=15, deadline=None)
@given(text=st.text(alphabet='ab 01"\\\t\n(é漢', max_size=60), number=st.integers(0, 2), data=st.data())
def test_programs_of_any_model_can_be_read_and_carried_out(bundles: Any, text: str, number: int, data: Any) -> None:
    running = engine(bundles[number])
    found = running.run(chunks := prompts(bundles[number], [text]))
    written = [
        ChunkProgram(c.chunk, c.first_line, c.last_line, w.program.strip(" \n"), cut_line=c.cut_line)
        for c, w in zip(chunks, found, strict=True)
    ]
    outcome = run_strict(text, DocumentPrograms(None, tuple(written)), Guards(max_errors=1), "prox")
    assert outcome.errors == ()
    for chunk, one in zip(written, found, strict=True):
        parsed = parse_program(chunk.program)
        assert one.truncated or (parsed.operations and not parsed.truncated)


def test_forced_tokens_are_those_of_decoding_one_by_one(bundles: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for bundle in bundles:
        chunks = prompts(bundle, PAGES)
        at_once, one_by_one = engine(bundle, rows=1), engine(bundle, rows=1)
        runs = Counter[str]()
        for running, kind in ((at_once, "at once"), (one_by_one, "one by one")):
            monkeypatch.setattr(running, "_run", partial(_counted, running._run, runs, kind))
        monkeypatch.setattr(one_by_one, "_catch_up", lambda row, slot, rows, ended: ended)
        expected = at_once.run(chunks)
        assert one_by_one.run(chunks) == expected
        assert runs["at once"] < runs["one by one"]
        assert engine(bundle, rows=3).run(chunks) == expected, "whatever is decoded beside it"


def _counted(run: Any, runs: Counter[str], kind: str, *given: Any) -> Any:
    runs[kind] += 1
    return run(*given)


def test_a_program_in_the_tokenizers_spelling_stays_and_is_partly_forced() -> None:
    for made in (byte_tokenizer(), llama_tokenizer()):
        tokenizer = TextTokenizer(made)
        guides = Guides(tokenizer, [made.token_to_id("</s>")], "prox", "chunk")
        for program in PROGRAMS:
            guide, ids = guides.guide(LINES), tokenizer.encode(program)
            place = asked = 0
            over = False
            while place < len(ids):
                token = guide.choose(ids[place], _not_asked)
                assert token == ids[place], program
                forced, over = guide.follow(token)
                assert forced == ids[place + 1 : place + 1 + len(forced)], "a model's own tokens, if it spells so too"
                place, asked = place + 1 + len(forced), asked + 1
            assert place == len(ids) and asked < 0.8 * len(ids)
            assert over == (program in PROGRAMS[:2])
            assert guide.choose(made.token_to_id("</s>"), _not_asked) is not None


def _not_asked() -> np.ndarray:
    raise AssertionError("logits were asked for although the best token is allowed")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_best_of_the_allowed_tokens_is_taken(program: str) -> None:
    tokenizer = TextTokenizer(llama_tokenizer())
    guides = Guides(tokenizer, [2, 40], "prox", "chunk")
    random = np.random.default_rng(0)
    ids = tokenizer.encode(program)
    for place in range(len(ids)):
        guide = guides.guide(LINES)
        for token in ids[:place]:
            guide.state = guide._after(guide.state, guides.pieces[token])
        logits = random.integers(0, 40, tokenizer.vocabulary_size + 3).astype(np.float32)
        allowed = [token for token in range(len(logits)) if guide._allows(token)]
        assert ids[place] in allowed and 0 not in allowed and 1 not in allowed
        best = max(allowed, key=lambda token: (logits[token], -token))
        forbidden = next(token for token in np.argsort(-logits) if token not in allowed)
        assert guide.choose(int(forbidden), lambda logits=logits: logits) == best


def test_a_tokenizer_that_cannot_spell_it_ends_the_program() -> None:
    tokenizer = TextTokenizer(llama_tokenizer())
    guides = Guides(tokenizer, [2], "prox", "document")
    guides.first_bytes[:] = 256
    assert guides.guide(LINES).choose(5, lambda: np.zeros(400, np.float32)) is None


def test_bytes_of_tokens() -> None:
    text = "a  é漢\t\0\n[/doc] </s>"
    for made, before in ((byte_tokenizer(), b""), (llama_tokenizer(), b" ")):
        tokenizer = TextTokenizer(made)
        pieces = tokenizer.token_bytes()
        assert b"".join(pieces[token] for token in tokenizer.encode(text)) == before + text.encode()
        assert all(pieces[token] == b"" for token in tokenizer.special_ids)
    with pytest.raises(BundleError, match="not known what bytes"):
        TextTokenizer(Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))).token_bytes()


def test_switched_on_by_the_bundle_or_by_whoever_loads_it(tmp_path: Path, bundles: list[Bundle]) -> None:
    plain = bundles[0]
    guided = decode_bundle(tmp_path / "guided", 0, end_tokens=[2], limits=LIMITS, grammar=True)
    assert guided.manifest.fingerprint != plain.manifest.fingerprint
    written = {
        (bundle.manifest.grammar, mode): list(Refiner.load(bundle.directory, "cpu", grammar=mode).write(PAGES))
        for bundle in (plain, guided)
        for mode in ("auto", "on", "off")
    }
    as_the_model_writes = engine(plain, by_grammar=False).run(prompts(plain, PAGES))
    programs = [chunk.program for document in written[False, "auto"] for chunk in document.chunks]
    assert programs == [one.program.strip(" \n") for one in as_the_model_writes]
    assert written[False, "auto"] == written[False, "off"] == written[True, "off"]
    assert written[True, "auto"] == written[True, "on"] == written[False, "on"] != written[False, "off"]


def test_documents_take_one_run_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = decode_bundle(tmp_path / "d", level="document", end_tokens=[2], grammar=True)
    running = engine(bundle)
    monkeypatch.setattr(running, "_step", lambda slots: pytest.fail("nothing is left to be decoded"))
    programs = {one.program for one in running.run(prompts(bundle, PAGES))}
    assert programs and programs <= {"keep_doc()", "drop_doc()"}
