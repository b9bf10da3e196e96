"""Examples to tensors: rows of like length together, so that little of a forward pass is padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prox_spark.text.chunks import Chunk
from prox_spark.training.data import Example
from prox_spark.training.model import LineScorer


@dataclass(frozen=True)
class Rows:
    """One pass of the backbone: ``input_ids`` [rows, tokens] and the flat ``line_positions`` [lines]."""

    input_ids: Tensor
    line_positions: Tensor


@dataclass(frozen=True)
class Batch:
    """Documents for one step. ``order`` [lines] puts the lines of all passes in the order of the documents' lines."""

    examples: tuple[Example, ...]
    passes: tuple[Rows, ...]
    order: Tensor
    tokens: int


def collate(examples: Sequence[Example], padded_tokens: int) -> Batch:
    """Put the chunks of all examples into passes of at most ``padded_tokens`` tokens with padding."""
    chunks = [chunk for example in examples for chunk in example.chunks]
    starts = torch.tensor([0, *(len(chunk.line_ends) for chunk in chunks)]).cumsum(0).tolist()
    passes: list[Rows] = []
    lines: list[int] = []
    rows: list[int] = []
    for number in sorted(range(len(chunks)), key=lambda n: len(chunks[n].token_ids)):
        if rows and (len(rows) + 1) * len(chunks[number].token_ids) > padded_tokens:
            passes.append(_rows([chunks[row] for row in rows]))
            rows = []
        rows.append(number)
        lines.extend(range(starts[number], starts[number + 1]))
    passes.append(_rows([chunks[row] for row in rows]))
    tokens = sum(example.tokens for example in examples)
    return Batch(tuple(examples), tuple(passes), torch.tensor(lines).argsort(), tokens)


def _rows(chunks: Sequence[Chunk]) -> Rows:
    width = max(len(chunk.token_ids) for chunk in chunks)
    input_ids = torch.zeros((len(chunks), width), dtype=torch.long)
    positions: list[int] = []
    for row, chunk in enumerate(chunks):
        input_ids[row, : len(chunk.token_ids)] = torch.tensor(chunk.token_ids)
        positions.extend(row * width + end for end in chunk.line_ends)
    return Rows(input_ids, torch.tensor(positions))


def batched(examples: Iterable[Example], tokens_a_step: int, padded_tokens: int) -> Iterator[Batch]:
    """Batches of at least ``tokens_a_step`` tokens, in passes of at most ``padded_tokens``."""
    waiting: list[Example] = []
    for example in examples:
        waiting.append(example)
        if sum(one.tokens for one in waiting) >= tokens_a_step:
            yield collate(waiting, padded_tokens)
            waiting = []


def half_precision(device: torch.device) -> torch.autocast:
    """Products in bfloat16 where the device has them.

    A CPU without them would take seventy times as long as in float32 (measured on one with AVX2).
    """
    possible = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=possible)


def line_vectors(model: LineScorer, batch: Batch) -> tuple[Tensor, ...]:
    """For every document what the backbone says at the ends of its lines, float32 [lines, WIDTH]."""
    device = model.device
    passes = [model.vectors(rows.input_ids.to(device), rows.line_positions.to(device)) for rows in batch.passes]
    vectors = torch.cat(passes)[batch.order.to(device)]
    split: tuple[Tensor, ...] = vectors.split([len(example.remove) for example in batch.examples])
    return split


def logits(model: LineScorer, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """For every document the logits of its lines [lines] and of itself [1]."""
    return [
        model.network(own, torch.from_numpy(example.shapes).to(model.device))
        for own, example in zip(line_vectors(model, batch), batch.examples, strict=True)
    ]
