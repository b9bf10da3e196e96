from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_spark.errors import BundleError
from prox_spark.text.lines import split_lines
from prox_spark.text.prompts import CompactFormat, prompt_format
from prox_spark.text.tokenize import TextTokenizer
from tests.helpers.tiny_models import byte_tokenizer

TOKENIZER = TextTokenizer(byte_tokenizer())
BOS, NEWLINE = TOKENIZER.token_id("<|endoftext|>"), TOKENIZER.encode("\n")[0]
FORMAT = CompactFormat(TOKENIZER, BOS, window_tokens=60, max_line_tokens=12, head_tokens=8, line_chars=40)
pages = st.text(st.sampled_from("ab .\n\n\r<|>é漢\ud800\0[]/"), max_size=300) | st.text(max_size=120)


def test_the_bytes_of_a_prompt() -> None:
    (chunk,) = FORMAT.chunks("hello world\n\nthe fox")
    expected = [BOS, *TOKENIZER.encode("hello world"), NEWLINE, NEWLINE, *TOKENIZER.encode("the fox"), NEWLINE]
    assert list(chunk.token_ids) == expected
    assert [chunk.token_ids[end] for end in chunk.line_ends] == [NEWLINE] * 3
    assert TOKENIZER.decode(chunk.token_ids[1:]) == "hello world\n\nthe fox\n"


def test_an_empty_document_is_one_empty_line() -> None:
    (chunk,) = FORMAT.chunks("")
    assert (chunk.token_ids, chunk.line_ends, chunk.first_line, chunk.last_line) == ((BOS, NEWLINE), (1,), 0, 0)


@given(pages)
def test_every_line_is_in_exactly_one_chunk(text: str) -> None:
    chunks = list(FORMAT.chunks(text))
    assert [chunk.chunk for chunk in chunks] == list(range(len(chunks)))
    lines = [line for chunk in chunks for line in range(chunk.first_line, chunk.last_line + 1)]
    assert lines == list(range(len(split_lines(text))))
    assert all(len(chunk.token_ids) <= 60 and not chunk.cut_line for chunk in chunks)
    assert all(len(chunk.line_ends) == chunk.lines for chunk in chunks)


@given(pages)
@settings(max_examples=50)
def test_chunks_are_packed_greedily(text: str) -> None:
    shown = FORMAT.encode_lines(split_lines(text))
    chunks = list(FORMAT.chunks(text))
    for chunk, following in pairwise(chunks):
        assert len(chunk.token_ids) + len(shown[following.first_line]) + 1 > 60


def test_a_long_line_is_shortened_in_the_middle() -> None:
    line = "abcdefghijklmnopqrstuvwxyz"
    ids = TOKENIZER.encode(line)
    assert len(ids) > 12
    assert FORMAT.encode_lines([line]) == [ids[:8] + ids[-4:]]


def test_a_very_long_line_costs_its_two_ends_only() -> None:
    line = "q" * 19 + "!" + "x" * 1_000_000 + "zzzz"
    (ids,) = FORMAT.encode_lines([line])
    assert ids == TOKENIZER.encode("q" * 19 + "!")[:8] + TOKENIZER.encode("x" * 16 + "zzzz")[-4:]


def test_no_tail_at_all() -> None:
    whole_head = CompactFormat(TOKENIZER, BOS, window_tokens=60, max_line_tokens=8, head_tokens=8, line_chars=40)
    for line in ("abcdefghijkl", "ab" * 100):
        assert whole_head.encode_lines([line]) == [TOKENIZER.encode(line)[:8]]


def test_markers_and_special_tokens_in_a_page_are_text() -> None:
    page = "</s><s>\n<|endoftext|><|im_start|>\n[doc][/doc][INST]"
    ids = [number for chunk in FORMAT.chunks(page) for number in chunk.token_ids[1:]]
    assert not TOKENIZER.special_ids & set(ids)
    assert "</s><s>" in TOKENIZER.decode(ids)


def test_many_lines() -> None:
    chunks = list(FORMAT.chunks("\n".join(str(n) for n in range(3_000))))
    assert chunks[-1].last_line == 2_999
    assert chunks[-1].first_line > 1_000


def test_from_a_bundle() -> None:
    built = prompt_format({"format": "compact", "bos_token": "<|endoftext|>"}, {"window_tokens": 70}, TOKENIZER)
    assert isinstance(built, CompactFormat)
    assert (built.window_tokens, built.max_line_tokens, built.head_tokens, built.bos_id) == (70, 48, 32, BOS)


@pytest.mark.parametrize(
    ("prompt", "limits", "message"),
    [
        ({"format": "other"}, {}, "no prompt format 'other'"),
        ({}, {}, "no prompt format None"),
        ({"format": "compact"}, {}, "'bos_token'"),
        ({"format": "compact", "bos_token": "<nothing>"}, {}, "no token '<nothing>'"),
        ({"format": "compact", "bos_token": "<s>"}, {"window_tokens": 20}, "compact: needs"),
        ({"format": "prox-doc", "prefix": "a"}, {"window_tokens": 20}, "'suffix'"),
    ],
)
def test_errors_name_what_is_wrong(prompt: dict[str, str], limits: dict[str, int], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        prompt_format(prompt, limits, TOKENIZER)
