"""Reading and writing programs: what the golden cases cannot show."""

from __future__ import annotations

import warnings

import pytest

from prox_spark.errors import ConfigError
from prox_spark.program.operations import AddLine, DropDoc, Normalize, Program, ProgramError, RemoveLines, ReplaceString
from prox_spark.program.parser import parse_program
from prox_spark.program.writer import quote, write_operation


def test_line_numbers_count_from_0_whatever_the_dialect_writes() -> None:
    for dialect, first in (("prox", 0), ("refinex", 0), ("ultrax", 1)):
        assert parse_program("remove_lines(3, 4)", dialect).operations == (RemoveLines(3 - first, 4 - first),)


def test_operations_know_their_lines() -> None:
    program = parse_program("\nkeep_chunk()\nfoo()\nremove_lines(1, 2)")
    assert program.lines == (2, 4)
    assert program == Program(program.operations, program.errors)


def test_an_error_says_where_and_why_and_repeats_the_line() -> None:
    error = parse_program("keep_chunk()\n  remove_lines(1, two)").errors[0]
    assert (error.line, error.column, error.source) == (2, 19, "remove_lines(1, two)")
    assert error.message == "line_end must be a literal"
    assert error.chunk is None


def test_an_unknown_dialect_is_an_error_of_the_caller() -> None:
    with pytest.raises(ConfigError, match=r"unknown dialect 'latin'; known are prox, refinex, ultrax"):
        parse_program("keep_doc()", "latin")


def test_reading_is_silent_and_leaves_warnings_alone() -> None:
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert parse_program(r'normalize(source_str="\d\w")').operations == (Normalize(r"\d\w"),)
        parse_program("remove_lines(1if 2 else 3, 4)")
    assert not caught
    assert warnings.filters == filters


def test_a_program_made_by_hand_is_written_too() -> None:
    error = ProgramError("syntax", "", 1, 1, "what?")
    assert str(Program((DropDoc(),))) == "drop_doc()"
    assert str(Program((DropDoc(),), (error,))) == "drop_doc()\nwhat?\n"
    assert str(Program((RemoveLines(0, 1),), dialect="ultrax")) == "remove_lines(1, 2)"
    assert str(Program()) == ""


def test_operations_that_a_dialect_lacks_are_written_all_the_same() -> None:
    assert write_operation(ReplaceString(1, "a", "b")) == 'replace_str(1, "a", "b")'
    assert write_operation(Normalize("a"), "ultrax") == 'normalize(source_str="a")'
    assert write_operation(AddLine(-1, 1, "a"), "ultrax") == 'add_line(0, 1, "a")'


def test_numbers_of_any_size_can_be_written() -> None:
    assert write_operation(RemoveLines(0, 10**5000)).startswith("remove_lines(line_start=0, line_end=0x")


@pytest.mark.parametrize(
    ("string", "literal"),
    [
        ("plain", '"plain"'),
        ('"', r'"\""'),
        ("\\", r'"\\"'),
        ("\n\r\t\0\x1b", r'"\n\r\t\x00\x1b"'),
        ("\u200b\ufeff", r'"\u200b\ufeff"'),
        ("\ud83d", r'"\ud83d"'),
        ("\U000e0001", r'"\U000e0001"'),
        ("日本 é 😀", '"日本 é 😀"'),
        ("", '""'),
    ],
)
def test_literals_show_every_character(string: str, literal: str) -> None:
    assert quote(string) == literal
    assert parse_program(f"normalize({literal})").operations == (Normalize(string),)


def test_a_carriage_return_hides_nothing_from_the_bounds() -> None:
    """It ends a line, and so a comment, for Python; a number behind it would have any length."""
    program = parse_program(f'remove_lines(1, # "\r0x{"f" * 60_000} # "\r)\nkeep_chunk()')
    assert [error.code for error in program.errors] == ["syntax"]
    assert not parse_program("remove_lines(0, 1)\r\nremove_lines(3, 3)\r\n").errors
