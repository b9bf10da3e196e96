from __future__ import annotations

import pytest

from prox_spark.errors import BundleError
from prox_spark.program.programs import DocumentPrograms
from prox_spark.program.scores import rescore
from prox_spark.refiner.budget import CODES, code_of
from prox_spark.refiner.refiner import Refiner
from prox_spark.refiner.scripted import CODED_FAILURES


def write(name: str, *texts: str) -> list[DocumentPrograms]:
    return list(Refiner.load(f"scripted:{name}").write(texts))


def test_short_lines_are_removed() -> None:
    (programs,) = write("short-lines", "Home\nA line of many words.\n\nlog in\nlast line is long")
    assert programs.doc_program == "keep_doc()"
    assert programs.chunks[0].program == (
        "remove_lines(line_start=0, line_end=0)\nremove_lines(line_start=3, line_end=3)"
    )


def test_chunks_number_lines_through_the_document() -> None:
    (programs,) = write("short-lines", "\n".join(["three words here"] * 60 + ["x"] + ["three words here"] * 60))
    assert [(c.chunk, c.first_line, c.last_line) for c in programs.chunks] == [(0, 0, 49), (1, 50, 99), (2, 100, 120)]
    assert [c.program for c in programs.chunks] == [
        "keep_chunk()",
        "remove_lines(line_start=60, line_end=60)",
        "keep_chunk()",
    ]


def test_noise_makes_what_models_make() -> None:
    bad, loop, cut, drop, error, good = write(
        "noise", "##BAD## a b c", "##LOOP##", "##CUT## a b c", "##DROP## a b c", "##ERROR##", "a b c d"
    )
    assert "import os" in bad.chunks[0].program
    assert loop.chunks[0].looped
    assert cut.chunks[0].truncated
    assert drop.doc_program == "drop_doc()"
    assert error.error is not None and not error.chunks
    assert good.chunks[0].program == "keep_chunk()"
    with pytest.raises(RuntimeError, match="##CRASH##"):
        write("noise", "fine", "##CRASH##")


def test_noise_fails_with_every_code() -> None:
    found = write("noise", *(f"a b c\n{marker}" for marker in CODED_FAILURES), "a b c")
    assert [code_of(programs.error or "") for programs in found] == [*CODED_FAILURES.values(), None]
    assert {*CODED_FAILURES.values(), "too_many_tokens"} == set(CODES)
    assert not any(programs.chunks for programs in found[:-1])


def test_other_refiners_do_not_know_the_markers() -> None:
    (programs,) = write("short-lines", "##CRASH## ##ERROR## ##MEMORY## ##DROP##")
    assert (programs.doc_program, programs.error) == ("keep_doc()", None)


def test_scores_can_be_read_again_with_other_thresholds() -> None:
    refiner = Refiner.load("scripted:scored")
    programs = next(refiner.write(["one\nand two\nthese are four words\n"]))
    assert programs.chunks[0].line_scores == (1.0, 0.5, 0.25, 0.0)
    assert rescore(programs, refiner.thresholds["balanced"]) == programs
    assert (
        rescore(programs, refiner.thresholds["cautious"]).chunks[0].program == "remove_lines(line_start=0, line_end=0)"
    )
    assert (
        rescore(programs, refiner.thresholds["aggressive"]).chunks[0].program
        == "remove_lines(line_start=0, line_end=2)"
    )
    assert next(refiner.write([" \n"])).doc_program == "drop_doc()"


def test_it_is_a_refiner_like_the_others() -> None:
    refiner = Refiner.load("scripted:short-lines")
    assert (refiner.name, refiner.level, refiner.dialect, refiner.device) == (
        "scripted:short-lines",
        "both",
        "prox",
        "cpu",
    )
    assert len(refiner.fingerprint) == 64
    assert refiner.fingerprint != Refiner.load("scripted:noise").fingerprint
    with pytest.raises(BundleError, match="noise, scored, short-lines"):
        Refiner.load("scripted:other")
