"""What the hive tells every second to whoever listens; while nobody does, nothing is looked at."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

import rbee_tui
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.text import now
from rbee_tui.engine.workers.record import RunningWorker
from rbee_tui.hive.handlers import without_key
from rbee_tui.hive.limits import Limits
from rbee_tui.hive.streams import Stream

BEAT_SECONDS = 1.0


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """One second of a hive: its hardware, its workers (without their keys) and its unfinished downloads."""

    hive_id: str
    version: str
    at: str
    started_at: str
    reading: Reading | None
    """None until the hardware was looked at."""
    models: int
    workers: list[RunningWorker]
    jobs: list[JobProgress]


class Telemetry:
    """The stream of heartbeats, and the watch behind it."""

    def __init__(self, engine: Engine, hive_id: str, limits: Limits) -> None:
        self.stream = Stream(limits)
        self._engine = engine
        self._hive_id = hive_id
        self._started_at = now()
        self._readers = 0
        self._latest: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Stream]:
        """The stream, fed as long as somebody is in here."""
        self._readers += 1
        running = self._task
        if running is None or running.done():
            self._task = asyncio.create_task(self._feed(), name="telemetry")
        try:
            yield self.stream
        finally:
            self._readers -= 1
            if self._readers == 0:
                self._task, ending = None, self._task
                if ending is not None:
                    ending.cancel()

    async def _feed(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._engine.watch(), name="watch")
            group.create_task(self._follow(), name="follow")
            group.create_task(self._beat(), name="beat")

    async def _follow(self) -> None:
        async for changes in self._engine.changes(BEAT_SECONDS / 4):
            self._latest |= changes.latest

    async def _beat(self) -> None:
        while True:
            self.stream.put("heartbeat", self.heartbeat())
            await asyncio.sleep(BEAT_SECONDS)

    def heartbeat(self) -> Heartbeat:
        """What is known now."""
        jobs = [job for key, job in self._latest.items() if key.startswith("job:") and not job.is_over]
        return Heartbeat(
            hive_id=self._hive_id,
            version=rbee_tui.__version__,
            at=now(),
            started_at=self._started_at,
            reading=self._latest.get("reading"),
            models=len(self._latest.get("models", ())),
            workers=[without_key(each) for each in self._latest.get("running", ())],
            jobs=jobs,
        )
