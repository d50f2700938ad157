"""Worker processes: started, found again by whoever looks, asked, stopped. Their records are the truth."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from rbee_tui.engine import durable, gguf, hardware, http, process
from rbee_tui.engine.artifacts import Entry, Health, Model, Worker, resolve_binary
from rbee_tui.engine.catalog import ModelCatalog, WorkerCatalog
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.errors import (
    BusyError,
    NotFoundError,
    RefusedError,
    WorkerError,
)
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.fit import estimate, largest_context
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.ids import directory
from rbee_tui.engine.paths import Root
from rbee_tui.engine.plain import as_dict, as_list
from rbee_tui.engine.process import Identity, this_machine
from rbee_tui.engine.text import clean, memory, now
from rbee_tui.engine.variants import choose
from rbee_tui.engine.workers import profiles
from rbee_tui.engine.workers.install import ask, base_python
from rbee_tui.engine.workers.profiles import Launch

COOKIE = "RBEE_COOKIE"
DEFAULT_CONTEXT = 8192
LEAST_CONTEXT = 512
_HOST = "127.0.0.1"
_STOP_SECONDS = 10.0
_LOAD_SECONDS = 120.0
_FOLLOW_SECONDS = 600.0
_POLL_SECONDS = 0.05
_TAIL_BYTES = 4000
_TAIL_LINES = 15
_KEEPER = Path(__file__).with_name("keeper.py")


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process's record, in `state/running/<directory>.json`."""

    model: str
    worker: str
    variant: str
    who: Identity | None
    """None between the decision to start and the start itself; the cookie finds it then."""
    cookie: str
    port: int
    context: int
    chat: bool
    reason: str
    log: str
    started_at: str
    ready_at: str | None = None
    wanted: str = "running"


class RunningWorker(msgspec.Struct, frozen=True, kw_only=True):
    """One running worker, as a person or a script wants to know it."""

    id: str
    model: str
    worker: str
    variant: str
    pid: int
    port: int
    url: str
    api_key: str
    state: str
    """`loading`, `ready` or `stopping`."""
    context: int
    started_at: str
    ready_at: str | None
    reason: str
    log: str
    memory_bytes: int | None
    """Unique memory of the process and its children (USS); None when it cannot be read."""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer."""

    text: str


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a runtime ended, as its keeper wrote it down."""

    code: int | None
    signal: int | None
    at: float

    @property
    def sentence(self) -> str:
        """In words."""
        if self.signal is not None:
            try:
                name = signal.Signals(self.signal).name
            except ValueError:
                name = str(self.signal)
            return f"it was ended by {name}"
        return f"it ended with code {self.code}"


class Supervisor:
    """The worker processes of one root, whoever started them."""

    def __init__(self, root: Root, models: ModelCatalog, workers: WorkerCatalog, facts: Facts) -> None:
        self._root = root
        self._models = models
        self._workers = workers
        self._facts = facts
        self._children: list[subprocess.Popen[bytes]] = []

    # Looking

    def list(self) -> "list[RunningWorker]":
        """The workers that live, by model; what dead ones left is cleaned up."""
        self._reap()
        found = (self._living(path) for path in sorted(self._root.running.glob("*.json")))
        return sorted((self._describe(each) for each in found if each), key=lambda each: each.model)

    def get(self, model_id: str) -> RunningWorker:
        """The living worker of a model; raises NotFoundError."""
        self._reap()
        found = self._living(self._path(model_id, "json"))
        if found is None:
            name = clean(model_id)
            raise NotFoundError(f"no worker runs on {name}", hint=f"rbee start {name} starts one")
        return self._describe(found)

    def log_path(self, model_id: str) -> Path:
        """Where the log of a model's worker is."""
        return self._root.logs / f"{directory(model_id)}.log"

    def _path(self, model_id: str, kind: str) -> Path:
        return self._root.running / f"{directory(model_id)}.{kind}"

    def _living(self, path: Path) -> Running | None:
        record = _read(path)
        if record is None:
            return None
        who = record.who or _find(record.cookie)
        if who is not None and who.machine != this_machine():
            return None
        if who is not None and process.alive(who) and _cookie_of(who) == record.cookie:
            return msgspec.structs.replace(record, who=who)
        self._forget(record)
        return None

    def _forget(self, record: Running) -> None:
        """Remove what a dead worker left; one that is just being started is left alone."""
        lock = self._start_lock(record.model)
        if lock.try_acquire():
            with lock:
                again = _read(self._path(record.model, "json"))
                if again is not None and again.cookie == record.cookie:
                    self._path(record.model, "json").unlink(missing_ok=True)

    def _describe(self, record: Running) -> RunningWorker:
        pid = record.who.pid if record.who else 0
        state = "stopping" if record.wanted == "stopped" else "ready" if record.ready_at else "loading"
        return RunningWorker(
            id=record.model,
            model=record.model,
            worker=record.worker,
            variant=record.variant,
            pid=pid,
            port=record.port,
            url=f"http://{_HOST}:{record.port}",
            api_key=self._key(record.model),
            state=state,
            context=record.context,
            started_at=record.started_at,
            ready_at=record.ready_at,
            reason=record.reason,
            log=record.log,
            memory_bytes=_memory(pid),
        )

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]

    # Starting

    async def start(
        self,
        model_id: str,
        *,
        worker_id: str | None = None,
        context: int | None = None,
        port: int | None = None,
    ) -> RunningWorker:
        """Start a worker on a model and return when it is ready; one that loads or runs is followed.

        Raises RefusedError for a model that is not whole or does not fit, BusyError for a port that is taken,
        WorkerError with the log's tail when it does not come up.
        """
        lock = self._start_lock(model_id)
        until = time.monotonic() + _FOLLOW_SECONDS
        while not lock.try_acquire():
            if time.monotonic() > until:
                raise BusyError(lock.busy_text())
            await asyncio.sleep(_POLL_SECONDS)
        with lock:
            self._reap()
            record = _read(self._path(model_id, "json"))
            who = (record.who or _find(record.cookie)) if record else None
            if record and who and process.alive(who) and _cookie_of(who) == record.cookie:
                record = msgspec.structs.replace(record, who=who)
            else:
                with self._models.lock(model_id, "start", shared=True).acquire(_STOP_SECONDS):
                    record = await asyncio.to_thread(self._launch, model_id, worker_id, context, port)
                    record = await self._until_ready(record)
            if not record.ready_at:
                record = await self._until_ready(record)
        return self._describe(record)

    def _start_lock(self, model_id: str) -> Lock:
        return Lock(self._root.locks / f"start-{directory(model_id)[:200]}.lock", "start")

    def _launch(self, model_id: str, worker_id: str | None, context: int | None, port: int | None) -> Running:
        entry = self._whole(model_id)
        weights = self._models.weights(entry)
        header = gguf.read(weights)
        worker, reason = self._worker(worker_id, header)
        tokens = self._context(entry, header, context)
        chosen = self._port(model_id, port)
        self._key(model_id)
        record = Running(
            model=model_id,
            worker=worker.id,
            variant=worker.worker_type,
            who=None,
            cookie=secrets.token_hex(16),
            port=chosen,
            context=tokens,
            chat=header.chat_template,
            reason=reason,
            log=str(self.log_path(model_id)),
            started_at=now(),
        )
        launch = Launch(
            model=weights,
            alias=model_id,
            host=_HOST,
            port=chosen,
            context=tokens,
            key_file=self._path(model_id, "key"),
        )
        home = Path(self._workers.get(worker.id).directory)
        words = profiles.command(worker, resolve_binary(worker, home), _python(worker), launch)
        # Written before the start: whoever dies in between leaves a cookie by which the process is found.
        self._write(record)
        self._path(model_id, "exit").unlink(missing_ok=True)
        try:
            child = self._spawn(model_id, record.cookie, words)
        except OSError as error:
            self._path(model_id, "json").unlink(missing_ok=True)
            raise WorkerError(f"{clean(worker.id)} cannot be started: {error.strerror}") from error
        who = process.identify(child.pid)
        record = msgspec.structs.replace(record, who=who)
        self._write(record)
        self._facts.tell("worker.starting", model_id, f"{worker.id} starts on {clean(model_id)}")
        return record

    def _spawn(self, model_id: str, cookie: str, words: "list[str]") -> "subprocess.Popen[bytes]":
        """Start the keeper in a session of its own, with the runtime below it."""
        log = os.open(self.log_path(model_id), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(
                [str(base_python()), "-I", str(_KEEPER), str(self._path(model_id, "exit")), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                env={
                    **_clean_environment(),
                    COOKIE: cookie,
                    "RBEE_WORKER_ID": model_id,
                    "RBEE_STATE_DIR": str(self._root.state),
                },
            )
        finally:
            os.close(log)
        self._children.append(child)
        return child

    def _whole(self, model_id: str) -> Entry[Model]:
        entry = self._models.get(model_id)
        if entry.artifact is None or entry.health is not Health.OK:
            repo = entry.artifact.repo if entry.artifact else None
            hint = f"rbee pull {clean(repo)} brings it again" if repo else "import or pull it again"
            name = clean(model_id)
            raise RefusedError(f"{name} is {entry.health}: {clean(entry.reason)}", hint=hint)
        return entry

    def _worker(self, worker_id: str | None, header: Header) -> tuple[Worker, str]:
        """The worker to use, and why."""
        if worker_id is not None:
            entry = self._workers.get(worker_id)
            if entry.artifact is None or entry.health is not Health.OK:
                raise RefusedError(f"{clean(worker_id)} is {entry.health}: {clean(entry.reason)}")
            return self._known(entry), "it was asked for"
        entries = self._workers.list()
        if not entries:
            raise NotFoundError(
                "no worker is installed", hint="rbee workers install brings the one that fits"
            )
        needed = estimate(header, LEAST_CONTEXT).total
        selection = choose(hardware.read(self._root.path), entries, needed_bytes=needed)
        taken = next((each for each in selection.verdicts if each.taken), None)
        if taken is None:
            reasons = "; ".join(f"{clean(each.worker_id)}: {each.reason}" for each in selection.verdicts)
            raise RefusedError(
                f"no installed worker fits this machine: {reasons}",
                hint="rbee workers list shows what may be installed",
            )
        return self._known(self._workers.get(taken.worker_id)), taken.reason

    def _known(self, entry: Entry[Worker]) -> Worker:
        """The worker with its runtime: one in the specification's own format is asked what it is."""
        worker = entry.artifact
        if worker is None:
            raise RefusedError(f"{clean(entry.id)} is broken: {clean(entry.reason)}")
        if worker.runtime:
            return worker
        binary = resolve_binary(worker, Path(entry.directory))
        version = profiles.recognise(ask([str(binary), "--version"]))
        return msgspec.structs.replace(worker, runtime="llama-server" if version else None)

    def _context(self, entry: Entry[Model], header: Header, wanted: int | None) -> int:
        """Tokens of context: as asked, else what fits up to 8,192; raises RefusedError with figures."""
        trained = header.context_length or DEFAULT_CONTEXT
        most = wanted or min(trained, DEFAULT_CONTEXT)
        room = hardware.read(self._root.path).memory.available
        fitting = largest_context(header, room, most, least=min(most, LEAST_CONTEXT))
        if fitting is None or (wanted is not None and fitting < wanted):
            need = estimate(header, most if wanted else min(most, LEAST_CONTEXT))
            raise RefusedError(
                f"{clean(entry.id)} needs {memory(need.total)} at a context of {need.context:,} (weights "
                f"{memory(need.weights)}, cache {memory(need.kv)}), and {memory(room)} are available",
                hint="stop another worker, use a smaller context, or a smaller quantisation",
            )
        return fitting

    def _port(self, model_id: str, wanted: int | None) -> int:
        """The model's port: as asked, else the one it had, else a free one; raises BusyError."""
        path = self._path(model_id, "port")
        kept = _number(path)
        port = wanted or kept or 0
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError as error:
                whose = "" if wanted else f", which {clean(model_id)} had before,"
                raise BusyError(
                    f"port {port}{whose} cannot be had: {error.strerror}",
                    hint="end the program that has it, or give another one with --port",
                ) from error
            port = int(probe.getsockname()[1])
        if port != kept:
            durable.write(path, str(port).encode(), mode=0o600)
        return port

    def _key(self, model_id: str) -> str:
        """The model's API key, made at its first start."""
        path = self._path(model_id, "key")
        try:
            return path.read_text().strip()
        except OSError:
            key = f"rbee-{secrets.token_urlsafe(24)}"
            durable.write(path, key.encode(), mode=0o600)
            return key

    def _write(self, record: Running) -> None:
        durable.write(self._path(record.model, "json"), msgspec.json.encode(record), mode=0o600)

    async def _until_ready(self, record: Running) -> Running:
        """Wait until the worker answers; its time begins anew whenever its log advances."""
        who, log = record.who, Path(record.log)
        seen, until = -1, 0.0
        while True:
            if await http.status(f"http://{_HOST}:{record.port}/health") == 200:  # noqa: PLR2004 - OK
                record = msgspec.structs.replace(record, ready_at=now())
                self._write(record)
                text = f"{record.worker} is ready on {clean(record.model)}"
                self._facts.tell("worker.ready", record.model, text)
                return record
            self._reap()
            if who is None or not process.alive(who):
                raise self._failed(record, self._ending(record))
            size = _size(log)
            if size != seen:
                seen, until = size, time.monotonic() + _LOAD_SECONDS
            if time.monotonic() > until:
                await asyncio.to_thread(self._end, who)
                raise self._failed(record, f"nothing happened for {_LOAD_SECONDS:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)

    def _ending(self, record: Running) -> str:
        try:
            raw = self._path(record.model, "exit").read_bytes()
            return msgspec.json.decode(raw, type=Exit).sentence
        except (OSError, msgspec.MsgspecError):
            return "it ended"

    def _failed(self, record: Running, why: str) -> WorkerError:
        self._path(record.model, "json").unlink(missing_ok=True)
        name = clean(record.model)
        self._facts.tell("worker.failed", record.model, f"{name}: {why}")
        return WorkerError(
            f"{clean(record.worker)} did not come up on {name}: {why}",
            hint=f"rbee logs {name} shows its whole log",
            log=_tail(Path(record.log)),
        )

    # Stopping

    async def stop(self, model_id: str) -> RunningWorker:
        """Stop a model's worker: asked to, made to after ten seconds; raises NotFoundError when none runs."""
        described = self.get(model_id)
        record = _read(self._path(model_id, "json"))
        if record is None:
            return described
        record = msgspec.structs.replace(record, wanted="stopped", who=record.who or _find(record.cookie))
        # Wanted first: whoever supervises reads it before starting anything again.
        self._write(record)
        if record.who is not None:
            await asyncio.to_thread(self._end, record.who)
        self._path(model_id, "json").unlink(missing_ok=True)
        self._path(model_id, "exit").unlink(missing_ok=True)
        self._facts.tell("worker.stopped", model_id, f"the worker of {clean(model_id)} is stopped")
        return described

    def _end(self, who: Identity) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not process.send(who, number, group=True):
                break
            if self._gone(who, _STOP_SECONDS):
                break
        self._reap()

    def _gone(self, who: Identity, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while process.alive(who) or _group_lives(who.pid):
            if time.monotonic() > until:
                return False
            self._reap()
            time.sleep(_POLL_SECONDS)
        return True

    # Asking

    async def prompt(self, model_id: str, text: str, max_tokens: int = 256) -> AsyncGenerator[Chunk]:
        """Ask a model's worker and yield its answer as it comes; raises NotFoundError, WorkerError."""
        running = self.get(model_id)
        record = _read(self._path(model_id, "json"))
        body: dict[str, Any] = {"model": model_id, "max_tokens": max_tokens, "stream": True}
        if record is not None and record.chat:
            path, body["messages"] = "chat/completions", [{"role": "user", "content": text}]
        else:
            path, body["prompt"] = "completions", text
        async for event in http.stream_events(f"{running.url}/v1/{path}", body, key=running.api_key):
            piece = _piece(event)
            if piece:
                yield Chunk(text=piece)


def _piece(event: Any) -> str:
    """The text in one event of either protocol."""
    first = as_dict(next(iter(as_list(as_dict(event).get("choices"))), None))
    return str(first.get("text") or as_dict(first.get("delta")).get("content") or "")


def _read(path: Path) -> Running | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _python(worker: Worker) -> Path:
    """The interpreter that the worker was installed with, or this one's where that is gone."""
    recorded = Path(worker.python) if worker.python else None
    return recorded if recorded and recorded.is_file() else base_python()


def _clean_environment() -> dict[str, str]:
    """This process's environment without what is ours or secret."""
    hidden = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PYTHONPATH", "PYTHONHOME"}
    return {key: value for key, value in os.environ.items() if key not in hidden}


def _cookie_of(who: Identity) -> str | None:
    return process.environment_value(who.pid, COOKIE)


def _find(cookie: str) -> Identity | None:
    """The leader of a session that was started with this cookie, when its record was not finished."""
    import psutil  # noqa: PLC0415 - only after a death between start and record

    for pid in psutil.pids():
        try:
            if os.getsid(pid) == pid and process.environment_value(pid, COOKIE) == cookie:
                return process.identify(pid)
        except (OSError, psutil.Error):
            continue
    return None


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _memory(pid: int) -> int | None:
    import psutil  # noqa: PLC0415 - 40 ms that only those pay who look at running workers

    try:
        keeper = psutil.Process(pid)
        return sum(each.memory_full_info().uss for each in (keeper, *keeper.children(recursive=True)))
    except (psutil.Error, AttributeError):
        return None


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(clean(line) for line in lines[-_TAIL_LINES:])
