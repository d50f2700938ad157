"""A job is one request to download: its record, its runner's note, and what both mean together. All pure."""

import zlib
from collections.abc import Iterable
from typing import Literal

import msgspec

from rbee_tui.engine.artifacts import Model
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.process import Identity, Machine

Wanted = Literal["running", "paused", "cancelled"]
State = Literal[
    "queued",
    "running",
    "pausing",
    "paused",
    "cancelled",
    "failed",
    "done",
    "interrupted",
    "not responding",
    "foreign",
]

_HELD = frozenset({"queued", "running", "pausing", "not responding"})
"""States in which a process has the job."""

JOBS_AT_ONCE = 3
FILES_AT_ONCE, FEW_FILES = 4, 2
"""Files of one job that are fetched at once; few large ones until the processor is known to have room."""
LARGE_BYTES = 16 << 20
"""A smaller file waits for answers more than for the processor."""
SILENT_SECONDS = 10.0
ADOPTIONS_WITHOUT_A_BYTE = 3
RUN_BYTES = 4096
_ACTIVE_FILES = 40
_FINISHED_CHARACTERS = 2400


class PlannedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a job: where the Hub has it, where it goes in the model's directory, what it must be."""

    path: str
    target: str
    size_bytes: int
    sha256: str | None = None
    blob_id: str | None = None

    def same_bytes(self, size_bytes: int, sha256: str | None, blob_id: str | None) -> bool:
        """Whether a file of this size and these hashes holds the bytes that this plan asks for."""
        if self.size_bytes != size_bytes:
            return False
        if self.sha256 and sha256:
            return self.sha256 == sha256
        return bool(self.blob_id) and self.blob_id == blob_id


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended."""

    state: Literal["done", "failed", "cancelled"]
    at: str
    error: str = ""
    hint: str = ""
    code: str = ""


class FailedFile(msgspec.Struct, frozen=True, kw_only=True):
    """Why one file of a job failed; `index` into the record's files."""

    index: int
    error: str
    hint: str = ""
    code: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted, in `state/jobs/<id>.json`; each change is a read-modify-write that raises `seq`."""

    id: str
    seq: int
    wanted: Wanted
    order: float
    created_at: str
    machine: Machine
    endpoint: str
    repo: str
    revision: str
    model: Model
    files: list[PlannedFile]
    adoptions: int = 0
    """Runs since the last new byte: a job that kills its runners must not do so for ever."""
    reached: int = 0
    """Bytes on disk when it was adopted last."""
    finished: list[int] = []
    """Indices of the files that were verified and published."""
    fresh_entry: bool = True
    """Whether the catalog's entry was made by this job, so that cancelling takes it away again."""
    outcome: Outcome | None = None
    gentle: bool = False
    """Whether it yields to others on the line."""
    held_files: list[int] = []
    """Indices of the files that are paused on their own."""
    dropped_files: list[int] = []
    """Indices of the files that were cancelled on their own: the model does without them."""
    failed_files: list[FailedFile] = []
    """The files that wait for a retry."""
    repairs: bool = False
    """Whether it mends a model that was whole: what is there of it stays when it is cancelled."""
    staged: bool = False
    """Whether its files gather beside a whole model's and take their place together once all are verified."""
    keep_partial: bool = False
    """Whether cancelling it leaves what has arrived, for a later download of the same files."""

    @property
    def wanted_files(self) -> list[int]:
        """Indices of the files that make the model."""
        return [index for index in range(len(self.files)) if index not in self.dropped_files]

    @property
    def is_complete(self) -> bool:
        """Whether every file that is wanted is there, verified."""
        return set(self.wanted_files) <= set(self.finished)

    @property
    def total(self) -> int:
        """Bytes of the files that are wanted."""
        return sum(self.files[index].size_bytes for index in self.wanted_files)

    def same_request(self, model_id: str, files: list[PlannedFile]) -> bool:
        """Whether this job brings exactly these files to this model."""
        return self.model.id == model_id and self.files == files


class ActiveFile(msgspec.Struct, frozen=True, array_like=True):
    """One file that is under way; `index` into the record's files, `downloaded` and `kept` in bytes."""

    index: int
    downloaded: int
    kept: int
    rate: float
    state: str
    waiting_for: str
    connections: int = 0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is, in `state/jobs/<id>.run`, written by the process that holds the job's lock alone."""

    who: Identity
    verb: str
    beat: float
    """Seconds since the epoch of the last sign of life."""
    seq: int
    """The record's `seq` that this runner has acted on."""
    state: State
    downloaded: int
    kept: int
    rate: float
    active: list[ActiveFile] = []
    finished: str = ""
    """A bit for each finished file of the record, hexadecimal, lowest index in the lowest bit."""
    connections: int = 0
    waiting_for: str = ""
    """Why nothing arrives just now; empty while something does."""


class FileProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one file is; sizes in bytes, rate in bytes per second."""

    path: str
    downloaded: int
    total: int
    kept: int
    rate: float
    state: str
    waiting_for: str = ""
    connections: int = 0
    seconds_left: float | None = None
    error: str = ""
    """Why it failed."""


class JobProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is; sizes in bytes, rate in bytes per second."""

    id: str
    repo: str
    model_id: str
    state: State
    downloaded: int
    total: int
    kept: int
    """Bytes that an earlier run had left on the disk."""
    rate: float
    seconds_left: float | None
    error: str = ""
    hint: str = ""
    code: str = ""
    holder: int | None = None
    """Pid of the process that runs it."""
    holder_verb: str = ""
    created_at: str = ""
    files: list[FileProgress]
    connections: int = 0
    waiting_for: str = ""
    """Why nothing arrives just now, as `rate limited by the Hub, trying again in 40 s`; else empty."""
    gentle: bool = False
    repairs: bool = False
    """Whether it mends a model that was whole."""
    keeps_partial: bool = False
    """Whether its partial files stay when it is cancelled."""

    @property
    def is_over(self) -> bool:
        """Whether it has come to an end, good or bad."""
        return self.state in ("done", "failed", "cancelled")


def encode_run(run: Run) -> bytes:
    """A run as one block of RUN_BYTES: CRC-32 in hex, a space, JSON, padded; a torn write does not decode."""
    body = msgspec.json.encode(run)
    if len(body) > RUN_BYTES - 9:
        body = msgspec.json.encode(msgspec.structs.replace(run, active=[], finished=""))
    return (b"%08x " % zlib.crc32(body) + body).ljust(RUN_BYTES)


def decode_run(block: bytes) -> Run | None:
    """The run in a block; None when it is torn, empty or not one."""
    crc, _, body = block.rstrip(b" \0").partition(b" ")
    try:
        return msgspec.json.decode(body, type=Run) if int(crc, 16) == zlib.crc32(body) else None
    except (ValueError, *UNDECODABLE):
        return None


def finished_bits(finished: Iterable[int]) -> str:
    """The hexadecimal bit set of these indices; empty when it would not fit into a run."""
    bits = 0
    for index in finished:
        bits |= 1 << index
    text = f"{bits:x}"
    return text if len(text) <= _FINISHED_CHARACTERS else ""


def active_files(files: Iterable[ActiveFile]) -> list[ActiveFile]:
    """As many of these as a run has room for."""
    return list(files)[:_ACTIVE_FILES]


def state_of(
    record: Record, run: Run | None, *, held: bool, here: Machine, now: float, taken: bool = False
) -> State:
    """What a job does; `now` in epoch seconds.

    `held`: the process that `run` names is alive; `taken`: somebody is there who will take the job up.
    """
    if record.outcome is not None:
        return record.outcome.state
    if run is not None and held:
        if now - run.beat > SILENT_SECONDS:
            return "not responding"
        return "pausing" if record.wanted != "running" else run.state
    if record.wanted == "running":
        return "foreign" if foreign(record.machine, here) else "queued" if taken else "interrupted"
    return record.wanted


def foreign(made_on: Machine, here: Machine) -> bool:
    """Whether another machine or container owns it; a reboot alone does not make it foreign."""
    if made_on.machine_id != here.machine_id:
        return True
    return made_on.boot_id == here.boot_id and made_on.pid_namespace != here.pid_namespace


def adoptable(record: Record, here: Machine) -> bool:
    """Whether a runner on this machine may take the job up by itself."""
    return record.outcome is None and record.wanted == "running" and not foreign(record.machine, here)


def admit(held: Iterable[Record], limit: int = JOBS_AT_ONCE) -> set[str]:
    """Which of the jobs that have a living runner may move bytes now: the first `limit` by order."""
    waiting = sorted(
        (record for record in held if record.outcome is None and record.wanted == "running"),
        key=lambda record: (record.order, record.id),
    )
    return {record.id for record in waiting[:limit]}


Where = Literal["up", "down", "top", "bottom"]


def moved(records: Iterable[Record], job_id: str, where: Where) -> float:
    """The `order` that brings an unfinished job one place up or down, to the top or to the bottom."""
    line = sorted((r for r in records if r.outcome is None), key=lambda r: (r.order, r.id))
    at = next(index for index, record in enumerate(line) if record.id == job_id)
    others = [record.order for record in line if record.id != job_id]
    to = {"up": max(0, at - 1), "down": min(len(others), at + 1), "top": 0, "bottom": len(others)}[where]
    if to == at:
        return line[at].order
    if to == 0:
        return others[0] - 1.0
    if to == len(others):
        return others[-1] + 1.0
    return (others[to - 1] + others[to]) / 2


def share(cap: int | None, own: int, others: int) -> int | None:
    """A process's part of the root's cap, in bytes per second: by its streams over all."""
    if cap is None:
        return None
    return max(1, cap * max(1, own) // (max(1, own) + others))


def progress_of(record: Record, run: Run | None, state: State) -> JobProgress:
    """What a person wants to know of a job, from its record and its runner's note."""
    files = [_file_progress(record, run, index, state) for index in range(len(record.files))]
    downloaded = record.total if state == "done" else max(run.downloaded if run else 0, 0)
    rate = run.rate if run is not None and state == "running" else 0.0
    held = run is not None and state in _HELD
    outcome = record.outcome
    return JobProgress(
        id=record.id,
        repo=record.repo,
        model_id=record.model.id,
        state=state,
        downloaded=downloaded,
        total=record.total,
        kept=run.kept if run else 0,
        rate=rate,
        seconds_left=(record.total - downloaded) / rate if rate > 0 else None,
        error=outcome.error if outcome else "",
        hint=outcome.hint if outcome else "",
        code=outcome.code if outcome else "",
        holder=run.who.pid if held and run else None,
        holder_verb=run.verb if held and run else "",
        created_at=record.created_at,
        files=files,
        connections=run.connections if run is not None and state == "running" else 0,
        waiting_for=run.waiting_for if run is not None and held else "",
        gentle=record.gentle,
        repairs=record.repairs,
        keeps_partial=record.keep_partial,
    )


def what_stays(job: JobProgress) -> str:
    """What a cancelled job leaves behind, as a clause."""
    if job.repairs:
        return f"what is good of it is kept: rbee models repair {job.model_id} goes on"
    return "its partial files are kept" if job.keeps_partial else "what it brought is gone"


def _file_progress(record: Record, run: Run | None, index: int, state: State) -> FileProgress:
    planned = record.files[index]
    now = next((file for file in run.active if file.index == index), None) if run else None
    failure = next((each for each in record.failed_files if each.index == index), None)
    word = _file_word(record, run, index, state)
    if now is None or word in ("done", "cancelled"):
        downloaded = planned.size_bytes if word == "done" else 0
        now = ActiveFile(index, downloaded, 0, 0.0, word, "")
    moves = word == now.state and state == "running"
    rate = now.rate if moves else 0.0
    return FileProgress(
        path=planned.path,
        downloaded=now.downloaded,
        total=planned.size_bytes,
        kept=now.kept,
        rate=rate,
        state=word,
        waiting_for=now.waiting_for if moves else "",
        connections=now.connections if moves else 0,
        seconds_left=max(0, planned.size_bytes - now.downloaded) / rate if rate > 0 else None,
        error=failure.error if failure and word == "failed" else "",
    )


def _file_word(record: Record, run: Run | None, index: int, state: State) -> str:
    """What one file does: as the job does where nobody runs that."""
    if index in record.dropped_files:
        return "cancelled"
    if state == "done" or index in record.finished or _has_bit(run, index):
        return "done"
    if any(each.index == index for each in record.failed_files):
        return "failed"
    if index in record.held_files:
        return "paused"
    if state not in _HELD:
        return "stopped" if state == "failed" else state
    now = next((file for file in run.active if file.index == index), None) if run else None
    return now.state if now and now.state != "waiting" else "queued"


def _has_bit(run: Run | None, index: int) -> bool:
    return bool(run and run.finished and int(run.finished, 16) >> index & 1)
