"""Examples to tensors: rows of like length together, so that little of a forward pass is padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from prox_spark.training.data import Example
from prox_spark.training.model import LOOK_AHEAD

_SORTED_AT_ONCE = 16


@dataclass(frozen=True)
class Batch:
    """Inputs of ``LineScorer.forward`` with targets; ``tokens`` counts what is not padding."""

    input_ids: Tensor
    line_positions: Tensor
    row_positions: Tensor
    remove: Tensor
    weights: Tensor
    nothing: Tensor
    tokens: int


def collate(rows: list[Example], pad_id: int = 0) -> Batch:
    """Pad at the right and point every line at the ends of itself and the next two lines of its row."""
    width = max(len(row.tokens) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    positions: list[list[int]] = []
    for number, row in enumerate(rows):
        input_ids[number, : len(row.tokens)] = torch.tensor(row.tokens)
        ends = [number * width + end for end in row.line_ends]
        last = len(ends) - 1
        positions.extend([ends[min(i + ahead, last)] for ahead in range(1 + LOOK_AHEAD)] for i in range(len(ends)))
    return Batch(
        input_ids=input_ids,
        line_positions=torch.tensor(positions),
        row_positions=torch.tensor([n * width + row.line_ends[-1] for n, row in enumerate(rows)]),
        remove=torch.tensor([value for row in rows for value in row.remove], dtype=torch.float32),
        weights=torch.tensor([value for row in rows for value in row.weights], dtype=torch.float32),
        nothing=torch.tensor([row.nothing for row in rows], dtype=torch.float32),
        tokens=sum(len(row.tokens) for row in rows),
    )


def batched(examples: Iterable[Example], padded_tokens: int) -> Iterator[Batch]:
    """Batches of at most ``padded_tokens`` tokens with padding (a single longer row is a batch of its own)."""
    pool: list[Example] = []
    for example in examples:
        pool.append(example)
        if len(pool) == _SORTED_AT_ONCE:
            yield from _cut(pool, padded_tokens)
            pool = []
    yield from _cut(pool, padded_tokens)


def _cut(pool: list[Example], padded_tokens: int) -> Iterator[Batch]:
    rows: list[Example] = []
    for example in sorted(pool, key=lambda row: len(row.tokens)):
        if rows and (len(rows) + 1) * len(example.tokens) > padded_tokens:
            yield collate(rows)
            rows = []
        rows.append(example)
    if rows:
        yield collate(rows)
