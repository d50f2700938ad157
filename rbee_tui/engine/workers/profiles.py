"""A runtime as a small description: what it is called with, and how one knows it. All pure."""

import os
import re
from pathlib import Path

import msgspec

from rbee_tui.engine.artifacts import Worker
from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.text import clean

SERVERS = ("xllamacpp", "llama-server")
_LLAMA_VERSION = re.compile(r"version: (\d+)")


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is started with."""

    model: Path
    alias: str
    host: str
    port: int
    context: int
    key_file: Path


def command(worker: Worker, binary: Path, python: Path, launch: Launch) -> list[str]:
    """The command line for a worker; the key goes by file, since everybody can read arguments.

    Prompt caching in host memory is off (llama.cpp would take 8 GiB), one slot, and a core is left to others.
    Raises RefusedError for a runtime that is not known.
    """
    if worker.runtime not in SERVERS:
        raise RefusedError(
            f"rbee does not know how to start {clean(worker.id)} (runtime {clean(str(worker.runtime))})",
            hint="a llama-server can be registered: rbee workers register PATH",
        )
    before = [str(python)] if worker.runtime == "xllamacpp" else []
    return [
        *before,
        str(binary),
        *("--model", str(launch.model), "--alias", launch.alias),
        *("--host", launch.host, "--port", str(launch.port)),
        *("--ctx-size", str(launch.context), "--parallel", "1", "--cache-ram", "0"),
        *("--threads", str(threads()), "--api-key-file", str(launch.key_file)),
    ]


def threads() -> int:
    """Threads for a runtime: all cores but one; with all of them, anything else that runs stalls it."""
    return max(1, (os.cpu_count() or 2) - 1)


def recognise(said: str) -> str | None:
    """The version of a `llama-server` by what its --version says; None when it is another program."""
    found = _LLAMA_VERSION.search(said)
    return found.group(1) if found else None


def worker_type_of(devices: list[str]) -> str:
    """The type of a llama-server, from the devices that it lists."""
    text = " ".join(devices).lower()
    return "cuda" if "cuda" in text else "metal" if "metal" in text or "mtl" in text else "cpu"
