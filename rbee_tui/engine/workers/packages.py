"""The package installer: its command, its settings, and its lines as they come."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from rbee_tui.engine import durable
from rbee_tui.engine.artifacts import Requirement
from rbee_tui.engine.durable import storage
from rbee_tui.engine.workers.runtimes import base_python

Say = Callable[[str], None]
"""Takes a line as it comes."""

_LONGEST_LINE = 1 << 20
_LOG_MODE = 0o600
_KILL_ROUNDS = 3


def requirements(wanted: Iterable[Requirement]) -> str:
    """Packages with their hashes, as a requirements file."""
    return "".join(
        f"{each.name}=={each.version}{f' ; {each.marker}' if each.marker else ''}"
        f" {' '.join(f'--hash={digest}' for digest in each.hashes)}\n"
        for each in wanted
    )


def install_command(site: Path, wanted: Path, *more: str) -> list[str]:
    """The command that fills `site` with the packages of a requirements file, and no others."""
    from uv import find_uv_bin  # noqa: PLC0415 - only an install needs it

    return [
        *(os.fspath(find_uv_bin()), "pip", "install", "--target", str(site), "--requirement", str(wanted)),
        *("--require-hashes", "--no-deps", "--python", str(base_python())),
        # Which of several indexes has it does not matter where the hash does.
        *("--index-strategy", "unsafe-best-match"),
        *("--no-progress", "--link-mode", "copy", "--color", "never"),
        *more,
    ]


def pip_command() -> list[str]:
    """The command of pip, which can collect wheels as uv cannot: this Python's, else one that uv brings."""
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    from uv import find_uv_bin  # noqa: PLC0415 - as above

    return [os.fspath(find_uv_bin()), "tool", "run", "--from", "pip", "pip"]


def local_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without anybody's settings for indexes: what is installed lies here already."""
    return {name: value for name, value in environment.items() if not name.startswith(("UV_", "PIP_"))}


async def run_logged(
    words: list[str], cwd: Path, on_line: Callable[[str], None], environment: Mapping[str, str]
) -> tuple[int, list[str]]:
    """Run a program to its end with its lines told as they come; its exit code and its lines.

    Cancelled, or when the listener fails, it takes the program and its children along.
    """
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=dict(environment),
        limit=_LONGEST_LINE,
        start_new_session=True,
    )
    said: list[str] = []
    try:
        while process.stdout and (raw := await process.stdout.readline()):
            said.append(raw.decode(errors="replace").rstrip())
            on_line(said[-1])
        return await process.wait(), said
    except BaseException:
        end_session(process.pid)
        await process.wait()
        raise


def end_session(leader: int) -> None:
    """Kill a session that was started here, while its leader is not waited for: so its number is its own.

    A build has compilers below it, which ninja puts into groups of their own.
    """
    import psutil  # noqa: PLC0415 - only what is given up needs it

    for _ in range(_KILL_ROUNDS):  # one may start another while it is looked for
        for pid in psutil.pids():
            with suppress(ProcessLookupError, PermissionError):
                if os.getsid(pid) == leader:
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def logged(path: Path, on_line: Callable[[str], None]) -> Generator[Callable[[str], None]]:
    """A listener that writes each line to a new log before it tells it; the log is its owner's alone."""
    with storage("write", path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _LOG_MODE)

    def tell(line: str) -> None:
        with storage("write", path):
            durable.write_all(handle, f"{line}\n".encode(errors="replace"))
        on_line(line)

    try:
        yield tell
    finally:
        os.close(handle)
