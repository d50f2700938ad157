"""Records of worker processes in `state/running`: what is wanted, which process it is, how it ended."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rbee_tui.engine import durable, process
from rbee_tui.engine.addresses import LOOPBACK
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.ids import directory
from rbee_tui.engine.paths import Root
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.process import Identity, Machine, this_machine

COOKIE = "RBEE_COOKIE"
_PRIVATE = 0o600


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker does now, as its runtime tells."""

    tokens_per_second: float | None
    """Written since the look before; None at a first look while it answers."""
    mean_tokens_per_second: float | None
    """Over its finished answers; None before the first."""
    requests: int
    """Under way."""
    waiting: int
    """For a slot."""
    slots: int
    busy_slots: int
    tokens_written: int
    """Since it was started."""
    tokens_read: int


class RunningWorker(msgspec.Struct, frozen=True, kw_only=True):
    """One running worker, as a person or a script wants to know it."""

    id: str
    model: str
    worker: str
    variant: str
    pid: int
    """The keeper's, which leads the process group."""
    port: int
    """0 while it has none yet."""
    url: str
    """Where clients find it; empty while it has no port."""
    api_key: str
    state: str
    """`loading`, `ready`, `restarting` (it crashed), `unhealthy` (it does not answer) or `stopping`."""
    context: int
    started_at: str
    ready_at: str | None
    reason: str
    """Why this worker was taken."""
    devices: tuple[str, ...]
    log: str
    host: str = LOOPBACK
    """The address that it listens on."""
    needs_key: bool = True
    """False where it was started without: whoever is on this machine may ask it."""
    device: str = ""
    """Where it lies: `GPU0`, `all GPUs`, `CPU`."""
    gpu_layers: int = 0
    """Layers on the GPU, of `of_layers`."""
    of_layers: int = 0
    slots: int = 1
    """Requests that it answers at once."""
    threads: int = 0
    embeddings: bool = False
    projector: str = ""
    """The file that lets it see or hear; empty where it serves text only."""
    pinned: bool = False
    """It stays, however long nobody asks."""
    idle_seconds: int = 0
    """It is unloaded when nobody asked it anything for so long; 0 never."""
    ends_with_screen: bool = False
    restarts: int = 0
    """How often it was started again after a crash."""
    crash: str = ""
    """How it crashed last, since it was started; empty where it did not."""
    load_share: float | None = None
    """What it has read of its model while it loads, 0 to 1: then it sets itself up; None: nobody knows."""
    load: Load | None = None
    """What it does now; None where it is not ready, or its runtime does not tell."""
    gpu_memory_bytes: int | None = None
    """What its processes have on GPUs; None where they have nothing, or the driver does not tell."""
    estimate_bytes: int
    memory_bytes: int | None
    """Memory that only the process and its children have (USS); None when it cannot be read."""

    @property
    def measured_bytes(self) -> int | None:
        """What it takes, to stand beside the estimate: main memory and GPUs."""
        if self.memory_bytes is None:
            return None
        return self.memory_bytes + (self.gpu_memory_bytes or 0)


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process's record, in `state/running/<directory>.json`."""

    model: str
    worker: str
    variant: str
    runtime: str
    machine: Machine
    who: Identity | None = None
    """The keeper, which leads the process group; None between the decision and the start."""
    cookie: str
    """In the environment of every process of the group; a record without `who` is found by it."""
    model_path: str
    key_file: str
    """Empty where it needs no key."""
    host: str = LOOPBACK
    """The address that it listens on."""
    port: int = 0
    """0 until the first start of a model has taken one."""
    context: int
    chat: bool
    """The model has a chat template."""
    reason: str
    """Why this worker was taken."""
    devices: tuple[str, ...] = ()
    device: str = ""
    """`GPU0`, `all GPUs`, `CPU`."""
    gpu_layers: int = 0
    of_layers: int = 0
    slots: int = 1
    threads: int = 0
    embeddings: bool = False
    projector: str = ""
    """The name of the file that lets it see or hear."""
    weights: int = 0
    """Bytes of the model's files that are loaded, less what a projector has; 0 where nobody counted them."""
    estimate: int
    """Bytes of memory that it was expected to take."""
    on_host: int = 0
    """Of them, those in main memory of one that runs on a GPU."""
    correction: int = 0
    """Of them, what earlier workers of its architecture took beyond their estimates."""
    architecture: str = ""
    """Under which it is learnt what such models take."""
    log: str
    log_from: int = 0
    """Where this start begins in the log, in bytes."""
    started_at: str
    ready_at: str | None = None
    wanted: str = "running"
    restart: bool = True
    """The keeper starts it again when it crashes, after it was ready."""
    idle_seconds: int = 0
    """The keeper ends it when nobody asked it anything for so long; 0 never."""
    pinned: bool = False
    """It stays, however long nobody asks."""
    ends_with: Identity | None = None
    """The keeper ends it once this process, a screen, is gone."""


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a runtime ended, as its keeper wrote it down."""

    cookie: str = ""
    code: int | None = None
    signal: int | None = None
    error: str = ""
    why: str = ""
    """Why its keeper ended it: `idle`, or `screen`; empty where it ended by itself."""
    oom: bool = False
    """The kernel counted a process that it ended for memory when this one was killed."""
    restarts: int = 0
    """How often it had been started again since it was steady."""
    at: float = 0.0
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0


class Records:
    """The records, keys, ports, exit notes and death certificates of one root's worker processes."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def path(self, model_id: str, kind: str) -> Path:
        """`state/running/<directory>.<kind>`; kinds are json, key, port, exit and death."""
        return self._root.running / f"{directory(model_id)}.{kind}"

    def log_path(self, model_id: str) -> Path:
        """Where the log of a model's worker is."""
        return self._root.logs / f"{directory(model_id)}.log"

    def start_lock(self, model_id: str) -> Lock:
        """Held by whoever starts this model's worker, until it is ready."""
        return Lock(self._root.locks / f"start-{directory(model_id)[:200]}.lock", "start")

    def all(self) -> Iterator[Running]:
        """Every record that can be read, by its file's name."""
        for path in sorted(self._root.running.glob("[!.]*.json")):
            record = _decode(path)
            if record is not None and self.path(record.model, "json") == path:
                yield record

    def read(self, model_id: str) -> Running | None:
        """The record of a model's worker."""
        return _decode(self.path(model_id, "json"))

    def write(self, record: Running) -> None:
        """Write a record durably."""
        durable.write(self.path(record.model, "json"), msgspec.json.encode(record), mode=_PRIVATE)

    def forget(self, record: Running) -> None:
        """Remove this record; one of a later start stays."""
        again = self.read(record.model)
        if again is not None and again.cookie == record.cookie:
            self.path(record.model, "json").unlink(missing_ok=True)

    def sweep(self, model_id: str) -> None:
        """Remove what killed writers left beside a model's files; the caller holds its start lock."""
        for kind in ("json", "key", "port", "exit", "death"):
            path = self.path(model_id, kind)
            durable.sweep(path)
            path.with_name(f"{path.name}.tmp").unlink(missing_ok=True)

    def ending(self, record: Running) -> Exit | None:
        """How this start ended; None when its keeper could not write it down."""
        found = self.last_ending(record.model)
        return found if found and found.cookie == record.cookie else None

    def last_ending(self, model_id: str) -> Exit | None:
        """How a model's last worker ended by itself; None where it was stopped, or nobody wrote it down."""
        try:
            return msgspec.json.decode(self.path(model_id, "exit").read_bytes(), type=Exit)
        except (OSError, *UNDECODABLE):
            return None

    def forget_ending(self, model_id: str) -> None:
        """Remove the note of how a worker ended."""
        self.path(model_id, "exit").unlink(missing_ok=True)

    def key(self, record: Running) -> str:
        """The API key that a worker needs; empty where it needs none."""
        return self._kept_key(record.model) if record.key_file else ""

    def _kept_key(self, model_id: str) -> str:
        try:
            return self.path(model_id, "key").read_text().strip()
        except OSError:
            return ""

    def make_key(self, model_id: str) -> Path:
        """The file of the model's API key, of mode 600; made at its first start."""
        path = self.path(model_id, "key")
        if not self._kept_key(model_id):
            durable.write(path, f"rbee-{secrets.token_urlsafe(24)}".encode(), mode=_PRIVATE)
        return path

    def kept_port(self, model_id: str) -> int:
        """The port that the model had before; 0 when it had none."""
        try:
            return int(self.path(model_id, "port").read_text())
        except (OSError, ValueError):
            return 0

    def keep_port(self, model_id: str, port: int) -> None:
        """Keep a port for the model's next starts."""
        if port != self.kept_port(model_id):
            durable.write(self.path(model_id, "port"), str(port).encode(), mode=_PRIVATE)


def living(record: Running) -> Running | None:
    """The record with its process where that lives and is ours; None otherwise.

    Pid, start time and boot were fooled by pids that were used again: the cookie decides.
    """
    if record.machine != this_machine():
        return None
    who = record.who or leader(record.cookie)
    if who is None or not process.alive(who) or not is_ours(who, record.cookie):
        return None
    return msgspec.structs.replace(record, who=who)


def is_ours(who: Identity, cookie: str) -> bool:
    """Whether a process was started with this cookie."""
    return bool(cookie) and process.environment_value(who.pid, COOKIE) == cookie


def leader(cookie: str) -> Identity | None:
    """The process with this cookie that leads its session: a keeper whose record was not finished."""
    for pid in own_pids():
        try:
            leads = os.getsid(pid) == pid
        except OSError:
            continue
        if leads and process.environment_value(pid, COOKIE) == cookie:
            return process.identify(pid)
    return None


def own_pids() -> list[int]:
    """The pids of this user's processes."""
    import psutil  # noqa: PLC0415 - only after a death, or while something is stopped

    user = os.geteuid()
    found: list[int] = []
    for pid in psutil.pids():
        try:
            if psutil.Process(pid).uids().effective == user:
                found.append(pid)
        except psutil.Error:
            continue
    return found


def _decode(path: Path) -> Running | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except (OSError, *UNDECODABLE):
        return None
