"""A machine to read: a fake NVIDIA driver built from C, and fake /proc and /sys trees."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")

_READ = """
import sys, msgspec
from rbee_tui.engine import hardware
sys.stdout.buffer.write(msgspec.json.encode(hardware.read()))
"""


def build_nvml(directory: Path) -> Path:
    """Build the fake libnvidia-ml.so.1 in `directory`, which goes into LD_LIBRARY_PATH; skips without gcc."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    if sys.platform != "linux":
        pytest.skip("needs Linux: NVML is loaded by its Linux name")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(directory / "libnvidia-ml.so.1"), str(SOURCE)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return directory


def nvml_environment(directory: Path, **fake: object) -> dict[str, str]:
    """The environment of a process that sees the fake driver; `gpus=8` sets FAKE_NVML_GPUS, and so on."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FAKE_NVML_")}
    environment |= {f"FAKE_NVML_{name.upper()}": str(value) for name, value in fake.items()}
    return environment | {"LD_LIBRARY_PATH": str(directory)}


def run_python(code: str, environment: Mapping[str, str]) -> bytes:
    """What a fresh Python prints; its warnings are errors, and its standard error is the test's."""
    repository = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**environment, "PYTHONPATH": str(repository)},
        cwd=repository,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return done.stdout


def read_machine(environment: Mapping[str, str]) -> dict[str, Any]:
    """One reading, taken by a fresh process, as plain data."""
    return msgspec.json.decode(run_python(_READ, environment))


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    """A file system beneath `root`: what is written to each relative path."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def unified(
    path: str, files: Mapping[str, str], *, top: str = "/", point: str = "/sys/fs/cgroup"
) -> dict[str, str]:
    """The files of a machine with version 2 alone, this process being in the group `path`."""
    return {
        "proc/self/cgroup": f"0::{path}\n",
        "proc/self/mountinfo": (
            "22 28 0:20 / /proc rw,nosuid - proc proc rw\n"
            f"31 23 0:28 {top} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
        ),
        **{point.lstrip("/") + "/" + name: text for name, text in files.items()},
    }
