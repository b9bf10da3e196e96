"""The decoding engine: prompts are read one by one into the rows of a cache, and the rows are decoded together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from prox_spark.errors import EngineError
from prox_spark.refiner.cache import Cache
from prox_spark.refiner.device import Session
from prox_spark.refiner.guide import Guide, Guides
from prox_spark.refiner.written import Written
from prox_spark.text.chunks import Chunk

INPUTS = ("input_ids", "seqlens_k", "total_sequence_length")
OUTPUTS = ("next_token", "finite")
LOGITS = "logits"
NOT_A_NUMBER = "the graph gave a logit that is not a number"
# Most prompt tokens in one run. On a CPU short pieces stay in its caches, and a piece attends only to what stands
# before its end: 700 tokens in pieces of 256 take 15% less time than at once. On a GPU one run is better than three.
PIECE_TOKENS = {"cpu": 256, "cuda": 2048}
# The cache's size: rows x capacity x bytes of a token. On a CPU only what tokens reach is ever touched.
CACHE_BYTES = {"cpu": 1 << 30, "cuda": 1 << 32}


@dataclass
class _Row:
    """A prompt whose program is being written.

    index: of the chunk. length: tokens in the cache. tokens: written so far. waiting: the last of these, which are not
    in the cache yet: one that was chosen, and those that it forced. guide: keeps the program to the grammar. error: why
    it ended without a program.
    """

    index: int
    length: int
    tokens: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    guide: Guide | None = None
    error: str | None = None


@dataclass
class _Found:
    """Outputs of a run, in the order in which they were asked for."""

    values: list[Any]

    @cached_property
    def tokens(self) -> np.ndarray:
        """The best next token of every row, int64 [rows]."""
        tokens: np.ndarray = self.values[0].numpy()
        return tokens

    @cached_property
    def finite(self) -> np.ndarray:
        """Whether all logits of a row are numbers, bool [rows]."""
        finite: np.ndarray = self.values[1].numpy()
        return finite

    @cached_property
    def logits(self) -> np.ndarray:
        """All logits [rows, vocabulary], where they were asked for; fetched from the device when they are looked at."""
        logits: np.ndarray = self.values[2].numpy()
        return logits


class DecodeEngine:
    """Greedy, with a graph as ``prox_spark.training.decoder_graph`` writes it. One thread at a time: others wait.

    session: of the graph. A run with one row may have many new tokens; one with several rows has one each.
    end_tokens: ids that end a program.
    max_new_tokens: most tokens of a program.
    decode: text of token ids.
    rows: most prompts that are decoded together.
    guides: keep programs to the grammar; None: whatever the model writes.
    Raises EngineError for another graph.
    """

    def __init__(
        self,
        session: Session,
        end_tokens: Sequence[int],
        max_new_tokens: int,
        decode: Callable[[Sequence[int]], str],
        rows: int = 16,
        guides: Guides | None = None,
    ) -> None:
        import onnxruntime

        self.session = session
        self.end_tokens = frozenset(end_tokens)
        self.max_new_tokens = max_new_tokens
        self.decode = decode
        self.rows = rows
        self.guides = guides
        self.outputs = OUTPUTS if guides is None else (*OUTPUTS, LOGITS)
        self.cache = Cache(session)
        # The cache is one: a second thread waits until the first one's programs are written.
        self._alone = Lock()
        had = {i.name for i in session.session.get_inputs()} - set(self.cache.names)
        gives = {o.name for o in session.session.get_outputs()}
        if had != set(INPUTS) or not {*OUTPUTS, LOGITS} <= gives:
            raise EngineError(
                f"not a decoder as this version exports it, export it again: inputs {sorted(had)}, "
                f"outputs {sorted(gives - set(self.cache.names.values()))}"
            )
        # A prompt's pieces but the last are read for the cache alone: no logits.
        self.only_cache = onnxruntime.RunOptions()
        self.only_cache.only_execute_path_to_fetches = True

    def run(self, chunks: Sequence[Chunk]) -> list[Written]:
        """Programs of every chunk. They may have any lengths, and be any number: a row that ends makes room for one."""
        written: list[Written] = [Written()] * len(chunks)
        with self._alone:
            for rows, group in self._groups(chunks):
                self.cache.shape(rows, self._capacity(chunks[group[0]]))
                for row, truncated in self._decode(chunks, deque(group)):
                    written[row.index] = self._written(row, truncated)
        return written

    def prompt_logits(self, chunks: Sequence[Chunk]) -> np.ndarray:
        """Logits for the first new token of every chunk, float32 [chunks, vocabulary]."""
        with self._alone:
            self.cache.shape(1, max(map(self._capacity, chunks)))
            found = [self._read(chunk, 0, (*OUTPUTS, LOGITS)) for chunk in chunks]
        if not all(one.finite.all() for one in found):
            raise EngineError(NOT_A_NUMBER)
        return np.concatenate([one.logits for one in found])

    def _written(self, row: _Row, truncated: bool) -> Written:
        if row.error is not None:
            return Written(error=row.error)
        return Written(program=self.decode(row.tokens), tokens=tuple(row.tokens), truncated=truncated)

    def _capacity(self, chunk: Chunk) -> int:
        return self.cache.capacity_for(len(chunk.token_ids) + self.max_new_tokens)

    def _groups(self, chunks: Sequence[Chunk]) -> Iterator[tuple[int, list[int]]]:
        """Rows side by side, and the chunks that go through them, longest first.

        The longest decides how many rows there is room for; a new group begins where there is room for twice as many.
        """
        room = CACHE_BYTES[self.session.kind] // self.cache.token_bytes
        group: list[int] = []
        rows = 0
        for index in sorted(range(len(chunks)), key=lambda i: -len(chunks[i].token_ids)):
            fitting = max(1, min(self.rows, room // self._capacity(chunks[index])))
            if group and fitting >= min(2 * rows, self.rows) > rows:
                yield rows, group
                group = []
            rows = rows if group else fitting
            group.append(index)
        if group:
            yield min(rows, len(group)), group

    def _decode(self, chunks: Sequence[Chunk], waiting: deque[int]) -> Iterator[tuple[_Row, bool]]:
        """Rows as they end, and whether the limit ended them."""
        slots: list[_Row | None] = [None] * self.cache.rows
        while True:
            for slot in range(len(slots)):
                while slots[slot] is None and waiting:
                    index = waiting.popleft()
                    guide = self.guides.guide(chunks[index]) if self.guides else None
                    new = _Row(index, len(chunks[index].token_ids), guide=guide)
                    ended = self._take(new, self._read(chunks[index], slot, self.outputs), 0)
                    rows = len(slots) if waiting else 1 + sum(row is not None for row in slots)
                    if (ended := self._catch_up(new, slot, rows, ended)) is None:
                        slots[slot] = new
                    else:
                        yield new, ended
            self._close(slots)
            if not slots:
                return
            found = self._step(slots)
            for slot, row in enumerate(slots):
                if row is None or row.waiting:
                    continue
                ended = self._catch_up(row, slot, len(slots), self._take(row, found, slot))
                if ended is not None:
                    slots[slot] = None
                    yield row, ended

    def _take(self, row: _Row, found: _Found, place: int) -> bool | None:
        """Put the next token at the end of a row. Returns None if the row goes on, else whether the limit ended it.

        found: what a run gave, for this row at ``place``.
        """
        if not found.finite[place]:
            row.error = f"{EngineError.__name__}: {NOT_A_NUMBER}"  # of this row: those beside it go on
            return False
        token: int | None = int(found.tokens[place])
        if row.guide is not None:
            token = row.guide.choose(int(found.tokens[place]), lambda: found.logits[place])
        if token is None:
            return True  # the tokenizer has no token for what would have to come
        if token in self.end_tokens:
            return False
        forced, over = row.guide.follow(token) if row.guide is not None else ([], False)
        row.waiting = [token, *forced]
        row.tokens += row.waiting
        if over and len(row.tokens) <= self.max_new_tokens:
            return False
        del row.tokens[self.max_new_tokens :]
        return True if len(row.tokens) == self.max_new_tokens else None

    def _catch_up(self, row: _Row, slot: int, rows: int, ended: bool | None) -> bool | None:
        """Let a row read its forced tokens by itself, where that is cheaper than a step with all rows for each.

        On a CPU a step of 16 rows takes three times as long as a run of one, on a GPU as long.
        """
        least = rows if self.session.kind == "cuda" else 1 + rows // 2
        while ended is None and len(row.waiting) > least:
            ids = np.asarray([row.waiting], dtype=np.int64)
            found = self._run(ids, np.asarray([row.length]), slot, self.outputs)
            row.length += len(row.waiting)
            ended = self._take(row, found, 0)
        return ended

    def _close(self, slots: list[_Row | None]) -> None:
        """Take out slots that nothing waits for; on the CPU the last row moves to where one is free.

        On a GPU a free row between others stays: a step costs the same with it.
        """
        for slot in range(len(slots)):
            while slots and slots[-1] is None:
                slots.pop()
            if self.session.kind == "cpu" and slot < len(slots) and slots[slot] is None:
                row = slots.pop()
                assert row is not None
                self.cache.move(len(slots), slot, row.length)
                slots[slot] = row

    def _read(self, chunk: Chunk, slot: int, outputs: Sequence[str]) -> _Found:
        """Read a prompt into a slot. Returns what comes next, of one row."""
        ids = np.asarray([chunk.token_ids], dtype=np.int64)
        *pieces, last = np.array_split(ids, -(-ids.shape[1] // PIECE_TOKENS[self.session.kind]), axis=1)
        past = 0
        for piece in pieces:
            self._run(piece, np.asarray([past]), slot, ())
            past += piece.shape[1]
        return self._run(last, np.asarray([past]), slot, outputs)

    def _step(self, slots: Sequence[_Row | None]) -> _Found:
        """One more token of every row. What comes next means nothing for a free slot, or a row with more waiting."""
        ids = np.asarray([[row.waiting.pop(0) if row else 0] for row in slots], dtype=np.int64)
        past = np.asarray([row.length if row else 0 for row in slots])
        for row in slots:
            if row is not None:
                row.length += 1
        return self._run(ids, past, 0, self.outputs)

    def _run(self, ids: np.ndarray, past: np.ndarray, first: int, outputs: Sequence[str]) -> _Found:
        """Run the graph on new tokens; the cache takes them up.

        ids: int64 [rows, tokens]. past: [rows], tokens that each row has in the cache. first: slot of the first row.
        """
        after = past + ids.shape[1]
        values = (np.ascontiguousarray(ids), (after - 1).astype(np.int32), after.max(keepdims=True).astype(np.int32))
        binding = self.session.session.io_binding()
        for name, value in zip(INPUTS, values, strict=True):
            binding.bind_cpu_input(name, value)
        for name in outputs:
            # Logits stay where they are until somebody asks for them.
            at = (self.session.kind, self.session.index) if name == LOGITS else ("cpu", 0)
            binding.bind_output(name, *at)
        self.cache.bind(binding, first, len(ids))
        self.session.session.run_with_iobinding(binding, None if outputs else self.only_cache)
        return _Found(binding.get_outputs()[: len(outputs)])
