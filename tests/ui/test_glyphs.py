"""The characters that the screen draws with."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rbee_tui.ui.glyphs import ASCII, UNICODE, Glyphs, plain

EVERY = [(field.name, getattr(UNICODE, field.name)) for field in fields(Glyphs)]


@pytest.mark.parametrize(("name", "glyphs"), EVERY)
def test_each_is_one_cell_and_has_a_twin(name, glyphs):
    """Of the same width, in ASCII, by which `plain` replaces it."""
    twins = getattr(ASCII, name)
    assert len(twins) == len(glyphs)
    for theirs, ours in zip(glyphs, twins, strict=True):
        assert cell_len(theirs) == cell_len(ours) == 1
        assert ours.isascii()
        assert ours.isprintable()
        assert plain(theirs).isascii()


def test_states_stay_apart_in_ascii():
    """Well, wrong, busy, paused: no two look the same."""
    assert len({ASCII.ok, ASCII.wrong, ASCII.busy, ASCII.paused, ASCII.dash}) == 5


@given(st.text())
def test_plain_is_ascii_of_the_same_width(text):
    """Nothing that stands beside it moves; combining marks, which have no width, go."""
    assert plain(text).isascii()
    assert cell_len(plain(text)) == sum(cell_len(each) for each in text if not each.isascii()) + sum(
        cell_len(each) for each in text if each.isascii()
    )


def test_ascii_stays_as_it_is():
    """And our letters with marks lose only these."""
    assert plain("plain 100 %") == "plain 100 %"
    assert plain("Zoë 漢 61°C ✓") == "Zo? ?? 61'C +"
