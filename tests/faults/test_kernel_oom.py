"""A worker that the kernel ends for memory, for real: in a cgroup with a limit of its own."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rbee_tui.engine.paths import Root
from tests.cli.support import Command
from tests.engine.workers.support import House, add_fake, add_model, end_all, of_root, wait_for
from tests.faults.support_cgroup import Cgroup

_LIMIT = 256 << 20
_LITTLE = 64 << 20
_EAT = "held = []\nwhile True: held.append(b'x' * (1 << 20))"


@contextmanager
def limited(limit: int, name: str) -> Iterator[Cgroup]:
    """A cgroup below this process's, whose memory is limited; removed afterwards."""
    made = Cgroup.make(limit, name)
    if isinstance(made, str):
        pytest.skip(made)
    yield made
    wait_for(made.remove)


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """One for a worker."""
    with limited(_LIMIT, "worker") as made:
        yield made


@pytest.mark.root
class TestKernelOom:
    """What the certificate says of it."""

    def test_it_is_said(self, root: Root, tmp_path: Path, cgroup: Cgroup):
        """With what to do about it, and nothing is left behind.

        It runs already: while it is started the kernel might end the command that waits for it as well.
        """
        house = House(root)
        add_model(house, _a_model(tmp_path))
        add_fake(house, tmp_path)
        control = tmp_path / "eat"
        command = Command(root.path, FAKE_MODE="eat", FAKE_CONTROL=str(control))
        try:
            with command.start("start", "tiny", "--no-restart", preexec_fn=cgroup.enter) as start:
                _, said = start.communicate(timeout=100)
            assert start.returncode == 0, said
            control.touch()
            (death,) = wait_for(lambda: command.json("ps", "--dead"))
        finally:
            end_all(root)
        assert (death["cause"], death["signal"]) == ("kernel_oom", signal.SIGKILL.name)
        assert "the kernel ended it because memory ran out" in death["sentence"]
        assert death["hint"]
        assert cgroup.kills() >= 1
        assert of_root(root) == []

    def test_another_s_end_is_not_taken_for_its_own(self, root: Root, tmp_path: Path, cgroup: Cgroup):
        """The kernel ends somebody else for memory, and somebody kills the worker: these are two things."""
        house = House(root)
        add_model(house, _a_model(tmp_path))
        add_fake(house, tmp_path)
        command = Command(root.path)
        try:
            with command.start("start", "tiny", "--no-restart", preexec_fn=cgroup.enter) as start:
                _, said = start.communicate(timeout=100)
            assert start.returncode == 0, said
            (running,) = house.supervisor.list()
            (runtime,) = psutil.Process(running.pid).children()
            with limited(_LITTLE, "other") as other:
                eater = subprocess.run([sys.executable, "-c", _EAT], check=False, preexec_fn=other.enter)
                assert eater.returncode == -signal.SIGKILL
                assert other.kills() == 1
                runtime.kill()
                (death,) = wait_for(lambda: command.json("ps", "--dead"))
        finally:
            end_all(root)
        assert (death["cause"], death["signal"]) == ("signal", signal.SIGKILL.name)
        assert cgroup.kills() == 0


def _a_model(place: Path) -> Path:
    from rbee_tui.demo import tiny  # noqa: PLC0415 - this test alone

    return tiny.write(place / "tiny.gguf", "Never said.").path
