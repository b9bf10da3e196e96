"""The scoring engine: one run of the graph reads a vector at the end of every line, a second graph judges the lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prox_spark.errors import EngineError
from prox_spark.refiner.device import Session
from prox_spark.refiner.shapes import line_shapes
from prox_spark.refiner.written import Written, padded
from prox_spark.text.chunks import Chunk

INPUTS = ("input_ids", "line_positions")
OUTPUT = "line_vectors"
JUDGE_INPUTS = ("vectors", "shapes")
JUDGE_OUTPUTS = ("line_scores", "document_score")


class ScoreEngine:
    """Graph inputs, all int64: ``input_ids`` [batch, tokens], padded on the right, where a causal model never looks;
    ``line_positions`` [lines], flat indices into batch x tokens of the tokens that end a line. Output, float32:
    ``line_vectors`` [lines, width]. ``run`` may be called by several threads at once. Raises EngineError for another
    graph.
    """

    def __init__(self, session: Session) -> None:
        self.session = session.session
        _expect(session, INPUTS, (OUTPUT,))

    def run(self, chunks: Sequence[Chunk]) -> list[Written]:
        """Vectors of every chunk's lines."""
        (vectors,) = self.session.run([OUTPUT], self.feed(chunks))
        lines = [len(chunk.line_ends) for chunk in chunks]
        if vectors.ndim != 2 or len(vectors) != sum(lines):
            raise EngineError(f"the graph gave vectors of shape {vectors.shape} for {sum(lines)} lines")
        if not np.isfinite(vectors).all():
            raise EngineError("the graph gave a number that is not finite")
        return [Written(line_vectors=own) for own in np.split(vectors, np.cumsum(lines)[:-1])]

    @staticmethod
    def feed(chunks: Sequence[Chunk]) -> dict[str, npt.NDArray[np.int64]]:
        """The graph's inputs for chunks of one padded length."""
        length = padded(chunks[0])
        ids = np.zeros((len(chunks), length), dtype=np.int64)
        positions = []
        for row, chunk in enumerate(chunks):
            ids[row, : len(chunk.token_ids)] = chunk.token_ids
            positions.append(np.asarray(chunk.line_ends, dtype=np.int64) + row * length)
        return {"input_ids": ids, "line_positions": np.concatenate(positions)}


class LineJudge:
    """Verdicts on the lines of one document, or of a section of a very long one.

    Graph inputs, float32: ``vectors`` [lines, width] and ``shapes`` [lines, SHAPES]; outputs, float32, probabilities:
    ``line_scores`` [lines] and ``document_score`` [1]. Raises EngineError for another graph.
    """

    def __init__(self, session: Session) -> None:
        self.session = session.session
        _expect(session, JUDGE_INPUTS, JUDGE_OUTPUTS)

    def judge(self, lines: Sequence[str], vectors: npt.NDArray[np.float32]) -> tuple[tuple[float, ...], float]:
        """For each line the probability that it is to be removed, and the one that nothing of all is worth keeping."""
        feed = dict(zip(JUDGE_INPUTS, (vectors, line_shapes(lines)), strict=True))
        scores, document = self.session.run(list(JUDGE_OUTPUTS), feed)
        if scores.shape != (len(lines),) or document.shape != (1,):
            raise EngineError(f"the graph gave scores of shapes {scores.shape} and {document.shape}")
        if not (np.isfinite(scores).all() and np.isfinite(document).all()):
            raise EngineError("the graph gave a score that is not a number")
        return tuple(scores.tolist()), float(document[0])


def _expect(session: Session, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    had = {i.name for i in session.session.get_inputs()}
    gives = {o.name for o in session.session.get_outputs()}
    if had != set(inputs) or not set(outputs) <= gives:
        raise EngineError(f"not a scoring graph: inputs {sorted(had)}, outputs {sorted(gives)}")
