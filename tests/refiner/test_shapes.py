"""What lines look like, as numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_spark.refiner.shapes import SHAPES, line_shapes

any_text = st.text(st.characters(), max_size=200)


@settings(deadline=None)
@given(st.lists(any_text, max_size=40))
def test_any_lines_give_finite_numbers_in_bounds(lines: list[str]) -> None:
    found = line_shapes(lines)
    assert found.shape == (len(lines), SHAPES)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 2)).all()


def test_prose_menus_and_links_differ() -> None:
    prose, menu, link = line_shapes(
        ["The tides are caused by the pull of the moon and, to a lesser degree, of the sun.", "About Us", "www.a.org/b"]
    )
    assert prose[0] > 0.5 > menu[0], "words"
    assert (prose[9], menu[9]) == (1, 0), "a sentence's end"
    assert menu[7] == 1 > prose[7], "capitalised words"
    assert link[13] > 0 == menu[13], "addresses"


def test_repeated_lines_and_places_are_told() -> None:
    found = line_shapes(["Share", "text", "Share"])
    assert found[0, 17] == found[2, 17] > found[1, 17] == 0
    assert list(found[:, 18]) == [0, 0.5, 1]


def test_a_line_of_ten_megabytes_costs_what_a_long_one_costs() -> None:
    long, longer = line_shapes(["ab " * 3_000]), line_shapes(["ab " * 3_000_000])
    np.testing.assert_array_equal(long[0, 3:9], longer[0, 3:9])
