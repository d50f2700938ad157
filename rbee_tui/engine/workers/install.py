"""Installing a worker: pinned wheels into `workers/<id>/site`, in one step, with the log live."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from rbee_tui.engine import durable
from rbee_tui.engine.artifacts import Entry, Health, Offer, Worker, this_platform
from rbee_tui.engine.catalog import WorkerCatalog
from rbee_tui.engine.durable import storage
from rbee_tui.engine.errors import NoSpaceError, RbeeError, RefusedError, UsageError, WorkerError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.ids import default_model_id, directory
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean, size
from rbee_tui.engine.workers import offers, profiles
from rbee_tui.engine.workers.pip_settings import uv_environment
from rbee_tui.engine.workers.runtimes import Answer, ask, base_python
from rbee_tui.engine.workers.trees import Staging

_TAIL_LINES = 12
_LONGEST_LINE = 1 << 20
_LOG_MODE = 0o600
_OWN = (
    ("xllamacpp", "xllamacpp", "llm-worker-xllamacpp"),
    ("llama_cpp", "llama-cpp-python", "llm-worker-llama-cpp-python"),
)
"""Modules that rbee's own environment may bring, the runtime and the worker's id for each."""


class Installer:
    """Installs offered workers, and registers runtimes that are there already."""

    def __init__(self, root: Root, workers: WorkerCatalog, facts: Facts) -> None:
        self._root = root
        self._workers = workers
        self._facts = facts

    async def install(self, worker_id: str, on_line: Callable[[str], None] | None = None) -> Entry[Worker]:
        """Install an offer; lines of the package installer go to `on_line` as they come.

        Raises NotFoundError, RefusedError with the reason why it cannot run here, WorkerError with the log.
        Until it is whole nothing is listed, and a worker of that id that is there already stays.
        """
        offer = offers.find(worker_id)
        await asyncio.to_thread(require_fitting, offer)
        staging = Staging(self._root, worker_id)
        with self._workers.lock(worker_id, "workers install"):
            await asyncio.to_thread(staging.begin)
            try:
                await self._fill(offer, staging.path, on_line or _quiet)
                worker = await asyncio.to_thread(_furnish, offer, staging)
                await asyncio.to_thread(staging.publish, worker)
            finally:
                staging.clear()
        self._facts.tell("worker.installed", worker_id, f"{offer.name} {offer.version} is installed")
        return self._workers.get(worker_id)

    def log_path(self, worker_id: str) -> Path:
        """Where the log of a worker's last install is."""
        return self._root.logs / f"install-{directory(worker_id)}.log"

    def register(self, path: Path, worker_id: str | None = None) -> Entry[Worker]:
        """Register a llama-server that is on this machine; raises UsageError for another program."""
        if not path.is_file() or not os.access(path, os.X_OK):
            raise UsageError(f"{clean(str(path))} is not a program")
        answer = ask([str(path), "--version"])
        version = profiles.recognise(answer.said)
        if version is None:
            ending = f" ({answer.ending})" if answer.ending else ""
            raise UsageError(
                f"{clean(str(path))} is no llama-server: its --version says nothing that rbee knows{ending}"
            )
        devices = profiles.devices_in(ask([str(path), "--list-devices"]).said)
        return self._workers.register_worker(
            Worker(
                id=worker_id or default_model_id("", path.name),
                name=f"llama-server {version}",
                version=version,
                binary_path=str(path),
                worker_type=profiles.worker_type_of(devices),
                capabilities=["text-generation"],
                runtime="llama-server",
                platforms=[this_platform()],
                devices=devices,
            )
        )

    def register_environment(self) -> list[Entry[Worker]]:
        """Register the runtimes that rbee's own Python can import and that are not registered yet."""
        found = [self._register_own(*own) for module, *own in _OWN if find_spec(module)]
        return [entry for entry in found if entry is not None]

    def _register_own(self, runtime: str, worker_id: str) -> Entry[Worker] | None:
        python = sys.executable
        if self._workers.contains(worker_id):
            entry = self._workers.get(worker_id)
            if entry.artifact and entry.artifact.python == python and entry.health is Health.OK:
                return None
        staging = Staging(self._root, worker_id)
        with self._workers.lock(worker_id, "register worker"):
            staging.begin()
            try:
                launcher = staging.furnish(worker_id)
                version = ask([python, "-I", str(launcher), "--version"])
                answer = ask([python, "-I", str(launcher), "--devices"])
                devices = profiles.devices_in(answer.said)
                if answer.ending or not devices:
                    return None
                staging.publish(
                    Worker(
                        id=worker_id,
                        name=f"{runtime} of rbee's own environment",
                        version=_version_in(version, runtime),
                        binary_path=launcher.name,
                        worker_type=profiles.worker_type_of(devices),
                        capabilities=["text-generation"],
                        runtime=runtime,
                        platforms=[this_platform()],
                        devices=devices,
                        python=python,
                    )
                )
            finally:
                staging.clear()
        self._facts.tell("worker.added", worker_id, f"{runtime} of rbee's own environment can be used")
        return self._workers.get(worker_id)

    async def _fill(self, offer: Offer, staging: Path, on_line: Callable[[str], None]) -> None:
        wanted = staging / "requirements.txt"
        durable.write(wanted, requirements(offer).encode())
        process = await asyncio.create_subprocess_exec(
            *_uv_command(staging, wanted),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=staging,
            env=uv_environment(os.environ),
            limit=_LONGEST_LINE,
        )
        try:
            said = [line async for line in _lines(process, self.log_path(offer.id), on_line)]
            code = await process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        wanted.unlink()
        if code:
            raise _not_installed(offer, code, said)


def _not_installed(offer: Offer, code: int, said: list[str]) -> RbeeError:
    """The error for a package installer that failed, from its exit code and the lines that it said."""
    if any("No space left on device" in line for line in said):
        return NoSpaceError(
            f"{offer.name} could not be installed: no space is left"
            + (f", and it takes {size(offer.size_bytes)}" if offer.size_bytes else ""),
            hint="rbee models list shows what takes room; nothing was changed here",
        )
    return WorkerError(
        f"{offer.name} could not be installed: the package installer ended with {code}",
        hint="check the network and the package index; nothing was changed here",
        log="\n".join(said[-_TAIL_LINES:]),
    )


def requirements(offer: Offer) -> str:
    """An offer's packages with their hashes, as a requirements file."""
    return "".join(
        f"{each.name}=={each.version} {' '.join(f'--hash={digest}' for digest in each.hashes)}\n"
        for each in offer.requirements
    )


def require_fitting(offer: Offer) -> None:
    """Raise RefusedError with the reason where an offer cannot be installed here."""
    if this_platform() not in offer.platforms:
        raise RefusedError(f"{offer.name} is for {', '.join(offer.platforms)}; this is {this_platform()}")
    if offer.unavailable or not offer.requirements:
        raise RefusedError(
            f"{offer.name} cannot be installed: {offer.unavailable or 'the listing names no package for it'}",
            hint="a llama-server built for this GPU works: rbee workers register PATH",
        )
    lacking = lacking_features(offer, _cpu_features())
    if lacking:
        raise RefusedError(
            f"{offer.name} needs a processor with {', '.join(lacking).upper()}, and this one has not: "
            "it would die of an illegal instruction",
            hint="a llama-server built on this machine works: rbee workers register PATH",
        )


def lacking_features(offer: Offer, features: frozenset[str]) -> list[str]:
    """The features that an offer needs and the processor lacks; none where the system does not tell them.

    They are an x86 wheel's: other processors name theirs otherwise, and need none of these.
    """
    if not features or not this_platform().endswith("x86_64"):
        return []
    return [name for name in offer.cpu_features if name not in features]


def _cpu_features() -> frozenset[str]:
    from rbee_tui.engine import hardware  # noqa: PLC0415 - only an install looks

    return frozenset(hardware.read().cpu.features)


def _version_in(answer: Answer, runtime: str) -> str:
    """The version in `xllamacpp 2026.10.1`; empty where the package does not tell one."""
    if answer.ending:
        return ""
    return next((line.split()[-1] for line in answer.said.splitlines() if line.startswith(f"{runtime} ")), "")


def _quiet(line: str) -> None:
    del line


def _furnish(offer: Offer, staging: Staging) -> Worker:
    """Add the launcher, and ask the runtime which devices it sees."""
    launcher = staging.furnish(f"llm-worker-{offer.worker_type}")
    python = base_python()
    answer = ask([str(python), "-I", str(launcher), "--devices"])
    devices = profiles.devices_in(answer.said)
    if answer.ending or not devices:
        why = answer.ending or "it lists no device"
        raise WorkerError(f"{offer.name} does not run here: {why}", log=answer.last_lines)
    require_device(offer, devices)
    return Worker(
        id=offer.id,
        name=offer.name,
        version=offer.version,
        binary_path=launcher.name,
        worker_type=offer.worker_type,
        capabilities=list(offer.capabilities),
        runtime=offer.runtime,
        platforms=[this_platform()],
        devices=devices,
        python=str(python),
    )


def require_device(offer: Offer, devices: list[str]) -> None:
    """Raise WorkerError where a worker for a GPU sees none: it would quietly run on the processor."""
    if offer.worker_type != "cpu" and profiles.worker_type_of(devices) != offer.worker_type:
        raise WorkerError(
            f"{offer.name} sees no {offer.worker_type.upper()} device here, only {clean(', '.join(devices))}",
            hint="rbee hardware shows what the driver says; llm-worker-cpu runs without",
        )


async def _lines(
    process: asyncio.subprocess.Process, log: Path, on_line: Callable[[str], None]
) -> AsyncGenerator[str]:
    """Each line of a process's output, written to its log and told as it comes."""
    with storage("write", log):
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _LOG_MODE)
    try:
        while process.stdout and (raw := await process.stdout.readline()):
            with storage("write", log):
                durable.write_all(handle, raw)
            line = raw.decode(errors="replace").rstrip()
            on_line(line)
            yield line
    finally:
        os.close(handle)


def _uv_command(staging: Path, wanted: Path) -> list[str]:
    from uv import find_uv_bin  # noqa: PLC0415 - only an install needs it

    return [
        os.fspath(find_uv_bin()),
        *("pip", "install", "--target", str(staging / "site"), "--requirement", str(wanted)),
        *("--require-hashes", "--no-deps", "--only-binary", ":all:", "--python", str(base_python())),
        *("--no-progress", "--link-mode", "copy", "--color", "never"),
    ]
