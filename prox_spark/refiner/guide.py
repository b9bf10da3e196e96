"""Keeps the tokens of a program to the grammar of its chunk, and knows those that can only be followed by one text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from prox_spark.refiner.grammar import Grammar, State
from prox_spark.text.chunks import Chunk
from prox_spark.text.tokenize import TextTokenizer


class Guides:
    """Makes a guide for every chunk of a bundle.

    tokenizer: of the bundle. end_tokens: ids that end a program.
    dialect, level: of its programs.
    Raises BundleError for a tokenizer that does not say what bytes its tokens stand for.
    """

    def __init__(self, tokenizer: TextTokenizer, end_tokens: Sequence[int], dialect: str, level: str) -> None:
        self.tokenizer = tokenizer
        self.dialect, self.level = dialect, level
        self.end_tokens = frozenset(end_tokens)
        self.pieces = tokenizer.token_bytes()
        self._sorted = sorted({piece for token, piece in enumerate(self.pieces) if token not in self.end_tokens})
        # Of every token its first byte; 256: nothing, or it ends a program.
        kept = (256 if t in self.end_tokens or not piece else piece[0] for t, piece in enumerate(self.pieces))
        self.first_bytes = np.fromiter(kept, np.int64, len(self.pieces))

    def guide(self, chunk: Chunk) -> Guide:
        """For the program of one chunk."""
        return Guide(self, Grammar(self.dialect, self.level, chunk))

    def longer(self, piece: bytes) -> Iterator[bytes]:
        """What the tokens stand for that begin with these bytes and go on."""
        for place in range(bisect_right(self._sorted, piece), len(self._sorted)):
            if not self._sorted[place].startswith(piece):
                return
            yield self._sorted[place]


class Guide:
    """Follows one program, token by token."""

    def __init__(self, guides: Guides, grammar: Grammar) -> None:
        self.guides = guides
        self.grammar = grammar
        self.state = grammar.start
        self.tokens: list[int] = []

    def choose(self, best: int, logits: Callable[[], np.ndarray]) -> int | None:
        """The token with the highest logit that may come next; of equal ones the first. None: no token may.

        best: the token with the highest logit of all. logits: gives all of them [vocabulary]; asked for only if needed.
        """
        if self._allows(best):
            return best
        first = np.zeros(257, dtype=bool)
        first[:256] = [self.grammar.advance(self.state, bytes([byte])) is not None for byte in range(256)]
        usable = first[self.guides.first_bytes]
        usable[[token for token in self.guides.end_tokens if token < len(usable)]] = self.grammar.may_end(self.state)
        values = logits()
        candidates = np.flatnonzero(usable[: len(values)])
        for place in np.argsort(-values[candidates].astype(np.float32), kind="stable"):
            token = int(candidates[place])
            if self._allows(token):
                return token
        return None

    def follow(self, token: int) -> tuple[list[int], bool]:
        """Take a token that may come next and does not end the program.

        Returns the tokens that have to come after it, which are taken too, and whether the program then is over.
        """
        self.state = self._after(self.state, self.guides.pieces[token])
        self.tokens.append(token)
        text, over = self.grammar.forced(self.state)
        if not text:
            return [], over
        forced = self._spelled(text)
        if not over:
            forced = forced[: self._certain(forced, self._after(self.state, text))]
        elif not forced:
            return [], False
        for one in forced:
            self.state = self._after(self.state, self.guides.pieces[one])
        self.tokens += forced
        return forced, over

    def _allows(self, token: int) -> bool:
        if token in self.guides.end_tokens:
            return self.grammar.may_end(self.state)
        piece = self.guides.pieces[token] if token < len(self.guides.pieces) else b""
        return bool(piece) and self.grammar.advance(self.state, piece) is not None

    def _after(self, state: State, piece: bytes) -> State:
        after = self.grammar.advance(state, piece)
        assert after is not None, "only tokens that the grammar allows are taken"
        return after

    def _spelled(self, text: bytes) -> list[int]:
        """The tokens of a text that has to come, as the tokenizer spells it behind what is written.

        None where it would spell the end of what is written and the beginning of the text as one token.
        """
        tokenizer, left = self.guides.tokenizer, len(text)
        ids = tokenizer.encode(tokenizer.decode(self.tokens) + text.decode())
        place = len(ids)
        while left > 0 and place:
            place -= 1
            left -= len(self.guides.pieces[ids[place]])
        return [] if left else ids[place:]

    def _certain(self, forced: list[int], end: State) -> int:
        """How many of the tokens stand whatever comes after them: no token that reaches further could stand there.

        end: the state after all of them.
        """
        state, follows = self.state, self.grammar.next_bytes(end)
        for place, token in enumerate(forced):
            tail = b"".join(self.guides.pieces[one] for one in forced[place:])
            longer = (p for p in self.guides.longer(tail) if follows is None or p[len(tail)] in follows)
            if any(self.grammar.advance(state, piece) is not None for piece in longer):
                return place
            state = self._after(state, self.guides.pieces[token])
        return len(forced)
