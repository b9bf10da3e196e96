"""Programs written from scores."""

from __future__ import annotations

import pytest

from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.scores import Thresholds, program_from_scores, rescore


@pytest.mark.parametrize(
    ("scores", "first", "program"),
    [
        ([0.1, 0.2], 0, "keep_chunk()"),
        ([0.9, 0.5], 7, "remove_lines(all=True)"),
        ([0.9, 0.1], 0, "remove_lines(line_start=0, line_end=0)"),
        ([0.1, 0.9, 0.9], 4, "remove_lines(line_start=5, line_end=6)"),
        (
            [0.9, 0.9, 0.1, 0.9],
            10,
            "remove_lines(line_start=10, line_end=11)\nremove_lines(line_start=13, line_end=13)",
        ),
        ([float("nan"), 0.9], 0, "remove_lines(line_start=1, line_end=1)"),
        ([], 0, "keep_chunk()"),
    ],
)
def test_runs_of_lines_at_or_above_the_threshold(scores: list[float], first: int, program: str) -> None:
    assert program_from_scores(scores, first, 0.5) == program


def test_rescoring_writes_only_what_has_scores() -> None:
    scored = ChunkProgram(0, 0, 1, "keep_chunk()", (0.2, 0.8), prompt_tokens=9)
    plain = ChunkProgram(1, 2, 3, 'normalize(source_str="a")', new_tokens=4)
    failed = ChunkProgram(2, 4, 4, "", (0.9,), error="lost")
    programs = DocumentPrograms("keep_doc()", (scored, plain, failed), doc_score=0.7)
    again = rescore(programs, Thresholds(line=0.5, document=0.7))
    assert again.doc_program == "drop_doc()"
    assert again.chunks[0].program == "remove_lines(line_start=1, line_end=1)"
    assert again.chunks[0].line_scores == (0.2, 0.8)
    assert again.chunks[1:] == (plain, failed)
    assert (again.prompt_tokens, again.new_tokens) == (9, 4)
    assert rescore(programs, Thresholds(line=0.5, document=0.71)).doc_program == "keep_doc()"


def test_without_a_documents_score_its_program_stays() -> None:
    programs = DocumentPrograms("drop_doc()", ())
    assert rescore(programs, Thresholds(0.5, 0.5)) == programs
