"""Textual's driver for terminals as they are: they hang up, stall, and send bytes that are no text.

Textual's own ends its writer on a dead terminal and waits for ever on a stalled one, reads a dead one in
circles, and takes a byte that is not UTF-8 for a fault of the program.
"""

import os
import select
import signal
import termios
import threading
import time
from codecs import getincrementaldecoder
from contextlib import suppress
from typing import Any, Protocol, cast

from textual import constants
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

_LOOK_SECONDS = 0.1
_UNDECIDED_SECONDS = max(1.0, 2 * constants.ESCAPE_DELAY)
"""How long after a byte the parser may still wait for the rest of a sequence."""
_HOPS = 40
"""Turns of the loop in which a key goes through its widgets, and its action opens a field or a screen."""
_KEY_SECONDS = 3.0
"""What they may take together: on a busy machine the turn that makes a screen takes long."""
_CHUNK = 1 << 14
_READ_BYTES = 1 << 12
CLOSING = b"\x1b[?2026l\x1b[?2004l\x1b[?7h\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l\x1b[0m"
"""What leaves every mode that Textual enters; for an ending in which it cannot do so itself."""


class Outlet:
    """The terminal as a file that is written to: one that is gone swallows, one that stalls may be given up.

    Only the writer's thread waits for it.
    """

    def __init__(self, terminal: int) -> None:
        self._own = _opened_again(terminal)
        self._handle = terminal if self._own is None else self._own
        self._pending = bytearray()
        self._until = float("inf")
        self.gone = False

    def give_up(self, seconds: float) -> None:
        """Swallow what the terminal has not taken so many seconds from now."""
        self._until = min(self._until, time.monotonic() + seconds)

    def write(self, text: str) -> int:
        """Add text to what `flush` writes; a lot of it is written at once."""
        self._pending += text.encode("utf-8", "replace")
        if len(self._pending) >= _CHUNK:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write everything, however long the terminal takes, unless it is gone or given up."""
        while self._pending and not self.gone:
            try:
                del self._pending[: os.write(self._handle, self._pending[:_CHUNK])]
            except BlockingIOError:
                select.select([], [self._handle], [], _LOOK_SECONDS)
                self.gone = time.monotonic() > self._until
            except OSError:
                self.gone = True
        self._pending.clear()

    def fileno(self) -> int:
        """The terminal's file descriptor."""
        return self._handle

    def close(self) -> None:
        """Close what was opened here."""
        if self._own is not None:
            os.close(self._own)
            self._own, self.gone = None, True


def _opened_again(terminal: int) -> int | None:
    """The same terminal, opened so that writing never blocks; those who share the other are left in peace."""
    with suppress(OSError):
        return os.open(os.ttyname(terminal), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return None


class Host(Protocol):
    """What the driver needs of the application beyond Textual's."""

    def hung_up(self) -> None:
        """The terminal is gone."""
        ...

    def take_signals(self, *numbers: signal.Signals) -> None:
        """From now on the application answers these signals."""
        ...


class Driver(LinuxDriver):
    """Draws on standard error, reads standard input, and survives both."""

    def __init__(self, app: Any, **options: Any) -> None:
        cast("Any", super()).__init__(app, **options)  # untyped there
        assert self._file is not None  # noqa: S101 - for the type checker: standard error was open at the start
        self.outlet = Outlet(self._file.fileno())
        self._file = cast("Any", self.outlet)
        self._host = cast("Host", app)
        self._settled = threading.Event()
        self._settled.set()
        # Ends the wait for keys: a thread that looked up now and then would be a tenth of what rest costs.
        self._roused, self._rouser = os.pipe()
        os.set_blocking(self._roused, False)
        # Textual's answer stops this process alone, and at once.
        self._host.take_signals(signal.SIGTSTP, signal.SIGCONT)

    def run_input_thread(self) -> None:
        """Read keys until the driver stops or the terminal is gone."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        decided = 0.0
        while not self.exit_event.is_set():
            patience = _LOOK_SECONDS if time.monotonic() < decided else None
            if self.fileno in select.select([self.fileno, self._roused], [], [], patience)[0]:
                data = _read(self.fileno)
                if data is None:
                    with suppress(RuntimeError):
                        self._loop.call_soon_threadsafe(self._host.hung_up)
                    return
                for event in parser.feed(decode(data)):
                    self._settle()
                    self.process_message(event)
                    self._settled = self._after_its_turns()
                decided = time.monotonic() + _UNDECIDED_SECONDS
            for event in parser.tick():
                self.process_message(event)
        with suppress(EOFError, ParseError):
            for _ in parser.feed(""):
                pass

    def _settle(self) -> None:
        """Wait until the last key has done what it does: the next of a burst may be for what it opens.

        A slow link brings keys together that were typed one by one, and Textual sends each to what has the
        focus at that moment.
        """
        until = time.monotonic() + _KEY_SECONDS
        while not self._settled.wait(_LOOK_SECONDS):
            if self.exit_event.is_set() or time.monotonic() > until:
                return

    def _after_its_turns(self) -> threading.Event:
        """What is set once the loop has made the turns of a key that was just sent.

        The loop counts them by itself: each change of threads waits for those that transfer.
        """
        passed = threading.Event()

        def turn(left: int) -> None:
            if left:
                self._loop.call_soon(turn, left - 1)
            else:
                passed.set()

        try:
            self._loop.call_soon_threadsafe(turn, _HOPS)
        except RuntimeError:  # the loop has ended
            passed.set()
        return passed

    def start_application_mode(self) -> None:
        """Take the terminal, and read keys."""
        with suppress(BlockingIOError):
            os.read(self._roused, _READ_BYTES)
        super().start_application_mode()

    def disable_input(self) -> None:
        """Read no more keys; returns once nobody reads."""
        os.write(self._rouser, b"\0")
        super().disable_input()

    def _disable_mouse_support(self) -> None:
        super()._disable_mouse_support()
        if self._mouse_pixels:
            self.write("\x1b[?1016l")

    def abandon(self) -> None:
        """Give the terminal back without Textual, as far as it takes anything."""
        with suppress(termios.error):
            if self.attrs_before is not None:
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
        with suppress(OSError):
            os.write(self.outlet.fileno(), CLOSING)


def _read(terminal: int) -> bytes | None:
    """What was typed; None where the terminal is gone."""
    try:
        data = os.read(terminal, _READ_BYTES)
        if not data:  # also after Ctrl-D, where somebody has set the terminal's lines again
            termios.tcgetattr(terminal)
    except (OSError, termios.error):
        return None
    return data
