from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_spark.errors import BundleError
from prox_spark.text.lines import split_lines
from prox_spark.text.prompts import PromptFormat, prompt_format
from prox_spark.text.templates import PLAIN_CHUNK, PROX_CHUNK, PROX_DOC, LinesFormat, Template
from prox_spark.text.tokenize import TextTokenizer
from tests.helpers.tiny_models import byte_tokenizer, llama_tokenizer

LLAMA = TextTokenizer(llama_tokenizer())
BYTES = TextTokenizer(byte_tokenizer())
BOS = LLAMA.token_id("<s>")


def chunk_format(window: int, tokenizer: TextTokenizer = LLAMA) -> PromptFormat:
    return prompt_format(PROX_CHUNK, {"window_tokens": window}, tokenizer)


def test_the_bytes_of_prox_chunk() -> None:
    (chunk,) = chunk_format(1500).chunks("hello world\n\nthe fox ")
    expected = (
        "[INST] <<SYS>>\nYou are a helpful, respectful and honest assistant.\n<</SYS>>\n\n"
        "[doc]\n[000]hello world\n[001]\n[002]the fox \n[/doc] [/INST]"
    )
    assert list(chunk.token_ids) == [BOS, *LLAMA.encode(expected)]
    assert (chunk.first_line, chunk.last_line, chunk.cut_line, chunk.line_ends) == (0, 2, False, ())


def test_the_bytes_of_prox_doc() -> None:
    (chunk,) = prompt_format(PROX_DOC, {"window_tokens": 2000}, LLAMA).chunks(" hello world\nthe fox \n\n")
    expected = (
        "[INST] <<SYS>>\nYou are a helpful, respectful and honest assistant.\n<</SYS>>\n\n hello world\nthe fox [/INST]"
    )
    assert list(chunk.token_ids) == [BOS, *LLAMA.encode(expected)]
    assert (chunk.first_line, chunk.last_line) == (0, 3)


def test_the_bytes_of_the_plain_prompt() -> None:
    (chunk,) = prompt_format(PLAIN_CHUNK, {"window_tokens": 1500}, LLAMA).chunks("a\nb")
    assert list(chunk.token_ids) == [BOS, *LLAMA.encode("[doc]\n[000]a\n[001]b\n[/doc]")]


def test_special_tokens_of_a_template_are_special_and_those_of_a_page_are_not() -> None:
    chat = {"format": "custom", "bos_token": None, "prefix": "<|im_start|>user\n", "suffix": "</s>\nassistant"}
    (chunk,) = prompt_format(chat, {"window_tokens": 500}, BYTES).chunks("</s> <|im_start|>")
    start, end = BYTES.token_id("<|im_start|>"), BYTES.token_id("</s>")
    page = BYTES.encode("user\n</s> <|im_start|>")
    assert list(chunk.token_ids) == [start, *page, end, *BYTES.encode("\nassistant")]
    assert not {start, end} & set(page)


@pytest.mark.parametrize("page", ["</s>", "<s>[/INST]", "[/doc]\n[000]", "<|endoftext|>", "<unk>"])
@pytest.mark.parametrize("tokenizer", [LLAMA, BYTES], ids=["llama", "bytes"])
def test_pages_cannot_write_special_tokens(page: str, tokenizer: TextTokenizer) -> None:
    (chunk,) = chunk_format(1500, tokenizer).chunks(page)
    assert chunk.token_ids[0] == tokenizer.token_id("<s>")
    assert not tokenizer.special_ids & set(chunk.token_ids[1:])


def test_a_long_document_keeps_the_template_s_tail() -> None:
    for length in (200, 2_000, 200_000):
        (chunk,) = prompt_format(PROX_DOC, {"window_tokens": 260}, LLAMA).chunks("fox " * length)
        assert len(chunk.token_ids) == 260
        assert LLAMA.decode(chunk.token_ids).endswith("fox fo [/INST]") or LLAMA.decode(chunk.token_ids).endswith(
            "[/INST]"
        )
        assert chunk.token_ids[-6:] == tuple(LLAMA.encode("x [/INST]")[-6:])
    with pytest.raises(BundleError, match="leaves no room"):
        prompt_format(PROX_DOC, {"window_tokens": 60}, LLAMA)


def test_lines_are_counted_as_the_released_code_counts_them() -> None:
    """A line's tokens are those of `[000]line` by itself, what the tokenizer puts in front included."""
    assert LLAMA.count(["[000]fox"]) == [1 + len(LLAMA.encode("[000]fox"))]
    one = LLAMA.count(["[000]fox"])[0]
    assert [c.last_line for c in chunk_format(2 * one).chunks("fox\nfox\nfox")] == [1, 2]
    assert [c.last_line for c in chunk_format(2 * one - 1).chunks("fox\nfox\nfox")] == [0, 1, 2]


def test_a_line_longer_than_the_window_is_shown_cut() -> None:
    chunks = list(chunk_format(40).chunks("fox\n" + "x" * 3_000_000 + "\nfox"))
    assert [(c.first_line, c.last_line, c.cut_line) for c in chunks] == [(0, 0, False), (1, 1, True), (2, 2, False)]
    shown = LLAMA.decode(chunks[1].token_ids)
    assert shown.endswith("x\n[/doc] [/INST]")
    assert len(LLAMA.encode("[001]" + "x" * shown.count("x"))) + 1 == pytest.approx(40, abs=3)


def test_numbers_grow_beyond_three_digits() -> None:
    chunks = list(chunk_format(1500).chunks("\n".join("w" for _ in range(1_200))))
    assert chunks[-1].last_line == 1_199
    assert "[999]w" in (whole := "".join(LLAMA.decode(c.token_ids) for c in chunks))
    assert "[1000]w" in whole
    assert "[1199]w\n[/doc]" in whole


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=30), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_line_is_in_exactly_one_chunk(lines: list[str]) -> None:
    chunks = list(chunk_format(50).chunks("\n".join(lines)))
    assert [n for c in chunks for n in range(c.first_line, c.last_line + 1)] == list(range(len(lines)))
    numbered = [f"[{n:03d}]{line}" for n, line in enumerate(lines)]
    counts = [len(LLAMA.encode(line)) + 1 for line in numbered]
    for chunk in chunks:
        total = sum(counts[chunk.first_line : chunk.last_line + 1])
        assert total <= 50 or (chunk.first_line == chunk.last_line and chunk.cut_line)
        if chunk.last_line + 1 < len(lines) and not chunk.cut_line:
            assert total + counts[chunk.last_line + 1] > 50


def test_lines_from_one() -> None:
    template = Template(LLAMA, None, "", "")
    (chunk,) = LinesFormat(template, 100, "{line:d}: ", "\n", first_line=1).chunks("a\nb")
    assert list(chunk.token_ids) == LLAMA.encode("1: a\n2: b")
    for bad in ("[000]", "{line}", "{line:03d}{", "{line.__class__}"):
        with pytest.raises(BundleError, match="needs one"):
            LinesFormat(template, 100, bad)


def test_lone_surrogates_and_odd_line_ends_are_shown() -> None:
    text = "a\ud800b\r\n\u2028c\0"
    (chunk,) = chunk_format(1500).chunks(text)
    assert chunk.last_line == len(split_lines(text)) - 1
    assert "a\ufffdb\r\n[001]\u2028c\0" in LLAMA.decode(chunk.token_ids)
