"""The screen as a command: its engine, its terminal, and what is said once it is left."""

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from rbee_tui.cli import output
from rbee_tui.ui import terminal

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine

VERB = "rbee"


def open_screen(
    make_engine: "Callable[[], Engine]",
    log_directory: str,
    *,
    temporary: bool = False,
    demo: bool = False,
    greeting: str = "",
) -> int:
    """Show the screen until it is left; the exit code. `make_engine` is called in the engine's thread."""
    from pathlib import Path  # noqa: PLC0415 - a refusal does not pay for any of these

    from rbee_tui.engine import allocator  # noqa: PLC0415 - as above
    from rbee_tui.ui.app import Options, RbeeApp  # noqa: PLC0415 - as above
    from rbee_tui.ui.bridge import EngineThread  # noqa: PLC0415 - as above

    allocator.return_what_is_free()
    ascii_only = not output.fancy()
    options = Options(
        host=_host(),
        ascii_only=ascii_only,
        sixteen_colours=terminal.few_colours(),
        temporary=temporary,
        demo=demo,
        greeting=greeting or ("this locale is not UTF-8: plain ASCII is shown" if ascii_only else ""),
    )
    app = RbeeApp(lambda: EngineThread(make_engine, VERB, lasting=not temporary), options)
    if _is_remote():
        app.animation_level = "none"
    app.take_signals(signal.SIGINT)
    terminal.raise_interrupts()
    # Before the screen takes the terminal's other page: it would stand there when a shell gets this one back.
    terminal.erase_splash()
    with terminal.native_noise_in(Path(log_directory) / "screen.log"):
        said = app.run(mouse=bool(os.environ.get("RBEE_MOUSE")))
        app.over.set()
    app.bridge.end(hand_over=app.hand_over and not temporary)
    say(said or ())
    return app.return_code or 0


def say(lines: Iterable[str]) -> None:
    """Say something after the screen, to whoever is still there."""
    with suppress(OSError):
        if terminal.takes_more():
            for line in lines:
                output.note(line)


def _host() -> str:
    """How an ssh client would name this machine: `user@address` where the login came that way."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    connection = os.environ.get("SSH_CONNECTION", "").split()
    name = connection[2] if len(connection) == 4 else os.uname().nodename  # noqa: PLR2004 - client, port, server, port
    return f"{user}@{name}" if user else name


def _is_remote() -> bool:
    return any(name in os.environ for name in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"))


def show() -> int:
    """The screen on the user's root."""
    from rbee_tui.engine.paths import Root  # noqa: PLC0415 - as above

    root = Root.find().prepare()

    def make_engine() -> "Engine":
        from rbee_tui.engine.engine import Engine  # noqa: PLC0415 - loaded behind the first picture

        return Engine(root, verb=VERB)

    return open_screen(make_engine, str(root.logs))
