from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prox_spark.text.lines import shown, split_lines


@given(st.text())
def test_lines_joined_are_the_text(text: str) -> None:
    assert "\n".join(split_lines(text)) == text


def test_only_newlines_end_lines() -> None:
    assert split_lines("a\r\nb\u2028c\x0bd\x85e\n") == ["a\r", "b\u2028c\x0bd\x85e", ""]
    assert split_lines("") == [""]


def test_shown_replaces_lone_surrogates_only() -> None:
    assert shown("plain") == "plain"
    assert shown("ü😀\ud800x\udfff") == "ü😀\ufffdx\ufffd"
    assert len(shown("\ud83d\ude00")) == 2, "positions stay those of the original"
