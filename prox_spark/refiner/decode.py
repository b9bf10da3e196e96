"""The decoding engine: greedy, with a KV cache that stays on the device from the first step to the last."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prox_spark.errors import EngineError
from prox_spark.refiner.device import Session
from prox_spark.refiner.written import Written, padded
from prox_spark.text.chunks import Chunk

_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass
class _Rows:
    """Rows of a batch that are still being decoded.

    index: position of each row in the batch.
    tokens: decoded so far, by position in the batch.
    mask: int64 [rows, past], 1 where the cache holds a real token.
    lengths: int64 [rows], real tokens in the cache.
    cache: OrtValue by the name of its input.
    """

    index: np.ndarray
    tokens: list[list[int]]
    mask: np.ndarray
    lengths: np.ndarray
    cache: dict[str, Any]
    ended: set[int] = field(default_factory=set)


class DecodeEngine:
    """Graph as Optimum exports it: ``input_ids``, ``attention_mask``, ``position_ids`` (optional) and
    ``past_key_values.N.key/value``; ``logits`` [batch, tokens or 1, vocabulary] and ``present.N.key/value``.

    session: of the graph.
    end_tokens: ids that end a program.
    max_new_tokens: most tokens of a program.
    decode: text of token ids.
    Raises EngineError for another graph.
    """

    def __init__(
        self,
        session: Session,
        end_tokens: Sequence[int],
        max_new_tokens: int,
        decode: Callable[[Sequence[int]], str],
    ) -> None:
        import onnxruntime

        self.runtime = onnxruntime
        self.session = session
        self.end_tokens = frozenset(end_tokens)
        self.max_new_tokens = max_new_tokens
        self.decode = decode
        inputs = {i.name: i for i in session.session.get_inputs()}
        outputs = {o.name for o in session.session.get_outputs()}
        self.past = {name: f"present.{m[1]}.{m[2]}" for name in inputs if (m := _PAST.fullmatch(name))}
        self.has_positions = "position_ids" in inputs
        known = {"input_ids", "attention_mask", "position_ids", *self.past}
        if set(inputs) - known or not self.past or not {"logits", *self.past.values()} <= outputs:
            raise EngineError(f"not a decoder with a cache: inputs {sorted(inputs)}, outputs {sorted(outputs)}")
        first = inputs[next(iter(self.past))]
        if first.type not in _TYPES or not all(isinstance(size, int) for size in (first.shape[1], first.shape[3])):
            raise EngineError(f"the cache's input {first.name} has type {first.type}, shape {first.shape}")
        self.cache_type = _TYPES[first.type]
        self.heads, self.head_size = first.shape[1], first.shape[3]

    def run(self, chunks: Sequence[Chunk]) -> list[Written]:
        """Programs of every chunk, greedy."""
        rows, ids = self._start(chunks)
        for step in range(self.max_new_tokens):
            best = self._logits(rows, ids).argmax(axis=-1)
            for row, token in enumerate(best):
                at = int(rows.index[row])
                if at not in rows.ended:
                    if int(token) in self.end_tokens:
                        rows.ended.add(at)
                    else:
                        rows.tokens[at].append(int(token))
            if len(rows.ended) == len(chunks) or step + 1 == self.max_new_tokens:
                break
            ids = self._drop_ended(rows, best)[:, None]
        return [
            Written(program=self.decode(tokens), tokens=tuple(tokens), truncated=at not in rows.ended)
            for at, tokens in enumerate(rows.tokens)
        ]

    def prompt_logits(self, chunks: Sequence[Chunk]) -> np.ndarray:
        """Logits for the first new token of every chunk, float32 [batch, vocabulary]."""
        rows, ids = self._start(chunks)
        return self._logits(rows, ids)

    def _start(self, chunks: Sequence[Chunk]) -> tuple[_Rows, np.ndarray]:
        """Prompts padded on the left, so that every row's last token stands in the last column."""
        length = padded(chunks[0])
        ids = np.zeros((len(chunks), length), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, chunk in enumerate(chunks):
            ids[row, length - len(chunk.token_ids) :] = chunk.token_ids
            mask[row, length - len(chunk.token_ids) :] = 1
        empty = np.zeros((len(chunks), self.heads, 0, self.head_size), dtype=self.cache_type)
        cache = {name: self._on_device(empty) for name in self.past}
        lengths = np.zeros(len(chunks), dtype=np.int64)
        return _Rows(np.arange(len(chunks)), [[] for _ in chunks], mask, lengths, cache), ids

    def _logits(self, rows: _Rows, ids: np.ndarray) -> np.ndarray:
        """Run the graph on new tokens; the cache moves on. Returns the last position's logits [rows, vocabulary]."""
        if ids.shape[1] == 1:
            rows.mask = np.concatenate([rows.mask, np.ones_like(ids)], axis=1)
        feed = {"input_ids": ids, "attention_mask": rows.mask}
        new = rows.mask[:, -ids.shape[1] :]
        if self.has_positions:
            feed["position_ids"] = np.maximum(rows.lengths[:, None] + np.cumsum(new, axis=1) - 1, 0)
        rows.lengths = rows.lengths + new.sum(axis=1)
        binding = self.session.session.io_binding()
        feed = {name: np.ascontiguousarray(value) for name, value in feed.items()}
        for name, value in feed.items():
            binding.bind_cpu_input(name, value)
        for name, value in rows.cache.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_output("logits", "cpu")
        for name in self.past.values():
            binding.bind_output(name, self.session.kind, self.session.index)
        self.session.session.run_with_iobinding(binding)
        logits, *presents = binding.get_outputs()
        rows.cache = dict(zip(self.past, presents, strict=True))
        last: np.ndarray = logits.numpy()[:, -1].astype(np.float32, copy=False)
        if not np.isfinite(last).all():
            raise EngineError("the graph gave a logit that is not a number")
        return last

    def _drop_ended(self, rows: _Rows, best: np.ndarray) -> np.ndarray:
        """Tokens of the rows that go on; on the CPU the others leave the cache once they are half of it.

        On a GPU they stay to the batch's end: a step costs the same with them, and the cache is never copied.
        """
        alive = np.asarray([int(at) not in rows.ended for at in rows.index])
        if self.session.kind != "cpu" or alive.sum() * 2 > len(alive):
            return best
        rows.index, rows.mask, rows.lengths = rows.index[alive], rows.mask[alive], rows.lengths[alive]
        rows.cache = {name: self._on_device(value.numpy()[alive]) for name, value in rows.cache.items()}
        kept: np.ndarray = best[alive]
        return kept

    def _on_device(self, value: np.ndarray) -> Any:
        array = np.ascontiguousarray(value)
        return self.runtime.OrtValue.ortvalue_from_numpy(array, self.session.kind, self.session.index)
