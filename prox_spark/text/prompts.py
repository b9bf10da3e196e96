"""Prompt formats: from a document's text to the exact token ids a refiner reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from prox_spark.errors import BundleError
from prox_spark.text.chunks import Chunk, pack
from prox_spark.text.lines import split_lines
from prox_spark.text.tokenize import TextTokenizer

# Lines are handed to the tokenizer in slices, so that a page of 300,000 lines is never held as tokens at once.
LINES_AT_ONCE = 512


class PromptFormat(Protocol):
    """What every format can do."""

    def chunks(self, text: str) -> Iterator[Chunk]:
        """Chunks of a document with their prompts, in order; every line is in exactly one."""
        ...


class CompactFormat:
    """``compact``: ours, for refiners that score lines. No template: bos, then every line and a newline token.

    tokenizer: of the bundle.
    bos_id: token that every chunk begins with.
    window_tokens: most tokens of a chunk, bos included.
    max_line_tokens: a line with more tokens is shown as its first ``head_tokens`` and its last
        ``max_line_tokens - head_tokens`` ones, so every line fits the window and no line is flagged ``cut_line``.
    line_chars: a line with more code points is tokenized as its first and its last half as many, each by itself,
        so that a line of 10 MB costs what a short one costs.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        bos_id: int,
        window_tokens: int = 1024,
        max_line_tokens: int = 48,
        head_tokens: int = 32,
        line_chars: int = 4096,
    ) -> None:
        if not 0 < head_tokens <= max_line_tokens or max_line_tokens + 2 > window_tokens or line_chars < 2:
            raise BundleError("compact: needs 0 < head_tokens <= max_line_tokens <= window_tokens - 2, line_chars >= 2")
        newline = tokenizer.encode("\n")
        if len(newline) != 1:
            raise BundleError(f"compact: the tokenizer must have one token for a newline, it gives {len(newline)}")
        self.tokenizer = tokenizer
        self.bos_id = bos_id
        self.newline_id = newline[0]
        self.window_tokens = window_tokens
        self.max_line_tokens = max_line_tokens
        self.head_tokens = head_tokens
        self.line_chars = line_chars

    def encode_lines(self, lines: list[str]) -> list[list[int]]:
        """Token ids of every line as it is shown: alone, shortened in the middle, without its newline token."""
        heads = [line if len(line) <= self.line_chars else line[: self.line_chars // 2] for line in lines]
        shown = [self._shorten(ids) for ids in self.tokenizer.encode_lines(heads)]
        tail_tokens = self.max_line_tokens - self.head_tokens
        for number, line in enumerate(lines):
            if len(line) > self.line_chars:
                tail = self.tokenizer.encode(line[-(self.line_chars // 2) :])
                kept = tail[-tail_tokens:] if tail_tokens else []
                shown[number] = shown[number][: self.head_tokens] + kept
        return shown

    def _shorten(self, ids: list[int]) -> list[int]:
        if len(ids) <= self.max_line_tokens:
            return ids
        tail_tokens = self.max_line_tokens - self.head_tokens
        return ids[: self.head_tokens] + ids[len(ids) - tail_tokens :]

    def chunks(self, text: str) -> Iterator[Chunk]:
        """Chunks of a document: greedy whole lines while 1 + the sum of (line's tokens + 1) is within the window."""
        waiting: list[list[int]] = []  # lines that pack() has counted and not yet given out

        def counts() -> Iterator[int]:
            lines = split_lines(text)
            for start in range(0, len(lines), LINES_AT_ONCE):
                for ids in self.encode_lines(lines[start : start + LINES_AT_ONCE]):
                    waiting.append(ids)
                    yield len(ids) + 1

        for number, (first, last) in enumerate(pack(counts(), self.window_tokens - 1)):
            taken = last - first + 1
            yield self.chunk(number, first, waiting[:taken])
            del waiting[:taken]

    def chunk(self, number: int, first_line: int, lines: list[list[int]]) -> Chunk:
        """One chunk from the token ids of its lines."""
        ids = [self.bos_id]
        ends = []
        for line in lines:
            ids.extend(line)
            ends.append(len(ids))
            ids.append(self.newline_id)
        return Chunk(number, first_line, first_line + len(lines) - 1, False, tuple(ids), tuple(ends))


def prompt_format(prompt: Mapping[str, Any], limits: Mapping[str, Any], tokenizer: TextTokenizer) -> PromptFormat:
    """The format that a bundle's ``prompt`` and ``limits`` objects describe; BundleError if there is no such one."""
    from prox_spark.text.templates import DocumentFormat, LinesFormat, Template

    kind = prompt.get("format")
    try:
        if kind == "compact":
            names = ("window_tokens", "max_line_tokens", "head_tokens", "line_chars")
            sizes = {name: int(limits[name]) for name in names if name in limits}
            return CompactFormat(tokenizer, tokenizer.token_id(str(prompt["bos_token"])), **sizes)
        if kind in ("prox-doc", "prox-chunk", "custom"):
            template = Template(tokenizer, prompt.get("bos_token"), str(prompt["prefix"]), str(prompt["suffix"]))
            window = int(limits["window_tokens"])
            if "line_prefix" not in prompt:
                return DocumentFormat(template, window, strip_end=bool(prompt.get("strip_end", False)))
            separator = str(prompt.get("line_separator", "\n"))
            return LinesFormat(
                template, window, str(prompt["line_prefix"]), separator, int(prompt.get("first_line", 0))
            )
    except KeyError as error:
        raise BundleError(f"refiner.json: the prompt format {kind!r} needs {error}") from error
    raise BundleError(f"refiner.json: no prompt format {kind!r}; there are compact, prox-doc, prox-chunk, custom")
