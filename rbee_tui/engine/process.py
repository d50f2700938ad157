"""Which process is it, is it still the same one, and how to signal it without hitting another."""

import os
import select
import signal
import sys
import time
from functools import cache
from pathlib import Path

import msgspec

_START_TICKS_FIELD = 19  # of /proc/PID/stat after the command's closing parenthesis: field 22 of proc(5)

_POLL_SECONDS = 0.02


class Machine(msgspec.Struct, frozen=True):
    """Where a record was made: other machines' and other containers' processes cannot be judged from here."""

    machine_id: str
    boot_id: str
    pid_namespace: str


class Identity(msgspec.Struct, frozen=True):
    """One process for ever: a pid alone is used again, even within the same second."""

    pid: int
    start: str
    """Start time: clock ticks since boot on Linux, else seconds since the epoch."""
    machine: Machine


def _read(path: str) -> str:
    try:
        # A process chooses its own name, and the kernel cuts it anywhere: it need not be text.
        return Path(path).read_bytes().decode(errors="replace").strip()
    except OSError:
        return ""


@cache
def this_machine() -> Machine:
    """The machine, boot and PID namespace that this process runs in."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    machine = _read("/etc/machine-id") or os.uname().nodename
    return Machine(machine, _read("/proc/sys/kernel/random/boot_id") or _boot_time(), namespace)


def _boot_time() -> str:
    import psutil  # noqa: PLC0415 - 40 ms that only systems without /proc pay

    return str(round(psutil.boot_time()))


def identify(pid: int) -> Identity | None:
    """The identity of a living process; None when there is none with this pid (zombies count as gone)."""
    start = _start(pid)
    return Identity(pid, start, this_machine()) if start else None


def _start(pid: int) -> str | None:
    if sys.platform == "linux":
        stat = _read(f"/proc/{pid}/stat")
        fields = stat.rpartition(")")[2].split()
        if len(fields) <= _START_TICKS_FIELD or fields[0] in "ZX":
            return None
        return fields[_START_TICKS_FIELD]
    import psutil  # noqa: PLC0415 - as above

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def alive(who: Identity) -> bool:
    """Whether exactly this process still runs on this machine, boot and PID namespace."""
    return who.machine == this_machine() and identify(who.pid) == who


def environment_value(pid: int, name: str) -> str | None:
    """The value that a process was started with for an environment variable; None when it cannot be read."""
    if sys.platform == "linux":
        try:
            raw = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return None
        prefix = f"{name}=".encode()
        return next((os.fsdecode(v[len(prefix) :]) for v in raw.split(b"\0") if v.startswith(prefix)), None)
    import psutil  # noqa: PLC0415 - as above

    try:
        return psutil.Process(pid).environ().get(name)
    except psutil.Error:
        return None


def send(who: Identity, number: signal.Signals, *, group: bool = False) -> bool:
    """Signal exactly this process (or the group that it leads); False when it is gone.

    A pidfd pins the process between the check and the signal, so that a reused pid is never hit.
    """
    if who.pid <= 1 or who.machine != this_machine():
        return False
    handle = _pidfd(who.pid)
    try:
        if not alive(who):
            return False
        if group:
            os.killpg(who.pid, number)
        elif handle is not None:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(who.pid, number)
    except ProcessLookupError:
        return False
    else:
        return True
    finally:
        if handle is not None:
            os.close(handle)


def wait_gone(who: Identity, seconds: float) -> bool:
    """Wait up to `seconds` until the process has ended; True when it has."""
    handle = _pidfd(who.pid)
    if handle is None:
        return _poll_gone(who, seconds)
    try:
        if not alive(who):
            return True
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(handle)


def _poll_gone(who: Identity, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while alive(who):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _pidfd(pid: int) -> int | None:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return opener(pid)
    except OSError:
        return None
