"""What the screens above the main one share: a frame with a title, a body, and the keys that do something."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget

from rbee_tui.ui.widgets.bars import KeyLine

if TYPE_CHECKING:
    from rbee_tui.ui.app import RbeeApp

ResultT = TypeVar("ResultT")
Keys = Sequence[tuple[str, str]]


class Sheet(ModalScreen[ResultT | None]):
    """A screen of its own that Esc leaves without a result."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", show=False)]
    KEYS: ClassVar[Keys] = ()

    def __init__(self, title: str) -> None:
        super().__init__()
        self.caption = title

    @property
    def rbee(self) -> "RbeeApp":
        """The application, as the type that it is."""
        return cast("RbeeApp", self.app)

    def body(self) -> Iterator[Widget]:
        """The widgets between title and keys."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """The frame, the body, the keys."""
        with Vertical(id="sheet") as sheet:
            sheet.border_title = Content(self.caption)
            yield from self.body()
        yield KeyLine(id="keys")

    def on_mount(self) -> None:
        """Show the keys, and whatever the screen begins with."""
        self.offer(self.KEYS)
        self.opened()

    def opened(self) -> None:
        """Begin: the widgets are there. Textual calls every class's own `on_mount`; this is called once."""

    def retitle(self, title: str) -> None:
        """Put another title above."""
        self.query_one("#sheet").border_title = Content(title)

    def say_below(self, text: str) -> None:
        """Write into the frame's lower edge. As Content: Textual takes a plain string for markup."""
        self.query_one("#sheet").border_subtitle = Content(text)

    def offer(self, keys: Keys) -> None:
        """Show these keys, and how to go back."""
        self.query_one(KeyLine).show_words(list(keys), [("Esc", "Back")])

    def action_back(self) -> None:
        """Leave without a result."""
        self.dismiss(None)
