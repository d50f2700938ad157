"""Text that one reads: scrolled by key, wrapped or not, following its end while it grows."""

from collections.abc import Iterable
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message

from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.widgets.drawn import Drawn, DrawnLines, fit

_LONGEST_LABEL = 16
MOST_LINES = 20_000
"""Older lines are let go: the file still has them."""


class TextView(DrawnLines, can_focus=True):
    """Lines of text with a style each."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_by(-1)", show=False),
        Binding("down,j", "scroll_by(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,ctrl+f,space", "page(1)", show=False),
        Binding("home,g", "edge(-1)", show=False),
        Binding("end,G", "edge(1)", show=False),
    ]

    class Scrolled(Message):
        """Another part is seen, or following began or ended."""

    def __init__(
        self,
        glyphs: Glyphs,
        *,
        wrap: bool = True,
        follow: bool = False,
        hang: bool = False,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.wrap = wrap
        self._hang = hang
        self.follow = follow
        """Whether the end stays in sight."""
        self._glyphs = glyphs
        self._texts: list[tuple[str, str]] = []
        self._rows: list[tuple[str, str]] = []
        self._starts: list[int] = []
        self._width = 0
        self._top = 0

    # What is shown

    def set_lines(self, lines: Iterable[tuple[str, str]]) -> None:
        """Show these lines instead, each a text and the name of its style."""
        self._texts = list(lines)[-MOST_LINES:]
        self._lay_out(self._width)
        self._place()

    def add_lines(self, lines: Iterable[tuple[str, str]]) -> None:
        """Add lines at the end."""
        for text, style in lines:
            self._texts.append((text, style))
            self._add_rows(text, style)
        if len(self._texts) > MOST_LINES + MOST_LINES // 10:
            self._texts = self._texts[-MOST_LINES:]
            self._lay_out(self._width)
        self._place()

    def add_text(self, text: str, style: str = "") -> None:
        """Go on with the last line; a line break begins another one."""
        first, *others = text.split("\n")
        if self._texts:
            last, before = self._texts[-1]
            self._texts[-1] = (last + first, before)
            del self._rows[self._starts.pop() :]
            self._add_rows(*self._texts[-1])
        else:
            others = [first, *others]
        self.add_lines((other, style) for other in others)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual's signature
        """The rows that it takes, for a style sheet that asks for as many."""
        return sum(len(wrapped(text, width)) for text, _ in self._texts)

    @property
    def place(self) -> str:
        """Where one is, as `41-60 of 120`; empty where all is seen."""
        shown, rows = self.size.height, len(self._rows)
        return f"{self._top + 1:,}-{min(rows, self._top + shown):,} of {rows:,}" if rows > shown else ""

    def find(self, words: str, *, backwards: bool = False) -> bool:
        """Scroll to the next line with these words, whatever their case; whether there is one."""
        wanted = words.casefold()
        rows = range(self._top + 1, len(self._rows)) if not backwards else range(self._top - 1, -1, -1)
        found = next((row for row in rows if wanted in self._rows[row][0].casefold()), None)
        if found is None:
            return False
        self._go_to(found)
        return True

    # Moving

    def action_scroll_by(self, by: int) -> None:
        """Scroll by so many lines."""
        self._go_to(self._top + by)

    def action_page(self, direction: int) -> None:
        """Scroll by as many lines as are seen."""
        self._go_to(self._top + direction * max(1, self.size.height - 1))

    def action_edge(self, direction: int) -> None:
        """Scroll to the beginning or the end."""
        self._go_to(0 if direction < 0 else len(self._rows))

    def _go_to(self, top: int) -> None:
        last = max(0, len(self._rows) - self.size.height)
        self._top = max(0, min(top, last))
        self.follow = self._top == last
        self.redraw()
        self.post_message(self.Scrolled())

    # Drawing

    def toggle_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self.wrap = not self.wrap
        self._lay_out(self._width)
        self._place()

    def compose_lines(self, width: int, height: int) -> list[Drawn]:
        """The rows that are seen."""
        if width != self._width:
            self._lay_out(width)
            self._top = max(0, min(self._top, len(self._rows) - height))
            if self.follow:
                self._top = max(0, len(self._rows) - height)
        seen = self._rows[self._top : self._top + height]
        drawn: list[Drawn] = [[(fit(text, width, self._glyphs.more), style)] for text, style in seen]
        return drawn + [[(" " * width, "")]] * (height - len(drawn))

    def _place(self) -> None:
        last = max(0, len(self._rows) - self.size.height)
        self._top = last if self.follow else min(self._top, last)
        self.redraw()

    def _lay_out(self, width: int) -> None:
        self._width = width
        self._rows, self._starts = [], []
        for text, style in self._texts:
            self._add_rows(text, style)

    def _add_rows(self, text: str, style: str) -> None:
        self._starts.append(len(self._rows))
        rows = (
            wrapped(text, self._width, hang_of(text) if self._hang else 0)
            if self.wrap and self._width
            else [text]
        )
        self._rows.extend((row, style) for row in rows)


def wrapped(text: str, width: int, hang: int = 0) -> list[str]:
    """A line as rows of at most `width` cells, broken at spaces where there are some; never empty.

    Every row but the first begins with `hang` spaces, as far as half the width allows.
    """
    hang = max(0, min(hang, width // 2, width - 2))
    rows: list[str] = []
    rest = text
    while cell_len(rest) > width:
        at = _cells(rest, width)
        space = rest.rfind(" ", hang + 1, at + 1)
        cut = space if space > width // 3 else at
        rows.append(rest[:cut])
        rest = " " * hang + (rest[cut + 1 :] if cut == space else rest[cut:])
    return [*rows, rest]


def _cells(text: str, width: int) -> int:
    """How many characters fit into `width` cells; at least one."""
    if text.isascii():
        return max(1, width)
    used = 0
    for at, character in enumerate(text):
        used += cell_len(character)
        if used > width:
            return max(1, at)
    return len(text)


def hang_of(text: str) -> int:
    """Where the text after a label begins, as in `because  it runs`, or the text itself without one."""
    label = len(text) - len(text.lstrip())
    gap = text.find("  ", label)
    if gap < 0 or not label < gap < _LONGEST_LABEL:
        return label if label < _LONGEST_LABEL else 0
    return len(text) - len(text[gap:].lstrip())
