"""Worker processes: started, found again by whoever looks, asked, stopped. Their records are the truth."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from rbee_tui.engine import addresses, process
from rbee_tui.engine.catalog import ModelCatalog, WorkerCatalog
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.errors import BusyError, NotFoundError, RbeeError, RefusedError, WorkerError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.fitting.machine import Pool
from rbee_tui.engine.paths import Root
from rbee_tui.engine.process import this_machine
from rbee_tui.engine.text import clean, now
from rbee_tui.engine.workers import ending, loading, prompting, ready, wishes
from rbee_tui.engine.workers.burying import Undertaker
from rbee_tui.engine.workers.deaths import Death
from rbee_tui.engine.workers.live import Watcher
from rbee_tui.engine.workers.outlook import Outlook
from rbee_tui.engine.workers.presets import Presets
from rbee_tui.engine.workers.promises import pool_of
from rbee_tui.engine.workers.prompting import Chunk, Turn
from rbee_tui.engine.workers.record import Exit, Records, Running, RunningWorker, is_ours, living
from rbee_tui.engine.workers.starting import Starter
from rbee_tui.engine.workers.wishes import Wishes

LOAD_SECONDS = 120.0
"""How long a worker may load without a new byte in its log."""
_FOLLOW_SECONDS = 600.0
_LOCK_SECONDS = 10.0
_POLL_SECONDS = 0.01


class Supervisor:
    """The worker processes of one root, whoever started them."""

    def __init__(self, root: Root, models: ModelCatalog, workers: WorkerCatalog, facts: Facts) -> None:
        self._root = root
        self._models = models
        self._workers = workers
        self._facts = facts
        self._records = Records(root)
        self.presets = Presets(root)
        self._watcher = Watcher()
        self._starter = Starter(root, models, workers, facts)
        self._undertaker = Undertaker(root, self._starter, facts)

    # Looking

    def list(self) -> "list[RunningWorker]":
        """The workers that live, by model; what dead ones left is cleaned up."""
        self._starter.reap()
        found = [self._look(record) for record in self._records.all()]
        return sorted((self._describe(each) for each in found if each), key=lambda each: each.model)

    def get(self, model_id: str) -> RunningWorker:
        """The living worker of a model; raises NotFoundError."""
        return self._describe(self._get(model_id))

    def death(self, model_id: str) -> Death | None:
        """How the model's last worker ended, where that was by itself and none was started since."""
        return self._undertaker.certificates.read(model_id)

    def deaths(self) -> "list[Death]":
        """The death certificate of each model whose last worker ended by itself, by model."""
        return sorted(self._undertaker.certificates.all(), key=lambda each: each.model)

    def forget(self, model_id: str) -> None:
        """Forget how the model's last worker ended."""
        self._undertaker.certificates.forget(model_id)
        self._facts.tell("worker.forgotten", model_id)

    def log_path(self, model_id: str) -> Path:
        """Where the log of a model's worker is."""
        return self._records.log_path(model_id)

    def _get(self, model_id: str) -> Running:
        self._starter.reap()
        record = self._records.read(model_id)
        found = self._look(record) if record else None
        if found is None:
            name = clean(model_id)
            death = self.death(model_id)
            last = f"; the last one is gone: {death.sentence}" if death else ""
            raise NotFoundError(f"no worker runs on {name}{last}", hint=f"rbee start {name} starts one")
        return found

    def _look(self, record: Running) -> Running | None:
        """The record as it is now: adopted where its starter died meanwhile, buried where it is dead."""
        found = living(record)
        if found is None:
            if record.machine == this_machine():
                self._undertaker.bury(record)
            return None
        if found.ready_at or found.wanted != "running":
            return found
        lock = self._records.start_lock(record.model)
        if not lock.try_acquire():
            return found
        with lock:
            again = self._records.read(record.model)
            return self._advance(found) if again and again.cookie == record.cookie else found

    def _describe(self, record: Running) -> RunningWorker:
        pid = record.who.pid if record.who else 0
        key = self._records.key(record)
        note = self._records.ending(record)
        return RunningWorker(
            id=record.model,
            model=record.model,
            worker=record.worker,
            variant=record.variant,
            pid=pid,
            port=record.port,
            url=addresses.url(record.host, record.port, os.uname().nodename) if record.port else "",
            api_key=key,
            state=_state(record, key, note),
            context=record.context,
            started_at=record.started_at,
            ready_at=record.ready_at,
            reason=record.reason,
            devices=record.devices,
            log=record.log,
            host=record.host,
            needs_key=bool(record.key_file),
            device=record.device,
            gpu_layers=record.gpu_layers,
            of_layers=record.of_layers,
            slots=record.slots,
            threads=record.threads,
            embeddings=record.embeddings,
            projector=record.projector,
            pinned=record.pinned,
            idle_seconds=record.idle_seconds,
            ends_with_screen=record.ends_with is not None,
            restarts=note.restarts if note else 0,
            crash=self._undertaker.told(record).sentence if note else "",
            load_share=loading.share(record),
            load=self._watcher.load(record, key),
            gpu_memory_bytes=self._watcher.gpu_memory(record),
            estimate_bytes=record.estimate,
            memory_bytes=ready.memory(pid) if pid else None,
        )

    def promised(self) -> dict[Pool, int]:
        """Bytes of each pool of memory that workers were promised, and that still look available."""
        return self._starter.promised()

    # Starting

    def outlook(self, model_id: str, **said: Any) -> Outlook:
        """What `start` would do on this model now, with a verdict on every worker; blocking, starts nothing.

        Raises NotFoundError, and RefusedError for a model that is not whole.
        """
        return self._starter.outlook(model_id, self._wanted(model_id, said))

    def save(self, model_id: str, **said: Any) -> Wishes:
        """Save what was said, over what was saved before, for the model's next starts; all that is saved now.

        Raises UsageError, BusyError.
        """
        wanted = self._wanted(model_id, said)
        self.presets.save(model_id, wanted)
        return wanted

    def _wanted(self, model_id: str, said: Mapping[str, Any]) -> Wishes:
        """What was said, and what was saved for the model where nothing was."""
        return wishes.over(wishes.of(said), self.presets.read(model_id))

    async def start(self, model_id: str, **said: Any) -> RunningWorker:
        """Start a worker on a model and return when it is ready; one that loads or runs is followed.

        What may be `said` are the fields of `Wishes`. Raises RefusedError for a model that is not whole,
        DoesNotFitError, PortBusyError, BrokenModelError and other WorkerErrors with the log's tail where it
        does not come up.
        """
        wanted = self._wanted(model_id, said)
        lock = await _take(self._records.start_lock(model_id), _FOLLOW_SECONDS)
        with lock:
            self._starter.reap()
            before = self._records.read(model_id)
            record = living(before) if before else None
            if record is None:
                await asyncio.to_thread(self._records.sweep, model_id)
                if before is not None and before.machine == this_machine():
                    await asyncio.to_thread(ending.sweep, before.cookie)
                with await _take(self._models.lock(model_id, "start", shared=True), _LOCK_SECONDS):
                    record = await asyncio.to_thread(self._starter.launch, model_id, wanted)
                    record = await self._until_ready(record)
            else:
                record = await self._until_ready(record)
        return await asyncio.to_thread(self._describe, record)

    async def _until_ready(self, record: Running) -> Running:
        """Wait until the worker answers; its time begins anew whenever its log advances."""
        seen, until = -1, 0.0
        while True:
            record = await asyncio.to_thread(self._advance, record)
            if record.ready_at and not await asyncio.to_thread(self._restarts, record):
                return record
            self._starter.reap()
            if record.who is None or not process.alive(record.who):
                raise await asyncio.to_thread(self._undertaker.failed, record, "")
            size = _size(record.log)
            if size != seen:
                seen, until = size, time.monotonic() + LOAD_SECONDS
            if time.monotonic() > until:
                await asyncio.to_thread(ending.end, record, seconds=ending.STOP_SECONDS)
                raise self._undertaker.failed(
                    record, f"it said nothing for {LOAD_SECONDS:.0f} s and is not ready"
                )
            await asyncio.sleep(_POLL_SECONDS)

    def _restarts(self, record: Running) -> bool:
        """Whether it crashed after it was ready, and its keeper is about to start it again."""
        note = self._records.ending(record)
        return note is not None and not ready.answers(record, self._records.key(record))

    def _advance(self, record: Running) -> Running:
        """The record with its port, and ready, as far as that is known now; the caller holds the lock."""
        if not record.port and (port := ready.find_port(record)):
            record = msgspec.structs.replace(record, port=port)
            self._write_wanted(record)
        if record.ready_at or not ready.answers(record, self._records.key(record)):
            return record
        record = msgspec.structs.replace(record, ready_at=now())
        if self._write_wanted(record):
            self._records.keep_port(record.model, record.port)
            self._learn(record)
            text = f"{record.worker} is ready on {clean(record.model)}"
            self._facts.tell("worker.ready", record.model, text, port=record.port)
        return record

    def _learn(self, record: Running) -> None:
        """Compare what it takes with what it was expected to take; a GPU's memory is not told by process."""
        if pool_of(record.variant) != "host" or record.who is None:
            return
        measured = ready.memory(record.who.pid)
        if measured:
            predicted = record.estimate - record.correction
            # A lesson less is no reason for a start to fail.
            with suppress(RbeeError):
                self._starter.learned.note(record.architecture, predicted, measured)

    def _write_wanted(self, record: Running) -> bool:
        """Write a record, unless it was stopped meanwhile; whether it was written."""
        again = self._records.read(record.model)
        if again is None or again.cookie != record.cookie or again.wanted != record.wanted:
            return False
        self._records.write(record)
        return True

    # Keeping and stopping

    def pin(self, model_id: str, *, pinned: bool = True) -> RunningWorker:
        """Let a worker stay however long nobody asks it anything, or not any more; blocking.

        Raises NotFoundError when none runs, BusyError while it loads.
        """
        record = self._get(model_id)
        with self._records.start_lock(model_id).acquire(_LOCK_SECONDS):
            record = msgspec.structs.replace(self._records.read(model_id) or record, pinned=pinned)
            if self._write_wanted(record):
                word = "stays, however long nobody asks it" if pinned else "may be unloaded"
                self._facts.tell("worker.pinned", model_id, f"the worker of {clean(model_id)} {word}")
        return self._describe(record)

    async def stop(self, model_id: str) -> RunningWorker:
        """Stop a model's worker: asked to, made to after ten seconds; as it was, in state `stopping`.

        Raises NotFoundError when none runs, RefusedError where its process is not ours, WorkerError where it
        does not end.
        """
        return await asyncio.to_thread(self._stop, model_id)

    async def stop_all(self) -> "list[RunningWorker]":
        """Stop every worker that runs."""
        found = await asyncio.to_thread(self.list)
        return list(await asyncio.gather(*(self.stop(each.model) for each in found)))

    def _stop(self, model_id: str) -> RunningWorker:
        record = msgspec.structs.replace(self._get(model_id), wanted="stopped")
        if record.who is None or not is_ours(record.who, record.cookie):
            raise RefusedError(f"the process of {clean(model_id)} is not one that rbee started")
        described = self._describe(record)
        # Wanted first: whoever supervises reads it before starting anything again.
        self._records.write(record)
        gone = ending.end(record, seconds=ending.STOP_SECONDS)
        self._starter.reap()
        if not gone:
            raise WorkerError(
                f"the worker of {clean(model_id)} (pid {record.who.pid}) does not end, not even by SIGKILL",
                hint="the kernel holds it, often for a device that hangs: try again later",
            )
        self._records.forget(record)
        self._records.forget_ending(model_id)
        self._undertaker.certificates.forget(model_id)
        lock = self._records.start_lock(model_id)
        if lock.try_acquire():
            with lock:
                self._records.sweep(model_id)
        self._facts.tell("worker.stopped", model_id, f"the worker of {clean(model_id)} is stopped")
        return described

    # Asking

    async def prompt(
        self, model_id: str, text: str, max_tokens: int = 256, before: Sequence[Turn] = ()
    ) -> AsyncGenerator[Chunk]:
        """Ask a model's worker, after what was said `before`; its answer as it comes, at last the usage.

        Raises NotFoundError when none runs, BusyError while it loads, WorkerError with its own words.
        """
        record = await asyncio.to_thread(self._get, model_id)
        if not record.ready_at:
            raise BusyError(f"{clean(model_id)} is still loading", hint=f"rbee start {clean(model_id)} waits")
        url = addresses.url(addresses.asked(record.host), record.port, "")
        key = self._records.key(record)
        async for chunk in prompting.ask(
            url, key, model_id, text, chat=record.chat, max_tokens=max_tokens, before=before
        ):
            yield chunk


async def _take(lock: Lock, seconds: float) -> Lock:
    """Take a lock, waiting without blocking; raises BusyError that names its holder."""
    until = time.monotonic() + seconds
    while not lock.try_acquire():
        if time.monotonic() > until:
            raise BusyError(lock.busy_text(), hint="try again when it is done")
        await asyncio.sleep(_POLL_SECONDS)
    return lock


def _state(record: Running, key: str, note: Exit | None) -> str:
    if record.wanted != "running":
        return "stopping"
    if not record.ready_at:
        return "loading"
    if ready.answers(record, key):
        return "ready"
    return "restarting" if note else "unhealthy"


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
