"""Which hive runs on a root, since when, and where: its lock says whether, `state/hive.json` the rest."""

import os

import msgspec

import rbee_tui
from rbee_tui.engine import durable
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.paths import Root
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.text import now

VERB = "rbee hive"


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A running hive."""

    pid: int
    url: str
    hive_id: str
    queen_url: str
    """Empty where it tells none."""
    started_at: str
    version: str


def hive_lock(root: Root) -> Lock:
    """The lock that a root's one hive holds."""
    return Lock(root.locks / "hive.lock", VERB)


def write(root: Root, url: str, hive_id: str, queen_url: str) -> Presence:
    """Say that this process is the hive; the caller holds its lock."""
    presence = Presence(
        pid=os.getpid(),
        url=url,
        hive_id=hive_id,
        queen_url=queen_url,
        started_at=now(),
        version=rbee_tui.__version__,
    )
    durable.write(root.state / "hive.json", msgspec.json.encode(presence), mode=0o600)
    return presence


def clear(root: Root) -> None:
    """Take that back."""
    (root.state / "hive.json").unlink(missing_ok=True)


def find(root: Root) -> Presence | None:
    """The hive that runs on a root; None where there is none, or one that is not ready yet."""
    if hive_lock(root).probe():
        return None
    try:
        return msgspec.json.decode((root.state / "hive.json").read_bytes(), type=Presence)
    except (OSError, *UNDECODABLE):
        return None
