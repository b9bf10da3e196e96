"""Lines of a document: split at ``\\n`` only, numbered from 0 through the whole document."""

from __future__ import annotations

import re

_SURROGATES = re.compile("[\ud800-\udfff]")


def split_lines(text: str) -> list[str]:
    """Lines of ``text``; ``"\\n".join`` of them is the text again, byte for byte.

    ``\\r``, U+2028 and the other characters that ``str.splitlines`` breaks at stay inside their line. The empty text
    has one line, which is empty.
    """
    return text.split("\n")


def shown(text: str) -> str:
    """The text as it can be shown to a tokenizer: a lone surrogate, which has no UTF-8, becomes U+FFFD.

    Every code point stays one code point, so positions are those of the original.
    """
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)
