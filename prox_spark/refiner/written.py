"""What an engine gives back for one prompt, and how prompts are put into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from prox_spark.text.chunks import Chunk

# A prompt is padded to a multiple of this, whatever it is batched with: its numbers then depend on itself alone, and
# the runtime sees few shapes.
BUCKET = 64


@dataclass(frozen=True)
class Written:
    """What a model wrote for one prompt.

    program: program text; for a scoring engine empty, the vectors say it.
    line_vectors: of a scoring engine, float32 [lines, width]: what it says of each line.
    tokens: decoded token ids, without the end token.
    truncated: the token limit ended it.
    error: why there is nothing.
    """

    program: str = ""
    line_vectors: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    tokens: tuple[int, ...] = ()
    truncated: bool = False
    error: str | None = None


class Engine(Protocol):
    """Runs prompts; a scoring engine, only such as have one padded length."""

    def run(self, chunks: Sequence[Chunk]) -> list[Written]:
        """One result a chunk, in order."""
        ...


def padded(chunk: Chunk) -> int:
    """Length to which the chunk's prompt is padded."""
    return padded_length(len(chunk.token_ids))


def padded_length(tokens: int) -> int:
    """The next multiple of BUCKET."""
    return -(-tokens // BUCKET) * BUCKET


def batches(chunks: Sequence[Chunk], batch_size: int, batch_tokens: int, batch_pairs: int) -> Iterator[list[int]]:
    """Indices of the chunks, batch by batch; the chunks of a batch have one padded length, longest first.

    batch_size: most chunks; batch_tokens: most padded tokens; batch_pairs: most pairs of tokens that attend to each
    other (rows x length x length), which is what bounds memory. A single chunk is always allowed.
    """
    batch: list[int] = []
    length = 0
    for index in sorted(range(len(chunks)), key=lambda i: -padded(chunks[i])):
        more = (len(batch) + 1) * padded(chunks[index])
        full = len(batch) >= batch_size or more > batch_tokens or more * padded(chunks[index]) > batch_pairs
        if batch and (full or padded(chunks[index]) != length):
            yield batch
            batch = []
        length = padded(chunks[index])
        batch.append(index)
    if batch:
        yield batch
