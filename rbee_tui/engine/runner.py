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
from rbee_tui.engine.process import this_machine

_LOOK_SECONDS = 0.5
_START_SECONDS = 5.0
_PROBE_SECONDS = 1.0
"""What those who only look whether the lock is held may hold it, all together."""
VERB = "background runner"


def runner_lock(root: Root) -> Lock:
    """The lock that a root's one background runner holds."""
    return Lock(root.locks / "runner.lock", VERB)


async def run(
    engine: Engine,
    *,
    until_idle: bool,
    stop: asyncio.Event,
    say: Callable[[str], None],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Take up wanted jobs until `stop`, or until there is none; raises BusyError when one runs already."""
    with _alone(engine.root):
        await adopt(engine, VERB, stop=stop, say=say, ready=ready, ends=lambda: until_idle and _idle(engine))


async def adopt(
    engine: Engine,
    verb: str,
    *,
    stop: asyncio.Event,
    say: Callable[[str], None] = lambda _: None,
    ready: Callable[[], None] = lambda: None,
    ends: Callable[[], bool] = lambda: False,
) -> None:
    """Take up wanted jobs that nobody runs until `stop`, or until `ends()`; for screens and runners."""
    with Lock(engine.root.locks / "adopters.lock", verb, shared=True).acquire(2.0):
        ready()
        while not stop.is_set():
            for job_id in engine.provisioner.adopt():
                say(f"taking up job {job_id}")
            if ends():
                return
            await _rest(stop)


def _alone(root: Root) -> Lock:
    lock = runner_lock(root)
    try:
        return lock.acquire(_PROBE_SECONDS)
    except BusyError as error:
        hint = "one background runner is enough: it takes up every job"
        raise BusyError(str(error), hint=hint) from None


def _idle(engine: Engine) -> bool:
    """Whether nothing is wanted; asked under the lock, so that a job written just now is not left alone."""
    if engine.provisioner.active:
        return False
    with engine.provisioner.store.records_lock(VERB):
        here = this_machine()
        return not any(adoptable(record, here) for record in engine.provisioner.store.list())


async def _rest(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)


def start_background(root: Root) -> Holder:
    """Start a background runner that outlives this process, or find the one that runs; returns who it is.

    Raises RbeeError with the log's path when it does not come up.
    """
    lock = runner_lock(root)
    log = root.logs / "runner.log"
    if lock.probe():
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            subprocess.Popen(
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
        if not lock.probe() and (holder := lock.holder()) is not None:
            return holder
        time.sleep(0.05)
    raise RbeeError("the background runner did not start", hint=f"its log is {log}")
