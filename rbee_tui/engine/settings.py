"""What is settled for a root, in `state/settings.json`; an unreadable file settles nothing."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.paths import Root
from rbee_tui.engine.plain import UNDECODABLE

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
    autostart: tuple[str, ...] = ()
    """Ids of the models whose worker a starting hive starts, in order."""


def read(root: Root) -> Settings:
    """The settings of a root."""
    try:
        return msgspec.json.decode((root.state / "settings.json").read_bytes(), type=Settings)
    except (OSError, *UNDECODABLE):
        return Settings()


def change(root: Root, **changes: Any) -> Settings:
    """Settle some anew, durably and in one step for all processes; raises BusyError."""
    return revise(root, lambda _: changes)


def revise(root: Root, decide: Callable[[Settings], dict[str, Any]]) -> Settings:
    """The same, with what is settled anew decided from what is settled so far."""
    with Lock(root.locks / "records.lock", "settings").acquire(_LOCK_WAIT_SECONDS):
        before = read(root)
        settings = msgspec.structs.replace(before, **decide(before))
        durable.write(root.state / "settings.json", msgspec.json.encode(settings), mode=0o600)
    return settings
