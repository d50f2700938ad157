"""ModelProvisioner: downloads as jobs that any process on the root may run, follow and steer.

It is over 400 lines because it is the one face of downloads: each verb is a method, the parts are elsewhere.
"""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from rbee_tui.engine import choices, nearby, planning, rates, repair, settings, steering
from rbee_tui.engine.artifacts import Entry, Model
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.errors import (
    BusyError,
    CancelledJobError,
    NotFoundError,
    PausedError,
    RefusedError,
    error_of,
)
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.headroom import warning
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.jobfiles import clean_up, conclude, discard, part_paths, source_of
from rbee_tui.engine.jobrunner import JobRunner
from rbee_tui.engine.jobs import (
    ADOPTIONS_WITHOUT_A_BYTE,
    FILES_AT_ONCE,
    JOBS_AT_ONCE,
    JobProgress,
    Outcome,
    PlannedFile,
    Record,
    Run,
    Where,
    adoptable,
    foreign,
    moved,
    progress_of,
    state_of,
)
from rbee_tui.engine.partials import Partial, Purged, part_lock, partials, purge
from rbee_tui.engine.paths import Root
from rbee_tui.engine.planning import Plan, Room
from rbee_tui.engine.process import identify, send, this_machine, wait_gone
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.repair import Repair
from rbee_tui.engine.repository import MAIN
from rbee_tui.engine.sharing import Sharing
from rbee_tui.engine.text import clean, counted, now, size
from rbee_tui.engine.transfer import Progress, Traffic
from rbee_tui.engine.transfer.mend import take_back
from rbee_tui.engine.updates import Update, take_names

_ANSWER_SECONDS = 3.0
_FOLLOW_SECONDS = 0.2
_TAKEN_SECONDS = 3.0
_LET_GO_SECONDS = 10.0


class ModelProvisioner:
    """Downloads models; `async with` it: leaving lets go of its jobs, which stay wanted."""

    def __init__(
        self,
        root: Root | None = None,
        hub: Hub | None = None,
        *,
        models: ModelCatalog | None = None,
        facts: Facts | None = None,
        verb: str = "rbee",
    ) -> None:
        self.root = root or Root.find().prepare()
        self.hub = hub or Hub(root=self.root)
        self.models = models or ModelCatalog(self.root)
        self.facts = facts or Facts(self.root.facts)
        self.store = JobStore(self.root)
        self.verb = verb
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._runners: dict[str, JobRunner] = {}
        self._leaving = False
        self._traffic = Traffic()
        self._threads = ThreadPoolExecutor(JOBS_AT_ONCE * FILES_AT_ONCE + FILES_AT_ONCE, "rbee-file")
        who = identify(os.getpid())
        if who is None:  # pragma: no cover - a process that reads this is alive
            raise RefusedError("this process cannot see itself in /proc")
        self._who = who
        self._sharing = Sharing(self.store, self._traffic, who)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Let go of every job: threads stop, journals are written, locks are free."""
        self._leaving = True
        for runner in self._runners.values():
            runner.leave()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._threads.shutdown(wait=True)

    # What is wanted

    async def download_model(
        self,
        repo: str,
        file: str | None = None,
        *,
        id: str | None = None,
        revision: str = MAIN,
        gentle: bool = False,
    ) -> str:
        """Start, join or take up the download of one choice of a repository; returns the job's id.

        `file` is a path, a file's name or a quantisation; None takes the only choice, else Q4_K_M. A `gentle`
        one yields to others on the line. Raises what the Hub answers, UsageError with the choices,
        NoSpaceError, RefusedError for an id that is taken.
        """
        chosen = await asyncio.to_thread(self.plan, repo, file, id=id, revision=revision)
        record, lock = await asyncio.to_thread(self._submit, chosen, id is not None, gentle=gentle)
        if record.outcome is None:
            self._start(record.id, lock)
        return record.id

    async def update(self, newer: Update) -> str:
        """Start the download of a model's newer files; returns the job's id, raises as `download_model`.

        The old files stay in their place, whole and in use, until every new one is verified. Of a repository
        that was renamed the new name is remembered first.
        """
        await asyncio.to_thread(take_names, self.models, [newer])
        return await self.download_model(newer.repo, newer.file, id=newer.id, revision=newer.revision)

    def plan(
        self,
        repo: str,
        file: str | None = None,
        *,
        id: str | None = None,
        revision: str = MAIN,
    ) -> Plan:
        """What `download_model` would bring; blocking, writes nothing."""
        repository = self.hub.repository(repo, revision)
        choice = choices.pick(repository.id, repository.files, file)
        files = self.hub.complete(repository, choice.files)
        choice = msgspec.structs.replace(choice, files=files)
        return planning.plan(self.hub.endpoint, repository, choice, id)

    def _submit(
        self,
        chosen: Plan,
        named: bool,  # noqa: FBT001 - one caller
        *,
        gentle: bool,
    ) -> tuple[Record, Lock | None]:
        with self.store.records_lock(self.verb):
            records = self.store.list()
            chosen, entry = planning.settle_id(chosen, self.models.peek, records, named=named)
            unfinished = self._begun(chosen, records)
            if unfinished is not None:
                return self._take_up(unfinished), None
            here = planning.already_here(entry, chosen.files)
            if not here:
                self._require_room(chosen, entry, records)
            else:
                self._follow_from_now_on(entry, chosen.model)
            record = self._new_record(chosen, records, entry, here=here)
            staged = not here and planning.is_whole(entry)
            record = msgspec.structs.replace(record, gentle=gentle, staged=staged)
            # Locked before it is written, so that no adopter comes between.
            lock = self.store.job_lock(record.id, self.verb).acquire() if not here else None
            self.store.put(record)
            self.store.prune()
            self.facts.rotate()
        if not here:
            text = f"{clean(record.model.id)}: {size(record.total)} to download"
            self.facts.tell("job.queued", record.id, text)
        return record, lock

    async def repair(
        self, model_id: str, progress: Progress | None = None, stop: threading.Event | None = None
    ) -> Repair:
        """Find the bad blocks of a model's files and start a job that fetches those alone.

        `run(job_id)` sees it through. Without block digests beside a file all of it is fetched, and the note
        says so. Raises NotFoundError, RefusedError where nobody knows whence the model came or a download
        wants it, BusyError while its files are in use, and transfer.Stopped once `stop` is set.
        """
        begun, lock = await asyncio.to_thread(
            self._begin_repair, model_id, progress or Progress(), stop or threading.Event()
        )
        if begun.job_id is not None:
            self._start(begun.job_id, lock)
        return begun

    def _begin_repair(
        self, model_id: str, progress: Progress, stop: threading.Event
    ) -> tuple[Repair, Lock | None]:
        with self.models.lock(model_id, "repair"):
            entry = self.models.get(model_id)
            model = repair.require_origin(entry)
            files = repair.planned(entry, model, self.hub)
            directory = self.models.directory(model_id)
            record = self._repair_record(model, files)
            sources = [source_of(record, file) for file in files]
            broken = repair.examine(directory, sources, [f.target for f in files], stop, progress)
            told = [
                repair.FileRepair(
                    path=files[each.index].target,
                    bad_blocks=each.damage.bad_blocks,
                    blocks=each.damage.blocks,
                    fetch_bytes=each.damage.bad_bytes(files[each.index].size_bytes),
                    note=each.damage.note,
                )
                for each in broken
            ]
            if not broken:
                return Repair(id=model_id, job_id=None, files=[]), None
            right = set(range(len(files))) - {each.index for each in broken}
            record = msgspec.structs.replace(record, finished=sorted(right))
            with self.store.records_lock(self.verb):
                self._require_unwanted(model_id)
                paths = part_paths(record, self.root)
                for each in broken:
                    take_back(each.target, paths[each.index], sources[each.index], each.damage)
                lock = self.store.job_lock(record.id, self.verb).acquire()
                self.store.put(record)
        self.facts.tell(
            "job.queued", record.id, f"{clean(model_id)}: {counted(len(broken), 'file')} to repair"
        )
        return Repair(id=model_id, job_id=record.id, files=told), lock

    def _require_unwanted(self, model_id: str) -> None:
        for record in self.store.list():
            if record.outcome is None and record.model.id == model_id:
                raise RefusedError(f"job {record.id} is at work on {clean(model_id)} already")

    def _repair_record(self, model: Model, files: list[PlannedFile]) -> Record:
        return Record(
            id=self.store.new_id(),
            seq=1,
            wanted="running",
            order=min((r.order for r in self.store.list() if r.outcome is None), default=1.0) - 1.0,
            created_at=now(),
            machine=this_machine(),
            endpoint=self.hub.endpoint,
            repo=model.repo or "",
            revision=model.revision or "",
            model=model,
            files=files,
            fresh_entry=False,
            repairs=True,
        )

    def _new_record(
        self, chosen: Plan, records: list[Record], entry: Entry[Model] | None, *, here: bool
    ) -> Record:
        before = entry.artifact.status if entry and entry.artifact else chosen.model.status
        return Record(
            id=self.store.new_id(),
            seq=1,
            wanted="running",
            order=max((r.order for r in records), default=0.0) + 1.0,
            created_at=now(),
            machine=this_machine(),
            endpoint=chosen.endpoint,
            repo=chosen.repo,
            revision=chosen.revision,
            model=msgspec.structs.replace(chosen.model, status=before),
            files=chosen.files,
            fresh_entry=entry is None,
            finished=list(range(len(chosen.files))) if here else [],
            outcome=Outcome(state="done", at=now()) if here else None,
        )

    def room(self, chosen: Plan, twins: Sequence[nearby.Twin] = ()) -> Room:
        """The room that a download would take; what lies on this disk already, as `twins` say, takes none.

        Blocking, writes nothing. Raises RefusedError where its id is another model's.
        """
        records = self.store.list()
        settled, entry = planning.settle_id(chosen, self.models.peek, records, named=False)
        return self._room(settled, entry, records, twins)

    def _room(
        self, chosen: Plan, entry: Entry[Model] | None, records: list[Record], twins: Sequence[nearby.Twin]
    ) -> Room:
        begun = self._begun(chosen, records)
        if begun is not None:  # one that is to go on is among what is promised
            needed = 0 if begun.wanted == "running" else self._remaining(begun)
        else:
            linked = {twin.target for twin in twins if twin.linkable}
            needed = planning.room_needed(entry, chosen.files, linked)
        return Room(needed=needed, free=self.free(), promised=self._promised(records))

    @staticmethod
    def _begun(chosen: Plan, records: list[Record]) -> Record | None:
        """The unfinished job for the same files."""
        known = [r for r in records if r.same_request(chosen.model.id, chosen.files)]
        return next((r for r in known if steering.may_go_on(r)), None)

    def _require_room(self, chosen: Plan, entry: Entry[Model] | None, records: list[Record]) -> None:
        """Raise NoSpaceError where it does not fit; twins are looked for only where it matters."""
        room = self._room(chosen, entry, records, ())
        if room.left < 0:
            room = self._room(chosen, entry, records, self.nearby(chosen))
        planning.require_room(room)

    def nearby(self, chosen: Plan, entries: list[Entry[Model]] | None = None) -> list[nearby.Twin]:
        """Files on this disk that may have a plan's bytes already; blocking, writes and hashes nothing."""
        known = self.models.each() if entries is None else entries
        return nearby.twins(chosen.files, known, self.root.part_directory())

    def _follow_from_now_on(self, entry: Entry[Model] | None, asked: Model) -> None:
        """Remember the branch that a model was asked for by that has its files already."""
        there = entry.artifact if entry else None
        if there is not None and there.requested_revision != asked.requested_revision:
            self.models.update(asked.id, requested_revision=asked.requested_revision)

    def _take_up(self, record: Record) -> Record:
        """The record, wanted again; the caller holds `records_lock`."""
        again = steering.again_whole(record, this_machine())
        if again != record:
            again = msgspec.structs.replace(again, seq=record.seq + 1)
            self.store.put(again)
        return again

    def free(self) -> int:
        """Bytes that are free where files arrive."""
        return shutil.disk_usage(self.root.part_directory()).free

    def _promised(self, records: list[Record]) -> int:
        """Bytes that unfinished jobs will still take."""
        return sum(self._remaining(r) for r in records if r.outcome is None and r.wanted == "running")

    def _remaining(self, record: Record) -> int:
        """Bytes that a job will still take: its size less what is allocated."""
        paths = part_paths(record, self.root)
        return sum(
            max(0, file.size_bytes - _allocated(path))
            for index, (file, path) in enumerate(zip(record.files, paths, strict=True))
            if index not in record.finished and index not in record.dropped_files
        )

    def promised(self) -> int:
        """Bytes of disk that unfinished downloads will still take."""
        return self._promised(self.store.list())

    def headroom(self) -> str:
        """In a sentence that the disk will be full once all is here, or nearly; empty where it will not."""
        found = shutil.disk_usage(self.root.part_directory())
        return warning(found.free, found.total, self.promised())

    # How it goes

    def jobs(self) -> list[JobProgress]:
        """Every job by order, whoever runs it."""
        return [self._progress(record) for record in self.store.list()]

    def get_progress(self, job_id: str) -> JobProgress:
        """How far a job is; raises NotFoundError."""
        return self._progress(self.store.get(job_id))

    def _progress(self, record: Record) -> JobProgress:
        runner = self._runners.get(record.id)
        if runner is None:
            return self.store.progress(record)
        run = runner.snapshot()
        return progress_of(record, run, state_of(record, run, held=True, here=this_machine(), now=run.beat))

    async def run(self, job_id: str) -> JobProgress:
        """Run, take up or follow a job to its end; raises PausedError, CancelledJobError or its error."""
        self.store.get(job_id)
        self._start(job_id, None)
        await asyncio.shield(self._tasks[job_id])
        return raise_for(self.get_progress(job_id))

    def adopt(self) -> list[str]:
        """Take up every job that is wanted and that nobody runs; returns the ids that were started."""
        adopted: list[str] = []
        for record in self.store.list():
            task = self._tasks.get(record.id)
            if (task is None or task.done()) and adoptable(record, this_machine()):
                lock = self.store.job_lock(record.id, self.verb)
                if lock.try_acquire():
                    self._start(record.id, lock)
                    adopted.append(record.id)
        return adopted

    @property
    def active(self) -> list[str]:
        """The ids of the jobs that this provisioner runs or follows now."""
        return [job_id for job_id, task in self._tasks.items() if not task.done()]

    def _start(self, job_id: str, lock: Lock | None) -> None:
        task = self._tasks.get(job_id)
        if task is None or task.done():
            self._tasks[job_id] = asyncio.create_task(self._drive(job_id, lock), name=f"job-{job_id}")
        elif lock is not None:
            lock.release()

    async def _drive(self, job_id: str, lock: Lock | None) -> None:
        """Run the job while its lock can be had, else follow its holder, until there is no more to do."""
        lock = lock or self.store.job_lock(job_id, self.verb)
        try:
            while not self._leaving:
                record = self.store.get(job_id)
                held = lock.held or lock.try_acquire()
                if held:
                    record = self.store.get(job_id)
                if record.outcome is not None or (held and record.wanted != "running"):
                    return
                if not held:
                    await asyncio.sleep(_FOLLOW_SECONDS)
                elif self._may_run(record):
                    await self._own(record)
                    lock.release()
        finally:
            lock.release()

    def _may_run(self, record: Record) -> bool:
        """Count this run; a job that ended three runners without a new byte has failed."""
        if foreign(record.machine, this_machine()):
            raise RefusedError(
                f"job {record.id} belongs to another machine or container",
                hint=f"rbee resume {record.id} takes it over",
            )
        run = self.store.read_run(record.id)
        reached = run.downloaded if run else 0
        idle = record.adoptions + 1 if run is not None and reached <= record.reached else 0
        if idle > ADOPTIONS_WITHOUT_A_BYTE:
            error = f"{ADOPTIONS_WITHOUT_A_BYTE} runs of it ended without a new byte"
            outcome = Outcome(state="failed", at=now(), error=error, hint=f"rbee retry {record.id}")
            conclude(self.store, record.id, self.verb, outcome)
            self.facts.tell("job.failed", record.id, f"{clean(record.model.id)}: {error}")
            return False
        self.store.change(
            record.id,
            self.verb,
            lambda r: msgspec.structs.replace(r, adoptions=idle, reached=max(reached, r.reached)),
        )
        return True

    async def _own(self, record: Record) -> None:
        runner = JobRunner(
            self.store.get(record.id),
            self._who,
            self.verb,
            store=self.store,
            models=self.models,
            facts=self.facts,
            threads=self._threads,
            token=self.hub.token if record.endpoint == self.hub.endpoint else None,
            traffic=self._traffic,
            sharing=self._sharing,
        )
        self._runners[record.id] = runner
        try:
            await runner.run()
        finally:
            del self._runners[record.id]

    # Steering

    async def pause(self, job_id: str, file: str | None = None) -> JobProgress:
        """Stop a job, or one of its files, where it is; on return a job's runner has let go.

        `file` is a path at the Hub, as in `FileProgress.path`. Raises BusyError, RefusedError, NotFoundError.
        """
        if file is None:
            await self._want(job_id, steering.paused)
        else:
            self._change(job_id, lambda r: steering.hold_file(r, file))
        return self.get_progress(job_id)

    async def resume(self, job_id: str, file: str | None = None) -> Run | None:
        """Want a job, or one of its files, again; returns its runner's note, None where nobody took it."""
        here = this_machine()
        return await self._again(
            job_id, lambda r: steering.again(r, here) if file is None else steering.resume_file(r, file, here)
        )

    async def _again(self, job_id: str, decide: Callable[[Record], Record]) -> Run | None:
        record = self._change(job_id, decide)
        return await self.taken(record.id, _TAKEN_SECONDS if self.store.adopters() else 0.0)

    async def taken(self, job_id: str, seconds: float = _TAKEN_SECONDS) -> Run | None:
        """The note of the process that runs a job, waiting for one to take it up; None when nobody did."""
        until = time.monotonic() + seconds
        while self.store.get(job_id).outcome is None:
            holder = self.store.holder(job_id)
            if holder is not None or time.monotonic() >= until:
                return holder
            await asyncio.sleep(_FOLLOW_SECONDS)
        return None

    async def retry(self, job_id: str, file: str | None = None) -> Run | None:
        """Want a failed job again, or one of its files that failed or was cancelled; returns as `resume()`.

        Raises RefusedError for what has not failed.
        """
        if file is not None:
            here = this_machine()
            return await self._again(job_id, lambda r: steering.retry_file(r, file, here))
        record = self.store.get(job_id)
        if record.outcome is None or record.outcome.state != "failed":
            state = self.get_progress(job_id).state
            raise RefusedError(f"job {job_id} is {state}: only a failed one can be retried")
        return await self.resume(job_id)

    async def cancel(self, job_id: str, file: str | None = None, *, keep: bool = False) -> JobProgress:
        """End a job, or one of its files, and take away what it had brought; raises RefusedError when done.

        With `keep` its partial files stay: `partials()` lists them, a later download goes on from them. The
        model does without a file that is cancelled, which must not be one of its weights' parts.
        """
        if file is not None:
            return await self._cancel_file(job_id, file, keep=keep)
        record = await self._want(job_id, lambda r: steering.cancelled(r, keep=keep))
        lock = self.store.job_lock(job_id, self.verb)
        while record.outcome is None:
            if lock.try_acquire():
                with lock:
                    record = self.store.get(job_id)
                    if record.outcome is None:
                        clean_up(record, self.store, self.models, self.facts, self.verb)
            else:
                await asyncio.sleep(_FOLLOW_SECONDS)
            record = self.store.get(job_id)
        return self.get_progress(job_id)

    async def _cancel_file(self, job_id: str, file: str, *, keep: bool) -> JobProgress:
        here = this_machine()
        record = self._change(job_id, lambda r: steering.drop_file(r, file, here))
        await self.store.wait_seq(record, _ANSWER_SECONDS)
        if not keep:
            part = part_paths(record, self.root)[steering.index_of(record, file)]
            await asyncio.to_thread(self._discard, part)
        told = f"{clean(file)} of {clean(record.model.id)} is cancelled"
        self.facts.tell("job.file", job_id, told)
        return await self.run(job_id) if record.is_complete else self.get_progress(job_id)

    def _discard(self, part: Path) -> None:
        """Remove an arriving file once its writer has let go of it."""
        with part_lock(self.root, part.name, self.verb).acquire(_LET_GO_SECONDS):
            discard(part)

    async def take(self, job_id: str) -> None:
        """End the process that holds a job, so that it can be adopted; raises RefusedError, BusyError."""
        holder = self.store.holder(self.store.get(job_id).id)
        if holder is None:
            return
        if holder.who == self._who:
            raise RefusedError(f"job {job_id} is run by this process itself")
        import signal  # noqa: PLC0415 - only this verb ends a process

        for number in (signal.SIGTERM, signal.SIGKILL):
            send(holder.who, number)
            if await asyncio.to_thread(wait_gone, holder.who, _ANSWER_SECONDS):
                return
        raise BusyError(f"pid {holder.who.pid} could not be ended")

    def move(self, job_id: str, where: Where) -> JobProgress:
        """Change a job's place in the queue; raises NotFoundError, RefusedError for one that has ended.

        The first few of the queue move bytes: one that is moved before a running one takes its turn.
        """
        with self.store.records_lock(self.verb):
            record = self.store.get(job_id)
            if record.outcome is not None:
                raise RefusedError(f"job {job_id} is {record.outcome.state} already")
            order = moved(self.store.list(), job_id, where)
            if order != record.order:
                self.store.put(msgspec.structs.replace(record, order=order, seq=record.seq + 1))
        return self.get_progress(job_id)

    def cap(self) -> int | None:
        """The bandwidth cap of all downloads of this root in bytes per second; None without one."""
        return settings.read(self.root).cap

    def set_cap(self, bytes_per_second: int | None) -> None:
        """Set or lift the cap of all downloads of this root; running ones follow within a second.

        Raises UsageError for less than 1,000 bytes per second.
        """
        if bytes_per_second is not None:
            rates.checked(bytes_per_second)
        settings.change(self.root, cap=bytes_per_second)
        told = f"{size(bytes_per_second)}/s" if bytes_per_second else "none"
        self.facts.tell("setting.cap", "cap", f"the cap of downloads is {told}")

    def partials(self) -> list[Partial]:
        """Files that have partly arrived, with the room that they take; blocking."""
        wanted = {
            path.name: record
            for record in self.store.list()
            if record.outcome is None
            for index, path in enumerate(part_paths(record, self.root))
            if index in record.wanted_files
        }
        return partials(self.root, wanted)

    def purge(self, names: list[str] | None = None) -> Purged:
        """Remove these partial files, or all that no unfinished download wants; blocking.

        Raises NotFoundError for a name that there is not, RefusedError for one that is wanted.
        """
        found = {each.name: each for each in self.partials()}
        for name in names or ():
            if name not in found:
                raise NotFoundError(f"there is no partial file {clean(name)!r}")
            if not found[name].purgeable:
                raise RefusedError(
                    f"job {found[name].job_id or 'of another process'} wants {clean(name)}",
                    hint="rbee cancel JOB --purge ends it",
                )
        chosen = [found[name] for name in names] if names is not None else list(found.values())
        return purge(self.root, chosen, self.verb)

    async def _want(self, job_id: str, decide: Callable[[Record], Record]) -> Record:
        record = self._change(job_id, decide)
        if record.outcome is not None and record.outcome.state != "cancelled":
            raise RefusedError(f"job {job_id} is {record.outcome.state} already")
        await self.store.wait_seq(record, _ANSWER_SECONDS)
        return self.store.get(job_id)

    def _change(self, job_id: str, decide: Callable[[Record], Record]) -> Record:
        return self.store.change(job_id, self.verb, decide)


def raise_for(progress: JobProgress) -> JobProgress:
    """The progress of a job that is done or goes on; raises its error, PausedError or CancelledJobError."""
    name = f"{clean(progress.model_id)} (job {progress.id})"
    if progress.state == "failed":
        raise error_of(progress.code, progress.error, progress.hint or f"rbee retry {progress.id}")
    if progress.state == "cancelled":
        raise CancelledJobError(f"{name} was cancelled")
    if progress.state in ("paused", "pausing"):
        reached = f"{size(progress.downloaded)} of {size(progress.total)}"
        raise PausedError(f"{name} is paused at {reached}", hint=f"rbee resume {progress.id} goes on there")
    return progress


def _allocated(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0
