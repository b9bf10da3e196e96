"""Keys and values of the prompts that are being decoded, in buffers that the graph reads and writes in place."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from prox_spark.errors import EngineError
from prox_spark.refiner.device import Session

_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
# Capacities are multiples of this: few shapes, and rows that begin where a GPU likes to read.
_STEP = 64


class Cache:
    """One buffer [rows, heads, capacity, size] for every cache input of a graph; rows and capacity can change.

    session: of a graph with inputs ``past_key_values.N.key`` and ``.value`` of that shape, and outputs ``present.N.…``.
    token_bytes: of a token's keys and values in all layers.
    Raises EngineError for another graph.
    """

    def __init__(self, session: Session) -> None:
        inputs = {i.name: i for i in session.session.get_inputs()}
        outputs = {o.name for o in session.session.get_outputs()}
        self.names = {name: f"present.{m[1]}.{m[2]}" for name in inputs if (m := _PAST.fullmatch(name))}
        if not self.names or not set(self.names.values()) <= outputs:
            raise EngineError(f"not a decoder with a cache: inputs {sorted(inputs)}, outputs {sorted(outputs)}")
        first = inputs[next(iter(self.names))]
        if first.type not in _TYPES or not all(isinstance(size, int) for size in (first.shape[1], first.shape[3])):
            raise EngineError(f"the cache's input {first.name} has type {first.type}, shape {first.shape}")
        self.kind, self.index = session.kind, session.index
        self.type = np.dtype(_TYPES[first.type])
        self.heads, self.size = int(first.shape[1]), int(first.shape[3])
        self.token_bytes = len(self.names) * self.heads * self.size * self.type.itemsize
        self.rows = self.capacity = 0
        self._numbers = 0
        self._buffers: dict[str, Any] = {}

    @staticmethod
    def capacity_for(tokens: int) -> int:
        """Tokens that a row for so many has room for."""
        return -(-tokens // _STEP) * _STEP

    def shape(self, rows: int, capacity: int) -> None:
        """Make room for so many rows of so many tokens. What was there is lost."""
        self.rows, self.capacity = rows, capacity
        numbers = rows * self.heads * capacity * self.size
        if numbers > self._numbers:
            # First, so that old and new are never held together, and what cannot be had is not taken to be there.
            self._buffers.clear()
            self._numbers = 0
            self._buffers = {name: self._allocate(numbers) for name in self.names}
            self._numbers = numbers

    def bind(self, binding: Any, first: int, rows: int) -> None:
        """Let a run read and write the rows from ``first`` on, where they lie."""
        shape = (rows, self.heads, self.capacity, self.size)
        offset = first * self.heads * self.capacity * self.size * self.type.itemsize
        for past, present in self.names.items():
            at = _address(self._buffers[past]) + offset
            binding.bind_input(past, self.kind, self.index, self.type, shape, at)
            binding.bind_output(present, self.kind, self.index, self.type, shape, at)

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first tokens of a row over another row; on the CPU only."""
        numbers = self.rows * self.heads * self.capacity * self.size
        for buffer in self._buffers.values():
            rows = buffer[:numbers].reshape(self.rows, self.heads, self.capacity, self.size)
            rows[target, :, :tokens] = rows[source, :, :tokens]

    def _allocate(self, numbers: int) -> Any:
        if self.kind == "cpu":
            return np.empty(numbers, dtype=self.type)  # pages that no token reaches are never touched
        from onnxruntime import OrtValue

        return OrtValue.ortvalue_from_shape_and_type([numbers], self.type, self.kind, self.index)


def _address(buffer: Any) -> int:
    return int(buffer.ctypes.data if isinstance(buffer, np.ndarray) else buffer.data_ptr())
