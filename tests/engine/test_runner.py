"""The background runner: there is one, and those who look for it are not in its way."""

import threading

import pytest

from rbee_tui.engine import runner
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.errors import BusyError
from rbee_tui.engine.paths import Root


class TestTheOneRunner:
    def test_those_who_look_are_not_in_its_way(self, root: Root):
        """A screen looks for the lock of the runner that it has started, and holds it while it looks."""
        over = threading.Event()

        def look() -> None:
            while not over.is_set():
                runner.runner_lock(root).probe()

        watchers = [threading.Thread(target=look) for _ in range(2)]
        for watcher in watchers:
            watcher.start()
        try:
            for _ in range(20):
                with runner._alone(root) as lock:
                    assert lock.holder()
        finally:
            over.set()
            for watcher in watchers:
                watcher.join()

    def test_a_look_leaves_no_signature(self, root: Root):
        """Nobody takes one who looked for the holder."""
        lock = runner.runner_lock(root)
        assert lock.probe()
        assert lock.holder() is None

    def test_a_second_one_is_refused(self, root: Root, monkeypatch: pytest.MonkeyPatch):
        """With the pid of the first."""
        monkeypatch.setattr(runner, "_PROBE_SECONDS", 0.1)
        with runner._alone(root), pytest.raises(BusyError, match=r"pid \d+ \(background runner\)"):
            runner._alone(root)

    def test_a_runner_that_does_not_wait_is_refused_by_a_look(self, root: Root):
        """The mutant: taking the lock at once or not at all fails while somebody looks."""
        looker: Lock = runner.runner_lock(root).acquire()
        assert not runner.runner_lock(root).try_acquire()
        threading.Timer(0.1, looker.release).start()
        runner._alone(root).release()
