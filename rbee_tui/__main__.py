"""The entry point: guards before any import that costs time, then the command."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run `rbee` with this process's arguments, and end it."""
    _end(_run(sys.argv[1:]))


def hive() -> NoReturn:
    """Run `rbee hive` with this process's arguments, and end it."""
    _end(_run(["hive", *sys.argv[1:]]))


def _run(words: list[str]) -> int:
    if sys.platform == "win32" or os.name != "posix":
        sys.stderr.write(
            "rbee: Windows itself is not supported\n  -> run it under WSL, where everything works\n"
        )
        return 2
    if _opens_screen(words):
        from rbee_tui.ui import terminal  # noqa: PLC0415 - the standard library alone

        if not terminal.refusal():
            terminal.keep_interrupts()
            terminal.splash()
    try:
        from rbee_tui.cli.guard import run  # noqa: PLC0415 - a Ctrl-C while it loads shows no traceback either

        return run(words)
    except KeyboardInterrupt:
        return 130


def _opens_screen(words: list[str]) -> bool:
    """Whether these words ask for the screen, where the terminal can show one."""
    return not words or (words[0] == "demo" and not {"--headless", "--help", "-h", "--json"} & set(words))


def _end(code: int) -> NoReturn:
    """End the process at once: all is written, and taking a long listing apart would take a tenth of it."""
    os._exit(code)


if __name__ == "__main__":
    main()
