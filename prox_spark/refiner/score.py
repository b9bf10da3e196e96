"""The scoring engine: one run of the graph reads a verdict at the end of every line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prox_spark.errors import EngineError
from prox_spark.refiner.device import Session
from prox_spark.refiner.written import Written, padded
from prox_spark.text.chunks import Chunk

LOOK_AHEAD = 2
INPUTS = ("input_ids", "attention_mask", "line_positions", "row_positions")
OUTPUTS = ("line_scores", "row_scores")


class ScoreEngine:
    """Graph inputs, all int64: ``input_ids`` and ``attention_mask`` [batch, tokens], padded on the right;
    ``line_positions`` [lines, 3], flat indices into batch x tokens of the tokens that end a line and the next two
    (within its chunk; the last line stands in for those beyond it); ``row_positions`` [batch], of the last line's end.
    Outputs, float32: ``line_scores`` [lines], ``row_scores`` [batch]. Raises EngineError for another graph.
    """

    def __init__(self, session: Session) -> None:
        self.session = session.session
        inputs = {i.name for i in self.session.get_inputs()}
        outputs = {o.name for o in self.session.get_outputs()}
        if inputs != set(INPUTS) or not set(OUTPUTS) <= outputs:
            raise EngineError(f"not a scoring graph: inputs {sorted(inputs)}, outputs {sorted(outputs)}")

    def run(self, chunks: Sequence[Chunk]) -> list[Written]:
        """Scores of every chunk."""
        feed = self.feed(chunks)
        line_scores, row_scores = self.session.run(list(OUTPUTS), feed)
        lines = [len(chunk.line_ends) for chunk in chunks]
        if line_scores.shape != (sum(lines),) or row_scores.shape != (len(chunks),):
            raise EngineError(f"the graph gave scores of shapes {line_scores.shape} and {row_scores.shape}")
        if not (np.isfinite(line_scores).all() and np.isfinite(row_scores).all()):
            raise EngineError("the graph gave a score that is not a number")
        ends = np.cumsum(lines)
        return [
            Written(line_scores=tuple(line_scores[end - count : end].tolist()), row_score=float(row))
            for end, count, row in zip(ends, lines, row_scores, strict=True)
        ]

    @staticmethod
    def feed(chunks: Sequence[Chunk]) -> dict[str, np.ndarray]:
        """The graph's inputs for chunks of one padded length."""
        length = padded(chunks[0])
        ids = np.zeros((len(chunks), length), dtype=np.int64)
        mask = np.zeros_like(ids)
        positions = []
        for row, chunk in enumerate(chunks):
            ids[row, : len(chunk.token_ids)] = chunk.token_ids
            mask[row, : len(chunk.token_ids)] = 1
            ends = np.asarray(chunk.line_ends, dtype=np.int64) + row * length
            ahead = np.arange(len(ends))[:, None] + np.arange(LOOK_AHEAD + 1)[None, :]
            positions.append(ends[np.minimum(ahead, len(ends) - 1)])
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "line_positions": np.concatenate(positions),
            "row_positions": np.asarray([p[-1, 0] for p in positions], dtype=np.int64),
        }
