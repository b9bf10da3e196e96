"""A tokenizer for text that nobody wrote with us in mind: what a page spells is text, never a special token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prox_spark.errors import BundleError
from prox_spark.text.lines import shown

if TYPE_CHECKING:
    from tokenizers import Tokenizer


_BYTE = re.compile("<0x([0-9A-F]{2})>")


class TextTokenizer:
    """``tokenizers`` with special tokens off: a page that spells ``</s>`` gives the pieces of those four characters.

    Raises BundleError if the tokenizer's model itself spells one of its special tokens from text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        added = tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(number for number, token in added.items() if token.special)
        for number in self.special_ids:
            if number in self.encode(added[number].content):
                raise BundleError(f"tokenizer.json: text that spells {added[number].content!r} becomes that token")
        names = sorted((added[number].content for number in self.special_ids), key=len, reverse=True)
        self._special = re.compile("|".join(re.escape(name) for name in names) or r"(?!)")
        self.max_token_chars = max((len(piece) for piece in tokenizer.get_vocab()), default=1)

    @classmethod
    def from_file(cls, path: str | Path) -> TextTokenizer:
        """Read a ``tokenizer.json``."""
        from tokenizers import Tokenizer

        try:
            return cls(Tokenizer.from_file(str(path)))
        except BundleError:
            raise
        except Exception as error:  # tokenizers raises plain Exception for whatever is wrong with the file
            raise BundleError(f"{path}: not a tokenizer: {error}") from error

    @property
    def vocabulary_size(self) -> int:
        """Tokens, the added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def token_id(self, token: str) -> int:
        """Number of a token by its exact name; BundleError if there is none."""
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise BundleError(f"tokenizer.json has no token {token!r}")
        return int(number)

    def encode(self, text: str) -> list[int]:
        """Token ids of the text alone: no special token is read from it, none is put around it."""
        return list(self._tokenizer.encode(shown(text), add_special_tokens=False).ids)

    def encode_lines(self, lines: Sequence[str]) -> list[list[int]]:
        """``encode`` of every line by itself."""
        encodings = self._tokenizer.encode_batch_fast([shown(line) for line in lines], add_special_tokens=False)
        return [list(encoding.ids) for encoding in encodings]

    def count(self, lines: Sequence[str]) -> list[int]:
        """Tokens of every line by itself, counting what the tokenizer puts around a text (Llama's: one ``<s>``)."""
        encodings = self._tokenizer.encode_batch_fast([shown(line) for line in lines], add_special_tokens=True)
        return [len(encoding.ids) for encoding in encodings]

    def cut(self, text: str, tokens: int) -> str:
        """The characters that the first ``tokens`` tokens of the text cover, counted as in ``count``."""
        encoding = self._tokenizer.encode(shown(text), add_special_tokens=True)
        if len(encoding.ids) <= tokens:
            return text
        marked = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        ends = [end for (_, end), special in list(marked)[:tokens] if not special]
        return text[: max(ends, default=0)]

    def encode_template(self, text: str) -> list[int]:
        """Token ids of text that we wrote: special tokens in it are special tokens."""
        self._tokenizer.encode_special_tokens = False
        try:
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        finally:
            self._tokenizer.encode_special_tokens = True

    def split_after_special(self, text: str) -> tuple[str, str]:
        """Our own text, split after the last special token in it."""
        at = max((match.end() for match in self._special.finditer(text)), default=0)
        return text[:at], text[at:]

    def split_before_special(self, text: str) -> tuple[str, str]:
        """Our own text, split before the first special token in it."""
        match = self._special.search(text)
        at = match.start() if match else len(text)
        return text[:at], text[at:]

    def token_bytes(self) -> list[bytes]:
        """What every token stands for, by id; nothing for special tokens, which are no text.

        Of tokenizers that spell a text's bytes as GPT-2's does, or that fall back to bytes as Llama-2's does.
        Raises BundleError for others.
        """
        added = self._tokenizer.get_added_tokens_decoder()
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        found = [b""] * max(self.vocabulary_size, 1 + max([*vocabulary.values(), *added]))
        by_byte = _byte_alphabet()
        spells_bytes = "<0x00>" not in vocabulary
        if spells_bytes and not {"\u0120", "\u010a"} <= vocabulary.keys():  # blank and newline
            raise BundleError("tokenizer.json: it is not known what bytes its tokens stand for, as a grammar needs it")
        for piece, number in vocabulary.items():
            if spells_bytes:
                found[number] = bytes(by_byte[c] for c in piece) if by_byte.keys() >= set(piece) else b""
            elif match := _BYTE.fullmatch(piece):
                found[number] = bytes([int(match[1], 16)])
            else:
                found[number] = piece.replace("\u2581", " ").encode()
        for number, token in added.items():
            found[number] = b"" if token.special else token.content.encode()
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def _byte_alphabet() -> dict[str, int]:
    """The characters that GPT-2's tokenizers write for bytes: those that can be seen, and from U+0100 on for others."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + n): byte for n, byte in enumerate(others)}
