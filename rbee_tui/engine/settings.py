"""What a user settled for good, in `state/settings.json`; an unreadable file settles nothing."""

from typing import Literal

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.paths import Root

OnQuit = Literal["ask", "background", "pause"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The answers that need not be asked for again."""

    on_quit: OnQuit = "ask"
    """What becomes of downloads when a screen is left."""


def read(root: Root) -> Settings:
    """The settings of a root."""
    try:
        return msgspec.json.decode((root.state / "settings.json").read_bytes(), type=Settings)
    except (OSError, msgspec.MsgspecError):
        return Settings()


def write(root: Root, settings: Settings) -> None:
    """Keep settings, durably."""
    durable.write(root.state / "settings.json", msgspec.json.encode(settings), mode=0o600)
