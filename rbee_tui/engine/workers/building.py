"""Building a recipe's packages from their source, with pinned tools and the log live."""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rbee_tui.engine import durable
from rbee_tui.engine.artifacts import Offer
from rbee_tui.engine.errors import NoSpaceError, RefusedError, WorkerError
from rbee_tui.engine.workers.packages import Say, install_command, requirements, run_logged
from rbee_tui.engine.workers.pip_settings import uv_environment
from rbee_tui.engine.workers.runtimes import base_python

_TAIL_LINES = 20
_C, _CXX = ("cc", "gcc", "clang"), ("c++", "g++", "clang++")
_GET_GPP = "apt install g++ (Debian), dnf install gcc-c++ (Fedora)"
_GET_ONE = {"darwin": "xcode-select --install"}
# What -march=native may use of a processor, by the names in /proc/cpuinfo.
_FEATURES = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "bmi1", "bmi2", "abm", "movbe", "avx_vnni", "avx_vnni_int8"),
    *("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512_vbmi2"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
)
PORTABLE = ("avx2", "fma", "f16c", "bmi2")
"""What a build for other machines may use, as the ready-made wheels do."""
_PORTABLE_ARGUMENTS = "-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"


async def build(offer: Offer, place: Path, say: Say, *, portable: bool = False) -> list[Path]:
    """Build an offer's sources into wheels beneath a directory, which it makes; one for each.

    `portable` builds for other machines of this platform, otherwise for this processor. CMAKE_ARGS is
    honoured, as for a GPU. Raises WorkerError with the last lines, NoSpaceError.
    """
    tools, wheels, temporary = place / "tools", place / "wheels", place / "tmp"
    for directory in (place, wheels, temporary):
        await asyncio.to_thread(directory.mkdir, exist_ok=True)
    say(f"building {', '.join(offer.build)} for this machine: this takes minutes")
    with_tools, sources = place / "tools.txt", place / "sources.txt"
    durable.write(with_tools, requirements(offer.build_requirements).encode())
    durable.write(
        sources, requirements(each for each in offer.requirements if each.name in offer.build).encode()
    )
    words = install_command(tools, with_tools, "--only-binary", ":all:")
    await _run(offer, words, place, say, uv_environment(os.environ))
    words = [
        *(*_gently(), str(base_python()), "-m", "pip", "wheel", "--verbose", "--no-input"),
        *("--disable-pip-version-check", "--progress-bar", "off", "--no-build-isolation", "--no-deps"),
        *("--no-cache-dir", "--require-hashes", "--no-binary", ",".join(offer.build)),
        *("--wheel-dir", str(wheels), "--requirement", str(sources)),
    ]
    environment = build_environment(os.environ, tools, temporary, portable=portable)
    await _run(offer, words, place, say, environment)
    return sorted(wheels.glob("*.whl"))


async def _run(offer: Offer, words: list[str], place: Path, say: Say, environment: Mapping[str, str]) -> None:
    code, said = await run_logged(words, place, say, environment)
    if not code:
        return
    if any("No space left on device" in line for line in said):
        raise NoSpaceError(
            f"{offer.name} could not be built: no space is left, and a build takes about 1 GB",
            hint="rbee models list shows what takes room; nothing was changed here",
        )
    raise WorkerError(
        f"{offer.name} could not be built: its build ended with {code}",
        hint="the log has the compiler's words; llm-worker-cpu needs no build",
        log="\n".join(said[-_TAIL_LINES:]),
    )


def _gently() -> list[str]:
    """What goes before a long build, so that it does not stall what else runs here."""
    return ["nice", "-n", "10"] if shutil.which("nice") else []


def build_environment(
    environment: Mapping[str, str], tools: Path, temporary: Path, *, portable: bool
) -> dict[str, str]:
    """The environment of a build: the pinned tools before all others, and its files in one place."""
    path = f"{tools / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    made = {**environment, "PATH": path, "TMPDIR": str(temporary)}
    # Another environment's modules and settings are none of the build's.
    made |= {"PYTHONPATH": str(tools), "PYTHONNOUSERSITE": "1", "PIP_REQUIRE_VIRTUALENV": "false"}
    # A line for each file says how far it is; the compiler's whole command does not.
    made.setdefault("SKBUILD_CMAKE_VERBOSE", "0")
    made.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
    if portable:
        made["CMAKE_ARGS"] = f"{_PORTABLE_ARGUMENTS} {environment.get('CMAKE_ARGS', '')}".strip()
    return made


def require_compiler(offer: Offer, environment: Mapping[str, str] = os.environ) -> None:
    """Raise RefusedError where no C or C++ compiler is found: a build would end with that, but later."""
    path = environment.get("PATH")
    for variable, names, language in (("CC", _C, "C"), ("CXX", _CXX, "C++")):
        named = environment.get(variable, "").split()[:1]
        if not any(shutil.which(name, path=path) for name in (named or names)):
            asked = f"{variable} names {named[0]}, which is not here" if named else "and none is on PATH"
            raise RefusedError(
                f"{offer.name} is built here, which needs a {language} compiler, {asked}",
                hint=f"{_GET_ONE.get(sys.platform, _GET_GPP)}; llm-worker-cpu needs none",
            )


def used_features(features: frozenset[str]) -> list[str]:
    """Those of a processor's features that a build for it may use."""
    return [name for name in _FEATURES if name in features]
