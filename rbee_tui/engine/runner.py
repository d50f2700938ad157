"""The background runner: an engine without a screen and without a port, that takes up wanted jobs."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from rbee_tui.engine.durable import Holder, Lock
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import BusyError, RbeeError
from rbee_tui.engine.jobs import adoptable
from rbee_tui.engine.paths import Root
from rbee_tui.engine.process import identify, this_machine

_LOOK_SECONDS = 0.5
_START_SECONDS = 15.0
_ADOPTERS_SECONDS = 2.0
_PROBED_SECONDS = 0.5
VERB = "background runner"


def runner_lock(root: Root, verb: str = VERB) -> Lock:
    """The lock that a root's one background runner holds."""
    return Lock(root.locks / "runner.lock", verb)


async def run(
    engine: Engine,
    *,
    until_idle: bool,
    stop: asyncio.Event,
    say: Callable[[str], None],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Take up wanted jobs until `stop`, or until there is none; raises BusyError when one runs already."""
    adopting = _adopting(engine.root, VERB)
    with _alone(engine.root) as alone, adopting.acquire(_ADOPTERS_SECONDS):
        ready()
        await _take_up(engine, stop, say, lambda: until_idle and _left(engine, adopting, alone))


async def adopt(
    engine: Engine,
    verb: str,
    *,
    stop: asyncio.Event,
    say: Callable[[str], None] = lambda _: None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Take up wanted jobs that nobody runs until `stop`, as a screen does, beside a runner or without one."""
    with _adopting(engine.root, verb).acquire(_ADOPTERS_SECONDS):
        ready()
        await _take_up(engine, stop, say, lambda: False)


async def stand_in(engine: Engine, verb: str, *, stop: asyncio.Event, say: Callable[[str], None]) -> None:
    """Take up wanted jobs until `stop`, as the background runner: beside one that runs until that has gone.

    Whoever hands jobs over then finds this process, and starts none.
    """
    place = runner_lock(engine.root, verb)

    def never() -> bool:
        if not place.held:
            place.try_acquire()
        return False

    with _adopting(engine.root, verb).acquire(_ADOPTERS_SECONDS):
        try:
            never()
            await _take_up(engine, stop, say, never)
        finally:
            place.release()


def _adopting(root: Root, verb: str) -> Lock:
    """The lock that everybody shares who takes up jobs by itself."""
    return Lock(root.locks / "adopters.lock", verb, shared=True)


async def _take_up(
    engine: Engine, stop: asyncio.Event, say: Callable[[str], None], ends: Callable[[], bool]
) -> None:
    while not stop.is_set():
        for job_id in engine.provisioner.adopt():
            say(f"taking up job {job_id}")
        if ends():
            return
        await _rest(stop)


def _alone(root: Root) -> Lock:
    """The runner's lock; whoever only looks whether it is free holds it for a moment, too."""
    try:
        return runner_lock(root).acquire(_PROBED_SECONDS)
    except BusyError as error:
        raise BusyError(str(error), hint="one background runner is enough: it takes up every job") from None


def _left(engine: Engine, *locks: Lock) -> bool:
    """Give the locks back if nothing is wanted.

    Asked and done under the records' lock: whoever writes a job before sees a runner that takes it up, and
    whoever writes one after sees that there is none.
    """
    if engine.provisioner.active:
        return False
    with engine.provisioner.store.records_lock(VERB):
        here = this_machine()
        if any(adoptable(record, here) for record in engine.provisioner.store.list()):
            return False
        for lock in locks:
            lock.release()
        return True


async def _rest(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)


def start_background(root: Root) -> Holder:
    """Start a background runner that outlives this process, or find the one that runs; returns who it is.

    Raises RbeeError with the log's path when it does not come up.
    """
    lock = runner_lock(root)
    log = root.logs / "runner.log"
    started: subprocess.Popen[bytes] | None = None
    if lock.probe():
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            started = subprocess.Popen(
                [sys.executable, "-m", "rbee_tui", "hive", "--no-listen", "--until-idle"],
                env={**os.environ, "RBEE_HOME": str(root.path)},
                cwd=root.path,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                start_new_session=True,
            )
        finally:
            os.close(handle)
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        holder = lock.holder()
        # One that has the lock and has not signed yet: the file still names who had it before.
        if holder is not None and not lock.probe() and identify(holder.pid) is not None:
            return holder
        if started is not None and started.poll() is not None and lock.probe():
            break
        time.sleep(0.05)
    raise RbeeError("the background runner did not start", hint=f"its log is {log}")
