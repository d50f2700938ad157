"""The engine on a loop and a thread of its own: a stalled terminal stops the screen, not a transfer."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from rbee_tui.engine.board import Changes
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.facts import Fact

T = TypeVar("T")

FOLLOW_SECONDS = 0.5
_STOP_SECONDS = 7.0
"""What an engine has to hand over and to let go; what it still holds then, the process's end frees."""


class Bridge(Protocol):
    """What the screen needs of an engine, wherever that runs."""

    def start(self, on_changes: "Callable[[Changes], None]", on_failure: Callable[[Exception], None]) -> None:
        """Begin; both functions are called on the loop that runs now."""
        ...

    async def call(self, do: "Callable[[Engine], Awaitable[T]]") -> T:
        """Await a coroutine of the engine; cancelling the caller cancels it."""
        ...

    async def ask(self, do: "Callable[[Engine], T]") -> T:
        """Make a blocking call in a thread of the engine's."""
        ...

    def stream(self, do: "Callable[[Engine], AsyncGenerator[T]]") -> AsyncGenerator[T]:
        """Follow an asynchronous generator of the engine."""
        ...

    async def leave(self, *, hand_over: bool) -> None:
        """Let go of downloads, which stay wanted; handed over, a background runner goes on with them."""
        ...

    def end(self, *, hand_over: bool) -> None:
        """The same, from any thread, whether the screen's loop still runs or not; once is enough."""
        ...


class Mailbox:
    """Hands changes from one loop to another's: values are replaced, facts are kept, nothing piles up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: "Callable[[Changes], None]") -> None:
        self._loop = loop
        self._deliver = deliver
        self._lock = threading.Lock()
        self._latest: dict[str, Any] = {}
        self._facts: list[Fact] = []
        self._waiting = False

    def put(self, changes: "Changes") -> None:
        """Add changes; called on the engine's loop."""
        with self._lock:
            self._latest |= changes.latest
            self._facts += changes.facts
            waiting, self._waiting = self._waiting, True
        if not waiting:
            with suppress(RuntimeError):  # the screen's loop has ended
                self._loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        from rbee_tui.engine.board import Changes  # noqa: PLC0415 - the engine is loaded behind the first picture

        with self._lock:
            changes = Changes(self._latest, self._facts)
            self._latest, self._facts, self._waiting = {}, [], False
        self._deliver(changes)


class EngineThread:
    """A Bridge to an engine of this process; `make` builds it, in the thread that it will live in.

    With `lasting` the root outlives this process: then downloads go on elsewhere also after a fault.
    """

    def __init__(self, make: "Callable[[], Engine]", verb: str, *, lasting: bool = True) -> None:
        self._make = make
        self._verb = verb
        self._thread = threading.Thread(target=self._run, name="rbee-engine", daemon=True)
        self._ready = asyncio.Event()
        self._home: asyncio.AbstractEventLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: Engine | None = None
        self._stop: asyncio.Event | None = None
        self._lasting = lasting
        self._hand_over = False
        self._leaving = False
        self._has_let_go = threading.Event()
        self._mailbox: Mailbox | None = None
        self._on_failure: Callable[[Exception], None] = lambda _: None

    def start(self, on_changes: "Callable[[Changes], None]", on_failure: Callable[[Exception], None]) -> None:
        """Start the thread; both functions are called on the loop that runs now."""
        self._home = asyncio.get_running_loop()
        self._mailbox = Mailbox(self._home, on_changes)
        self._on_failure = on_failure
        self._thread.start()

    async def call(self, do: "Callable[[Engine], Awaitable[T]]") -> T:
        """Await a coroutine of the engine on its own loop."""
        engine, loop = await self._there()

        async def run() -> T:
            return await do(engine)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), loop))

    async def ask(self, do: "Callable[[Engine], T]") -> T:
        """Make a blocking call in a thread of the engine's."""
        return await self.call(lambda engine: asyncio.to_thread(do, engine))

    async def stream(self, do: "Callable[[Engine], AsyncGenerator[T]]") -> AsyncGenerator[T]:
        """Follow an asynchronous generator of the engine; leaving the loop early ends it there."""
        home = asyncio.get_running_loop()
        pieces: asyncio.Queue[T | None] = asyncio.Queue()

        async def run(engine: "Engine") -> None:
            try:
                async for piece in do(engine):
                    home.call_soon_threadsafe(pieces.put_nowait, piece)
            finally:
                home.call_soon_threadsafe(pieces.put_nowait, None)

        running = asyncio.ensure_future(self.call(run))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            await running
        finally:
            running.cancel()

    async def leave(self, *, hand_over: bool) -> None:
        """Let go of downloads and end the thread; with `hand_over` a background runner goes on with them."""
        await asyncio.to_thread(self.end, hand_over=hand_over)

    def end(self, *, hand_over: bool) -> None:
        """Wait until the engine has let go, not until its last thread has its answer from the network."""
        if not self._leaving:
            self._leaving, self._hand_over = True, hand_over
        if self._thread.is_alive():
            if self._loop is not None and self._stop is not None:
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._stop.set)
            self._has_let_go.wait(_STOP_SECONDS)

    async def _there(self) -> "tuple[Engine, asyncio.AbstractEventLoop]":
        if not self._leaving:  # a key may come before the engine
            await self._ready.wait()
        if self._engine is None or self._loop is None:
            raise RuntimeError("the engine is not running")
        return self._engine, self._loop

    # In the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001 - whatever it is, the screen has to say it
            self._tell_home(self._on_failure, error)
        finally:
            self._has_let_go.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._leaving:  # before there was an event to set
            return
        engine = await asyncio.to_thread(self._make)
        try:
            await self._serve(engine, self._stop)
        finally:
            self._has_let_go.set()

    async def _serve(self, engine: "Engine", stop: asyncio.Event) -> None:
        from rbee_tui.engine import runner  # noqa: PLC0415 - loaded here, behind the first picture

        async with engine:
            self._engine = engine
            self._tell_home(self._ready.set)
            tasks = [
                asyncio.create_task(self._follow(engine), name="follow"),
                asyncio.create_task(engine.watch(), name="watch"),
                asyncio.create_task(runner.adopt(engine, self._verb, stop=stop), name="adopt"),
            ]
            stopped = asyncio.create_task(stop.wait(), name="stop")
            done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            failed = stopped not in done and self._lasting
            if (self._hand_over or failed) and engine.provisioner.active:
                # A runner that does not start leaves the jobs interrupted, not lost.
                with suppress(Exception):
                    await asyncio.to_thread(runner.start_background, engine.root)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in done - {stopped}:
                if not task.cancelled() and (error := task.exception()) and not stop.is_set():
                    raise error

    async def _follow(self, engine: "Engine") -> None:
        async for changes in engine.changes(FOLLOW_SECONDS):
            if self._mailbox is not None:
                self._mailbox.put(changes)

    def _tell_home(self, what: Callable[..., None], *words: Any) -> None:
        with suppress(RuntimeError):
            if self._home is not None:
                self._home.call_soon_threadsafe(what, *words)
