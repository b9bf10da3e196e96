"""Formats that wrap a document, or numbered lines of it, in a fixed template: those of the released ProX refiners.

Facts from the code released with arXiv 2409.17115: the Llama-2 chat template with its usual system text, lines
numbered with three digits, 1,500 tokens of numbered lines a chunk, 2,000 tokens for a document. Ours differs in one
thing: a long document is cut before the template's tail, where the released code cuts the tail off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from prox_spark.errors import BundleError
from prox_spark.text.chunks import Chunk, pack
from prox_spark.text.lines import split_lines
from prox_spark.text.prompts import LINES_AT_ONCE
from prox_spark.text.tokenize import TextTokenizer

SYSTEM = "You are a helpful, respectful and honest assistant."
LLAMA2_HEAD = f"[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\n"
LLAMA2_TAIL = " [/INST]"

# The `prompt` objects that export writes. `strip_end`: the template strips the whole user message.
PROX_DOC: dict[str, Any] = {
    "format": "prox-doc",
    "bos_token": "<s>",
    "prefix": LLAMA2_HEAD,
    "suffix": LLAMA2_TAIL,
    "strip_end": True,
}
PROX_CHUNK: dict[str, Any] = {
    "format": "prox-chunk",
    "bos_token": "<s>",
    "prefix": f"{LLAMA2_HEAD}[doc]\n",
    "line_prefix": "[{line:03d}]",
    "line_separator": "\n",
    "suffix": f"\n[/doc]{LLAMA2_TAIL}",
}
# What an independent replication of the chunk refiner settled on.
PLAIN_CHUNK: dict[str, Any] = {**PROX_CHUNK, "format": "custom", "prefix": "[doc]\n", "suffix": "\n[/doc]"}

_NUMBER = re.compile(r"([^{}]*)\{line:(?:0(\d))?d\}([^{}]*)")


class Template:
    """Fixed text around a body. The body, and our own text next to it, is tokenized as one string, as the model saw it.

    bos_token: put first, by name; None for none.
    prefix, suffix: exact text; special tokens in it are special tokens.
    """

    def __init__(self, tokenizer: TextTokenizer, bos_token: str | None, prefix: str, suffix: str) -> None:
        self.tokenizer = tokenizer
        head, self.before = tokenizer.split_after_special(prefix)
        self.after, tail = tokenizer.split_before_special(suffix)
        self.head_ids = [] if bos_token is None else [tokenizer.token_id(bos_token)]
        self.head_ids += tokenizer.encode_template(head)
        self.tail_ids = tokenizer.encode_template(tail)
        # The suffix as it is tokenized after a letter, for bodies that were cut at a token's end.
        letter, both = tokenizer.encode("x"), tokenizer.encode("x" + self.after)
        in_context = both[len(letter) :] if both[: len(letter)] == letter else tokenizer.encode(self.after)
        self.cut_tail_ids = in_context + self.tail_ids

    def ids(self, body: str) -> list[int]:
        """Token ids of the whole prompt."""
        return self.head_ids + self.tokenizer.encode(self.before + body + self.after) + self.tail_ids

    def ids_within(self, body: str, window: int) -> list[int]:
        """Token ids of the whole prompt, at most ``window``: the body's end gives way, the suffix never."""
        room = window - len(self.cut_tail_ids)
        short = body[: window * self.tokenizer.max_token_chars]
        if len(short) == len(body) and len(ids := self.ids(body)) <= window:
            return ids
        ids = self.head_ids + self.tokenizer.encode(self.before + short)
        return ids[:room] + self.cut_tail_ids


class DocumentFormat:
    """``prox-doc`` and its like: the whole document in one prompt of at most ``window_tokens`` tokens in all.

    strip_end: white space at the document's end is not shown (Llama-2's template strips the message).
    """

    def __init__(self, template: Template, window_tokens: int, strip_end: bool = False) -> None:
        if window_tokens <= len(template.ids("")):
            raise BundleError(f"refiner.json: window_tokens {window_tokens} leaves no room for the document")
        self.template = template
        self.window_tokens = window_tokens
        self.strip_end = strip_end

    def chunks(self, text: str) -> Iterator[Chunk]:
        """One prompt that stands for every line."""
        body = text.rstrip() if self.strip_end else text
        ids = self.template.ids_within(body, self.window_tokens)
        yield Chunk(0, 0, text.count("\n"), False, tuple(ids), text=text)


class LinesFormat:
    """``prox-chunk`` and its like: numbered lines, packed greedily by each numbered line's own token count.

    window_tokens: most tokens of a chunk's numbered lines, the template not counted. A line with more is a chunk of its
        own, shown cut to as many, flagged ``cut_line``.
    line_prefix: with ``{line:03d}`` for the number, which grows beyond its digits as needed.
    first_line: number of the document's first line in the prompt.
    """

    def __init__(
        self, template: Template, window_tokens: int, line_prefix: str, separator: str = "\n", first_line: int = 0
    ) -> None:
        number = _NUMBER.fullmatch(line_prefix)
        if number is None:
            raise BundleError(f"refiner.json: line_prefix {line_prefix!r} needs one {{line:03d}}, no other brace")
        self.before, self.digits, self.after = number[1], int(number[2] or 1), number[3]
        self.template = template
        self.window_tokens = window_tokens
        self.separator = separator
        self.first_line = first_line

    def numbered(self, number: int, line: str) -> str:
        """The line as it is shown."""
        return f"{self.before}{number + self.first_line:0{self.digits}d}{self.after}{line}"

    def chunks(self, text: str) -> Iterator[Chunk]:
        """Chunks of a document, in order."""
        lines = split_lines(text)
        for chunk, (first, last) in enumerate(pack(self._counts(lines), self.window_tokens)):
            shown = [self.numbered(number, lines[number]) for number in range(first, last + 1)]
            cut = first == last and self._count(shown)[0] > self.window_tokens
            if cut:
                shown = [self.template.tokenizer.cut(shown[0][: self._chars], self.window_tokens)]
            ids = self.template.ids(self.separator.join(shown))
            yield Chunk(chunk, first, last, cut, tuple(ids), text="\n".join(lines[first : last + 1]))

    @property
    def _chars(self) -> int:
        """A line with more characters than this has more tokens than the window, whatever they are."""
        return (self.window_tokens + 1) * self.template.tokenizer.max_token_chars

    def _count(self, lines: list[str]) -> list[int]:
        return self.template.tokenizer.count([line[: self._chars] for line in lines])

    def _counts(self, lines: list[str]) -> Iterator[int]:
        for start in range(0, len(lines), LINES_AT_ONCE):
            batch = lines[start : start + LINES_AT_ONCE]
            yield from self._count([self.numbered(number, line) for number, line in enumerate(batch, start)])
