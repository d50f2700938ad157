"""What the terminal can do, told before anything heavy is imported; and the first sign of life on it."""

import os
import select
import signal
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

_OPENING = b"rbee: opening the screen\r"
_STALL_SECONDS = 0.5
_ERASE = b"\r\x1b[K"
_interrupts: list[int] = []
_MANY_COLOURS = ("256", "direct", "truecolor", "kitty", "alacritty", "ghostty", "foot", "wezterm", "iterm")


def refusal(environment: Mapping[str, str] = os.environ) -> str:
    """Why no screen can be shown here, in a sentence; empty where one can."""
    if not all(map(os.isatty, (0, 1, 2))):
        return "this is not a terminal, so there is no screen"
    if environment.get("TERM", "") in ("", "dumb", "unknown"):
        named = environment.get("TERM", "")
        said = f"TERM is {named!r}" if named else "TERM is not set"
        return f"{said}, a terminal on which no screen can be drawn"
    return ""


def few_colours(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal has sixteen colours or fewer, as far as its name tells, or none are wanted."""
    if environment.get("NO_COLOR"):
        return True
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return False
    return not any(word in environment.get("TERM", "").lower() for word in _MANY_COLOURS)


def splash() -> None:
    """Say that the screen is coming: loading what draws it takes a third of a second."""
    os.write(2, _OPENING)


def keep_interrupts() -> None:
    """Raise KeyboardInterrupt at a Ctrl-C, and remember it: an import may swallow the exception."""
    signal.signal(signal.SIGINT, _interrupted)


def _interrupted(number: int, _: object) -> NoReturn:
    _interrupts.append(number)
    raise KeyboardInterrupt


def raise_interrupts() -> None:
    """Raise KeyboardInterrupt once more where one was swallowed."""
    if _interrupts:
        raise KeyboardInterrupt


def erase_splash() -> None:
    """Take that away again, where the terminal is still there."""
    with suppress(OSError):
        if takes_more():
            os.write(2, _ERASE)


def takes_more() -> bool:
    """Whether the terminal takes what is written, or will at once: one that stalls would hold up the end."""
    return bool(select.select([], [2], [], _STALL_SECONDS)[1])


@contextmanager
def native_noise_in(log: Path) -> Generator[None]:
    """Send what libraries below Python write to standard error into a log, while a screen is drawn there."""
    sys.stderr.flush()
    screen = os.dup(2)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(handle, 2)
    os.close(handle)
    before = sys.__stderr__
    # closefd=False: whoever still writes there late must not meet a file of another's.
    sys.__stderr__ = os.fdopen(screen, "w", encoding="utf-8", errors="replace", closefd=False)  # type: ignore[misc]
    try:
        yield
    finally:
        sys.__stderr__ = before  # type: ignore[misc]
        os.dup2(screen, 2)
