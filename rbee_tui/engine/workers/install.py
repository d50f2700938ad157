"""Installing a worker: a wheel into `workers/<id>/site`, atomically, with its log live."""

import asyncio
import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rbee_tui.engine import durable, metadata
from rbee_tui.engine.artifacts import Entry, Offer, Worker, this_platform
from rbee_tui.engine.catalog import METADATA, WorkerCatalog
from rbee_tui.engine.durable import storage
from rbee_tui.engine.errors import RefusedError, UsageError, WorkerError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.ids import default_model_id
from rbee_tui.engine.paths import SHARED_MODE, Root, make_directory, sync_directory
from rbee_tui.engine.text import clean, now
from rbee_tui.engine.workers import offers, profiles

_ASK_SECONDS = 30.0
_TAIL_LINES = 12
_LAUNCHER = Path(__file__).with_name("launcher.py")


class Installer:
    """Installs offered workers, and registers programs that are there already."""

    def __init__(self, root: Root, workers: WorkerCatalog, facts: Facts) -> None:
        self._root = root
        self._workers = workers
        self._facts = facts

    async def install(self, worker_id: str, on_line: Callable[[str], None] | None = None) -> Entry[Worker]:
        """Install an offer; lines of the package installer go to `on_line` as they come.

        Raises NotFoundError, RefusedError with the reason why it cannot run here, WorkerError with the log.
        """
        offer = offers.find(worker_id)
        require_fitting(offer)
        staging = self._root.workers / f".staging-{secrets.token_hex(6)}"
        with self._workers.lock(worker_id, "workers install"):
            try:
                make_directory(staging, SHARED_MODE)
                await self._fill(offer, staging, on_line or _quiet)
                worker = await asyncio.to_thread(self._furnish, offer, staging)
                await asyncio.to_thread(self._publish, worker, staging)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        self._facts.tell("worker.installed", worker_id, f"{offer.name} {offer.version} is installed")
        return self._workers.get(worker_id)

    def register(self, path: Path, worker_id: str | None = None) -> Entry[Worker]:
        """Register a llama-server that is on this machine; raises UsageError for another program."""
        if not path.is_file() or not os.access(path, os.X_OK):
            raise UsageError(f"{clean(str(path))} is not a program")
        version = profiles.recognise(ask([str(path), "--version"]))
        if version is None:
            raise UsageError(
                f"{clean(str(path))} is no llama-server: its --version says nothing that rbee knows"
            )
        devices = devices_of(ask([str(path), "--list-devices"]))
        kind = profiles.worker_type_of(devices)
        return self._workers.register_worker(
            Worker(
                id=worker_id or default_model_id("", path.name),
                name=f"llama-server {version}",
                version=version,
                binary_path=str(path),
                worker_type=kind,
                capabilities=["text-generation"],
                runtime="llama-server",
                platforms=[this_platform()],
                devices=devices,
            )
        )

    async def _fill(self, offer: Offer, staging: Path, on_line: Callable[[str], None]) -> None:
        wanted = staging / "requirements.txt"
        lines = [
            f"{each.name}=={each.version} " + " ".join(f"--hash={digest}" for digest in each.hashes)
            for each in offer.requirements
        ]
        durable.write(wanted, "\n".join(lines).encode() + b"\n")
        process = await asyncio.create_subprocess_exec(
            *_uv_command(staging, wanted),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=uv_environment(dict(os.environ)),
        )
        try:
            said = [line async for line in _lines(process, on_line)]
            code = await process.wait()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        wanted.unlink()
        durable.write(self._root.logs / f"install-{offer.id}.log", "\n".join(said).encode(), mode=0o600)
        if code:
            raise WorkerError(
                f"{offer.name} could not be installed: the package installer ended with {code}",
                hint="check the network and the package index; nothing was changed here",
                log="\n".join(said[-_TAIL_LINES:]),
            )

    def _furnish(self, offer: Offer, staging: Path) -> Worker:
        """Add the launcher, and ask the runtime which devices it sees."""
        launcher = staging / f"llm-worker-{offer.worker_type}"
        shutil.copyfile(_LAUNCHER, launcher)
        launcher.chmod(SHARED_MODE)
        python = base_python()
        devices = devices_of(ask([str(python), str(launcher), "--list-devices"]))
        if not devices:
            raise WorkerError(f"{offer.name} does not run here: it lists no device")
        if offer.worker_type != "cpu" and profiles.worker_type_of(devices) != offer.worker_type:
            raise WorkerError(f"{offer.name} sees no such device here, only {clean(', '.join(devices))}")
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

    def _publish(self, worker: Worker, staging: Path) -> None:
        """Rename the finished tree into place; one that is there already makes way in the same moment."""
        stamp = now()
        durable.write(staging / METADATA, metadata.encode(worker, {}, stamp, stamp))
        target = self._root.workers / worker.id
        old = staging.with_name(f".old-{secrets.token_hex(6)}")
        with storage("install", target):
            if target.exists():
                target.rename(old)
            staging.rename(target)
            sync_directory(self._root.workers)
            shutil.rmtree(old, ignore_errors=True)


def _quiet(line: str) -> None:
    del line


async def _lines(process: asyncio.subprocess.Process, on_line: Callable[[str], None]):  # noqa: ANN202
    """Each line of a process's output, told as it comes."""
    while process.stdout and (raw := await process.stdout.readline()):
        line = raw.decode(errors="replace").rstrip()
        on_line(line)
        yield line


def _uv_command(staging: Path, wanted: Path) -> list[str]:
    from uv import find_uv_bin  # noqa: PLC0415 - only an install needs it

    return [
        os.fspath(find_uv_bin()),
        *("pip", "install", "--target", str(staging / "site"), "--requirement", str(wanted)),
        *("--require-hashes", "--no-deps", "--only-binary", ":all:", "--python", str(base_python())),
        *("--no-config", "--no-progress", "--link-mode", "copy"),
    ]


def uv_environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment for uv: what a user told pip counts for uv too, where uv was told nothing itself."""
    pairs = (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_CERT", "SSL_CERT_FILE"))
    for theirs, ours in pairs:
        if environment.get(theirs) and not environment.get(ours) and not environment.get("UV_INDEX_URL"):
            environment[ours] = environment[theirs]
    return environment


def base_python() -> Path:
    """The interpreter below any virtual environment: those that uvx makes vanish."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable)


def ask(words: list[str]) -> str:
    """What a program says to a short question, on either stream; empty when it cannot be run."""
    try:
        said = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (said.stdout + b"\n" + said.stderr).decode(errors="replace")


def devices_of(said: str) -> list[str]:
    """The devices in what `--list-devices` says."""
    found = [
        clean(line.strip()) for line in said.splitlines() if ": " in line and not line.startswith("ggml")
    ]
    return found[:16]


def require_fitting(offer: Offer) -> None:
    """Raise RefusedError with the reason where an offer cannot be installed here."""
    if this_platform() not in offer.platforms:
        raise RefusedError(f"{offer.name} is for {', '.join(offer.platforms)}; this is {this_platform()}")
    if not offer.requirements:
        raise RefusedError(
            f"{offer.name} is not in the listing that comes with rbee: the package index has no "
            "build of it whose hash could be pinned",
            hint="register a llama-server built for CUDA: rbee workers register PATH",
        )
    lacking = [name for name in offer.cpu_features if name not in _cpu_features()]
    if platform.machine() == "x86_64" and sys.platform == "linux" and lacking:
        raise RefusedError(f"{offer.name} needs a processor with {', '.join(lacking).upper()}")


def _cpu_features() -> frozenset[str]:
    from rbee_tui.engine import hardware  # noqa: PLC0415 - only an install looks

    return frozenset(hardware.read().cpu.features)
