"""Installing a worker from a recipe or a catalog's file, in one step, with the log live."""

import asyncio
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec

from rbee_tui.engine.artifacts import Entry, Health, Offer, Worker, this_platform
from rbee_tui.engine.catalog import WorkerCatalog
from rbee_tui.engine.errors import NotFoundError, UsageError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.ids import default_model_id, directory
from rbee_tui.engine.listing.catalogs import Catalogs
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean
from rbee_tui.engine.workers import offers, profiles, versions
from rbee_tui.engine.workers.packages import logged
from rbee_tui.engine.workers.runtimes import Answer, ask
from rbee_tui.engine.workers.trees import Staging, sweep

_OWN = (
    ("xllamacpp", "xllamacpp", "llm-worker-xllamacpp"),
    ("llama_cpp", "llama-cpp-python", "llm-worker-llama-cpp-python"),
)
"""Modules that rbee's own environment may bring, the runtime and the worker's id for each."""


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an update."""

    id: str
    before: str
    after: str
    changed: bool


class Installer:
    """Installs offered workers, and registers runtimes that are there already."""

    def __init__(self, root: Root, workers: WorkerCatalog, facts: Facts) -> None:
        self._root = root
        self._workers = workers
        self._facts = facts
        self.catalogs = Catalogs(root)

    async def install(
        self, worker_id: str, on_line: Callable[[str], None] | None = None, *, source: str = ""
    ) -> Entry[Worker]:
        """Install an offer; what happens goes to `on_line` as it happens.

        `source` is the URL of a trusted catalog, or `bundled`; empty for the first that has the worker,
        trusted catalogs before the bundled listing. Raises NotFoundError, RefusedError with the reason why
        it cannot run here or why a catalog is not believed, WorkerError with the log, IntegrityError,
        NetworkError.
        Until it is whole nothing is listed, and a worker of that id that is there already stays.
        """
        with logged(self.log_path(worker_id), on_line or _quiet) as say:
            return await self._install(await self.offer(worker_id, say, source), say)

    async def _install(self, offer: Offer, say: Callable[[str], None]) -> Entry[Worker]:
        from rbee_tui.engine.workers import filling  # noqa: PLC0415 - archives and builds, for installs alone

        await asyncio.to_thread(filling.require_fitting, offer)
        staging = Staging(self._root, offer.id)
        with self._workers.lock(offer.id, "workers install"):
            await asyncio.to_thread(staging.begin)
            try:
                worker = await filling.fill(offer, staging, self._root, say)
                await asyncio.to_thread(staging.publish, worker)
                await asyncio.to_thread(sweep, self._workers, offer.id)
            finally:
                # A build that was given up has thousands of files: the loop does not wait for them.
                await asyncio.to_thread(staging.clear)
        self._facts.tell("worker.installed", offer.id, f"{offer.name} {offer.version} is installed")
        return self._workers.get(offer.id)

    async def update(self, worker_id: str, on_line: Callable[[str], None] | None = None) -> Update:
        """Bring a worker to the version that is offered where it came from; the one before stays beside it.

        Raises as `install()` does; NotFoundError for one that nobody offers, as a registered program.
        """
        entry = self._workers.get(worker_id)
        worker = entry.artifact
        before = worker.version if worker else ""
        source = (worker.catalog or "") if worker else ""
        offer = await self.offer(worker_id, on_line or _quiet, source)
        if offer.version != before or entry.health is not Health.OK:
            with logged(self.log_path(worker_id), on_line or _quiet) as say:
                entry = await self._install(offer, say)
        after = entry.artifact.version if entry.artifact else ""
        return Update(id=worker_id, before=before, after=after, changed=after != before)

    def updatable(self) -> list[str]:
        """The ids of the workers that came from a listing; a registered program is its owner's to update."""
        offered = {offer.id for offer in offers.bundled()}
        return [
            entry.id
            for entry in self._workers.list()
            if entry.artifact
            and (
                entry.artifact.catalog or (entry.id in offered and versions.directory_in_use(entry.artifact))
            )
        ]

    async def offer(self, worker_id: str, say: Callable[[str], None], source: str = "") -> Offer:
        """The offer of a worker, from a source as `install()` takes it; raises as it does."""
        if source == offers.BUNDLED:
            return offers.find(worker_id, offers.bundled())
        if source:
            found = (await self.catalogs.refresh(source)).offers_now()
        else:
            found = [*(await self.catalogs.refresh_all(say)), *offers.bundled()]
        try:
            return offers.find(worker_id, found)
        except NotFoundError as error:
            error.hint += f", at {clean(source)}" if source else ""
            raise

    def offered(self) -> list[Offer]:
        """What can be installed, as far as is known without asking anybody; each id once."""
        return offers.offered(self.catalogs)

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
                sweep(self._workers, worker_id)
            finally:
                staging.clear()
        self._facts.tell("worker.added", worker_id, f"{runtime} of rbee's own environment can be used")
        return self._workers.get(worker_id)


def _version_in(answer: Answer, runtime: str) -> str:
    """The version in `xllamacpp 2026.10.1`; empty where the package does not tell one."""
    if answer.ending:
        return ""
    return next((line.split()[-1] for line in answer.said.splitlines() if line.startswith(f"{runtime} ")), "")


def _quiet(line: str) -> None:
    del line
