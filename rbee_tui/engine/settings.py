"""What is settled for a root, in `state/settings.json`; an unreadable file settles nothing."""

from typing import Any, Literal

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.paths import Root

_LOCK_WAIT_SECONDS = 10.0
OnQuit = Literal["ask", "background", "pause"]
OnQuitWorkers = Literal["keep", "stop"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The answers that need not be asked for again, and what holds for all downloads."""

    on_quit: OnQuit = "ask"
    """What becomes of downloads when a screen is left."""
    cap: int | None = None
    """Bytes per second of all downloads of all processes together."""
    on_quit_workers: OnQuitWorkers = "keep"
    """What becomes of the workers that a screen started when it ends, however it does."""
    idle_seconds: int = 0
    """After how long a worker that nobody asks anything is unloaded; 0 never."""


def read(root: Root) -> Settings:
    """The settings of a root."""
    try:
        return msgspec.json.decode((root.state / "settings.json").read_bytes(), type=Settings)
    except (OSError, msgspec.MsgspecError):
        return Settings()


def change(root: Root, **changes: Any) -> Settings:
    """Settle some anew, durably and in one step for all processes; raises BusyError."""
    with Lock(root.locks / "records.lock", "settings").acquire(_LOCK_WAIT_SECONDS):
        settings = msgspec.structs.replace(read(root), **changes)
        durable.write(root.state / "settings.json", msgspec.json.encode(settings), mode=0o600)
    return settings
