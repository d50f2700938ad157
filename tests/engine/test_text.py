"""Sizes and times as people read them."""

import pytest

from rbee_tui.engine.text import duration


class TestDuration:
    @pytest.mark.parametrize(
        ("seconds", "said"),
        [(-1, "0:00"), (7, "0:07"), (92, "1:32"), (11225, "3:07:05"), (1_000_000_000, "11574 days")],
    )
    def test_it_is_short(self, seconds: float, said: str):
        """Nobody reads hours by the thousand."""
        assert duration(seconds) == said
