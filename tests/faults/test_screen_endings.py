"""Every way in which a screen ends, while a download and a worker run: nothing is lost, nothing is left.

The download comes from a Hub that is slow on purpose; the worker runs all the time, and must be the same one
after each ending. `--rounds N` repeats each ending.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.e2e.support import Rbee, wait_for
from tests.e2e.terminal import RBEE, Pty, processes_of, state_of, surroundings

BIG = random.Random(5).randbytes(3 << 20)
SLOW = 1 << 20
PATH = "acme/big/big.gguf"
ENDS_WITHIN = 2.0
SLACK = 4.0
"""Seconds that a busy machine may take on top."""


@dataclass
class House:
    """A root with a worker that runs, and a Hub."""

    rbee: Rbee
    hub: DemoHub
    worker: int

    @property
    def home(self) -> Path:
        return self.rbee.home

    def screen(self, *words: str, **more: str) -> Pty:
        return Pty(words or RBEE, surroundings(self.home, self.hub.url, **more))

    def download(self, screen: Pty, since: int = 0) -> None:
        """Begin the download on a screen, by keys, and wait for its first bytes."""
        self.hub.rate = SLOW
        sent = self.hub.bytes_sent(PATH)
        screen.wait("No downloads.", since)
        screen.press("a")
        screen.wait("search words", since)
        screen.press("acme/big", "enter")
        screen.wait("Enter Download", since)
        screen.press("enter")
        screen.wait("Enter Download   Esc Back", since)
        screen.press("enter")
        wait_for(lambda: self.hub.bytes_sent(PATH) > sent)
        screen.wait("downloading big", since)

    def forget_download(self) -> None:
        """Nothing of it is left."""
        for name in ("models/big", "state/jobs", "tmp"):
            shutil.rmtree(self.home / name, ignore_errors=True)

    def job(self) -> dict:
        """The newest download."""
        return self.rbee.json("jobs")[-1]

    def nothing_is_lost(self, *, runs_on: bool) -> None:
        """The download goes on by itself, or when asked to, and is right; the worker is the same one."""
        self.hub.rate = None
        if not runs_on:
            job = self.job()
            assert job["state"] in ("interrupted", "paused", "done"), job
            if job["state"] != "done":
                self.rbee.run("pull", "acme/big")
        wait_for(lambda: self.job()["state"] == "done")
        published = self.home / "models" / "big" / "big.gguf"
        assert hashlib.sha256(published.read_bytes()).digest() == hashlib.sha256(BIG).digest()
        assert [each["pid"] for each in self.rbee.json("ps")] == [self.worker]

    def nobody_is_left(self) -> None:
        """No process of the root but the worker's."""
        wait_for(lambda: not self.strangers())

    def strangers(self) -> dict[int, str]:
        return {
            pid: words
            for pid, words in processes_of(self.home).items()
            if not ("keeper" in words or "launcher" in words or "llm-worker" in words)
        }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The worker, which is never ended."""
    home = tmp_path_factory.mktemp("endings") / "rbee"
    model = tiny.write(home.parent / "tiny.gguf", "I am still here.").path
    with DemoHub([DemoRepo("acme/big", {"big.gguf": BIG})]) as hub:
        rbee = Rbee(home, hub.url)
        rbee.run("models", "import", str(model), "--id", "tiny")
        worker = rbee.json("start", "tiny")["pid"]
        try:
            yield House(rbee, hub, worker)
        finally:
            rbee.run("stop", "--all")


@pytest.fixture
def house(running: House) -> Iterator[House]:
    """That house, without the download."""
    yield running
    for pid in running.strangers():
        os.kill(pid, signal.SIGKILL)
    running.forget_download()
    for fault in (running.home / "state" / "logs").glob("fault-*"):
        fault.unlink()


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often each ending is tried."""
    return request.config.getoption("--rounds") or 1


def press_q(screen: Pty) -> None:
    screen.press("q")
    screen.wait("Go on in the background")
    screen.press("enter")


def press_ctrl_c_twice(screen: Pty) -> None:
    screen.press("ctrl+c")
    screen.wait("Go on in the background")
    screen.press("ctrl+c")


def interrupt_twice(screen: Pty) -> None:
    screen.signal(signal.SIGINT)
    screen.wait("Go on in the background")
    screen.signal(signal.SIGINT)


def pause_and_leave(screen: Pty) -> None:
    screen.press("q")
    screen.wait("Go on in the background")
    screen.press("p")


class TestOrderlyEndings:
    """The program can say what becomes of it."""

    @pytest.mark.parametrize(
        ("end", "code", "runs_on"),
        [
            (press_q, 0, True),
            (pause_and_leave, 0, False),
            (press_ctrl_c_twice, 130, True),
            (interrupt_twice, 130, True),
            (lambda screen: screen.signal(signal.SIGTERM), 143, True),
            (lambda screen: screen.signal(signal.SIGHUP), 129, True),
        ],
        ids=["q", "q-pause", "ctrl-c-twice", "sigint-twice", "sigterm", "sighup"],
    )
    def test_it_gives_back_what_it_took(
        self, house: House, rounds: int, end: Callable[[Pty], None], code: int, runs_on: bool
    ):
        """Terminal as before, exit code, download goes on (paused: can go on), worker still there."""
        for _ in range(rounds):
            with house.screen() as screen:
                house.download(screen)
                end(screen)
                began = time.monotonic()
                assert screen.ended() == code, screen.shown()[-500:]
                assert time.monotonic() - began < ENDS_WITHIN + SLACK
                assert screen.restored
                assert screen.open_modes() == set()
                said = "goes on" if not runs_on else "downloads go on in the background: big"
                assert said in screen.shown()
                assert "tiny keeps running" in screen.shown()
            house.nothing_is_lost(runs_on=runs_on)
            house.nobody_is_left()
            house.forget_download()


class TestStops:
    """The shell gets the terminal for a while, and gives it back."""

    @pytest.mark.parametrize("outside", [False, True], ids=["by-key", "from-outside"])
    def test_stopped_and_continued(self, house: House, rounds: int, outside: bool):
        """Meanwhile the terminal is the shell's and the download goes on; then everything is drawn again."""
        bash = shutil.which("bash")
        if bash is None:
            pytest.skip("needs bash")
        with house.screen(bash, "--norc", "--noprofile", "-i", PS1="shell$ ") as shell:
            shell.wait("shell$ ")
            for _ in range(rounds):
                at = len(shell.raw)
                shell.press(" ".join(RBEE), "enter")
                house.download(shell, at)
                at = len(shell.raw)
                if outside:
                    (pid,) = (pid for pid, words in processes_of(house.home).items() if is_screen(words))
                    os.kill(pid, signal.SIGTSTP)
                else:
                    shell.press("ctrl+z")
                shell.wait("Stopped", at)
                assert shell.open_modes() <= {"2004"}, "bash's own"
                shell.press("stty -a", "enter")
                shell.wait("extproc", at)
                assert " -icanon" not in shell.shown(at)
                assert " -echo " not in shell.shown(at)
                wait_for(lambda: house.job()["state"] == "running")
                at = len(shell.raw)
                shell.press("fg", "enter")
                for never_changes in ("STATUS", "2 Workers", "back: the background runner has the downloads"):
                    shell.wait(never_changes, at)
                shell.press("q")
                shell.wait("keeps running", at)
                house.nothing_is_lost(runs_on=True)
                house.forget_download()

    def test_stopped_without_being_asked(self, house: House):
        """SIGSTOP, then a shell that sets the terminal as it likes it, then SIGCONT: the screen is there."""
        with house.screen() as screen:
            screen.wait("STATUS")
            screen.signal(signal.SIGSTOP)
            wait_for(lambda: state_of(screen.process.pid) == "T")
            termios.tcsetattr(screen.master, termios.TCSANOW, screen.before)
            at = len(screen.raw)
            screen.signal(signal.SIGCONT)
            screen.wait("2 Workers", at)
            assert b"\x1b[?1049h" in screen.raw[at:]
            assert not screen.restored
            screen.press("q")
            assert screen.ended() == 0
            assert screen.restored
            assert screen.open_modes() == set()


class TestEndingsFromOutside:
    """The program cannot say anything, or nobody hears it."""

    def test_the_terminal_is_killed(self, house: House, rounds: int):
        """A hang-up: over within two seconds, without reading the dead terminal in circles; all goes on."""
        for _ in range(rounds):
            with house.screen() as screen:
                house.download(screen)
                screen.hang_up()
                began = time.monotonic()
                code, cost = screen.ended_at_a_cost()
                assert code == 129
                assert time.monotonic() - began < ENDS_WITHIN + SLACK
                assert cost < 1.0
            house.nothing_is_lost(runs_on=True)
            house.nobody_is_left()
            house.forget_download()

    def test_a_dead_terminal_without_a_signal(self, house: House):
        """Where nobody sends SIGHUP, what is read says it: no circle, an end of its own."""
        with house.screen(*patched("signal.signal = without(signal.signal, signal.SIGHUP)")) as screen:
            screen.wait("STATUS")
            screen.hang_up()
            code, cost = screen.ended_at_a_cost()
            assert code == 129
            assert cost < 1.0

    def test_kill_9(self, house: House, rounds: int):
        """The worker stays, the next screen takes the download up where it was."""
        for _ in range(rounds):
            with house.screen() as screen:
                house.download(screen)
                screen.signal(signal.SIGKILL)
                assert screen.ended() == 137
            house.nobody_is_left()
            assert house.job()["state"] == "interrupted"
            with house.screen() as again:
                again.wait("STATUS")
                wait_for(lambda: house.job()["state"] in ("running", "done"))
                house.nothing_is_lost(runs_on=True)
                again.wait("big is here and verified")
                again.press("q")
                assert again.ended() == 0
            house.nobody_is_left()
            house.forget_download()

    @pytest.mark.parametrize("mutant", [False, True], ids=["", "mutant"])
    def test_a_terminal_that_takes_nothing(self, house: House, mutant: bool):
        """SIGTERM ends a screen whose link stalls; Textual's own driver would wait for the link."""
        words = patched("rbee_tui.ui.app.Driver = Plain") if mutant else RBEE
        with house.screen(*words) as screen:
            screen.wait("STATUS")
            screen.stall()
            fill(screen)
            screen.signal(signal.SIGTERM)
            if mutant:
                with pytest.raises(subprocess.TimeoutExpired):
                    screen.process.wait(ENDS_WITHIN + 1)
            else:
                assert screen.process.wait(ENDS_WITHIN + SLACK) == 143


class TestFaults:
    """A fault of the program itself: a sentence, a file with the traceback, and nothing lost."""

    @pytest.mark.parametrize(
        ("where", "fault"),
        [
            ("handler", "rbee_tui.ui.screens.main.MainScreen.on_descendant_focus = fails_when_asked"),
            ("engine", "rbee_tui.engine.watch.Watch._hardware = fails_when_asked_there"),
            ("loop", "rbee_tui.ui.app.House.take = fails_or_takes"),
        ],
    )
    def test_while_it_runs(self, house: House, tmp_path: Path, where: str, fault: str):
        """Anywhere: terminal as before, exit code 1, one sentence, no traceback, the download goes on."""
        ask = tmp_path / "fail"
        with house.screen(*patched(fault), FAIL=str(ask)) as screen:
            house.download(screen)
            ask.touch()
            if where == "handler":
                screen.press("1", "2")
            self.is_a_sentence(house, screen)
        house.nothing_is_lost(runs_on=True)
        house.nobody_is_left()

    @pytest.mark.parametrize(
        "fault",
        [
            "rbee_tui.engine.engine.Engine.__init__ = fails",
            "rbee_tui.ui.screens.main.MainScreen.compose = fails",
            "rbee_tui.ui.app.RbeeApp.on_mount = fails",
            "rbee_tui.ui.app.RbeeApp.on_load = fails",
            "rbee_tui.ui.app.RbeeApp.__init__ = fails",
        ],
        ids=["engine", "compose", "mount", "load", "made"],
    )
    def test_at_the_start(self, house: House, fault: str):
        """The same sentence, wherever it comes to pass."""
        with house.screen(*patched(fault)) as screen:
            self.is_a_sentence(house, screen)
        house.nobody_is_left()

    def is_a_sentence(self, house: House, screen: Pty) -> None:
        assert screen.ended() == 1, screen.shown()[-2000:]
        assert screen.restored
        assert screen.open_modes() == set()
        said = screen.shown()
        assert "rbee: something went wrong that rbee does not know (ZeroDivisionError: a fault)" in said
        assert "Traceback" not in said
        assert "locals" not in said
        (kept,) = (house.home / "state" / "logs").glob("fault-*.txt")
        assert f"please report it with {kept}" in said.replace("\r\n", "")
        assert "ZeroDivisionError" in kept.read_text(encoding="utf-8")


class TestEarlyEnd:
    """A signal while the screen is still on its way."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda n: n.name)
    def test_the_terminal_is_as_before(
        self, house: House, request: pytest.FixtureRequest, number: signal.Signals
    ):
        """At any moment of the first 600 ms, as 300 ms on a machine that is not busy."""
        count = request.config.getoption("--rounds") or (5 if number is signal.SIGTERM else 2)
        for at in range(count):
            with house.screen() as screen:
                screen.wait("rbee")
                time.sleep(0.6 * at / count)  # the moment is what is tried out
                screen.signal(number)
                assert screen.ended() == 128 + number
                assert screen.restored
                assert screen.open_modes() == set()
                assert "Traceback" not in screen.shown()
        house.nobody_is_left()

    @pytest.mark.parametrize("where", ["MainScreen.__init__", "RbeeApp.on_load"])
    def test_an_interrupt_is_not_lost(self, house: House, where: str):
        """Whatever is under way swallows the exception."""
        name = f"rbee_tui.ui.app.{where}"
        with house.screen(*patched(f"{name} = interrupted({name})")) as screen:
            assert screen.ended() == 128 + signal.SIGINT
            assert screen.restored
            assert screen.open_modes() == set()


def is_screen(words: str) -> bool:
    return words.endswith("-m rbee_tui")


def fill(screen: Pty) -> None:
    """Press keys that draw, until the program is held up by its terminal."""
    from fcntl import ioctl  # noqa: PLC0415 - this alone
    from struct import pack  # noqa: PLC0415 - as above

    for size in range(60):
        ioctl(screen.master, termios.TIOCSWINSZ, pack("HHHH", 60 + size % 2, 200 + size, 0, 0))
        os.write(screen.master, b"?\x1b")
        time.sleep(0.03)  # each of them is to be drawn


_PATCH = """
import asyncio, functools, os, signal, sys, time
import rbee_tui.ui.app, rbee_tui.ui.screens.main, rbee_tui.engine.watch, rbee_tui.engine.engine
from pathlib import Path
from textual.drivers.linux_driver import LinuxDriver
def fails(*a, **k):
    raise ZeroDivisionError("a fault")
def fails_when_asked(*a, **k):
    if os.path.exists(os.environ["FAIL"]):
        raise ZeroDivisionError("a fault")
def fails_or_takes(house, changes):
    fails_when_asked()
    return before(house, changes)
async def fails_when_asked_there(*a, **k):
    while not os.path.exists(os.environ["FAIL"]):
        await asyncio.sleep(0.02)
    raise ZeroDivisionError("a fault")
def interrupted(function):
    @functools.wraps(function)
    def inner(self, *a):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)
        except KeyboardInterrupt:
            pass
        return function(self, *a)
    return inner
def without(function, number):
    return lambda n, h: None if n == number else function(n, h)
class Plain(LinuxDriver):
    pass
before = rbee_tui.ui.app.House.take
FAULT
sys.argv = ["rbee"]
from rbee_tui.__main__ import main
main()
"""


def patched(line: str) -> list[str]:
    """The program with a line that breaks something of it."""
    return [sys.executable, "-c", _PATCH.replace("FAULT", line)]
