"""How the panes share the screen, at every size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.ui import layout
from rbee_tui.ui.layout import Wants

COUNTS = st.integers(0, 20_000)
WANTS = st.builds(Wants, COUNTS, COUNTS, COUNTS)
BARS = 3


@pytest.mark.parametrize(
    ("columns", "rows", "mode"),
    [
        (1, 1, "tiny"),
        (39, 24, "tiny"),
        (80, 7, "tiny"),
        (40, 8, "single"),
        (59, 24, "single"),
        (80, 14, "single"),
        (60, 15, "stacked"),
        (80, 24, "stacked"),
        (109, 60, "stacked"),
        (110, 15, "wide"),
        (500, 200, "wide"),
    ],
)
def test_the_mode(columns, rows, mode):
    """All panes from 80x24 up, one at a time where there is little room."""
    assert layout.mode_for(columns, rows) == mode


class TestHeights:
    """Rows, frames included."""

    @given(st.integers(15, 200), WANTS)
    def test_nothing_is_left_over_or_overlaps(self, rows, wants):
        """They add up to what there is, and none is without a row; frame and titles are seen."""
        for mode, count in (("stacked", 3), ("wide", 2)):
            found = layout.heights(mode, rows - BARS, wants)
            assert len(found) == count
            assert sum(found) == rows - BARS
            assert min(found) >= 2

    @given(st.integers(24, 200), WANTS)
    def test_from_24_rows_each_shows_two_lines(self, rows, wants):
        """A frame, the column titles, and two of its lines."""
        for mode in ("stacked", "wide"):
            assert min(layout.heights(mode, rows - BARS, wants)) >= 5

    def test_what_has_little_gets_little(self):
        """The models get the rest."""
        assert layout.heights("stacked", 37, Wants(100, 1, 1)) == (27, 5, 5)
        assert layout.heights("stacked", 37, Wants(0, 100, 100)) == (13, 12, 12)
        assert layout.heights("wide", 37, Wants(100, 100, 1)) == (31, 6)
