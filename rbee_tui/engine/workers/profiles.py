"""A runtime as a small description: what it is called with, how one knows that it is ready. All pure."""

import re
from pathlib import Path

import msgspec

from rbee_tui.engine.addresses import LOOPBACK
from rbee_tui.engine.artifacts import Worker
from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.text import clean

PARALLEL = 1
ALL_LAYERS = 999
"""More than any model has: the output layer, too."""
CACHE_RAM_MIB = 0
"""llama.cpp's server takes 8 GiB of host memory for prompts where nothing is said."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What rbee has to know of a runtime."""

    name: str
    launcher: bool
    """It runs under a Python, through the launcher that rbee installs."""
    health: str = "/health"
    """What answers 200 once the model is loaded; asked with the key."""
    metrics: bool = True
    """It tells tokens, requests and slots at `/metrics` and `/slots`."""
    cannot: tuple[str, ...] = ()
    """What it does not do, in words."""


_PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="xllamacpp", launcher=True),
        Profile(name="llama-server", launcher=False),
        Profile(
            name="llama-cpp-python",
            launcher=True,
            health="/v1/models",
            metrics=False,
            cannot=("answer two requests at once", "tell its load, its slots or its metrics"),
        ),
    )
}

# `version: 4404 (b6a2c8f)`; newer ones write `version: b4404`.
_VERSION = re.compile(r"^version: (b?\d[\w.]*)", re.MULTILINE)
# xllamacpp and llama-server say `listening on http://127.0.0.1:38991`, or `http://[::1]:38991`.
_LISTENING = re.compile(r"listening on \S*:(\d{1,5})\b")


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is started with."""

    model: Path
    alias: str
    host: str = LOOPBACK
    """The address to listen on."""
    port: int
    """0 lets the server choose."""
    context: int
    """Tokens."""
    threads: int
    key_file: Path | None
    """None lets whoever reaches it ask it."""
    slots: int = PARALLEL
    gpu_layers: int | None = None
    """Layers on the GPU; None where there is none to choose."""
    embeddings: bool = False
    projector: Path | None = None
    """The file that lets the model see or hear."""


def of(worker: Worker) -> Profile:
    """The profile of a worker's runtime; raises RefusedError where rbee does not know how to start it."""
    profile = _PROFILES.get(worker.runtime or "")
    if profile is None:
        what = f"its runtime is {clean(worker.runtime)!r}" if worker.runtime else "it names no runtime"
        raise RefusedError(
            f"{clean(worker.id)} cannot be started: {what}, and it does not answer --version as a "
            "llama-server does",
            hint="rbee workers register PATH takes a llama-server; rbee workers install brings a worker",
        )
    return profile


def health(runtime: str) -> str:
    """The path that tells whether a runtime is ready."""
    return _PROFILES[runtime].health if runtime in _PROFILES else "/health"


def tells(runtime: str) -> bool:
    """Whether a runtime tells its tokens, requests and slots."""
    return runtime in _PROFILES and _PROFILES[runtime].metrics


def command(worker: Worker, binary: Path, python: Path, launch: Launch) -> list[str]:
    """The command line for a worker; the key goes by file, since everybody can read arguments.

    Raises RefusedError for a runtime that is not known.
    """
    profile = of(worker)
    before = (
        [str(python), "-I", str(binary), "--runtime", profile.name] if profile.launcher else [str(binary)]
    )
    return [
        *before,
        *("--model", str(launch.model), "--alias", launch.alias),
        *("--host", launch.host, "--port", str(launch.port)),
        *("--ctx-size", str(launch.context), "--parallel", str(launch.slots)),
        *("--cache-ram", str(CACHE_RAM_MIB), "--threads", str(launch.threads)),
        *(("--api-key-file", str(launch.key_file)) if launch.key_file else ()),
        *(("--n-gpu-layers", str(launch.gpu_layers)) if launch.gpu_layers is not None else ()),
        *(("--embeddings", "--pooling", "mean") if launch.embeddings else ()),
        *(("--mmproj", str(launch.projector)) if launch.projector else ()),
        # By itself it goes on a GPU, where no room was counted for it.
        *(("--no-mmproj-offload",) if launch.projector and launch.gpu_layers == 0 else ()),
        *(("--metrics",) if profile.metrics else ()),
    ]


def threads(cores_available: float) -> int:
    """Threads for a runtime: all cores but one; with all of them, anything else that runs stalls it."""
    return max(1, int(cores_available) - 1)


def recognise(said: str) -> str | None:
    """The version of a `llama-server` by what its --version says; None when it is another program."""
    found = _VERSION.search(said)
    return found.group(1) if found else None


def port_in(log: str) -> int | None:
    """The last port that a log says is listened on; the log may hold a model's own strings, so ask twice."""
    found = _LISTENING.findall(log)
    return int(found[-1]) if found and 0 < int(found[-1]) < 1 << 16 else None


def devices_in(said: str) -> list[str]:
    """The devices in what `--list-devices` says: `CPU: AMD EPYC`; at most 16."""
    found = re.findall(r"^\s*([A-Z][A-Za-z]*\d*: \S.*)$", said, re.MULTILINE)
    return [clean(line.strip()) for line in found][:16]


def worker_type_of(devices: list[str]) -> str:
    """The type of a worker, from the devices that it lists."""
    names = {line.partition(":")[0].lower().rstrip("0123456789") for line in devices}
    if "cuda" in names:
        return "cuda"
    return "metal" if names & {"metal", "mtl"} else "cpu"
