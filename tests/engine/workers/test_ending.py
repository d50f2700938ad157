"""Ending worker processes: all of a cookie's, and no other's."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from rbee_tui.engine import process
from rbee_tui.engine.workers import ending
from rbee_tui.engine.workers.record import COOKIE


@pytest.fixture
def cookie() -> str:
    """One that no other test has."""
    return f"cookie-{os.urandom(8).hex()}"


@pytest.fixture
def left(cookie: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that a dead keeper left behind."""
    with subprocess.Popen(["sleep", "600"], env={**os.environ, COOKIE: cookie}, start_new_session=True) as it:
        yield it
        it.kill()


class TestSweep:
    """What is left is told by its cookie."""

    def test_it_is_killed(self, cookie: str, left):
        """And nobody else is."""
        assert [who.pid for who in ending.members(cookie)] == [left.pid]
        assert ending.sweep(cookie)
        assert left.wait(30) == -signal.SIGKILL
        assert ending.members(cookie) == []

    def test_without_a_cookie_nobody_is_meant(self):
        """Most processes have none."""
        assert ending.members("") == []
        assert ending.sweep("")

    def test_one_that_the_kernel_holds_is_told(self, cookie: str, left, monkeypatch):
        """It is tried for a while, and not for ever."""
        monkeypatch.setattr(process, "send", lambda *_, **__: True)
        assert not ending.sweep(cookie, seconds=0.05)


class TestGroup:
    """Whether one lives."""

    def test_a_group_lives_while_a_process_of_it_does(self, left):
        """One that ended and was not waited for does not count."""
        assert ending.group_lives(left.pid)
        left.kill()
        os.waitid(os.P_PID, left.pid, os.WEXITED | os.WNOWAIT)
        assert not ending.group_lives(left.pid)
        left.wait(30)
        assert not ending.group_lives(left.pid)

    def test_a_process_that_ends_meanwhile_is_of_none(self, left):
        """It is asked about, and gone."""
        left.kill()
        left.wait(30)
        assert ending._group_of(left.pid) is None
