"""The last gate: whatever a widget draws, the terminal obeys none of it."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.segment import ControlType, Segment
from rich.style import Style
from textual.color import Color

from rbee_tui.ui.gate import Gate
from tests.ui.payloads import PAYLOADS, RAW

BACK = Color(0, 0, 0)


def through(text: str, *, ascii_only: bool = False) -> str:
    return "".join(each.text for each in Gate(ascii_only=ascii_only).apply([Segment(text)], BACK))


class TestGate:
    """Segments on their way to the terminal."""

    @pytest.mark.parametrize("payload", PAYLOADS)
    @pytest.mark.parametrize("ascii_only", [False, True])
    def test_no_payload_passes(self, payload, ascii_only):
        """Neither a control nor what makes one name look like another."""
        said = through(payload, ascii_only=ascii_only)
        assert not RAW.search(said)
        assert said.isascii() or not ascii_only

    @pytest.mark.parametrize("payload", [each for each in PAYLOADS if RAW.search(each)])
    def test_without_it_they_would(self, payload):
        """The mutant: the same segments as they are."""
        out = io.StringIO()
        for segment in [Segment(payload)]:
            out.write(segment.text)
        assert RAW.search(out.getvalue())

    @given(st.text())
    def test_nothing_ever_passes(self, text):
        """Whatever it is made of; what is safe stays as it is."""
        said = through(text)
        assert not RAW.search(said)
        assert len(said) == len(text)
        assert not said.isascii() or through(said) == said

    def test_styles_and_the_driver_s_own_controls_stay(self):
        """The gate is for text."""
        style = Style(bold=True)
        control = Segment("\x1b[2J", None, [(ControlType.CLEAR,)])
        safe = Segment("plain", style)
        assert Gate(ascii_only=True).apply([safe, control], BACK) == [safe, control]
        (changed,) = Gate(ascii_only=False).apply([Segment("a\x1bb", style)], BACK)
        assert (changed.text, changed.style) == ("a?b", style)
