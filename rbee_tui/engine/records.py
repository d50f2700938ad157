"""Job records on disk: what many processes agree on, and the locks under which they change it."""

import os
import secrets
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.durable import Lock, storage
from rbee_tui.engine.errors import BusyError, NotFoundError, UsageError
from rbee_tui.engine.jobs import (
    RUN_BYTES,
    JobProgress,
    Record,
    Run,
    adoptable,
    decode_run,
    encode_run,
    progress_of,
    state_of,
)
from rbee_tui.engine.paths import Root
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.process import alive, this_machine
from rbee_tui.engine.text import clean

KEEP_ENDED = 100
_LOCK_WAIT_SECONDS = 10.0
_SETTLED_NS = 100_000_000
_ID_CHARACTERS = frozenset("0123456789abcdef")


class JobStore:
    """The job records of one root."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._jobs = root.jobs
        self._known: dict[str, tuple[tuple[int, int], Record]] = {}

    def records_lock(self, verb: str) -> Lock:
        """The short lock under which records change; held for milliseconds."""
        return Lock(self.root.locks / "records.lock", verb).acquire(_LOCK_WAIT_SECONDS)

    def job_lock(self, job_id: str, verb: str) -> Lock:
        """The lock that a job's runner holds from its first byte to its last."""
        return Lock(self.root.locks / f"job-{job_id}.lock", verb)

    def new_id(self) -> str:
        """A job id that no record has: eight hexadecimal digits."""
        while True:
            job_id = secrets.token_hex(4)
            if not self._path(job_id).exists():
                return job_id

    def list(self) -> list[Record]:
        """All records by order; one that cannot be read is left out (`rbee doctor` names it)."""
        with storage("list", self.root.jobs):
            names = [path.name for path in self.root.jobs.iterdir()]
        ids = [name[:-5] for name in names if name.endswith(".json") and not name.startswith(".")]
        found = {job_id: seen for job_id in ids if (seen := self._look(job_id))}
        # A stamp tells a replaced record only where the clock of the file system has gone on since.
        settled = time.time_ns() - _SETTLED_NS
        self._known = {job_id: seen for job_id, seen in found.items() if seen[0][1] < settled}
        return sorted((record for _, record in found.values()), key=lambda r: (r.order, r.id))

    def _look(self, job_id: str) -> tuple[tuple[int, int], Record] | None:
        """A record with its stamp, read only where that is another than before."""
        stamp = self.stamp(job_id)
        known = self._known.get(job_id)
        if known is not None and known[0] == stamp:
            return known
        record = self.peek(job_id)
        return None if record is None else (stamp, record)

    def peek(self, job_id: str) -> Record | None:
        """The record with exactly this id; None when there is none that can be read."""
        try:
            return msgspec.json.decode(self._path(job_id).read_bytes(), type=Record)
        except (OSError, *UNDECODABLE):
            return None

    def get(self, job_id: str) -> Record:
        """The record with this id; raises NotFoundError."""
        record = self.peek(job_id) if set(job_id) <= _ID_CHARACTERS else None
        if record is None:
            raise NotFoundError(f"there is no job {clean(job_id)!r}", hint="rbee jobs lists them")
        return record

    def resolve(self, prefix: str) -> str:
        """The id of the one job that starts with `prefix`; raises NotFoundError or UsageError."""
        matches = [record.id for record in self.list() if prefix and record.id.startswith(prefix)]
        if len(matches) > 1:
            raise UsageError(f"{clean(prefix)!r} names {len(matches)} jobs: {', '.join(matches[:5])}")
        return matches[0] if matches else self.get(prefix).id

    def put(self, record: Record) -> None:
        """Write a record durably; the caller holds `records_lock`."""
        durable.write(self._path(record.id), msgspec.json.encode(record), mode=0o600)

    def change(self, job_id: str, verb: str, decide: Callable[[Record], Record]) -> Record:
        """Read, decide and write one record under the lock, raising its `seq` when something changed."""
        with self.records_lock(verb):
            before = self.get(job_id)
            after = decide(before)
            if after == before:
                return before
            after = msgspec.structs.replace(after, seq=before.seq + 1)
            self.put(after)
            return after

    def prune(self) -> None:
        """Forget the oldest ended jobs beyond KEEP_ENDED; the caller holds `records_lock`."""
        ended = [record for record in self.list() if record.outcome is not None]
        ended.sort(key=lambda record: record.outcome.at if record.outcome else "")
        for record in ended[:-KEEP_ENDED]:
            self._path(record.id).unlink(missing_ok=True)
            self._run_path(record.id).unlink(missing_ok=True)
        # Whoever writes a record holds the lock: what looks like a write under way was left by a killed one.
        for left in self.root.jobs.glob(".*.tmp"):
            left.unlink(missing_ok=True)

    def read_run(self, job_id: str) -> Run | None:
        """The runner's note; None when there is none. A write that is under way is read once more."""
        for _ in range(3):
            try:
                with self._run_path(job_id).open("rb") as file:
                    block = file.read(RUN_BYTES)
            except OSError:
                return None
            run = decode_run(block)
            if run is not None:
                return run
        return None

    def write_run(self, job_id: str, run: Run) -> None:
        """Write the runner's note in place and unsynced; only the holder of the job's lock may."""
        path = self._run_path(job_id)
        with storage("write", path):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(handle, encode_run(run), 0)
            finally:
                os.close(handle)

    def holder(self, job_id: str) -> Run | None:
        """The note of the living process that runs this job; None when nobody does."""
        run = self.read_run(job_id)
        if run is None or run.state not in ("queued", "running", "pausing") or not alive(run.who):
            return None
        return run

    def progress(self, record: Record) -> JobProgress:
        """How far a job is, whoever runs it."""
        run = self.read_run(record.id)
        held = self.holder(record.id) is not None
        here = this_machine()
        taken = not held and adoptable(record, here) and self.adopters()
        state = state_of(record, run, held=held, here=here, now=time.time(), taken=taken)
        found = progress_of(record, run, state)
        return found if held else msgspec.structs.replace(found, holder=None, holder_verb="")

    def adopters(self) -> bool:
        """Whether a screen or a background runner is there that takes jobs up by itself."""
        return not Lock(self.root.locks / "adopters.lock", "look", shared=True).probe()

    def stamp(self, job_id: str) -> tuple[int, int]:
        """Changes whenever the record is replaced: its inode and time of change in ns; zeros when gone."""
        try:
            found = self._path(job_id).stat()
        except OSError:
            return (0, 0)
        return (found.st_ino, found.st_mtime_ns)

    async def wait_seq(self, record: Record, seconds: float) -> None:
        """Wait until the job's runner has acted on this record or let go; raises BusyError."""
        import asyncio  # noqa: PLC0415 - listings do not pay for it

        until = time.monotonic() + seconds
        while (run := self.holder(record.id)) is not None and run.seq < record.seq:
            if time.monotonic() > until:
                raise BusyError(
                    f"pid {run.who.pid} ({clean(run.verb)}) runs job {record.id} and does not answer",
                    hint=f"rbee jobs take {record.id} ends that process and takes the job over",
                )
            await asyncio.sleep(0.05)

    def _path(self, job_id: str) -> Path:
        return _file(self._jobs, f"{job_id}.json")

    def _run_path(self, job_id: str) -> Path:
        return _file(self._jobs, f"{job_id}.run")


@lru_cache(4 * KEEP_ENDED)
def _file(directory: Path, name: str) -> Path:
    """The same path for the same name: while downloads run, a thousand a second are asked for."""
    return directory / name
