"""The application: it follows the engine, hands what is new to the screen, and does what keys stand for."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import FrameType
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.filter import LineFilter

from rbee_tui.engine import traces
from rbee_tui.engine.board import Changes
from rbee_tui.engine.errors import RbeeError
from rbee_tui.ui import flows, styles
from rbee_tui.ui.bridge import Bridge
from rbee_tui.ui.driver import Driver
from rbee_tui.ui.flows import leaving
from rbee_tui.ui.gate import Gate
from rbee_tui.ui.glyphs import ASCII, UNICODE
from rbee_tui.ui.house import Activity, House
from rbee_tui.ui.keys import BY_NAME, Situation
from rbee_tui.ui.screens.main import PANES, MainScreen
from rbee_tui.ui.screens.question import Question, QuestionScreen
from rbee_tui.ui.telling import Telling

HANGUP_SECONDS = 2.0
"""What a screen that a signal ends has before it is ended from outside its loop."""
_STALL_SECONDS = 0.5
"""What a terminal that takes nothing has when a signal ends the screen."""
_SIGNALLED = 128
_INTERRUPTED = _SIGNALLED + signal.SIGINT


@dataclass(frozen=True)
class Options:
    """How the screen is to be."""

    host: str
    """This machine's name, as one would write it in an ssh line."""
    ascii_only: bool = False
    sixteen_colours: bool = False
    temporary: bool = False
    """Whether the root goes away when the screen is left."""
    demo: bool = False
    """Whether it is a demo: its Hub is a small one, and what runs ends with the screen."""
    greeting: str = ""
    """Said at the start."""
    clock: Callable[[], str] = lambda: datetime.now().astimezone().strftime("%H:%M")
    """The time that narration shows."""


class RbeeApp(App[list[str]]):
    """The cockpit. Its result is what to say after it was left, in lines."""

    ENABLE_COMMAND_PALETTE = False
    CSS_PATH: ClassVar[Any] = styles.sheets()
    TITLE = "rbee"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,ctrl+q", "interrupt", show=False, priority=True),
    ]

    def __init__(self, make_bridge: Callable[[], Bridge], options: Options) -> None:
        # Before anything is drawn: colours and characters depend on it.
        self.options = options
        self.glyphs = ASCII if options.ascii_only else UNICODE
        self._gate = Gate(ascii_only=options.ascii_only)
        self._palette = styles.palette("ansi" if options.sixteen_colours else "true")
        super().__init__(driver_class=Driver, ansi_color=True if options.sixteen_colours else None)
        self._make_bridge = make_bridge
        self.bridge = make_bridge()
        self.house = House()
        self.main = MainScreen(self.house, options.host)
        self.telling = Telling(options.clock, self.main.tell)
        self._begun = False
        self.hand_over = True
        """Whether downloads go on in the background once the screen is left."""
        self.over = threading.Event()
        """To be set once `run` has returned: until then a signal that asked for the end sees to it."""
        self.stopping = False
        """Whether the shell gets or has the terminal for a while."""
        self._leaving = False
        self.quit_question: QuestionScreen | None = None
        """What becomes of downloads, while it is asked."""
        self._code = 1
        self._ending = threading.Event()
        self._home: asyncio.AbstractEventLoop | None = None
        self._early: list[int] = []
        """Signals that came before there was a loop to answer them."""
        self._wanted_line: tuple[str, str] | None = None
        self._flowing: set[tuple[str, str, str]] = set()
        self.theme = "ansi-dark" if options.sixteen_colours else "textual-dark"

    @property
    def host(self) -> str:
        """This machine's name for an ssh client."""
        return self.options.host

    @property
    def asked_to_quit(self) -> bool:
        """Whether the question of what becomes of downloads is on the screen."""
        return self.quit_question is not None

    @property
    def temporary(self) -> bool:
        """Whether the root goes away when the screen is left."""
        return self.options.temporary

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's filters, and the gate after them."""
        return [*super().get_line_filters(), self._gate]

    def get_css_variables(self) -> dict[str, str]:
        """The theme's variables, and over them the palette of styles/, for every sheet."""
        return {**super().get_css_variables(), **self._palette}

    # Beginning and ending

    def on_load(self) -> None:
        """Take the signals before the terminal is changed: one that comes during the start is not lost."""
        self._home = asyncio.get_running_loop()
        self.take_signals(signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        threading.Thread(target=self._watch_ending, name="rbee-ending", daemon=True).start()
        for number in self._early:
            self.call_later(self._signalled, number)

    def take_signals(self, *numbers: signal.Signals) -> None:
        """Answer these signals; by Python's handlers, which also run while a terminal blocks the loop."""
        for number in numbers:
            signal.signal(number, self._on_signal)

    def on_mount(self) -> None:
        """Show the main screen, and start the engine behind it."""
        self.push_screen(self.main)
        self.call_after_refresh(self.begin)
        if self.options.greeting:
            self.call_after_refresh(self.narrate, self.options.greeting, "quiet")

    def begin(self) -> None:
        """Start an engine and follow it."""
        if self._leaving:
            return
        if self._begun:
            self.bridge = self._make_bridge()
        self._begun = True
        self.bridge.start(self._take, self._engine_failed)

    def draw_all(self) -> None:
        """Write every line again: somebody else has written on the terminal."""
        self.screen.refresh(layout=True)
        for widget in self.screen.walk_children():
            widget.refresh()

    async def leave(self, *, hand_over: bool, code: int = 0) -> None:
        """Let go of everything and end."""
        if self._leaving:
            return
        self._leaving = True
        self.hand_over = hand_over and not self.temporary
        said = leaving.farewell(self, handed_over=hand_over)
        await self.bridge.leave(hand_over=self.hand_over)
        self.exit(said, return_code=code)

    def end(self, code: int) -> None:
        """End at once; the engine is let go after the terminal was given back, as `hand_over` says."""
        self._ending.set()
        if not self._leaving:
            self._leaving = True
            self.hand_over = not self.temporary
        said = leaving.farewell(self, handed_over=self.hand_over)
        self.exit(said, return_code=code)

    def hung_up(self) -> None:
        """The terminal is gone, whether a signal said so or not."""
        self._signalled(signal.SIGHUP)

    def action_interrupt(self) -> None:
        """Ctrl-C: back, from the main screen out, and out at once where that is asked already."""
        if self.asked_to_quit:
            self.end(_INTERRUPTED)
        elif self.screen is self.main:
            self.do("quit", self.main.situation)
        else:
            self.simulate_key("escape")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number in (signal.SIGTERM, signal.SIGHUP) or (number == signal.SIGINT and self.asked_to_quit):
            self._code = _SIGNALLED + number
            self._ending.set()
            if isinstance(self._driver, Driver):
                self._driver.outlet.give_up(_STALL_SECONDS)
        if self._home is None:
            self._early.append(number)
            return
        with suppress(RuntimeError):  # the loop has ended, and with it what the signal asks for
            self._home.call_soon_threadsafe(self._signalled, number)

    def _signalled(self, number: int) -> None:
        """End as a closed terminal or a shutdown asks; ask as q does at the first interrupt; stop; go on."""
        if self._exit:
            return
        if number == signal.SIGTSTP:
            self.do("suspend", self.main.situation)
        elif number == signal.SIGCONT:
            self._continued()
        elif number == signal.SIGINT and self.main.is_mounted and not self.asked_to_quit:
            self.run_worker(self._guarded(leaving.quit_screen(self, code=_INTERRUPTED)), exit_on_error=False)
        else:
            self.end(_SIGNALLED + number)

    def _continued(self) -> None:
        """Draw everything again; where it was stopped without being asked, take the terminal again first."""
        if not self.stopping and self._driver is not None:
            self._driver.suspend_application_mode()
            self._driver.resume_application_mode()
        self.draw_all()

    def _watch_ending(self) -> None:
        """Once a signal has asked for the end: where it does not come, end the process without the loop."""
        self._ending.wait()
        if not self.over.wait(HANGUP_SECONDS):
            if isinstance(self._driver, Driver):
                self._driver.abandon()
            self.bridge.end(hand_over=self.hand_over and not self.temporary)
            os._exit(self._code)

    def _engine_failed(self, error: Exception) -> None:
        """Without an engine there is nothing to show: leave with its sentence."""
        if isinstance(error, RbeeError):
            said = [f"rbee: {error}"] + ([f"  -> {error.hint}"] if error.hint else [])
            self.exit(said, return_code=error.exit_code)
        else:
            self._handle_exception(error)

    def _handle_exception(self, error: Exception) -> None:
        """End on a fault of ours with a sentence; Textual would print a traceback with all variables."""
        if self.is_headless:  # a test wants the error itself
            super()._handle_exception(error)
            return
        if self._exit:  # what follows from the first one
            return
        said = [f"rbee: {traces.sentence(error)}", f"  -> {traces.keep(error)}"]
        goes_on = leaving.farewell(self, handed_over=self.hand_over)
        self.exit([*said, *goes_on], return_code=1)

    # What the engine tells

    def _take(self, changes: Changes) -> None:
        """Called by the loop itself: an error would be logged there, and the screen would stand still."""
        try:
            self._show(changes)
        except Exception as error:  # noqa: BLE001 - as every other fault of ours
            self._handle_exception(error)

    def _show(self, changes: Changes) -> None:
        touched = self.house.take(changes)
        if touched & {"reading", "promised"}:
            self.telling.of_room(self.house.reading, self.house.promised)
        for fact in changes.facts:
            self.telling.of_fact(fact)
        self.main.show(touched)
        if self.quit_question is not None and "jobs" in touched:
            leaving.ask_again(self, self.quit_question)
        if self._wanted_line is not None and self.main.is_whole:
            self.show_line(*self._wanted_line)

    def narrate(self, text: str, style: str, *, hint: str = "", log: str = "", passing: bool = False) -> None:
        """Say what just happened, and keep it among the events; what is `passing` goes with its flow."""
        self.telling.say(text, style, hint=hint, log=log, passing=passing)

    def fail(self, error: RbeeError, *, log: str = "") -> None:
        """Narrate an error; its hint and log can be read among the events."""
        self.narrate(str(error), "wrong", hint=error.hint, log=log)

    async def explain(self, error: RbeeError) -> None:
        """Show an error to somebody who waits for the answer, until they have read it."""
        self.fail(error)
        lines = [(str(error), "wrong")] + ([("", ""), (error.hint, "")] if error.hint else [])
        await self.question(Question("That did not work", lines, []))

    async def question(self, question: Question) -> str | None:
        """Ask, and wait for the answer."""
        return await self.push_screen_wait(QuestionScreen(question, self.glyphs))

    def show_line(self, pane: str, key: str) -> None:
        """Put the cursor of a pane on a line, now or as soon as it is listed, and go there."""
        found = self.main.pane(pane)
        found.put_cursor(key)
        at = found.current
        self._wanted_line = None if at is not None and at.key == key else (pane, key)
        if self._wanted_line is None and self.screen is self.main:
            self.main.go_to(pane)

    @asynccontextmanager
    async def doing(self, activity: Activity) -> AsyncGenerator[None]:
        """Show that something is under way, until it is over."""
        key = f"{activity.verb}:{activity.id}"
        self.house.activities[key] = activity
        self.main.show({"activities"})
        try:
            yield
        finally:
            self.house.activities.pop(key, None)
            self.main.show({"activities"})

    # What keys do

    def do(self, name: str, situation: Situation) -> None:
        """Do an action of the table of keys, or say that it does nothing here."""
        if self._leaving or self.stopping:
            return
        action = BY_NAME[name]
        if not action.works(situation):
            self.narrate(
                f"{action.shown} ({action.label.lower()}) does nothing here: ? shows what does", "quiet"
            )
            return
        if name in self._IMMEDIATE:
            self._IMMEDIATE[name](self)
            return
        if name.startswith("pane_"):
            self.main.go_to(PANES[int(name[-1]) - 1])
            return
        self.run_worker(self._once(name, situation), group="flow", exit_on_error=False)

    async def _once(self, name: str, situation: Situation) -> None:
        """Run an action's flow, unless it runs already: a key pressed twice asks for one thing.

        What it said that it does is taken back once it does it no more.
        """
        what = (name, situation.pane, situation.line.key if situation.line else "")
        if what in self._flowing:
            return
        self._flowing.add(what)
        before = self.telling.latest
        try:
            await self._guarded(flows.run(self, name, situation))
        finally:
            self._flowing.discard(what)
            if self.telling.latest is not before and not self._flowing:
                self.telling.take_back()

    async def _guarded(self, flow: Coroutine[Any, Any, None]) -> None:
        """Run a flow; whatever goes wrong is narrated."""
        try:
            await flow
        except RbeeError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - a fault in one flow must not take the screen down
            self.narrate(traces.sentence(error), "wrong", hint=traces.keep(error))

    def refresh_all(self) -> None:
        """Look at the disk again, and draw everything again."""
        self.run_worker(self._guarded(self._look_again()), group="refresh", exit_on_error=False)
        self.draw_all()

    async def _look_again(self) -> None:
        async def look(engine: Any) -> None:
            engine.watching.look_again()

        await self.bridge.call(look)
        self.narrate("looking at the disk again", "quiet")

    _IMMEDIATE: ClassVar[dict[str, Callable[["RbeeApp"], None]]] = {
        "filter": lambda app: app.main.ask_filter(),
        "mark": lambda app: app.main.pane(app.main.situation.pane).toggle_mark(),
        "sort": lambda app: app.main.sort_next(),
        "reverse": lambda app: app.main.reverse(),
        "next_pane": lambda app: app.main.next_pane(),
        "refresh": lambda app: app.refresh_all(),
    }
