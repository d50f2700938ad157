"""Text to read: details, reasons, events, help; and logs, which go on while one reads."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key
from textual.widget import Widget
from textual.widgets import Input

from rbee_tui.engine.text import clean
from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.screens.base import Keys, Sheet
from rbee_tui.ui.screens.question import Answer
from rbee_tui.ui.widgets.field import Field
from rbee_tui.ui.widgets.text_view import TextView

_FOLLOW_SECONDS = 0.5
_FIRST_BYTES = 1 << 20
Lines = Sequence[tuple[str, str]]


class TextScreen(Sheet[str]):
    """Lines with a style each; the result is the value of an answer whose key was pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "find", show=False),
        Binding("n", "again(1)", show=False),
        Binding("N", "again(-1)", show=False),
        Binding("q", "back", show=False),
    ]
    KEYS: ClassVar[Keys] = (("j k", "Move"), ("/", "Find"), ("n N", "Next, previous"))

    def __init__(
        self,
        title: str,
        lines: Lines,
        glyphs: Glyphs,
        *,
        wrap: bool = True,
        follow: bool = False,
        answers: Sequence[Answer] = (),
    ) -> None:
        """`answers` are keys that leave it for something else."""
        super().__init__(title)
        self._answers = answers
        self._lines = lines
        self._glyphs = glyphs
        self._wrap = wrap
        self._follow = follow
        self._words = ""

    def body(self) -> Iterator[Widget]:
        """The text, and the field for what is looked for."""
        yield TextView(self._glyphs, wrap=self._wrap, follow=self._follow, hang=True, id="text")
        yield Field(placeholder="find; Enter goes to the next line with these words", id="find")

    @property
    def view(self) -> TextView:
        """The text."""
        return self.query_one("#text", TextView)

    def opened(self) -> None:
        """Show it."""
        self.offer([*((each.shown, each.word) for each in self._answers), *self.KEYS])
        self.query_one("#find", Input).display = False
        self.view.set_lines(self._lines)
        self.view.focus()
        self.call_after_refresh(self._tell)

    def on_key(self, event: Key) -> None:
        """Leave for what a key stands for; in the field it is a letter, and does not come here."""
        for answer in self._answers:
            if event.key == answer.key:
                event.stop()
                self.dismiss(answer.value)
                return

    def on_text_view_scrolled(self) -> None:
        """Say where one is."""
        self._tell()

    def _tell(self, said: str = "") -> None:
        self.say_below(said or self.view.place)

    def action_find(self) -> None:
        """Ask for words."""
        field = self.query_one("#find", Input)
        field.display = True
        field.focus()

    def action_again(self, direction: int) -> None:
        """Go to the next, or the previous, line with the words."""
        if self._words and not self.view.find(self._words, backwards=direction < 0):
            self._tell(f"no further line has {clean(self._words)!r}")

    def action_back(self) -> None:
        """Close the field, or leave."""
        field = self.query_one("#find", Input)
        if field.display:
            field.display = False
            self.view.focus()
        else:
            super().action_back()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Look for the words."""
        self._words = event.value
        field = self.query_one("#find", Input)
        field.display = False
        self.view.focus()
        self.action_again(1)


class LogScreen(TextScreen):
    """A log file, followed while it grows; one that is replaced begins anew."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", show=False),
        Binding("w", "wrap", show=False),
    ]
    KEYS: ClassVar[Keys] = (
        ("f", "Follow"),
        ("w", "Wrap"),
        ("/", "Find"),
        ("n N", "Next, previous"),
        ("g G", "Begin, end"),
    )

    def __init__(self, title: str, path: Path, glyphs: Glyphs) -> None:
        super().__init__(title, (), glyphs, wrap=False, follow=True)
        self._path = path
        self._inode = -1
        self._offset = 0
        self._rest = b""

    def opened(self) -> None:
        """Begin to follow."""
        super().opened()
        self.run_worker(self._read_on(), group="log", exclusive=True, exit_on_error=False)

    async def _read_on(self) -> None:
        while True:
            lines = await asyncio.to_thread(self._new_lines)
            if lines:
                self.view.add_lines([(clean(line), "") for line in lines])
            elif self._inode == -1 and not self.view.place:
                self.view.set_lines([("there is no log yet", "quiet")])
            self._tell()
            await asyncio.sleep(_FOLLOW_SECONDS)

    def _new_lines(self) -> list[str]:
        """The whole lines that came since the last call; at first the end of the file."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._offset = max(0, found.st_size - _FIRST_BYTES)
                    self._inode, self._rest = found.st_ino, b""
                if found.st_size == self._offset:
                    return []
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in whole]

    def _tell(self, said: str = "") -> None:
        following = "following" if self.view.follow else "not following (f)"
        super()._tell(said or f"{following} {self.view.place}".strip())

    def action_follow(self) -> None:
        """Keep the end in sight, or stop doing so."""
        self.view.follow = not self.view.follow
        if self.view.follow:
            self.view.action_edge(1)
        self._tell()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self.view.toggle_wrap()
