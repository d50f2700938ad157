"""The last gate before the terminal: whatever a widget draws, no control character leaves as text."""

import re
from collections.abc import Callable

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from rbee_tui.ui.glyphs import plain

# One cell each, so that nothing that stands beside it moves.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)


class Gate(LineFilter):
    """Replaces what a terminal would obey, and with `ascii_only` every character beyond ASCII."""

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._pass: Callable[[str], str] = plain if ascii_only else str

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments with text that is safe to write; those that are so already stay as they are."""
        del background
        return [self._safe(segment) for segment in segments]

    def _safe(self, segment: Segment) -> Segment:
        text, style, control = segment
        if control or (text.isascii() and text.isprintable()):
            return segment
        return Segment(self._pass(_UNSAFE.sub("?", text)), style, control)
