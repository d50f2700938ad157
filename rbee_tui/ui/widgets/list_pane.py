"""A framed list: a hundred thousand lines cost as much as those that one sees."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import ClassVar, Generic, Protocol, TypeVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.lines import Cell, Column, bar
from rbee_tui.ui.widgets.drawn import Drawn, DrawnLines, fit, width_of

_FRAME = 2
_HEAD = 1
_GAP = 2


class Keyed(Protocol):
    """Something that a list can show: its key stays the same while it changes."""

    @property
    def key(self) -> str:
        """What it is known by."""
        ...


LineT = TypeVar("LineT", bound=Keyed)


class ListPane(DrawnLines, Generic[LineT], can_focus=True):
    """A list with a title in its frame, column titles, and a cursor that stays on its thing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,ctrl+f", "page(1)", show=False),
        Binding("home,g", "edge(-1)", show=False),
        Binding("end,G", "edge(1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Moved(Message):
        """The cursor is on another line, or that line changed its state."""

        def __init__(self, pane: "ListPane[Keyed]") -> None:
            self.pane = pane
            super().__init__()

        @property
        def control(self) -> "ListPane[Keyed]":
            """The list itself."""
            return self.pane

    class Chosen(Moved):
        """Enter was pressed on a line."""

    def __init__(
        self,
        columns: Callable[[int], Sequence[Column]],
        cells: Callable[[LineT], Sequence[Cell]],
        glyphs: Glyphs,
        *,
        share: Callable[[LineT], float | None] = lambda _: None,
        framed: bool = True,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._cells = cells
        self._share = share
        self._framed = framed
        self._glyphs = glyphs
        self._lines: Sequence[LineT] = ()
        self._empty: Sequence[Drawn] = ()
        self._caption: tuple[str, str] = ("", "")
        self._at = 0
        self._top = 0
        self._marks: set[str] = set()

    # What is shown

    @property
    def current(self) -> LineT | None:
        """The line under the cursor."""
        return self._lines[self._at] if self._lines else None

    def show(self, lines: Sequence[LineT], title: str, figures: str, empty: Sequence[Drawn]) -> None:
        """Show these lines; `empty` says what to do where there are none. The cursor stays on its thing."""
        before = self.current
        self._lines, self._empty, self._caption = lines, empty, (title, figures)
        if self._marks:  # what is not seen must not be acted upon
            self._marks &= {line.key for line in lines}
        if before is not None:
            self._at = self._find(before.key)
        self.redraw()
        if self.current != before:
            self.post_message(self.Moved(self))  # type: ignore[arg-type] - any line is Keyed

    def put_cursor(self, key: str) -> None:
        """Move the cursor to a thing, where it is listed."""
        found = next((at for at, line in enumerate(self._lines) if line.key == key), None)
        if found is not None:
            self._go(found)

    @property
    def marked(self) -> tuple[LineT, ...]:
        """The lines that are marked, in their order."""
        return tuple(line for line in self._lines if line.key in self._marks) if self._marks else ()

    def toggle_mark(self) -> None:
        """Mark the line under the cursor, or take its mark away, and go on to the next."""
        if self.current is not None:
            self._marks ^= {self.current.key}
            self._marks_changed()
            self.action_move(1)

    def unmark(self, keys: AbstractSet[str] | None = None) -> None:
        """Take the marks of these lines away; without, all of them."""
        self._marks = self._marks - keys if keys is not None else set()
        self._marks_changed()

    def _marks_changed(self) -> None:
        self.redraw()
        self.post_message(self.Moved(self))  # type: ignore[arg-type] - any line is Keyed

    def _find(self, key: str) -> int:
        """Where a thing is now; the place where it was, where it is gone."""
        last = len(self._lines) - 1
        if 0 <= self._at <= last and self._lines[self._at].key == key:
            return self._at
        found = next((at for at, line in enumerate(self._lines) if line.key == key), None)
        return found if found is not None else max(0, min(self._at, last))

    # Moving

    def action_move(self, by: int) -> None:
        """Move the cursor by so many lines."""
        self._go(self._at + by)

    def action_page(self, direction: int) -> None:
        """Move the cursor by as many lines as are seen."""
        self._go(self._at + direction * max(1, self._rows - 1))

    def action_edge(self, direction: int) -> None:
        """Move the cursor to the first or the last line."""
        self._go(0 if direction < 0 else len(self._lines) - 1)

    def action_choose(self) -> None:
        """Say that the line under the cursor was chosen."""
        if self.current is not None:
            self.post_message(self.Chosen(self))  # type: ignore[arg-type] - any line is Keyed

    def _go(self, at: int) -> None:
        at = max(0, min(at, len(self._lines) - 1))
        if at != self._at:
            self._at = at
            self.redraw()
            self.post_message(self.Moved(self))  # type: ignore[arg-type] - any line is Keyed

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves the cursor."""
        event.stop()
        self.action_move(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel moves the cursor."""
        event.stop()
        self.action_move(-1)

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor to its line."""
        at = self._top + event.y - _HEAD - self._framed
        if 0 <= at < len(self._lines):
            self._go(at)

    # Drawing

    @property
    def _rows(self) -> int:
        return max(0, self.size.height - _HEAD - (_FRAME if self._framed else 0))

    def watch_has_focus(self, has_focus: bool) -> None:  # noqa: FBT001 - Textual's signature
        """The frame says where the keys go."""
        super().watch_has_focus(has_focus)
        self.redraw()

    def compose_lines(self, width: int, height: int) -> list[Drawn]:
        """The frame, the column titles and the lines that are seen."""
        self._top = self._first_seen()
        return [self._compose_line(y, width, height) for y in range(height)]

    def _first_seen(self) -> int:
        top = min(self._top, max(0, len(self._lines) - self._rows))
        if self._at < top:
            return self._at
        return max(top, self._at - self._rows + 1)

    def _compose_line(self, y: int, width: int, height: int) -> Drawn:
        if not self._framed:
            return self._inner(y, width)
        edge = "title" if self.has_focus else "frame"
        if y == 0:
            return self._top_edge(width, edge)
        if y == height - 1:
            return self._bottom_edge(width, edge)
        side = (self._glyphs.frame[3], edge)
        return [side, *self._inner(y - 1, width - _FRAME), side]

    def _top_edge(self, width: int, edge: str) -> Drawn:
        left, across, right, *_ = self._glyphs.frame
        title, figures = self._caption
        text = set_cell_size(title, min(cell_len(title), max(0, width - 6)))
        told = [figures]
        if self._marks:
            count = f"{len(self._marks):,} marked"
            told = [f"{count} {self._glyphs.dash} {figures}" if figures else count, count]
        room = width - cell_len(text) - 8
        said = next((f" {each} " for each in told if each and cell_len(each) <= room), "")
        rest = width - 5 - cell_len(text) - cell_len(said)
        return [
            (f"{left}{across}", edge),
            (f" {text} ", "title here" if self.has_focus else "head"),
            (f"{across}" if said else "", edge),
            (said, "quiet"),
            (across * max(0, rest - (1 if said else 0)) + right, edge),
        ]

    @property
    def place(self) -> str:
        """Which lines are seen, as `41-60 of 10,000`; empty where all are."""
        count = len(self._lines)
        if not count > self._rows > 0:
            return ""
        return f"{self._top + 1:,}-{min(count, self._top + self._rows):,} of {count:,}"

    def _bottom_edge(self, width: int, edge: str) -> Drawn:
        _, across, _, _, left, right = self._glyphs.frame
        place = f" {self.place} " if self.place else ""
        if cell_len(place) > width - 4:
            place = ""
        rest = across * (width - 3 - cell_len(place))
        return [(left + rest, edge), (place, "quiet"), (across + right, edge)]

    def _inner(self, y: int, width: int) -> Drawn:
        if not self._lines:
            return self._nothing(y, width)
        columns = fitted(self._columns(width), width)
        if y == 0:
            texts = [
                fit(column.title, column.width, self._glyphs.more, right=column.right) for column in columns
            ]
            return [(set_cell_size(" " + (" " * _GAP).join(texts), width), "head")]
        at = self._top + y - 1
        if at >= len(self._lines):
            return [(" " * width, "")]
        return self._row(self._lines[at], columns, width, cursor=at == self._at)

    def _row(self, line: LineT, columns: Sequence[Column], width: int, *, cursor: bool) -> Drawn:
        here = "cursor" if cursor and self.has_focus else ""
        marked = line.key in self._marks
        drawn: Drawn = [(self._mark(marked, cursor), here or ("title" if cursor or marked else ""))]
        share = self._share(line)
        for number, (column, cell) in enumerate(_placed(columns, self._cells(line))):
            gap = " " * _GAP if number else ""
            if column.title == "" and share is not None:
                full, rest = bar(share, column.width, self._glyphs)
                drawn += [(gap + full, f"{here} accent"), (rest, f"{here} frame")]
            else:
                text = fit(cell.text, column.width, self._glyphs.more, right=column.right, head=cell.head)
                drawn.append((gap + text, f"{here} {cell.style}"))
        return [*drawn, (" " * max(0, width - width_of(drawn)), here)]

    def _mark(self, marked: bool, cursor: bool) -> str:  # noqa: FBT001 - one caller
        """What stands before a line: a glyph for the cursor, for a mark, and for both."""
        if marked:
            return self._glyphs.marked_cursor if cursor else self._glyphs.marked
        return (">" if self._glyphs.frame.isascii() else "▎") if cursor else " "

    def _nothing(self, y: int, width: int) -> Drawn:
        line: Drawn = [("  ", ""), *(self._empty[y] if y < len(self._empty) else [])]
        used = width_of(line)
        if used <= width:
            return [*line, (" " * (width - used), "")]
        return [(fit("".join(text for text, _ in line), width, self._glyphs.more), "")]


def fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns with what is left of `width` shared among those that have a weight."""
    fixed = sum(column.width for column in columns if not column.weight) + _GAP * (len(columns) - 1) + 1
    weights = sum(column.weight for column in columns)
    left = max(0, width - fixed)
    found: list[Column] = []
    for column in columns:
        if column.weight:
            share = left * column.weight // weights
            weights, left = weights - column.weight, left - share
            found.append(replace(column, width=share))
        else:
            found.append(column)
    return found


def beside_the_last(columns: Sequence[Column], width: int) -> list[Column]:
    """The first of the columns, as many as leave the last one its width: it names what the line is."""
    *others, last = (replace(column, cell=place) for place, column in enumerate(columns))
    while others and sum(each.width + _GAP for each in others) + 1 + last.width > width:
        others.pop()
    return [*others, last]


def _placed(columns: Sequence[Column], cells: Sequence[Cell]) -> list[tuple[Column, Cell]]:
    """Each cell that is shown with its column; one that spans several has them as one."""
    placed: list[tuple[Column, Cell]] = []
    number = 0
    while number < len(columns):
        column = columns[number]
        cell = cells[number if column.cell is None else column.cell]
        over = columns[number : number + cell.span]
        width = sum(each.width for each in over) + _GAP * (len(over) - 1)
        placed.append((column if len(over) == 1 else Column("joined", width), cell))
        number += len(over)
    return placed
