"""ModelProvisioner: downloads as jobs that any process on the root may run, follow and steer."""

import asyncio
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from rbee_tui.engine import choices, errors, planning
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.errors import (
    BusyError,
    CancelledJobError,
    NotFoundError,
    PausedError,
    RbeeError,
    RefusedError,
)
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.jobrunner import JobRunner, clean_up, conclude, part_path
from rbee_tui.engine.jobs import (
    ADOPTIONS_WITHOUT_A_BYTE,
    FILES_AT_ONCE,
    JOBS_AT_ONCE,
    JobProgress,
    Outcome,
    Record,
    Run,
    adoptable,
    foreign,
    progress_of,
    state_of,
)
from rbee_tui.engine.paths import Root
from rbee_tui.engine.planning import Plan
from rbee_tui.engine.process import identify, send, this_machine, wait_gone
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.text import clean, now, size

_ANSWER_SECONDS = 3.0
_FOLLOW_SECONDS = 0.2
_TAKEN_SECONDS = 3.0
_ERRORS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RbeeError)
}


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
        self.hub = hub or Hub()
        self.models = models or ModelCatalog(self.root)
        self.facts = facts or Facts(self.root.facts)
        self.store = JobStore(self.root)
        self.verb = verb
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._runners: dict[str, JobRunner] = {}
        self._leaving = False
        self._threads = ThreadPoolExecutor(JOBS_AT_ONCE * FILES_AT_ONCE + FILES_AT_ONCE, "rbee-file")
        who = identify(os.getpid())
        if who is None:  # pragma: no cover - a process that reads this is alive
            raise RefusedError("this process cannot see itself in /proc")
        self._who = who

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
        revision: str = "main",
    ) -> str:
        """Start, join or take up the download of one choice of a repository; returns the job's id.

        `file` is a path, a file's name or a quantisation; None takes the only choice, else Q4_K_M. Raises
        what the Hub answers, UsageError with the choices, NoSpaceError, RefusedError for an id that is taken.
        """
        chosen = await asyncio.to_thread(self.plan, repo, file, id=id, revision=revision)
        record, lock = await asyncio.to_thread(self._submit, chosen, id is not None)
        if record.outcome is None:
            self._start(record.id, lock)
        return record.id

    def plan(
        self,
        repo: str,
        file: str | None = None,
        *,
        id: str | None = None,
        revision: str = "main",
    ) -> Plan:
        """What `download_model` would bring; blocking, writes nothing."""
        repository = self.hub.repository(repo, revision)
        choice = choices.pick(repository.id, repository.files, file)
        files = self.hub.complete(repository, choice.files)
        choice = msgspec.structs.replace(choice, files=files)
        return planning.plan(self.hub.endpoint, repository, choice, id)

    def _submit(self, chosen: Plan, named: bool) -> tuple[Record, Lock | None]:  # noqa: FBT001 - one caller
        with self.store.records_lock(self.verb):
            records = self.store.list()
            chosen = planning.settle_id(chosen, self._find, records, named=named)
            known = [r for r in records if r.same_request(chosen.model.id, chosen.files)]
            unfinished = next((r for r in known if _may_go_on(r)), None)
            if unfinished is not None:
                return self._take_up(unfinished), None
            entry = self._find(chosen.model.id)
            here = planning.already_here(entry, chosen.files)
            if not here:
                planning.require_room(chosen.total, self._free(), self._promised(records))
            record = self._new_record(chosen, records, fresh=entry is None, here=here)
            # Locked before it is written, so that no adopter comes between.
            lock = self.store.job_lock(record.id, self.verb).acquire() if not here else None
            self.store.put(record)
            self.store.prune()
            self.facts.rotate()
        if not here:
            text = f"{clean(record.model.id)}: {size(record.total)} to download"
            self.facts.tell("job.queued", record.id, text)
        return record, lock

    def _new_record(self, chosen: Plan, records: list[Record], *, fresh: bool, here: bool) -> Record:
        entry = None if fresh else self._find(chosen.model.id)
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
            fresh_entry=fresh,
            finished=list(range(len(chosen.files))) if here else [],
            outcome=Outcome(state="done", at=now()) if here else None,
        )

    def _take_up(self, record: Record) -> Record:
        """The record, wanted again; the caller holds `records_lock`."""
        again = _wanted_again(record)
        if again != record:
            again = msgspec.structs.replace(again, seq=record.seq + 1)
            self.store.put(again)
        return again

    def _find(self, model_id: str) -> "planning.Entry[planning.Model] | None":
        try:
            return self.models.get(model_id)
        except NotFoundError:
            return None

    def _free(self) -> int:
        return shutil.disk_usage(self.root.part_directory()).free

    def _promised(self, records: list[Record]) -> int:
        """Bytes that unfinished jobs will still take: their size less what is allocated."""
        promised = 0
        for record in records:
            if record.outcome is None and record.wanted == "running":
                for index, file in enumerate(record.files):
                    if index not in record.finished:
                        promised += max(0, file.size_bytes - _allocated(part_path(record, file, self.root)))
        return promised

    def promised(self) -> int:
        """Bytes of disk that unfinished downloads will still take."""
        return self._promised(self.store.list())

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
        )
        self._runners[record.id] = runner
        try:
            await runner.run()
        finally:
            del self._runners[record.id]

    # Steering

    async def pause(self, job_id: str) -> JobProgress:
        """Stop a job where it is; on return its runner has let go. Raises BusyError, RefusedError."""
        await self._want(job_id, lambda r: msgspec.structs.replace(r, wanted="paused"))
        return self.get_progress(job_id)

    async def resume(self, job_id: str) -> Run | None:
        """Want a job again; returns the note of the runner that took it up, None when nobody did."""
        record = self._change(job_id, _wanted_again)
        for _ in range(int(_TAKEN_SECONDS / _FOLLOW_SECONDS) if self.adopters() else 1):
            if (holder := self.store.holder(record.id)) is not None:
                return holder
            await asyncio.sleep(_FOLLOW_SECONDS)
        return None

    async def retry(self, job_id: str) -> Run | None:
        """Want a failed job again; raises RefusedError for one that has not failed."""
        record = self.store.get(job_id)
        if record.outcome is None or record.outcome.state != "failed":
            state = self.get_progress(job_id).state
            raise RefusedError(f"job {job_id} is {state}: only a failed one can be retried")
        return await self.resume(job_id)

    async def cancel(self, job_id: str) -> JobProgress:
        """End a job and take away what it had brought; raises RefusedError for one that is done."""
        record = await self._want(job_id, lambda r: msgspec.structs.replace(r, wanted="cancelled"))
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

    def adopters(self) -> bool:
        """Whether a screen or a background runner is there that takes jobs up by itself."""
        return not Lock(self.root.locks / "adopters.lock", self.verb).probe()

    async def _want(self, job_id: str, decide: Callable[[Record], Record]) -> Record:
        record = self._change(job_id, lambda r: r if r.outcome else decide(r))
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
        kind = _ERRORS.get(progress.code, RbeeError)
        raise kind(progress.error, hint=progress.hint or f"rbee retry {progress.id}")
    if progress.state == "cancelled":
        raise CancelledJobError(f"{name} was cancelled")
    if progress.state in ("paused", "pausing"):
        reached = f"{size(progress.downloaded)} of {size(progress.total)}"
        raise PausedError(f"{name} is paused at {reached}", hint=f"rbee resume {progress.id} goes on there")
    return progress


def _wanted_again(record: Record) -> Record:
    """The record as a person wants it who asks for it now; raises RefusedError when it has ended for good."""
    if record.outcome is not None and record.outcome.state != "failed":
        raise RefusedError(f"job {record.id} is {record.outcome.state} already")
    return msgspec.structs.replace(
        record, wanted="running", outcome=None, adoptions=0, machine=this_machine()
    )


def _may_go_on(record: Record) -> bool:
    """Whether asking for the same files again continues this job rather than starting another."""
    if record.outcome is not None:
        return record.outcome.state == "failed"
    return record.wanted != "cancelled"


def _allocated(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0
