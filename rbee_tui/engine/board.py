"""Latest values and facts: what a face follows, however many events there were in between."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from rbee_tui.engine.facts import Fact


class Changes(msgspec.Struct):
    """What is new since the last look: the latest value of each key, and every fact in order."""

    latest: dict[str, Any]
    facts: list[Fact]


class Subscription:
    """One consumer's view of the board; values are replaced, facts are kept."""

    def __init__(self) -> None:
        self._latest: dict[str, Any] = {}
        self._facts: list[Fact] = []
        self._event = asyncio.Event()

    def record(self, key: str, value: Any) -> None:
        """Replace the latest value of a key."""
        self._latest[key] = value
        self._event.set()

    def tell(self, fact: Fact) -> None:
        """Add a fact."""
        self._facts.append(fact)
        self._event.set()

    async def follow(self, every: float) -> AsyncGenerator[Changes]:
        """Yield what is new at most once in `every` seconds, and nothing while there is nothing."""
        while True:
            await self._event.wait()
            self._event.clear()
            changes = Changes(self._latest, self._facts)
            self._latest, self._facts = {}, []
            yield changes
            await asyncio.sleep(every)


class Board:
    """Hands each value and fact to every subscription; used on the engine's loop alone."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._latest: dict[str, Any] = {}

    def record(self, key: str, value: Any) -> None:
        """Replace the latest value of a key for everybody."""
        self._latest[key] = value
        for subscription in self._subscriptions:
            subscription.record(key, value)

    def tell(self, fact: Fact) -> None:
        """Add a fact for everybody."""
        for subscription in self._subscriptions:
            subscription.tell(fact)

    async def changes(self, every: float = 0.5) -> AsyncGenerator[Changes]:
        """Follow the board: the values as they are, then what is new; one consumer for each call."""
        subscription = Subscription()
        for key, value in self._latest.items():
            subscription.record(key, value)
        self._subscriptions.append(subscription)
        try:
            async for changes in subscription.follow(every):
                yield changes
        finally:
            self._subscriptions.remove(subscription)
