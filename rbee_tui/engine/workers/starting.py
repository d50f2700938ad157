"""Starting a worker process: all decisions, then its record, then the process."""

import os
import secrets
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from rbee_tui.engine import hardware, process, settings
from rbee_tui.engine.artifacts import Entry, Health, Model
from rbee_tui.engine.catalog import ModelCatalog, WorkerCatalog
from rbee_tui.engine.describe import pull_command
from rbee_tui.engine.durable import Lock, storage
from rbee_tui.engine.errors import (
    BrokenModelError,
    MetadataError,
    PortBusyError,
    RbeeError,
    RefusedError,
    WorkerError,
)
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.fitting import weighing
from rbee_tui.engine.fitting.learned import Learned
from rbee_tui.engine.fitting.machine import Pool, machine_of
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.paths import Root
from rbee_tui.engine.process import this_machine
from rbee_tui.engine.text import clean, now
from rbee_tui.engine.workers import (
    listening,
    offers,
    outlook,
    placements,
    profiles,
    promises,
    trees,
    versions,
)
from rbee_tui.engine.workers.certificates import Certificates
from rbee_tui.engine.workers.choosing import LEAST_CONTEXT, choose_worker
from rbee_tui.engine.workers.install import Installer
from rbee_tui.engine.workers.outlook import Outlook
from rbee_tui.engine.workers.profiles import Launch
from rbee_tui.engine.workers.promises import pool_of
from rbee_tui.engine.workers.record import COOKIE, Records, Running
from rbee_tui.engine.workers.runtimes import base_python, python_for, quiet_environment
from rbee_tui.engine.workers.wishes import NOTHING, Wishes

LOCK_SECONDS = 10.0
LOG_BYTES = 16 << 20
"""A longer log is set aside at the next start; one such is kept."""
_KEEPER = Path(__file__).with_name("keeper.py")


class Starter:
    """Starts worker processes, and waits for those that it started once they have ended."""

    def __init__(self, root: Root, models: ModelCatalog, workers: WorkerCatalog, facts: Facts) -> None:
        self._root = root
        self._models = models
        self._workers = workers
        self._facts = facts
        self._records = Records(root)
        self.learned = Learned(root)
        self._children: set[int] = set()

    def reap(self) -> None:
        """Wait for the children that have ended, so that no zombies stay."""
        for pid in tuple(self._children):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                ended = True
            if ended:
                self._children.discard(pid)

    def launch(self, model_id: str, wanted: Wishes) -> Running:
        """Start a worker and return its record, not yet ready; the caller holds the start and model locks.

        Raises what `Supervisor.start` says. Blocking.
        """
        entry = self._whole(model_id)
        weights, projector = self._models.weights(entry), self._projector(entry, wanted)
        header = self._header(entry, wanted)
        reading = hardware.read(self._root.path)
        self._register_own(wanted.worker_id)
        correction = self.learned.correction(header.learnt_as)
        machine = machine_of(reading, self.promised(besides=model_id))
        fits = placements.fits(model_id, header, machine, wanted, correction)
        choice = choose_worker(self._workers, wanted.worker_id, reading, fits)
        worker = choice.worker
        with self._workers.lock(worker.id, "start", shared=True).acquire(LOCK_SECONDS):
            if profiles.of(worker).launcher:
                trees.refresh_launcher(self._root, choice.binary)
            host = listening.checked(wanted)
            port = self._port(model_id, host, wanted.port)
            key_file = None if wanted.key is False else self._records.make_key(model_id)
            threads = wanted.threads or profiles.threads(reading.cpu.cores_available)
            # Decided and written under one lock, so that two starts do not count on the same memory.
            with Lock(self._root.locks / "records.lock", "start").acquire(LOCK_SECONDS):
                machine = machine_of(reading, self.promised(besides=model_id))
                place = placements.put(model_id, header, machine, worker.worker_type, wanted, correction)
                log = self._records.log_path(model_id)
                record = Running(
                    model=model_id,
                    worker=worker.id,
                    variant=worker.worker_type,
                    runtime=worker.runtime or "",
                    machine=this_machine(),
                    cookie=secrets.token_hex(16),
                    model_path=str(weights),
                    key_file=str(key_file or ""),
                    host=host,
                    port=port,
                    context=place.need.context,
                    device=place.device,
                    gpu_layers=place.gpu_layers,
                    of_layers=place.of_layers,
                    slots=place.slots,
                    threads=threads,
                    embeddings=bool(wanted.embeddings),
                    projector=projector.name if projector else "",
                    chat=header.chat_template,
                    reason=choice.reason,
                    devices=tuple(worker.devices),
                    weights=header.tensor_bytes,
                    estimate=place.need.total,
                    on_host=place.on_host,
                    correction=correction,
                    architecture=header.learnt_as,
                    log=str(log),
                    log_from=begin_log(log),
                    started_at=now(),
                    restart=wanted.restart is not False,
                    idle_seconds=self._idle_seconds(wanted),
                    pinned=bool(wanted.pinned),
                    ends_with=process.identify(os.getpid()) if wanted.ends_with_me else None,
                )
                # Before the start: whoever dies in between leaves a cookie by which the process is found.
                self._records.write(record)
            launch = Launch(
                model=weights,
                alias=model_id,
                host=host,
                port=port,
                context=record.context,
                threads=threads,
                key_file=key_file,
                slots=record.slots,
                gpu_layers=gpu_layers_of(record),
                embeddings=record.embeddings,
                projector=projector,
            )
            words = profiles.command(worker, choice.binary, python_for(worker.python), launch)
            return self._spawn(record, words, placements.environment(reading, place, record.variant))

    def outlook(self, model_id: str, wanted: Wishes) -> Outlook:
        """What `launch` would do now, and why; raises NotFoundError, RefusedError."""
        entry = self._whole(model_id)
        header, projector = self._header(entry, wanted), self._projector(entry, wanted)
        self._register_own(wanted.worker_id)
        installed = self._workers.list()
        found = outlook.look(
            model_id,
            header,
            hardware.read(self._root.path),
            installed,
            offers.still_open(installed, Installer(self._root, self._workers, self._facts).offered()),
            self.promised(besides=model_id),
            wanted=wanted,
            correction=self.learned.correction(header.learnt_as),
            projector=projector.name if projector else "",
        )
        try:
            listening.checked(wanted)
        except RbeeError as error:
            return outlook.refused(found, error)
        return found

    def fitting_context(self, model_id: str, most: int) -> int | None:
        """The largest context of at most `most` tokens that would fit now; None where none would."""
        with suppress(RbeeError):
            found = min(self.outlook(model_id, NOTHING).context, most)
            return found if found >= LEAST_CONTEXT else None
        return None

    def _spawn(self, record: Running, words: list[str], more: Mapping[str, str]) -> Running:
        """Start the keeper in a session of its own, with the runtime below it."""
        self._records.forget_ending(record.model)
        Certificates(self._root).forget(record.model)
        note = self._records.path(record.model, "exit")
        with storage("open the log", Path(record.log)):
            log = os.open(record.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(
                [str(base_python()), "-IS", str(_KEEPER), str(note), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                env={
                    **quiet_environment(),
                    **more,
                    COOKIE: record.cookie,
                    "RBEE_WORKER_ID": record.model,
                    "RBEE_STATE_DIR": str(self._root.state),
                },
            )
        except (OSError, ValueError) as error:
            self._records.forget(record)
            raise WorkerError(f"{clean(record.worker)} cannot be started: {clean(str(error))}") from error
        finally:
            os.close(log)
        self._children.add(child.pid)
        # It outlives this object, and `reap` waits for it: Popen would complain, and wait for it, too.
        child.returncode = 0
        record = msgspec.structs.replace(record, who=process.identify(child.pid))
        self._records.write(record)
        self._facts.tell("worker.starting", record.model, f"{record.worker} starts on {clean(record.model)}")
        return record

    def _idle_seconds(self, wanted: Wishes) -> int:
        """After how long it is unloaded: as was said, else as is settled for the root."""
        said = wanted.idle_seconds
        return said if said is not None else settings.read(self._root).idle_seconds

    def _register_own(self, worker_id: str | None) -> None:
        """Take up what rbee's own environment brings, where nothing else would do."""
        named = versions.split(worker_id or "")[0]
        known = self._workers.contains(named) if named else bool(self._workers.find())
        if not known:
            Installer(self._root, self._workers, self._facts).register_environment()

    def _whole(self, model_id: str) -> Entry[Model]:
        entry = self._models.get(model_id)
        if entry.artifact is None or entry.health is not Health.OK:
            command = pull_command(entry.artifact) if entry.artifact else ""
            hint = f"{command} brings it again" if command else "import or pull it again"
            name = clean(model_id)
            raise RefusedError(f"{name} is {entry.health}: {clean(entry.reason)}", hint=hint)
        return entry

    def _projector(self, entry: Entry[Model], wanted: Wishes) -> Path | None:
        """The file with which it sees or hears, unless that was wished away."""
        return None if wanted.projector is False else self._models.projector(entry)

    def _header(self, entry: Entry[Model], wanted: Wishes) -> Header:
        try:
            return weighing.of_entry(self._models, entry, projector=wanted.projector is not False)
        except MetadataError as error:
            name = clean(entry.id)
            raise BrokenModelError(
                f"{name} cannot be loaded: {error}",
                hint=f"rbee models verify {name} compares it with its hash, and says what brings it again",
            ) from error

    def promised(self, besides: str = "") -> dict[Pool, int]:
        """Bytes of each pool that other models' workers were promised, and that still look available."""
        return promises.promised(self._records.all(), besides, self._is_starting)

    def _is_starting(self, model_id: str) -> bool:
        """Whether somebody holds the lock under which a worker is started on this model."""
        lock = self._records.start_lock(model_id)
        if not lock.try_acquire():
            return True
        lock.release()
        return False

    def _port(self, model_id: str, host: str, wanted: int | None) -> int:
        """The model's port: as asked, else the one it had, else 0 for a free one; raises PortBusyError."""
        port = wanted or self._records.kept_port(model_id)
        try:
            listening.probe(host, port)
        except OSError as error:
            whose = "" if wanted or not port else f", which {clean(model_id)} had before,"
            raise PortBusyError(
                f"port {port} of {host}{whose} cannot be had: {error.strerror}",
                hint="end the program that has it, or give another one with --port",
            ) from error
        return port


def gpu_layers_of(record: Running) -> int | None:
    """What the runtime is told of layers on the GPU; None where it has nothing to choose."""
    if pool_of(record.variant) == "host":
        return None
    return record.gpu_layers if record.gpu_layers < record.of_layers else profiles.ALL_LAYERS


def begin_log(path: Path) -> int:
    """Where the next start begins in a log, in bytes; a log that has grown long is set aside."""
    size = path.stat().st_size if path.exists() else 0
    if size > LOG_BYTES:
        with storage("set aside", path):
            path.replace(path.with_suffix(".1.log"))
        return 0
    return size
