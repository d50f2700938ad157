"""Five ways in which a start fails, made for real: each sets a root up so that `start tiny` fails so."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.paths import Root
from tests.engine.workers.support import House, add_fake

FAILURES = {
    "big": ("does_not_fit", 4, "tiny needs ", "are available"),
    "broken": ("broken_model", 9, "the model cannot be loaded", "unknown model architecture: 'llamx'"),
    "cpu": ("cpu_feature", 9, "this processor lacks an instruction", "SIGILL"),
    "port": ("port_busy", 4, "port ", "cannot be had: Address already in use"),
    "disk": ("no_space", 7, "cannot write ", "No space left on device"),
}
"""Code, exit code, and what the sentence says."""


@contextmanager
def failing(how: str, root: Root, place: Path, environment: pytest.MonkeyPatch) -> Iterator[None]:
    """A root on which a start on `tiny` fails in one of these ways."""
    model = tiny.write(place / "tiny.gguf", "Never said.").path
    if how == "broken":
        model.write_bytes(model.read_bytes().replace(b"llama", b"llamx"))
    ModelCatalog(root).import_gguf(model, id="tiny")
    house = House(root)
    if how in ("cpu", "port", "disk"):
        add_fake(house, place)
    environment.setenv("FAKE_MODE", "ill" if how == "cpu" else "")
    with {"port": _busy_port, "disk": _full_disk}.get(how, _nothing)(house):
        yield


@contextmanager
def _nothing(house: House) -> Iterator[None]:
    del house
    yield


@contextmanager
def _busy_port(house: House) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        house.records.keep_port("tiny", taken.getsockname()[1])
        yield


@contextmanager
def _full_disk(house: House) -> Iterator[None]:
    """The place of the records is a file system without room."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root and mount")
    place = house.root.running
    words = ["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "rbee-test", place]
    if subprocess.run(words, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        (place / "filler").write_bytes(bytes(4096))
        yield
    finally:
        subprocess.run(["umount", place], check=True)
