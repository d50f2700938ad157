"""Asking for one line of text."""

from collections.abc import Callable, Iterator

from textual.widget import Widget
from textual.widgets import Input

from rbee_tui.engine.errors import RbeeError
from rbee_tui.ui.screens.base import Sheet
from rbee_tui.ui.widgets.field import Field


class LineScreen(Sheet[str]):
    """The result is the text; None where nothing was typed."""

    def __init__(
        self,
        title: str,
        placeholder: str,
        word: str,
        *,
        secret: bool = False,
        check: Callable[[str], object] = str,
    ) -> None:
        """A `secret` is not shown while it is typed; what `check` raises an RbeeError for is not taken."""
        super().__init__(title)
        self._secret = secret
        self._check = check
        self._placeholder = placeholder
        self._word = word

    def body(self) -> Iterator[Widget]:
        """One field."""
        yield Field(placeholder=self._placeholder, id="line", password=self._secret)

    def opened(self) -> None:
        """Write right away."""
        self.offer((("Enter", self._word),))
        self.query_one("#line").focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Done, unless it makes no sense: then it stays to be corrected."""
        text = event.value.strip()
        try:
            if text:
                self._check(text)
        except RbeeError as error:
            self.say_below(": ".join(filter(None, (str(error), error.hint))))
            return
        self.dismiss(text or None)
