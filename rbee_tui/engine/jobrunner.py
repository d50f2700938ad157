"""Runs one job whose lock this process holds: its files in threads, its record and note beside them."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Literal

import msgspec

from rbee_tui.engine import describe, durable, jobfiles, steering, switching, transfer
from rbee_tui.engine.artifacts import AVAILABLE, DOWNLOADING
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.errors import HubError, IntegrityError, NotFoundError, RbeeError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.jobs import (
    FEW_FILES,
    FILES_AT_ONCE,
    JOBS_AT_ONCE,
    LARGE_BYTES,
    ActiveFile,
    FailedFile,
    Outcome,
    Record,
    Run,
    State,
    active_files,
    finished_bits,
)
from rbee_tui.engine.meter import Meter
from rbee_tui.engine.nearby import Nearby
from rbee_tui.engine.partials import part_lock
from rbee_tui.engine.paths import beneath
from rbee_tui.engine.process import Identity
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.sharing import Sharing
from rbee_tui.engine.text import now, size
from rbee_tui.engine.transfer import Progress, Traffic

_TICK_SECONDS = 0.1
_BEAT_SECONDS = 0.5
_QUEUED_SECONDS = 0.5

_OF_ONE_FILE = (HubError, IntegrityError, NotFoundError)
"""What is wrong with a file alone: the others of its job go on."""

Ending = Literal["done", "paused", "cancelled", "failed", "released"]


class JobRunner:
    """One run of one job, from taking it up to its end, a pause, or this process's leaving."""

    def __init__(  # noqa: PLR0913 - the composition root hands over what a run needs
        self,
        record: Record,
        who: Identity,
        verb: str,
        *,
        store: JobStore,
        models: ModelCatalog,
        facts: Facts,
        threads: Executor,
        token: str | None,
        traffic: Traffic,
        sharing: Sharing,
    ) -> None:
        self.record = record
        self.progress = [Progress(total=file.size_bytes) for file in record.files]
        self._who = who
        self._verb = verb
        self._store = store
        self._models = models
        self._facts = facts
        self._threads = threads
        self._token = token
        self._traffic = traffic
        self._sharing = sharing
        self._leaving = False
        self._yielding = False
        self._told_kept = False
        self._stop = threading.Event()
        self._stops = [threading.Event() for _ in record.files]
        self._finished = set(record.finished)
        self._fatal: list[FailedFile] = []  # those whose failure ends this run
        self._meters = [Meter() for _ in record.files]
        self._meter = Meter()
        self._state: State = "queued"
        self._beat = 0.0
        self._stamp = (0, 0)
        self._nearby = Nearby(models, record, facts)
        self._busy = ""
        """Who has the model's files in use, while they are to be switched."""

    def leave(self) -> None:
        """Let go of the job as soon as its threads have stopped; it stays wanted, for whoever adopts it."""
        self._leaving = True
        self._halt()

    def _halt(self) -> None:
        """Stop every file."""
        self._stop.set()
        for stop in self._stops:
            stop.set()

    async def run(self) -> Ending:
        """Run the job; every ending is in its record when this returns, and errors are its outcome."""
        self._note("queued")
        try:
            with suppress(transfer.Stopped):
                await asyncio.to_thread(switching.prepare, self._models, self.record)
                while not self._is_finished and await self._wait_admitted():
                    self._note("running")
                    self._facts.tell("job.started", self.record.id, f"downloading {self.record.model.id}")
                    if not self.record.staged:
                        await asyncio.to_thread(
                            jobfiles.store_model, self._models, self.record.model, DOWNLOADING
                        )
                    if await self._fetch_turn():
                        break
            lock = await self._when_free()
            try:
                return await asyncio.to_thread(self._end, free=lock.held)
            finally:
                lock.release()
        except RbeeError as error:
            return await asyncio.to_thread(self._fail, error)

    @property
    def _is_finished(self) -> bool:
        return self._finished.issuperset(self.record.wanted_files)

    @property
    def _home(self) -> Path:
        """Where the files go: the model's directory, or beside a whole one."""
        model_id = self.record.model.id
        if self.record.staged:
            return switching.staging(self._store.root, model_id)
        return self._models.directory(model_id)

    async def _when_free(self) -> Lock:
        """The model's lock, to switch its files under; not held where that is not to be, or not any more."""
        lock = self._models.lock(self.record.model.id, self._verb)
        if self.record.staged and self._is_finished:
            while not lock.try_acquire() and not self._leaving and self.record.wanted == "running":
                self._busy = lock.busy_text()
                await self._tick(rest=_QUEUED_SECONDS)
        return lock

    async def _wait_admitted(self) -> bool:
        fresh = True  # whoever comes may go at once; who waits takes part in the looks of all
        while not self._stop.is_set():
            if self._sharing.admitted(self.record.id, fresh=fresh):
                return True
            fresh = False
            await self._tick(rest=_QUEUED_SECONDS)
        return False

    async def _fetch_turn(self) -> bool:
        """Fetch until everything is there; False when another job's turn came first. Raises Stopped."""
        try:
            await self._fetch_all()
        except transfer.Stopped:
            if not self._yielding or self._leaving or self.record.wanted != "running":
                raise
            self._yielding = False
            self._stop = threading.Event()
            self._stops = [threading.Event() for _ in self.record.files]
            self._note("queued")
            return False
        return True

    async def _fetch_all(self) -> None:
        gate = asyncio.Semaphore(FILES_AT_ONCE)
        large = _Turns(lambda: FILES_AT_ONCE if self._traffic.roomy else FEW_FILES)
        tasks = [
            asyncio.ensure_future(self._fetch_one(gate, large, i)) for i in range(len(self.record.files))
        ]
        try:
            while not all(task.done() for task in tasks):
                if any(task.done() and task.exception() for task in tasks):
                    self._halt()
                elif all(task.done() or steering.rests(self.record, i) for i, task in enumerate(tasks)):
                    self._settle()
                await self._tick(running=True)
                await large.look()
        finally:
            self._halt()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        # What the other files report is only that they were stopped.
        errors.sort(key=lambda error: isinstance(error, transfer.Stopped))
        if errors and not self._is_finished:
            raise errors[0]

    async def _fetch_one(self, gate: asyncio.Semaphore, large: "_Turns", index: int) -> None:
        """Fetch one file, whenever it is wanted, until it is there."""
        there = False
        while not there:
            while steering.rests(self.record, index):
                if self._stop.is_set():
                    raise transfer.Stopped
                await asyncio.sleep(_TICK_SECONDS)
            is_large = self.record.files[index].size_bytes >= LARGE_BYTES
            async with large.one() if is_large else nullcontext(), gate:
                there = await self._try(index)

    async def _try(self, index: int) -> bool:
        """Whether a file is there now; False when it was steered, or failed, and the others go on."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._bring, index)
        except transfer.Stopped:
            if self._stop.is_set():
                raise
            self._stops[index].clear()
        except RbeeError as error:
            self._fail_file(index, error)
        else:
            return True
        self.progress[index].state = "waiting"
        return False

    def _bring(self, index: int) -> None:
        """Bring one file to its place, in a worker thread; one that is there and right is left alone."""
        planned = self.record.files[index]
        stop = self._stops[index]
        if stop.is_set():
            raise transfer.Stopped
        source, target = jobfiles.source_of(self.record, planned), beneath(self._home, planned.target)
        progress = self.progress[index]
        known = index in self._finished
        part = jobfiles.part_path(self.record, planned, self._store.root)
        lock = part_lock(self._store.root, part.name, self._verb)
        if transfer.already_there(source, target, known=known, stop=stop, progress=progress):
            jobfiles.forget(part, lock)
        else:
            if not self._nearby.take(
                planned, source, part=part, target=target, lock=lock.path, stop=stop, progress=progress
            ):
                transfer.fetch(
                    source,
                    part=part,
                    target=target,
                    token=self._token,
                    stop=stop,
                    progress=progress,
                    lock=lock.path,
                    traffic=self._traffic,
                    job=self.record.id,
                    gentle=self.record.gentle,
                )
            durable.sweep(transfer.journal_path(part))
            durable.sweep(transfer.blocks_path(target))
        if not known:
            self._publish(index)

    def _publish(self, index: int) -> None:
        self._store.change(self.record.id, self._verb, lambda r: steering.finish_file(r, index))
        self._finished.add(index)

    def _fail_file(self, index: int, error: RbeeError) -> None:
        """Write down that a file failed; raises the error where it ends the run."""
        failed = FailedFile(index=index, error=str(error), hint=error.hint, code=error.code)
        try:
            self.record = self._store.change(
                self.record.id, self._verb, lambda r: steering.fail_file(r, failed)
            )
        except RbeeError:
            raise error from None
        if len(self.record.files) > 1:
            self._facts.tell("job.file", self.record.id, f"{self.record.model.id}: {error}")
        if type(error) not in _OF_ONE_FILE:
            self._fatal.append(failed)
            raise error

    def _settle(self) -> None:
        """Only files that rest were left when it was looked: end, unless one of them is wanted by now."""
        self.record = self._store.change(self.record.id, self._verb, lambda r: steering.settled(r, now()))
        if self.record.outcome or self.record.wanted != "running" or self._is_finished:
            self._halt()

    async def _tick(self, *, running: bool = False, rest: float = _TICK_SECONDS) -> None:
        """One look at the record and at the others, one beat if it is time, one short rest."""
        stamp = self._store.stamp(self.record.id)
        if stamp != self._stamp:
            self._stamp = stamp
            self.record = self._store.get(self.record.id)
            if self.record.wanted != "running":
                self._state = "pausing"
                self._halt()
            for index in (*self.record.held_files, *self.record.dropped_files):
                self._stops[index].set()
        if running and not self._stop.is_set() and not self._sharing.admitted(self.record.id):
            self._yielding = True
            self._halt()
        self._tell_kept()
        if time.time() - self._beat >= _BEAT_SECONDS:
            self._note(self._state)
        await asyncio.sleep(rest)

    def _tell_kept(self) -> None:
        """Tell once from where an interrupted download goes on."""
        kept = sum(p.kept for i, p in enumerate(self.progress) if i not in self._finished)
        if kept and not self._told_kept:
            self._told_kept = True
            text = f"{self.record.model.id}: kept {size(kept)} of {size(self.record.total)}"
            self._facts.tell("job.kept", self.record.id, text)

    def _note(self, state: State, *, seq: int | None = None) -> None:
        """Write down how far the job is: for others to see, so that a full disk does not stop the job."""
        self._state = state
        self._beat = time.time()
        run = self.snapshot()
        with suppress(RbeeError):
            self._store.write_run(self.record.id, msgspec.structs.replace(run, seq=seq) if seq else run)

    def snapshot(self) -> Run:
        """How far the job is, from the counters that its threads keep."""
        at = time.monotonic()
        downloaded = [p.kept + p.received for p in self.progress]
        rates = [meter.update(p.received, at) for meter, p in zip(self._meters, self.progress, strict=True)]
        active = [
            ActiveFile(i, downloaded[i], p.kept, rates[i], p.state, p.waiting_for, p.connections)
            for i, p in enumerate(self.progress)
            if i not in self._finished and (p.state != "waiting" or downloaded[i])
        ]
        sizes = [file.size_bytes for file in self.record.files]
        at_most = [
            whole if i in self._finished else min(downloaded[i], whole) for i, whole in enumerate(sizes)
        ]
        connections = sum(p.connections for p in self.progress)
        reasons = [reason for reason in (self._busy, *(p.waiting_for for p in self.progress)) if reason]
        if self._state == "queued":
            reasons = [f"{JOBS_AT_ONCE} downloads before it"]
        return Run(
            who=self._who,
            verb=self._verb,
            beat=self._beat,
            # A pause counts as answered once the job was let go, not while its threads still stop.
            seq=self.record.seq if self.record.wanted == "running" else self.record.seq - 1,
            state=self._state,
            downloaded=sum(at_most[i] for i in self.record.wanted_files),
            kept=sum(p.kept for p in self.progress),
            rate=self._meter.update(sum(p.received for p in self.progress), at),
            active=active_files(active),
            finished=finished_bits(self._finished),
            connections=connections,
            waiting_for=reasons[0] if reasons and not connections else "",
        )

    def _end(self, *, free: bool) -> Ending:
        record = self.record = self._store.get(self.record.id)
        if record.outcome is not None:
            return self._mourn(record.outcome) if record.outcome.state == "failed" else record.outcome.state
        if self._is_finished and (free or not record.staged):
            return self._complete()
        if record.wanted == "cancelled":
            jobfiles.clean_up(record, self._store, self._models, self._facts, self._verb)
            self._note("cancelled", seq=record.seq)
            return "cancelled"
        if record.wanted == "paused":
            self._note("paused", seq=record.seq)
            reached = f"{size(self.snapshot().downloaded)} of {size(record.total)}"
            self._facts.tell("job.paused", record.id, f"{record.model.id} is paused at {reached}")
            return "paused"
        return self._release()

    def _release(self) -> Ending:
        """It is wanted, by whoever takes it up next."""
        self._note("interrupted", seq=self.record.seq)
        return "released"

    def _complete(self) -> Ending:
        record, told = self.record, "here"
        if record.staged:
            told = "updated"
            if not switching.is_switched(self._models, record):
                switching.switch(self._models, describe.finished_model(record, self._home), self._home)
            switching.tidy(self._models, record.model.id)
        else:
            jobfiles.store_model(self._models, describe.finished_model(record, self._home), AVAILABLE)
        if not self._conclude(Outcome(state="done", at=now()), still=lambda r: r.is_complete):
            return self._release()
        self._note("done")
        self._facts.tell("job.done", self.record.id, f"{record.model.id} is {told} and verified")
        return "done"

    def _fail(self, error: RbeeError) -> Ending:
        """End with an error, unless one of the files that brought it is wanted again by now."""
        outcome = Outcome(state="failed", at=now(), error=str(error), hint=error.hint, code=error.code)
        ends = self._conclude(outcome, still=lambda r: all(each in r.failed_files for each in self._fatal))
        return self._mourn(outcome) if ends else self._release()

    def _mourn(self, outcome: Outcome) -> Ending:
        """Tell of a failure, which is in the record."""
        jobfiles.show_failed(self.record, self._store.root, self._models, outcome.error)
        self._note("failed")
        self._facts.tell("job.failed", self.record.id, f"{self.record.model.id}: {outcome.error}")
        return "failed"

    def _conclude(self, outcome: Outcome, still: Callable[[Record], bool]) -> bool:
        """Whether the job has ended now."""
        self.record = jobfiles.conclude(self._store, self.record.id, self._verb, outcome, still)
        return self.record.outcome is not None


class _Turns:
    """Lets some go at once and the others wait; how many may change meanwhile."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._under_way = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[None]:
        """Wait for a turn, and have it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way < self._most())
            self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            await self.look()

    async def look(self) -> None:
        """Let those go whose turn it is by now; hundreds may wait, so only those are woken."""
        async with self._changed:
            self._changed.notify(max(0, self._most() - self._under_way))
