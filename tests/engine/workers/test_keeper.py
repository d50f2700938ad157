"""The keeper: it stays with a runtime to its end, and leaves a note of it and nothing else."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.engine import process
from rbee_tui.engine.workers import keeper
from tests.engine.hardware.support import write_tree
from tests.engine.workers.support import wait_for

KEEPER = Path(keeper.__file__)
COOKIE = "a cookie of this test"
IMPORT = (
    "import importlib.util, os, signal, sys\n"
    "spec = importlib.util.spec_from_file_location('keeper', sys.argv[1])\n"
    "keeper = importlib.util.module_from_spec(spec); spec.loader.exec_module(keeper)\n"
)


class Kept:
    """A keeper with a Python program as its runtime, and the note that it leaves."""

    def __init__(self, note: Path) -> None:
        self.note_path = note

    def start(self, code: str, *arguments: str, leads: bool = False) -> "subprocess.Popen[str]":
        """Start it; as the leader of a group of its own where `leads`."""
        return subprocess.Popen(
            [sys.executable, str(KEEPER), str(self.note_path), sys.executable, "-c", code, *arguments],
            env={**os.environ, "RBEE_COOKIE": COOKIE},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=leads,
        )

    def run(self, code: str) -> int:
        """Start it and wait for its end; the keeper's own exit code."""
        with self.start(code) as started:
            started.communicate(timeout=30)
            return started.returncode

    @property
    def note(self) -> Any:
        """What the keeper wrote down."""
        return json.loads(self.note_path.read_text())


def first_line(started: "subprocess.Popen[str]") -> str:
    """What the runtime says first: it is up, and its signal handlers are set."""
    assert started.stdout
    return started.stdout.readline().strip()


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """A keeper that notes into an empty directory."""
    return Kept(tmp_path / "tiny.exit")


class TestNote:
    """How a runtime ended, for whoever asks later."""

    def test_an_exit_code_is_noted_and_passed_on(self, kept: Kept):
        """With the start's cookie, the time, and what the runtime took."""
        assert kept.run("raise SystemExit(7)") == 7
        note = kept.note
        assert (note["code"], note["signal"], note["cookie"]) == (7, None, COOKIE)
        assert note["at"] > 1e9
        assert note["max_rss_bytes"] > 1 << 20
        assert 0 <= note["cpu_seconds"] < 30

    def test_a_signal_is_noted_and_told_as_a_shell_does(self, kept: Kept):
        """128 and its number."""
        assert kept.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)") == 128 + signal.SIGSEGV
        assert (kept.note["code"], kept.note["signal"]) == (None, signal.SIGSEGV)

    def test_a_program_that_cannot_be_started_is_an_ending_too(self, kept: Kept):
        """Its note says why."""
        command = [sys.executable, str(KEEPER), str(kept.note_path), "/nowhere/llama-server"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 127
        assert kept.note["error"] == "/nowhere/llama-server cannot be started: No such file or directory"
        assert kept.note["error"] in done.stderr

    def test_it_is_the_owners_alone_and_leaves_nothing_beside_it(self, kept: Kept, tmp_path: Path):
        """Whatever the umask is."""
        kept.run("pass")
        assert kept.note_path.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == [kept.note_path]

    def test_one_that_cannot_be_written_changes_no_ending(self, tmp_path: Path):
        """The log says so, and the exit code is still the runtime's."""
        lost = Kept(tmp_path / "gone" / "tiny.exit")
        with lost.start("raise SystemExit(3)") as started:
            _, said = started.communicate(timeout=30)
        assert started.returncode == 3
        assert "the exit cannot be written down" in said


class TestSignals:
    """It outlives what it passes on."""

    def test_one_to_the_keeper_alone_reaches_the_runtime(self, kept: Kept):
        """And the note is still written."""
        with kept.start("import time; print('here', flush=True); time.sleep(600)") as started:
            first_line(started)
            started.send_signal(signal.SIGTERM)
            assert started.wait(30) == 128 + signal.SIGTERM
        assert kept.note["signal"] == signal.SIGTERM

    def test_it_stays_while_the_runtime_does(self, kept: Kept):
        """A runtime that ends in its own time after the signal is noted with its own code."""
        code = (
            "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); "
            "print('here', flush=True); signal.pause()"
        )
        with kept.start(code) as started:
            first_line(started)
            started.send_signal(signal.SIGTERM)
            assert started.wait(30) == 5
        assert kept.note["code"] == 5

    def test_one_that_comes_before_the_runtime_is_kept_for_it(self):
        """It is passed on once there is one."""
        code = IMPORT + (
            "asked, child, looks = [], [], []\n"
            "def look(*_):\n"
            "    looks.append(1)\n"
            "    if len(looks) == 2: child.append(os.getpid())\n"
            "    keeper.pass_on(child, asked)\n"
            "signal.signal(signal.SIGALRM, look)\n"
            "signal.signal(signal.SIGHUP, lambda *_: sys.exit(len(looks)))\n"
            "keeper.note_signal(asked, signal.SIGHUP)\n"
            "while True: signal.pause()\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(KEEPER)], check=False, timeout=30)
        assert done.returncode == 2

    def test_a_runtime_that_has_just_ended_is_no_failure(self):
        """The signal finds nobody; an error here would lose the note."""
        with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
            gone.wait(30)
        keeper.pass_on([gone.pid], [signal.SIGTERM])
        with pytest.raises(ProcessLookupError):
            os.kill(gone.pid, signal.SIGTERM)


class TestGroup:
    """No process of the group is left when the keeper is gone."""

    RUNTIME = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline(); print(child.pid, flush=True)\n"
        "if sys.argv[2] == 'stay': child.wait()\n"
    )
    CHILD = "import signal, time\n{}\nprint('here', flush=True); time.sleep(600)".format(
        "for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)"
    )

    def child(self, started: "subprocess.Popen[str]") -> process.Identity:
        """The runtime's own child, which ignores every signal that can be ignored."""
        who = process.identify(int(first_line(started)))
        assert who
        return who

    def test_what_a_runtime_leaves_behind_goes_with_it(self, kept: Kept):
        """The keeper ends its whole group, itself with it, after the note is written."""
        with kept.start(self.RUNTIME, self.CHILD, "go", leads=True) as started:
            assert started.stdout
            child = int(first_line(started))
            assert started.wait(30) == -signal.SIGKILL
        wait_for(lambda: process.identify(child) is None)
        assert kept.note["code"] == 0

    def test_without_a_group_of_its_own_it_kills_nobody(self, kept: Kept):
        """Its group is then that of whoever started it by hand: this test would not survive it."""
        with kept.start(self.RUNTIME, self.CHILD, "go") as started:
            child = self.child(started)
            try:
                assert started.wait(30) == 0
                assert process.alive(child)
            finally:
                process.send(child, signal.SIGKILL)

    @pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: others cannot bind a child's life")
    def test_a_killed_keeper_takes_the_runtime_with_it(self, kept: Kept):
        """Nothing of it could do that itself: the kernel was asked to."""
        with kept.start("import os, time; print(os.getpid(), flush=True); time.sleep(600)") as started:
            runtime = self.child(started)
            started.kill()
            wait_for(lambda: not process.alive(runtime))
        assert not kept.note_path.exists()

    @pytest.mark.parametrize(("parent", "code"), [("os.getppid()", 0), ("1 << 30", 1)])
    def test_a_runtime_whose_keeper_is_gone_already_does_not_start(self, parent, code):
        """The keeper may die before the kernel was asked."""
        program = IMPORT + (
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"keeper.die_with_parent({parent})\n"
            "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(KEEPER)], check=False, timeout=30)
        assert done.returncode == code


class TestLog:
    """A runtime that goes on for months."""

    def test_a_long_log_is_set_aside_while_it_is_written(self, tmp_path: Path, monkeypatch):
        """The runtime's own handle goes on in the emptied file; one that is short is left alone."""
        log = tmp_path / "tiny.log"
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, b"an old line\n")
        keeper.trim(str(log))
        assert not (tmp_path / "tiny.1.log").exists()
        monkeypatch.setattr(keeper, "LOG_BYTES", 10)
        keeper.trim(str(log))
        os.write(handle, b"a new one\n")
        os.close(handle)
        assert (tmp_path / "tiny.1.log").read_bytes() == b"an old line\n"
        assert log.read_bytes() == b"a new one\n"
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


class TestOom:
    """What the kernel counts."""

    @pytest.mark.parametrize(
        ("files", "count"),
        [
            ({}, 0),
            ({"proc/vmstat": "nr_free 1\noom_kill 3\n"}, 3),
            (
                {
                    "proc/self/cgroup": "0::/a/b\n",
                    "sys/fs/cgroup/a/b/memory.events": "low 0\noom 2\noom_kill 2\noom_group_kill 9\n",
                },
                2,
            ),
            (
                {
                    "proc/self/cgroup": "4:cpu,memory:/x\n3:cpu:/x\n",
                    "sys/fs/cgroup/memory/x/memory.oom_control": "under_oom 0\noom_kill 4\n",
                    "proc/vmstat": "oom_kill 1\n",
                },
                4,
            ),
            (
                {
                    "proc/self/cgroup": "0::/a/b\n",
                    "sys/fs/cgroup/a/b/memory.events.local": "oom_kill 1\n",
                    "sys/fs/cgroup/a/b/memory.events": "oom_kill 7\n",
                },
                1,
            ),
            (
                {
                    "proc/self/cgroup": "3:cpu:/x\n0::/a\n",
                    "sys/fs/cgroup/unified/a/memory.events": "oom_kill 6\n",
                    "proc/vmstat": "oom_kill 9\n",
                },
                6,
            ),
            (
                {
                    "proc/self/cgroup": "4:memory:/docker/5f\n",
                    "sys/fs/cgroup/memory/memory.oom_control": "oom_kill 8\n",
                    "proc/vmstat": "oom_kill 9\n",
                },
                8,
            ),
            (
                {
                    "proc/self/cgroup": "0::/user.slice/a\n",
                    "sys/fs/cgroup/user.slice/memory.events": "oom_kill 2\n",
                    "sys/fs/cgroup/memory.events": "oom_kill 5\n",
                },
                2,
            ),
            ({"proc/self/cgroup": "0::/\n3:cpu:/x\n", "proc/vmstat": "oom_kill 9\n"}, 9),
        ],
    )
    def test_it_is_read_where_it_stands(self, tmp_path: Path, files, count):
        """Of the nearest cgroup of either version, wherever it is mounted; else of the machine."""
        assert keeper.oom_kills(str(write_tree(tmp_path, files))) == count

    def test_a_kill_that_the_kernel_counted_is_noted(self, kept: Kept, tmp_path: Path):
        """The counter is higher after a SIGKILL than when the runtime began."""
        notes = []
        for counter in ("iter([0, 0, 1])", "iter([1, 1, 1])"):
            code = IMPORT + (
                f"counts = {counter}\n"
                "keeper.oom_kills = lambda: next(counts, 1)\n"
                "keeper.LOOK_SECONDS = 600\n"
                "sys.argv[1:] = sys.argv[2:]\n"
                "keeper.main()\n"
            )
            runtime = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
            command = [sys.executable, "-c", code, str(KEEPER), str(kept.note_path), *runtime]
            subprocess.run(command, check=False, timeout=30, env={**os.environ, "RBEE_COOKIE": COOKIE})
            notes.append(kept.note["oom"])
        assert notes == [True, False]
