"""Ending a worker process: its whole group, and nothing else."""

import os
import signal
import time

from rbee_tui.engine import process
from rbee_tui.engine.process import Identity
from rbee_tui.engine.workers.record import Running, is_ours, own_pids

STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02


def end(record: Running, *, seconds: float) -> bool:
    """Ask a worker's group to end, make it after `seconds`; True when nothing of it is left.

    Blocking. A process without the record's cookie is never signalled.
    """
    who = record.who
    if who is not None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not is_ours(who, record.cookie) or not process.send(who, number, group=True):
                break
            if _wait_gone(who, seconds):
                break
    return sweep(record.cookie)


def sweep(cookie: str, seconds: float = 2.0) -> bool:
    """Kill what a dead keeper left behind, told by the cookie; True when nothing is left."""
    until = time.monotonic() + seconds
    while left := members(cookie):
        for who in left:
            process.send(who, signal.SIGKILL)
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def members(cookie: str) -> list[Identity]:
    """The living processes that were started with this cookie."""
    found = (process.identify(pid) for pid in own_pids())
    return [who for who in found if who is not None and is_ours(who, cookie)]


def group_lives(group: int) -> bool:
    """Whether a process of this group runs; those that ended and were not yet waited for do not count."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return any(_group_of(pid) == group and process.identify(pid) for pid in own_pids())


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _wait_gone(who: Identity, seconds: float) -> bool:
    until = time.monotonic() + seconds
    process.wait_gone(who, seconds)
    while process.alive(who) or group_lives(who.pid):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_SECONDS)
    return True
