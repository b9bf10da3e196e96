"""Language tags, however sources and bundles write them."""

from __future__ import annotations

import pytest

from prox_spark.program.execute import execute
from prox_spark.program.languages import primary_language


@pytest.mark.parametrize("tag", ["en", "EN", "en-GB", "en_US", "eng", "ENG", "eng_Latn", "eng,deu", " en ", "eng, deu"])
def test_one_language_has_one_name(tag: str) -> None:
    assert primary_language(tag) == "en"


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("ger", "de"),
        ("deu", "de"),
        ("fre", "fr"),
        ("zho", "zh"),
        ("nob", "no"),
        ("nb", "no"),
        ("cmn_Hans", "zh"),
        ("arb_Arab", "ar"),
    ],
)
def test_codes_of_three_letters_mean_those_of_two(tag: str, name: str) -> None:
    assert primary_language(tag) == name


@pytest.mark.parametrize("tag", ["", " ", "und", "und_Latn", "MUL", "mis"])
def test_a_language_that_is_not_known_is_none(tag: str) -> None:
    assert primary_language(tag) == ""
    assert (
        execute("a\nb", "remove_lines(line_start=1, line_end=1)", language=tag, languages=("en",)).reason != "language"
    )
