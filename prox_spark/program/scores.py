"""From stored scores to programs: thresholds can be changed in EXECUTE without running a model again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from prox_spark.program.programs import ChunkProgram, DocumentPrograms


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which probability on a line is removed and a document is dropped; both between 0 and 1."""

    line: float
    document: float


def dropped_from(cautions: Iterable[Thresholds]) -> float | None:
    """Return the document score from which none of these would keep a document; None of none."""
    return max((thresholds.document for thresholds in cautions), default=None)


def program_from_scores(scores: Sequence[float], first_line: int, threshold: float) -> str:
    """Write the program of a chunk from its lines' scores.

    Args:
        scores: for each line of the chunk the probability that it is to be removed; NaN keeps the line.
        first_line: number of the chunk's first line in the document, from 0.
        threshold: a line is removed when its score is at least this.

    Returns:
        Canonical program text: `keep_chunk()`, `remove_lines(all=True)`, or one `remove_lines` a run of removed lines.
    """
    runs: list[str] = []
    removed = 0
    start = -1
    for line, score in enumerate(scores):
        if score >= threshold:
            removed += 1
            if start < 0:
                start = line
        elif start >= 0:
            runs.append(f"remove_lines(line_start={first_line + start}, line_end={first_line + line - 1})")
            start = -1
    if not removed:
        return "keep_chunk()"
    if removed == len(scores):
        return "remove_lines(all=True)"
    if start >= 0:
        runs.append(f"remove_lines(line_start={first_line + start}, line_end={first_line + len(scores) - 1})")
    return "\n".join(runs)


def rescore(programs: DocumentPrograms, thresholds: Thresholds) -> DocumentPrograms:
    """Write a document's programs again from its stored scores; what has no scores stays as it is."""
    doc_program = programs.doc_program
    if programs.doc_score is not None:
        doc_program = "drop_doc()" if programs.doc_score >= thresholds.document else "keep_doc()"
    chunks = tuple(_rescore_chunk(chunk, thresholds.line) for chunk in programs.chunks)
    return replace(programs, doc_program=doc_program, chunks=chunks)


def _rescore_chunk(chunk: ChunkProgram, threshold: float) -> ChunkProgram:
    if chunk.line_scores is None or chunk.error is not None:
        return chunk
    return replace(chunk, program=program_from_scores(chunk.line_scores, chunk.first_line, threshold))
