"""The settings that a person chooses, each with its words. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec

from rbee_tui.engine.errors import NotFoundError, UsageError
from rbee_tui.engine.settings import Settings
from rbee_tui.engine.spans import seconds_of, span
from rbee_tui.engine.text import clean


class Choosable(msgspec.Struct, frozen=True, kw_only=True):
    """One setting."""

    name: str
    """As a person types it."""
    field: str
    about: str
    words: tuple[str, ...] = ()
    """What it may be, where that is one of a few words."""
    example: str = ""
    """What may be typed, where it is no word."""
    decode: Callable[[str], Any] = str
    encode: Callable[[Any], str] = str

    def value(self, settings: Settings) -> Any:
        """What it is, as plain data."""
        return getattr(settings, self.field)

    def shown(self, settings: Settings) -> str:
        """What it is, in words."""
        return self.encode(self.value(settings))

    def read(self, text: str) -> dict[str, Any]:
        """The change that a text means, for `settings.change`; raises UsageError."""
        said = text.strip()
        if self.words and said not in self.words:
            raise UsageError(
                f"{self.name} cannot be {clean(said)[:40]!r}", hint=f"it is one of {', '.join(self.words)}"
            )
        return {self.field: self.decode(said)}


ALL = (
    Choosable(
        name="downloads-on-quit",
        field="on_quit",
        about="what becomes of downloads when a screen is left",
        words=("ask", "background", "pause"),
    ),
    Choosable(
        name="workers-on-quit",
        field="on_quit_workers",
        about="what becomes of the workers that a screen started when it ends, however it does",
        words=("keep", "stop"),
    ),
    Choosable(
        name="idle",
        field="idle_seconds",
        about="after how long a worker that nobody asks anything is unloaded; for those started from now on",
        example="30m, 2h or never",
        decode=seconds_of,
        encode=span,
    ),
)


def find(name: str) -> Choosable:
    """The setting of this name; raises NotFoundError."""
    for each in ALL:
        if each.name == name:
            return each
    raise NotFoundError(
        f"there is no setting {clean(name)!r}", hint=f"there are {', '.join(each.name for each in ALL)}"
    )
