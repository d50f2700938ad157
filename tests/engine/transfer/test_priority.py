"""Threads that let others go first."""

import os
import sys
import threading
from pathlib import Path

import pytest

from rbee_tui.engine.transfer import hashing, priority
from rbee_tui.engine.transfer.source import Progress, Source


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is counted by thread on Linux alone")
class TestNiceness:
    """Of one thread, never of the process."""

    def test_of_the_calling_thread_alone(self):
        """The one beside it keeps its own; a thread that is nicer already stays so."""
        before, seen = niceness(), []

        def yields() -> None:
            for wanted in (priority.RECEIVE, priority.HASH):
                priority.yield_by(wanted)
                seen.append(niceness())

        thread = threading.Thread(target=yields)
        thread.start()
        thread.join()
        assert seen == [max(priority.RECEIVE, before)] * 2
        assert niceness() == before

    def test_the_hash_goes_after_the_screen(self, tmp_path: Path, monkeypatch):
        """And before those that receive."""
        seen: list[int] = []
        read = hashing.read_into
        monkeypatch.setattr(hashing, "read_into", lambda *told: (seen.append(niceness()), read(*told))[1])
        file = tmp_path / "file"
        file.write_bytes(b"12345")
        source = Source(
            endpoint="http://127.0.0.1:9",
            repo="acme/tiny",
            revision="0" * 40,
            path="file",
            size_bytes=5,
            sha256="5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5",
        )
        before = niceness()
        assert hashing.file_matches(file, source, threading.Event(), Progress())
        assert seen == [max(priority.HASH, before)]
