"""Engine: the composition root that a command, a screen and a server share."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rbee_tui.engine.board import Board, Changes
from rbee_tui.engine.catalog import ModelCatalog, Removed, WorkerCatalog
from rbee_tui.engine.cut import Cut
from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.fitting.fitter import Fitter
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner
from rbee_tui.engine.repository import Filters, RepoSummary
from rbee_tui.engine.text import clean
from rbee_tui.engine.watch import Watch
from rbee_tui.engine.workers import versions
from rbee_tui.engine.workers.install import Installer
from rbee_tui.engine.workers.supervise import Supervisor

if TYPE_CHECKING:
    from rbee_tui.engine.variants import Selection

_LOOK_SECONDS = 0.5
_SEARCHES = 16
"""So many searches may be on the line at once: one that nobody waits for is cut once it is connected."""


class Engine:
    """One root's catalogs, downloads and workers; `async with` it to follow changes and run downloads.

    Leaving lets go of downloads, which stay wanted, and never stops a worker.
    """

    def __init__(self, root: Root | None = None, hub: Hub | None = None, *, verb: str = "rbee") -> None:
        self.root = root or Root.find().prepare()
        self.facts = Facts(self.root.facts)
        self.models = ModelCatalog(self.root)
        self.workers = WorkerCatalog(self.root)
        self.hub = hub or Hub(root=self.root)
        self.provisioner = ModelProvisioner(
            self.root, self.hub, models=self.models, facts=self.facts, verb=verb
        )
        self.processes = Supervisor(self.root, self.models, self.workers, self.facts)
        self.fitter = Fitter(self.root, self.hub, self.models, self.processes.promised)
        self.installer = Installer(self.root, self.workers, self.facts)
        self.board = Board()
        self.watching = Watch(self)
        self._searches = ThreadPoolExecutor(_SEARCHES, "rbee-search")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look(), name="look")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._searches.shutdown(wait=False, cancel_futures=True)
        await self.provisioner.leave()

    async def search(self, words: str, limit: int, filters: Filters) -> Sequence[RepoSummary]:
        """Search the Hub, apart from all else: of a search that nobody waits for any more, nobody waits.

        What was cancelled before its turn is not asked, and what is asked then is cut off: its connection is
        closed. Raises what the Hub answers.
        """
        cut = Cut()
        ask = partial(self.hub.search, words, limit, filters, cut)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._searches, ask)
        finally:
            cut.now()

    def changes(self, every: float = 0.5) -> AsyncGenerator[Changes]:
        """Follow what all processes on the root do: facts, and a JobProgress under `job:<id>` in `latest`."""
        return self.board.changes(every)

    async def watch(self) -> None:
        """Keep catalogs, workers and hardware on the board, until cancelled; for faces that show them."""
        await self.watching.run()

    def selection(self) -> "Selection":
        """Which worker fits this machine, of those that are installed or offered; blocking."""
        from rbee_tui.engine import hardware  # noqa: PLC0415 - psutil, which few verbs need
        from rbee_tui.engine.variants import choose  # noqa: PLC0415 - as above
        from rbee_tui.engine.workers import offers  # noqa: PLC0415 - as above

        installed = self.workers.list()
        offered = offers.still_open(installed, self.installer.offered())
        return choose(hardware.read(self.root.path), [*installed, *offered])

    def remove_model(self, model_id: str) -> Removed:
        """Remove a model and its files; raises RefusedError while a download or a worker has it."""
        for record in self.provisioner.store.list():
            if record.outcome is None and record.model.id == model_id:
                raise RefusedError(
                    f"{clean(model_id)} is being downloaded (job {record.id})",
                    hint=f"rbee cancel {record.id} ends that, and removes what it brought",
                )
        if any(running.model == model_id for running in self.processes.list()):
            raise RefusedError(
                f"a worker runs on {clean(model_id)}", hint=f"rbee stop {clean(model_id)} stops it"
            )
        return self.models.remove(model_id)

    def remove_worker(self, worker_id: str) -> Removed:
        """Remove a worker with its files, or a version as `ID@VERSION`; raises RefusedError while it runs."""
        name, version = versions.split(worker_id)
        if version and not self.workers.contains(worker_id):
            return versions.remove(self.workers, name, version)
        served = [clean(running.model) for running in self.processes.list() if running.worker == worker_id]
        if served:
            raise RefusedError(
                f"{clean(worker_id)} runs on {', '.join(served)}", hint=f"rbee stop {served[0]} stops it"
            )
        return self.workers.remove(worker_id)

    async def _look(self) -> None:
        """Bring to the board what every process did; while nothing is under way a look costs one stat."""
        seen: dict[str, JobProgress] = {}
        facts = Facts(self.root.facts)
        busy = True
        while True:
            told = facts.read_new()
            for fact in told:
                self.board.tell(fact)
            if told or busy:
                jobs = self.provisioner.jobs()
                busy = any(job.holder is not None for job in jobs)
                for job in jobs:
                    if seen.get(job.id) != job:
                        seen[job.id] = job
                        self.board.record(f"job:{job.id}", job)
            await asyncio.sleep(_LOOK_SECONDS)
