"""What all our widgets share: lines of styled texts, of which only those that changed are written.

Textual crops what it writes of a line on its right side alone. So each changed line is repainted from its
left end to the last cell that differs: what changes often stands on the left.
"""

from collections.abc import Sequence
from typing import ClassVar, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

Drawn: TypeAlias = list[tuple[str, str]]
"""A line as texts with the names of their styles."""

STYLES = (
    "frame",
    "title",
    "head",
    "cursor",
    "ok",
    "busy",
    "wrong",
    "quiet",
    "accent",
    "key",
    "strong",
    "here",
)
"""The names of styles; each is a component class `drawn--NAME` of the style sheets."""
_PLAIN = Style()


class DrawnLines(Widget):
    """A widget of lines; subclasses compose them for a size, and this one paints."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"drawn--{name}" for name in STYLES}

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._drawn: list[Drawn] = []
        self._known_styles: dict[str, Style] = {}

    def compose_lines(self, width: int, height: int) -> list[Drawn]:
        """The lines as they are now, as many as `height`, each `width` cells wide."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Compose every line, and have those repainted that differ from before."""
        width, height = self.size
        if not width or not height:
            return
        drawn = self.compose_lines(width, height)
        before, self._drawn = self._drawn, drawn
        if len(before) != len(drawn):
            self.refresh()
            return
        changed = [
            Region(0, y, last_difference(old, new), 1)
            for y, (old, new) in enumerate(zip(before, drawn, strict=True))
            if old != new
        ]
        if changed:
            self.refresh(*changed)

    def render_line(self, y: int) -> Strip:
        """One line."""
        width = self.size.width
        if y >= len(self._drawn):
            return Strip.blank(width, _PLAIN)
        segments = [Segment(text, self._style(style)) for text, style in self._drawn[y]]
        return Strip(segments).adjust_cell_length(width, _PLAIN)

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.redraw()

    def notify_style_update(self) -> None:
        """Colours have changed."""
        self._known_styles.clear()
        super().notify_style_update()

    def _style(self, names: str) -> Style:
        """The style of one or more names, as `cursor ok`; the later goes before the earlier."""
        found = self._known_styles.get(names)
        if found is None:
            found = self.rich_style
            for name in names.split():
                found += self.get_component_rich_style(f"drawn--{name}", partial=True)
            self._known_styles[names] = found
        return found


def width_of(drawn: Drawn) -> int:
    """A line's width in cells."""
    return sum(cell_len(text) for text, _ in drawn)


def fit(text: str, width: int, more: str, *, right: bool = False, head: int | None = None) -> str:
    """A text in exactly `width` cells; `more` stands for what is cut off: its end, or what follows `head`."""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width and head is not None and (room := width - cell_len(text[:head] + more)) > 0:
        return text[:head] + more + _end_of(text[head:], room)
    if length > width:
        return set_cell_size(text, width - 1) + more if width > 0 else ""
    return " " * (width - length) + text if right else text + " " * (width - length)


def _end_of(text: str, width: int) -> str:
    """The end of a longer text, in exactly so many cells."""
    start = len(text)
    while start and cell_len(text[start - 1 :]) <= width:
        start -= 1
    return set_cell_size(text[start:], width)


def last_difference(old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]) -> int:
    """The number of cells up to the last one in which two lines differ; at least 1."""
    end = width_of(list(new))
    if end != width_of(list(old)):
        return max(1, end)
    for (old_text, old_style), (new_text, new_style) in zip(reversed(old), reversed(new), strict=False):
        if old_style != new_style or cell_len(old_text) != cell_len(new_text):
            break
        if old_text != new_text:
            end -= cell_len(_same_end(old_text, new_text))
            break
        end -= cell_len(new_text)
    return max(1, end)


def _same_end(one: str, other: str) -> str:
    """The end that two different texts share."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return other[len(other) - count :]
