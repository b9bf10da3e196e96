"""The filters of the library datatrove, run as they come, to compare with what users of it have today."""

from __future__ import annotations

import importlib
import importlib.metadata  # datatrove uses it without importing it
from collections.abc import Callable, Sequence
from typing import Any

from prox_spark.errors import ConfigError
from prox_spark.program.execute import Refined
from prox_spark.training.contenders import Contender, Text

DATATROVE = "datatrove:"
INSTALL = "pip install 'prox-spark[compare]'"

# The filters of a name, in their order; what one of them drops is dropped. Their settings are their defaults.
_FILTERS = {
    "c4": ("C4QualityFilter",),
    "gopher": ("GopherRepetitionFilter", "GopherQualityFilter"),
    "fineweb": ("GopherRepetitionFilter", "GopherQualityFilter", "C4QualityFilter", "FineWebQualityFilter"),
}
# FineWeb takes C4's filter without its rule on line ends (datatrove's examples/fineweb.py).
_FINEWEB_C4 = {"filter_no_terminal_punct": False}


class DatatroveContender(Contender):
    """``datatrove:c4``, ``datatrove:gopher`` (repetition and quality), ``datatrove:fineweb`` (FineWeb's four in a row).

    They are made for English; a text known to be in another language stays as it is. Raises ConfigError when datatrove
    or its tokenizer spacy is not installed, or for another name.
    """

    def __init__(self, name: str) -> None:
        kind = name.removeprefix(DATATROVE)
        if kind not in _FILTERS:
            raise ConfigError(f"no filters {name!r}; there are: {', '.join(DATATROVE + known for known in _FILTERS)}")
        self.name = DATATROVE + kind
        self._document, filters = _load()
        self._filters: list[Callable[[Any], bool | tuple[bool, str]]] = []
        for filter_name in _FILTERS[kind]:
            options = _FINEWEB_C4 if (kind, filter_name) == ("fineweb", "C4QualityFilter") else {}
            self._filters.append(getattr(filters, filter_name)(**options).filter)

    def refine(self, texts: Sequence[Text]) -> list[Refined]:
        """What the filters leave of each text."""
        return [
            self._refine(text) if language == "en" else Refined(text, "unchanged", "language")
            for text, language in texts
        ]

    def _refine(self, text: str) -> Refined:
        document = self._document(text=text, id="")
        for decide in self._filters:
            decision = decide(document)
            if isinstance(decision, tuple):
                decision, reason = decision
            else:
                reason = "dropped"
            if not decision:
                return Refined(None, "dropped", reason)
        return Refined(document.text, "unchanged" if document.text == text else "refined")


def installed() -> bool:
    """Whether datatrove and its tokenizer can be imported."""
    try:
        _load()
    except ConfigError:
        return False
    return True


def _load() -> tuple[Any, Any]:
    try:
        importlib.import_module("spacy")
        data = importlib.import_module("datatrove.data")
        filters = importlib.import_module("datatrove.pipeline.filters")
    except ImportError as error:
        raise ConfigError(f"datatrove's filters need datatrove and spacy. Install them with: {INSTALL}") from error
    return data.Document, filters
