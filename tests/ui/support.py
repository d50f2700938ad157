"""The screen driven by keys: the real application and engine, on a root and a Hub of the test's own."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from textual.pilot import Pilot
from textual.screen import Screen

from rbee_tui.demo.hub import DemoHub
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.ui.app import Options, RbeeApp
from rbee_tui.ui.bridge import EngineThread

SPELLED = {" ": "space", "/": "slash", "-": "minus", ":": "colon", ".": "full_stop", "_": "underscore"}
SECONDS = 20.0
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGTSTP, signal.SIGCONT)


def rows_of(screen: Screen[Any]) -> list[str]:
    """What a screen shows, row by row."""
    return ["".join(segment.text for segment in strip) for strip in screen._compositor.render_strips()]


class Cockpit:
    """A screen that runs, and a person in front of it."""

    def __init__(self, app: RbeeApp, pilot: Pilot[Any]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def rows(self) -> list[str]:
        """What is seen now, row by row."""
        return rows_of(self.app.screen)

    def row(self, words: str) -> str:
        """The first row with these words; empty where there is none."""
        return next((row for row in self.rows if words in row), "")

    @property
    def told(self) -> list[str]:
        """Everything that was narrated."""
        return [event.text for event in self.app.telling.events]

    async def until(self, condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """The first true value of `condition`; fails with what is seen when it does not come."""
        try:
            async with asyncio.timeout(seconds):
                while not (value := condition()):  # noqa: ASYNC110 - it is on a screen
                    await asyncio.sleep(0.01)
        except TimeoutError:
            seen = [] if self.app._exit else [row.rstrip() for row in self.rows]
            raise AssertionError("\n".join(["it did not come to pass", *seen, *self.told])) from None
        return value

    async def sees(self, *words: str) -> None:
        """Wait until all of this is on the screen."""
        await self.until(lambda: not self.app._exit and all(self.row(each) for each in words))

    async def hears(self, words: str) -> None:
        """Wait until this was narrated."""
        await self.until(lambda: any(words in each for each in self.told))

    async def back(self) -> None:
        """Wait until the main screen is on top again."""
        await self.until(lambda: self.app.screen is self.app.main)

    async def press(self, *keys: str) -> None:
        """Press keys, as Textual spells them."""
        await self.pilot.press(*keys)

    async def type(self, words: str) -> None:
        """Type words."""
        await self.pilot.press(*(SPELLED.get(each, each) for each in words))

    async def ends(self, key: str) -> list[str]:
        """Press the key that ends the screen; what it says in the end."""
        self.app.simulate_key(key)
        await self.until(lambda: self.app._exit)
        return self.app.return_value or []


@contextmanager
def signals_kept() -> Generator[None]:
    """The application takes signals for its own; afterwards they are the test run's again."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@asynccontextmanager
async def shown(app: RbeeApp, size: tuple[int, int] = (120, 40)) -> AsyncGenerator[Cockpit]:
    """This application on a screen of its own."""
    with signals_kept():
        async with app.run_test(size=size) as pilot:
            yield Cockpit(app, pilot)
        app.over.set()


@asynccontextmanager
async def cockpit(
    root: Root,
    hub: DemoHub | str,
    size: tuple[int, int] = (120, 40),
    *,
    anonymous: bool = True,
    **options: Any,
) -> AsyncGenerator[Cockpit]:
    """The screen over a real engine in a thread of its own, once that has told everything."""
    endpoint = hub if isinstance(hub, str) else hub.url
    bridge = EngineThread(
        lambda: Engine(root, Hub(endpoint, token="" if anonymous else None, root=root), verb="rbee"), "rbee"
    )
    app = RbeeApp(lambda: bridge, Options(**({"host": "bee@gpu1"} | options)))
    try:
        async with shown(app, size) as here:
            await here.until(lambda: {"models", "workers", "running", "reading"} <= app.house.known)
            yield here
    finally:
        await bridge.leave(hand_over=False)
