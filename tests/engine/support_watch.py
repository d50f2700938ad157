"""Following an engine's board, for the tests of what appears there."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from rbee_tui.engine.engine import Engine
from rbee_tui.engine.facts import Fact


class Board:
    """What a face has been told so far."""

    def __init__(self) -> None:
        self.latest: dict[str, Any] = {}
        self.facts: list[Fact] = []
        self.told: dict[str, int] = {}
        """How often each value was told."""
        self._news = asyncio.Event()

    async def follow(self, engine: Engine) -> None:
        """Take in what the engine tells, until cancelled."""
        async for changes in engine.changes(0.02):
            self.latest |= changes.latest
            self.facts += changes.facts
            for key in changes.latest:
                self.told[key] = self.told.get(key, 0) + 1
            self._news.set()

    async def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """The first true value of `condition`; it is asked again whenever something is told."""
        async with asyncio.timeout(seconds):
            while not (value := condition()):
                self._news.clear()
                await self._news.wait()
        return value

    def health(self, model_id: str) -> str | None:
        """A model's health; None where it is not listed."""
        found = [entry for entry in self.latest.get("models", ()) if entry.id == model_id]
        return str(found[0].health) if found else None


@asynccontextmanager
async def watched(engine: Engine) -> AsyncGenerator[Board]:
    """An engine that watches its root, once it has told everything for the first time."""
    board = Board()
    async with engine:
        tasks = [asyncio.create_task(board.follow(engine)), asyncio.create_task(engine.watch())]
        try:
            await board.until(lambda: {"models", "workers", "running", "reading"} <= board.latest.keys())
            yield board
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
