"""Which process is it: a pid alone says nothing, and signals must hit exactly the one that was meant."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine import process
from rbee_tui.engine.process import Identity, identify

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does nothing for a while, in a session of its own."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as started:
        yield started
        started.kill()


@pytest.fixture
def who(sleeper) -> Identity:
    """Its identity."""
    found = identify(sleeper.pid)
    assert found
    return found


@pytest.fixture
def no_pidfd(monkeypatch):
    """A system without pidfds, as macOS is."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)


@pytest.fixture
def no_proc(monkeypatch):
    """A system without /proc, as macOS is."""
    monkeypatch.setattr(sys, "platform", "darwin")


def end(sleeper: "subprocess.Popen[bytes]") -> None:
    """End it and wait for it."""
    sleeper.kill()
    sleeper.wait(30)


class TestIdentity:
    """One process for ever."""

    def test_it_is_the_same_while_it_lives(self, sleeper, who: Identity):
        """And none afterwards."""
        assert process.alive(who)
        end(sleeper)
        assert not process.alive(who)
        assert identify(sleeper.pid) is None

    def test_one_that_ended_and_was_not_waited_for_is_gone(self, sleeper, who: Identity):
        """A zombie does nothing any more."""
        sleeper.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
        assert not process.alive(who)

    def test_another_start_with_the_same_pid_is_another(self, who: Identity):
        """Pids are used again."""
        assert not process.alive(msgspec.structs.replace(who, start="1"))

    @pytest.mark.parametrize("part", ["machine_id", "boot_id", "pid_namespace"])
    def test_another_machine_boot_or_container_cannot_be_judged(self, who: Identity, part):
        """Its pids mean something else there."""
        elsewhere = msgspec.structs.replace(who.machine, **{part: "another"})
        stranger = msgspec.structs.replace(who, machine=elsewhere)
        assert not process.alive(stranger)
        assert not process.send(stranger, signal.SIGKILL)
        assert process.alive(who)

    @linux
    def test_a_name_that_is_no_text_does_no_harm(self, tmp_path: Path):
        """The kernel cuts names after 15 bytes, in the middle of a letter too; parentheses may be in it."""
        sleep = shutil.which("sleep")
        assert sleep
        program = tmp_path / "a) b (c) d efgé"
        assert len(os.fsencode(program.name)) == 16
        shutil.copy(sleep, program)
        with subprocess.Popen([program, "600"]) as started:
            try:
                assert b"\xc3" in Path(f"/proc/{started.pid}/stat").read_bytes()
                found = identify(started.pid)
                assert found
                assert process.alive(found)
            finally:
                started.kill()

    def test_without_proc_it_is_the_time_of_its_start(self, sleeper, no_proc):
        """As psutil tells it."""
        found = identify(sleeper.pid)
        assert found == identify(sleeper.pid)
        assert found
        assert float(found.start) > 1e9
        end(sleeper)
        assert identify(sleeper.pid) is None

    def test_this_machine_has_a_boot_of_its_own(self, monkeypatch):
        """Also where no file tells it: the second of its start; and without namespaces there is none."""
        here = process.this_machine()
        assert here.machine_id
        assert here.boot_id
        monkeypatch.setattr(process, "_read", lambda path: "")
        monkeypatch.setattr(Path, "readlink", _refuse)
        bare = process.this_machine.__wrapped__()
        assert (bare.machine_id, bare.pid_namespace) == (os.uname().nodename, "")
        assert int(bare.boot_id) > 1e9


def _refuse(self: Path) -> Path:
    raise FileNotFoundError(2, "No such file or directory")


class TestEnvironment:
    """What a process was started with."""

    @pytest.fixture
    def told(self) -> Iterator["subprocess.Popen[bytes]"]:
        """A process with a variable that is no text, and one whose name begins like another's."""
        environment = {b"COOKIE_JAR": b"jar", b"COOKIE": b"caf\xc3", b"PATH": os.fsencode(os.environ["PATH"])}
        with subprocess.Popen(["sleep", "600"], env=environment) as started:
            yield started
            started.kill()

    @pytest.mark.parametrize("platform", [sys.platform, "darwin"])
    def test_a_variable_as_it_was_given(self, told, monkeypatch, platform):
        """Its bytes may be any; one that it has not is none."""
        monkeypatch.setattr(sys, "platform", platform)
        assert process.environment_value(told.pid, "COOKIE") == os.fsdecode(b"caf\xc3")
        assert process.environment_value(told.pid, "COOK") is None

    @pytest.mark.parametrize("platform", [sys.platform, "darwin"])
    def test_nobody_has_none(self, sleeper, monkeypatch, platform):
        """A process that is gone."""
        monkeypatch.setattr(sys, "platform", platform)
        end(sleeper)
        assert process.environment_value(sleeper.pid, "PATH") is None


@pytest.fixture(params=["pidfd", "no pidfd"])
def either(request):
    """With and without pidfds."""
    if request.param == "no pidfd":
        request.getfixturevalue("no_pidfd")


@pytest.mark.usefixtures("either")
class TestSend:
    """A signal to exactly this process."""

    def test_it_gets_it(self, sleeper, who: Identity):
        """Once; who is gone gets none."""
        assert process.send(who, signal.SIGTERM)
        assert sleeper.wait(30) == -signal.SIGTERM
        assert not process.send(who, signal.SIGTERM)

    def test_its_group_gets_it(self, who: Identity, sleeper):
        """All that it leads."""
        assert process.send(who, signal.SIGTERM, group=True)
        assert sleeper.wait(30) == -signal.SIGTERM

    def test_a_process_that_has_its_pid_now_gets_none(self, who: Identity):
        """It is another one."""
        assert not process.send(msgspec.structs.replace(who, start="1"), signal.SIGKILL)
        assert process.alive(who)

    @pytest.mark.parametrize("pid", [-1, 0, 1])
    def test_no_record_can_aim_it_at_everybody(self, who: Identity, pid):
        """Such pids mean groups, or the first process."""
        assert not process.send(msgspec.structs.replace(who, pid=pid), signal.SIGCONT)

    def test_a_group_that_it_does_not_lead_is_nobody(self):
        """It is told as gone, and its own group is left alone."""
        with subprocess.Popen(["sleep", "600"]) as member:
            found = identify(member.pid)
            assert found
            assert not process.send(found, signal.SIGTERM, group=True)
            assert process.alive(found)
            member.kill()


@pytest.mark.usefixtures("either")
class TestWait:
    """Until a process has ended, and not longer."""

    def test_one_that_lives_on(self, who: Identity):
        """The time is over first."""
        assert not process.wait_gone(who, 0.05)

    def test_one_that_ends_meanwhile(self):
        """It is seen to end, though it lived when the waiting began."""
        with subprocess.Popen(["sleep", "0.2"]) as started:
            found = identify(started.pid)
            assert found
            assert process.wait_gone(found, 30)
            assert started.wait(30) == 0

    def test_one_that_is_gone_already(self, sleeper, who: Identity):
        """There is nothing to wait for, even if its pid is used again."""
        assert process.wait_gone(msgspec.structs.replace(who, start="1"), 30)
        end(sleeper)
        assert process.wait_gone(who, 30)
