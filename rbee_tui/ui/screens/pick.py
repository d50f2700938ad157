"""Picking one of several things from a list, with words to narrow it where there are many."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.events import Key
from textual.widget import Widget
from textual.widgets import Input

from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.lines import Cell, Column
from rbee_tui.ui.screens.base import Keys, Sheet
from rbee_tui.ui.widgets.drawn import Drawn
from rbee_tui.ui.widgets.field import Field
from rbee_tui.ui.widgets.list_pane import ListPane, beside_the_last
from rbee_tui.ui.widgets.text_view import TextView


@dataclass(frozen=True)
class Choice:
    """One line to pick: what it is known by, its cells, what the asker gets, and what is said of it below."""

    key: str
    cells: tuple[Cell, ...]
    value: Any
    about: str = ""


@dataclass(frozen=True)
class Pressed:
    """A letter that was pressed instead of Enter, and the choice's value."""

    key: str
    value: Any


class PickScreen(Sheet[Any]):
    """A list to pick from; the result is the choice's value."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("pagedown", "page(1)", show=False, priority=True),
        Binding("pageup", "page(-1)", show=False, priority=True),
    ]
    KEYS: ClassVar[Keys] = (("Enter", "Choose"), ("Up Down", "Move"))

    def __init__(  # noqa: PLR0913 - a list, and how it is to look
        self,
        title: str,
        columns: Sequence[Column],
        choices: Sequence[Choice],
        glyphs: Glyphs,
        *,
        search: str | None = None,
        empty: Sequence[Drawn] = (),
        head: Sequence[tuple[str, str]] = (),
        about: int = 0,
        enter: str = "Choose",
        also: Mapping[str, str] | None = None,
        at: str | None = None,
    ) -> None:
        """`search` is what a field says that narrows the list; `about` the rows for a choice's text.

        `head` is said above the list, each a text and the name of its style; the cursor begins `at` a key.
        `also` are letters with a word each, for a list without a field: the result is then a `Pressed`.
        """
        super().__init__(title)
        self.choices = list(choices)
        self._columns = columns
        self._glyphs = glyphs
        self._search = search
        self._empty = empty
        self._head = list(head)
        self._at = at
        self._about = about
        self._enter = enter
        self._also = dict(also or {})
        self._figures = ""

    def body(self) -> Iterator[Widget]:
        """The field, the list, and what is said of the line under the cursor."""
        if self._search is not None:
            yield Field(placeholder=self._search, id="words")
        if self._head:
            view = TextView(self._glyphs, id="head")
            view.can_focus = False
            yield view
        columns = partial(beside_the_last, self._columns)
        yield ListPane[Choice](columns, lambda choice: choice.cells, self._glyphs, framed=False, id="choices")
        if self._about:
            view = TextView(self._glyphs, id="about")
            view.can_focus = False
            view.styles.height = self._about
            yield view

    @property
    def pane(self) -> "ListPane[Choice]":
        """The list."""
        return cast("ListPane[Choice]", self.query_one("#choices"))

    def opened(self) -> None:
        """Show all of them."""
        self.offer((("Enter", self._enter), *self._also.items(), ("Up Down", "Move")))
        if self._head:
            head = self.query_one("#head", TextView)
            head.set_lines(self._head)
            head.refresh(layout=True)
        self.show(self.choices)
        if self._at is not None:
            self.pane.put_cursor(self._at)
        (self.query_one("#words") if self._search is not None else self.pane).focus()

    def show(
        self, choices: Sequence[Choice], figures: str = "", empty: Sequence[Drawn] | None = None
    ) -> None:
        """Show these choices."""
        self.pane.show(choices, "", "", self._empty if empty is None else empty)
        self._figures = figures
        self._tell()

    def on_input_changed(self, event: Input.Changed) -> None:
        """The words in the field have changed."""
        self.narrow(event.value)

    def narrow(self, text: str) -> None:
        """Narrow the list to what has all these words."""
        words = text.casefold().split()
        self.show([each for each in self.choices if all(word in _text(each) for word in words)])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter was pressed in the field."""
        self.submit(event.value)

    def submit(self, text: str) -> None:
        """Pick the line under the cursor."""
        del text
        self.pane.action_choose()

    def on_key(self, event: Key) -> None:
        """A letter that does something else with the line under the cursor."""
        choice = self.pane.current
        if event.key in self._also and choice is not None:
            event.stop()
            self.dismiss(Pressed(event.key, choice.value))

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Say more of the line under the cursor."""
        event.stop()
        self._tell()

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Done."""
        event.stop()
        choice = cast("Choice", event.pane.current)
        self.dismiss(choice.value)

    def action_move(self, by: int) -> None:
        """Move the cursor, also from the field."""
        self.pane.action_move(by)

    def action_page(self, direction: int) -> None:
        """Move the cursor by a page, also from the field."""
        self.pane.action_page(direction)

    def _tell(self) -> None:
        self.say_below(", ".join(filter(None, (self._figures, self.pane.place))))
        if self._about:
            choice = self.pane.current
            self.query_one("#about", TextView).set_lines([(choice.about, "quiet")] if choice else [])


def _text(choice: Choice) -> str:
    return f"{' '.join(cell.text for cell in choice.cells)} {choice.about}".casefold()
