"""Language tags, however sources and bundles write them."""

from __future__ import annotations

import pytest

from prox_spark.program.languages import primary_language


@pytest.mark.parametrize("tag", ["en", "EN", "en-GB", "en_US", "eng", "ENG", "eng_Latn", "eng,deu", " en ", "eng, deu"])
def test_one_language_has_one_name(tag: str) -> None:
    assert primary_language(tag) == "en"


@pytest.mark.parametrize(
    ("tag", "name"),
    [("ger", "de"), ("deu", "de"), ("fre", "fr"), ("zho", "zh"), ("nob", "nb"), ("cmn", "cmn"), ("", "")],
)
def test_codes_of_three_letters_mean_those_of_two(tag: str, name: str) -> None:
    assert primary_language(tag) == name
