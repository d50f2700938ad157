"""What each operation does: calls into the engine, told as events.

Each is a generator. Whatever it raises before its first event is the refusal of the request; after it the
operation is a job.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from rbee_tui.engine import hardware
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import NotFoundError, RefusedError
from rbee_tui.engine.text import clean
from rbee_tui.engine.workers import listening, offers, wishes
from rbee_tui.engine.workers.filling import require_fitting
from rbee_tui.engine.workers.record import RunningWorker
from rbee_tui.hive import devices
from rbee_tui.hive import operations as ops

Event = tuple[str, Any]
Events = AsyncGenerator[Event]
RESULT = "result"
ACCEPTED = "accepted"


def without_key(running: RunningWorker) -> RunningWorker:
    """A running worker for those who only look."""
    return msgspec.structs.replace(running, api_key="")


async def spawn(engine: Engine, asked: ops.WorkerSpawn) -> Events:
    """Start a worker on a model, and tell when it is ready."""
    running = next((each for each in await _running(engine) if each.model == asked.model), None)
    worker = asked.worker
    if running is None:
        # Refused now, whichever worker was named: the outlook speaks of the one that fits best.
        await asyncio.to_thread(listening.checked, wishes.of({"host": asked.host}))
        outlook = await asyncio.to_thread(engine.processes.outlook, asked.model)
        if asked.device is not None:
            found = devices.capabilities(await asyncio.to_thread(hardware.read, engine.root.path))
            worker = devices.worker_for(asked.device, asked.worker, found, outlook.verdicts)
        elif outlook.refusal and worker is None:
            raise RefusedError(outlook.refusal, hint=outlook.hint)
        worker = worker or outlook.worker_id
    yield ACCEPTED, {"model": asked.model, "worker": running.worker if running else worker}
    yield (
        RESULT,
        await engine.processes.start(asked.model, worker_id=worker, context=asked.context, host=asked.host),
    )


async def process_list(engine: Engine, _: ops.WorkerProcessList) -> Events:
    """Tell the workers that run."""
    yield RESULT, [without_key(each) for each in await _running(engine)]


async def process_get(engine: Engine, asked: ops.WorkerProcessGet) -> Events:
    """Tell one running worker."""
    yield RESULT, await _by_pid(engine, asked.pid)


async def process_delete(engine: Engine, asked: ops.WorkerProcessDelete) -> Events:
    """Stop a running worker."""
    running = await _by_pid(engine, asked.pid)
    yield ACCEPTED, {"model": running.model, "pid": running.pid}
    yield RESULT, without_key(await engine.processes.stop(running.model))


async def model_list(engine: Engine, _: ops.ModelList) -> Events:
    """Tell the models that are here."""
    yield RESULT, await asyncio.to_thread(engine.models.list)


async def model_get(engine: Engine, asked: ops.ModelGet) -> Events:
    """Tell one model."""
    yield RESULT, await asyncio.to_thread(engine.models.get, asked.id)


async def model_delete(engine: Engine, asked: ops.ModelDelete) -> Events:
    """Remove a model and its files."""
    yield RESULT, await asyncio.to_thread(engine.remove_model, asked.id)


async def catalog_list(engine: Engine, _: ops.WorkerCatalogList) -> Events:
    """Tell each worker that is here or may be installed, with its verdict."""
    yield RESULT, list((await asyncio.to_thread(engine.selection)).verdicts)


async def install(engine: Engine, asked: ops.WorkerInstall) -> Events:
    """Install a worker, with the installer's lines as they come."""
    await asyncio.to_thread(lambda: require_fitting(offers.find(asked.worker_id, engine.installer.offered())))
    yield ACCEPTED, {"worker_id": asked.worker_id}
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(line: str) -> None:
        """Also from a thread of the installer's."""
        loop.call_soon_threadsafe(lines.put_nowait, line)

    installing = asyncio.create_task(engine.installer.install(asked.worker_id, on_line=tell))
    installing.add_done_callback(lambda _: lines.put_nowait(None))
    try:
        while (line := await lines.get()) is not None:
            yield "line", {"text": clean(line)}
        yield RESULT, await installing
    finally:
        installing.cancel()
        await asyncio.gather(installing, return_exceptions=True)


async def list_installed(engine: Engine, _: ops.WorkerListInstalled) -> Events:
    """Tell the installed workers."""
    yield RESULT, await asyncio.to_thread(engine.workers.list)


async def remove(engine: Engine, asked: ops.WorkerRemove) -> Events:
    """Remove a worker and its files."""
    yield RESULT, await asyncio.to_thread(engine.remove_worker, asked.worker_id)


async def _running(engine: Engine) -> list[RunningWorker]:
    return await asyncio.to_thread(engine.processes.list)


async def _by_pid(engine: Engine, pid: int) -> RunningWorker:
    for each in await _running(engine):
        if each.pid == pid:
            return each
    raise NotFoundError(f"no worker has the pid {pid}", hint="worker_process_list lists those that run")


HANDLERS: dict[type[ops.Operation], Callable[[Engine, Any], Events]] = {
    ops.WorkerSpawn: spawn,
    ops.WorkerProcessList: process_list,
    ops.WorkerProcessGet: process_get,
    ops.WorkerProcessDelete: process_delete,
    ops.ModelList: model_list,
    ops.ModelGet: model_get,
    ops.ModelDelete: model_delete,
    ops.WorkerCatalogList: catalog_list,
    ops.WorkerInstall: install,
    ops.WorkerListInstalled: list_installed,
    ops.WorkerRemove: remove,
}
"""By operation; a download is the engine's own job, and `jobs` follows it."""
