"""The watch: what lies in the catalogs, what runs and what the hardware does, kept current on the board.

Facts say what changed, whoever changed it; what other hands do (`scp`, `rm`) is found by looking. Keys:
`models` and `workers` (lists of entries by id), `running` (list of RunningWorker), `deaths` (list of Death),
`reading` (a hardware Reading), `settings`, `promised` (bytes of disk). Values are whole; an earlier one stays
as it is.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from rbee_tui.engine import settings
from rbee_tui.engine.artifacts import Entry, Health
from rbee_tui.engine.catalog import Catalog
from rbee_tui.engine.errors import NotFoundError, RbeeError
from rbee_tui.engine.facts import Fact
from rbee_tui.engine.looks import Lookout
from rbee_tui.engine.settings import Settings

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine

SCAN_SECONDS = 10.0
HARDWARE_SECONDS = 1.0
_RESTING_SECONDS = 2.0
"""Where nothing is downloaded and no worker runs, the hardware is looked at half as often."""
_WORKERS_SECONDS = 2.0
_LOADING_SECONDS = 0.3
_MOVING = frozenset({"loading", "stopping"})
# Bytes that are written into a file in its place change no stamp: what lacks some is looked at each time.
_UNFINISHED = frozenset({Health.ARRIVING, Health.PARTIAL, Health.DAMAGED, Health.MISSING})


class Shelf:
    """One catalog's entries as they were seen last; blocking calls, one at a time, made in threads."""

    def __init__(self, catalog: "Catalog[Any]") -> None:
        self.turn = asyncio.Lock()
        self._catalog = catalog
        self._lookout = Lookout(str(catalog.path))
        self._entries: dict[str, Entry[Any]] = {}

    def fill(self) -> list[Entry[Any]]:
        """Read everything."""
        self._lookout.changed()
        self._entries = {entry.id: entry for entry in self._catalog.list()}
        return list(self._entries.values())

    def scan(self) -> list[Entry[Any]] | None:
        """Read what other hands changed, and what was not whole; None when nothing was."""
        unfinished = {entry.id for entry in self._entries.values() if entry.health in _UNFINISHED}
        changed = self._lookout.changed() | unfinished
        before = {each: self._entries.get(each) for each in changed}
        entries = self.read(changed) if changed else []
        return entries if any(self._entries.get(each) != before[each] for each in changed) else None

    def read(self, ids: set[str]) -> list[Entry[Any]]:
        """Read these artifacts again."""
        for each in ids:
            before = self._entries.pop(each, None)
            # The catalog would look everywhere for it.
            if before is not None and not os.path.lexists(before.directory):
                continue
            with suppress(NotFoundError):
                entry = self._catalog.get(each)
                self._entries[entry.id] = entry
        self._entries = dict(sorted(self._entries.items()))
        return list(self._entries.values())


class Watch:
    """Feeds a board from one engine's catalogs, workers and hardware."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._workers_changed = asyncio.Event()
        self._look_again = asyncio.Event()
        self._has_workers = False

    def look_again(self) -> None:
        """Read every artifact now, rather than at the next scan; to be called on the engine's loop."""
        self._look_again.set()
        self._workers_changed.set()

    async def run(self) -> None:
        """Watch until cancelled; what cannot be read now is tried again at its next turn."""
        shelves = {"models": Shelf(self._engine.models), "workers": Shelf(self._engine.workers)}
        async with asyncio.TaskGroup() as group:
            # First: facts that are told while the catalogs are read are read again.
            group.create_task(self._follow(shelves), name="facts")
            group.create_task(self._scan(shelves), name="catalogs")
            group.create_task(self._running(), name="running")
            group.create_task(self._hardware(), name="hardware")

    async def _follow(self, shelves: dict[str, Shelf]) -> None:
        """Read again what facts speak of."""
        async for changes in self._engine.changes(0.05):
            nouns = _ids_by_noun(changes.facts)
            for key, shelf in shelves.items():
                if ids := nouns.get(key):
                    await self._record(key, lambda shelf=shelf, ids=ids: shelf.read(ids), turn=shelf.turn)
            if "workers" in nouns:
                self._workers_changed.set()
            if "settings" in nouns:
                await self._record("settings", self._settings)
            if any(key.startswith("job:") for key in changes.latest):
                await self._record("promised", self._engine.provisioner.promised)

    async def _scan(self, shelves: dict[str, Shelf]) -> None:
        """Read everything, at first and whenever that is asked for; else look for what other hands did."""
        await self._record("settings", self._settings)
        asked = True
        while True:
            for key, shelf in shelves.items():
                await self._record(key, shelf.fill if asked else shelf.scan, turn=shelf.turn)
            asked = await _wait(self._look_again, SCAN_SECONDS)

    def _settings(self) -> Settings:
        return settings.read(self._engine.root)

    async def _running(self) -> None:
        """Look at the worker processes: often while one loads or stops, now and then while they only run."""
        before: Any = None
        dead: Any = []
        while True:
            found = await self._record("running", self._engine.processes.list, before)
            before = found
            dead = await self._record("deaths", self._engine.processes.deaths, dead)
            self._has_workers = bool(found)
            if any(each.state in _MOVING for each in found or ()):
                pause = _LOADING_SECONDS
            else:
                pause = _WORKERS_SECONDS if found else SCAN_SECONDS
            await _wait(self._workers_changed, pause)

    async def _hardware(self) -> None:
        from rbee_tui.engine.hardware.probe import Probe  # noqa: PLC0415 - psutil, which a command need not load

        with await asyncio.to_thread(Probe, self._engine.root.path) as probe:
            while True:
                await self._record("reading", probe.read)
                busy = self._has_workers or self._engine.provisioner.active
                await asyncio.sleep(HARDWARE_SECONDS if busy else _RESTING_SECONDS)

    async def _record(
        self, key: str, look: Callable[[], Any], before: Any = None, turn: asyncio.Lock | None = None
    ) -> Any:
        """Look in a thread, and bring what was found to the board unless it is None or as before."""
        try:
            async with turn or nullcontext():
                found = await asyncio.to_thread(look)
        except (RbeeError, OSError):
            return before
        if found is not None and (before is None or found != before):
            self._engine.board.record(key, found)
        return found


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, at most so long, and take it down; whether it came."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    came = event.is_set()
    event.clear()
    return came


def _ids_by_noun(facts: list[Fact]) -> dict[str, set[str]]:
    """The ids that facts speak of, by catalog; a fact of a running worker names its model."""
    found: dict[str, set[str]] = {}
    for fact in facts:
        noun = fact.kind.partition(".")[0]
        if noun in ("model", "worker", "setting"):
            found.setdefault(f"{noun}s", set()).add(fact.id)
    return found
