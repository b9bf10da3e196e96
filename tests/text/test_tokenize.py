from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from prox_spark.errors import BundleError
from prox_spark.text.tokenize import TextTokenizer
from tests.helpers.tiny_models import byte_tokenizer, llama_tokenizer


def test_special_tokens_are_off_for_text_and_on_for_templates() -> None:
    tokenizer = TextTokenizer(byte_tokenizer())
    end = tokenizer.token_id("</s>")
    assert end not in tokenizer.encode("a</s>b")
    assert end in tokenizer.encode_template("a</s>b")
    assert end not in tokenizer.encode("a</s>b"), "a template leaves nothing switched on"
    assert tokenizer.encode_lines(["a</s>b", ""]) == [tokenizer.encode("a</s>b"), []]


def test_settings_of_the_file_do_not_leak_in(tmp_path: Path) -> None:
    made = byte_tokenizer()
    made.enable_truncation(3)
    made.enable_padding(length=9)
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer.from_file(tmp_path / "tokenizer.json")
    assert tokenizer.decode(tokenizer.encode("hello world, the quick brown fox")) == "hello world, the quick brown fox"


def test_counting_adds_what_the_tokenizer_puts_around() -> None:
    tokenizer = TextTokenizer(llama_tokenizer())
    assert tokenizer.count(["hello", ""]) == [len(tokenizer.encode("hello")) + 1, len(tokenizer.encode("")) + 1]


@pytest.mark.parametrize("text", ["hello world", "häßlich 漢字 😀", "a\0b"])
@pytest.mark.parametrize("make", [byte_tokenizer, llama_tokenizer])
def test_cut_is_a_prefix_with_so_many_tokens(text: str, make: object) -> None:
    tokenizer = TextTokenizer(make())  # type: ignore[operator]
    for tokens in range(1, tokenizer.count([text])[0] + 2):
        cut = tokenizer.cut(text, tokens)
        assert text.startswith(cut)
        assert tokenizer.count([cut])[0] <= tokens + 4  # a character may be several tokens and is not cut in two
    assert tokenizer.cut(text, 1_000) == text


def test_splitting_our_own_text() -> None:
    tokenizer = TextTokenizer(byte_tokenizer())
    assert tokenizer.split_after_special("<s>a</s>b") == ("<s>a</s>", "b")
    assert tokenizer.split_before_special("a</s>b<s>") == ("a", "</s>b<s>")
    assert tokenizer.split_after_special("ab") == ("", "ab")
    assert tokenizer.split_before_special("ab") == ("ab", "")


def test_a_tokenizer_whose_model_spells_its_special_tokens_is_refused() -> None:
    tokenizer = Tokenizer(models.WordLevel({"</s>": 0, "a": 1}, unk_token="a"))
    tokenizer.add_special_tokens(["</s>"])
    with pytest.raises(BundleError, match="becomes that token"):
        TextTokenizer(tokenizer)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=r"tokenizer\.json: not a tokenizer"):
        TextTokenizer.from_file(tmp_path / "tokenizer.json")
