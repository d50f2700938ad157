"""The hive's jobs: each operation as a stream of events; downloads are the engine's jobs, under its ids."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

from rbee_tui.engine import traces
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import BusyError, RbeeError, RefusedError, UsageError
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.text import clean
from rbee_tui.hive import operations as ops
from rbee_tui.hive.handlers import HANDLERS, RESULT, Events
from rbee_tui.hive.limits import Limits
from rbee_tui.hive.streams import CANCELLED, DONE, Stream

FOLLOW_SECONDS = 0.1
_ASK_SECONDS = 0.05
_STOP_SECONDS = 30.0
_NO_WAY_BACK = (ops.WorkerProcessDelete, ops.ModelDelete, ops.WorkerRemove)


class Job:
    """One operation and its stream; a download has no task here, its engine runs it."""

    def __init__(self, job_id: str, asked: ops.Operation | None, limits: Limits) -> None:
        self.id = job_id
        self.asked = asked
        self.stream = Stream(limits)
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False


class Jobs:
    """Submits, follows and cancels; used on the engine's loop."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._jobs: dict[str, Job] = {}

    async def submit(self, asked: ops.Operation) -> Job:
        """Begin an operation; raises what it is refused with, and BusyError where too many are unfinished."""
        self._make_room()
        if isinstance(asked, ops.ModelDownload):
            return await self._download(asked)
        events = HANDLERS[type(asked)](self._engine, asked)
        kind, data = await anext(events)
        job = Job(self._engine.provisioner.store.new_id(), asked, self._limits)
        job.stream.put(kind, data)
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._drive(job, events), name=f"hive-{job.id}")
        return job

    async def find(self, job_id: str) -> Job:
        """A job by its id, also a download that others began; raises NotFoundError."""
        job = self._jobs.get(job_id)
        if job is not None and (job.asked is not None or not job.stream.ended):
            return job
        over = (await self._progress(job_id)).is_over
        now = self._jobs.get(job_id)
        if now is not None and (now is not job or over):
            return now
        job = self._jobs[job_id] = Job(job_id, None, self._limits)
        # Read again: what happened since the first look was told to nobody.
        self._tell(job, await self._progress(job_id))
        return job

    async def cancel(self, job_id: str) -> Job:
        """End a job, and take back what it was doing; raises RefusedError for one that has ended."""
        job = await self.find(job_id)
        if job.asked is None:
            await self._engine.provisioner.cancel(job_id)
            self._tell(job, await self._progress(job_id))
            return job
        if job.stream.ended or job.task is None:
            raise RefusedError(f"job {job_id} has ended already")
        if isinstance(job.asked, _NO_WAY_BACK):
            raise RefusedError(f"{ops.name_of(job.asked)} cannot be taken back")
        job.cancelled = True
        if isinstance(job.asked, ops.WorkerSpawn):
            try:
                await self._stop_spawning(job.task, job.asked.model)
            except TimeoutError:
                raise BusyError(f"the worker of {clean(job.asked.model)} does not end") from None
        else:
            job.task.cancel()
        await asyncio.gather(job.task, return_exceptions=True)
        job.stream.end(CANCELLED)  # a task that was cancelled before its first step could not
        return job

    async def follow(self) -> None:
        """Bring the engine's downloads to their streams, until cancelled."""
        async with aclosing(self._engine.changes(FOLLOW_SECONDS)) as changes:
            async for new in changes:
                for key, value in new.latest.items():
                    job = self._jobs.get(key.removeprefix("job:"))
                    if job is not None and job.asked is None:
                        self._tell(job, value)

    def close(self) -> None:
        """Let every reader go."""
        for job in self._jobs.values():
            job.stream.close()

    async def _download(self, asked: ops.ModelDownload) -> Job:
        repo, _, file = asked.model.partition(":")
        if not repo or asked.model.endswith(":"):
            raise UsageError(
                f"{clean(asked.model)!r} is not REPO[:FILE]", hint="as in Qwen/Qwen3-4B-GGUF:Q4_K_M"
            )
        job_id = await self._engine.provisioner.download_model(
            repo, file or None, id=asked.id, revision=asked.revision
        )
        return await self.find(job_id)

    async def _progress(self, job_id: str) -> JobProgress:
        return await asyncio.to_thread(self._engine.provisioner.get_progress, job_id)

    def _tell(self, job: Job, progress: JobProgress) -> None:
        """How far a download is, and its end."""
        job.stream.put("progress", progress)
        if progress.state == "done":
            with suppress(RbeeError):
                job.stream.put(RESULT, self._engine.models.get(progress.model_id))
            job.stream.end(DONE)
        elif progress.state == "failed":
            _fail(job.stream, progress.code, progress.error, progress.hint)
        elif progress.state == "cancelled":
            job.stream.end(CANCELLED)

    async def _drive(self, job: Job, events: Events) -> None:
        """Tell an operation's events up to its end, whatever that is."""
        try:
            async with aclosing(events):
                async for kind, data in events:
                    job.stream.put(kind, data)
            job.stream.end(DONE)
        except asyncio.CancelledError:
            if job.cancelled:
                job.stream.end(CANCELLED)
            raise
        except Exception as error:  # noqa: BLE001 - a job's fault is its own end, not the hive's
            if job.cancelled:
                job.stream.end(CANCELLED)
            elif isinstance(error, RbeeError):
                _fail(job.stream, error.code, str(error), error.hint, log=getattr(error, "log", ""))
            else:
                _fail(job.stream, "unexpected", traces.sentence(error), traces.keep(error))

    async def _stop_spawning(self, task: asyncio.Task[None], model_id: str) -> None:
        """Stop a worker that is being started; its process may still be about to appear."""
        async with asyncio.timeout(_STOP_SECONDS):
            while not task.done():
                with suppress(RbeeError):
                    await self._engine.processes.stop(model_id)
                await asyncio.wait([task], timeout=_ASK_SECONDS)

    def _make_room(self) -> None:
        """Forget the oldest ended jobs beyond the limits; raises BusyError where the unfinished fill them."""
        ended = [job for job in self._jobs.values() if job.stream.ended]
        kept = sum(job.stream.kept_bytes for job in ended)
        for job in ended[:-1]:
            if len(self._jobs) < self._limits.jobs and kept <= self._limits.kept_bytes:
                return
            kept -= job.stream.kept_bytes
            del self._jobs[job.id]
        if len(self._jobs) >= self._limits.jobs:
            raise BusyError(f"{len(self._jobs)} jobs are unfinished", hint="cancel some, or wait for them")


def _fail(stream: Stream, code: str, message: str, hint: str, log: Any = "") -> None:
    """The two last events of a job that failed: what was wrong as JSON, and the word that ends it."""
    told = {"error": code or "failed", "message": clean(message), "hint": clean(hint)}
    stream.put("failed", told | ({"log": log} if log else {}))
    stream.end(f"[ERROR] {clean(message)}")
