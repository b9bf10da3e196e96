"""What counts as a word."""

from __future__ import annotations

import pytest

from prox_spark.program.words import count_words, find_words, folded_letters, folded_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  \n ", []),
        ("The quick fox", ["The", "quick", "fox"]),
        ("don't snake_case e-mail", ["don", "t", "snake", "case", "e", "mail"]),
        ("3.14 1,000", ["3", "14", "1", "000"]),
        ("“naïve” — café…", ["naïve", "café"]),
        ("Привет, мир!", ["Привет", "мир"]),
        ("今天天气 good", ["今", "天", "天", "气", "good"]),
        ("カタカナー・ひらがな", list("カタカナーひらがな")),
        ("々〇", ["々", "〇"]),
        ("ｱｲｳ", ["ｱ", "ｲ", "ｳ"]),
        ("ภาษาไทย", list("ภาษาไทย")),
        ("วัน", ["ว", "น"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("x漢y字z", ["x", "漢", "y", "字", "z"]),
        ("\U00020000\U0002a6d6", ["\U00020000", "\U0002a6d6"]),
        ("a\0b\ud800c😀d", ["a", "b", "c", "d"]),
        ("a\ufffeb\uffffc", ["a", "b", "c"]),
        ("\U00010400\U00010401 deseret", ["\U00010400\U00010401", "deseret"]),
        ("½ ² ٣", ["½", "²", "٣"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert find_words(text) == words
    assert count_words(text) == len(words)


def test_texts_with_more_letters_than_bytes_can_name() -> None:
    letters = [chr(code) for code in range(0x100, 0x3000) if chr(code).isalpha() and not 0xE00 <= code < 0xE80]
    for part in ("\n", " ", "", "-"):
        text = part.join(letters) + "\nand more words 漢字\n"
        for long in (text, text + "plain words\n" * 5000, "plain words " * 5000 + text):
            assert count_words(long) == len(find_words(long))


def test_folding() -> None:
    assert folded_words("The THE the Straße") == {"the", "strasse"}
    assert folded_letters("B r i-G_h t!") == "bright"
