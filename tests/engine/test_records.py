"""Job records on disk, changed by many processes."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine import records
from rbee_tui.engine.errors import BusyError, NotFoundError, UsageError
from rbee_tui.engine.jobs import Outcome
from rbee_tui.engine.paths import Root
from rbee_tui.engine.process import identify
from rbee_tui.engine.records import KEEP_ENDED, JobStore
from tests.engine.support_jobs import a_record, a_run


@pytest.fixture
def store(root: Root) -> JobStore:
    """An empty store."""
    return JobStore(root)


def put(store: JobStore, record) -> None:
    with store.records_lock("test"):
        store.put(record)


class TestRecords:
    """What is wanted is never lost."""

    def test_a_record_comes_back(self, store: JobStore):
        """Every field survives the way to the disk."""
        put(store, a_record())
        assert store.get("00000001") == a_record()

    def test_they_are_private(self, store: JobStore, root: Root):
        """Nobody else on the machine reads what is downloaded here."""
        put(store, a_record())
        assert (root.jobs / "00000001.json").stat().st_mode & 0o777 == 0o600

    def test_a_change_raises_seq(self, store: JobStore):
        """A runner sees from `seq` that something else is wanted now."""
        put(store, a_record())
        after = store.change("00000001", "test", lambda r: msgspec.structs.replace(r, wanted="paused"))
        assert (after.seq, store.get("00000001").wanted) == (2, "paused")

    def test_a_change_to_the_same_writes_nothing(self, store: JobStore):
        """Pausing twice is pausing once."""
        put(store, a_record())
        stamp = store.stamp("00000001")
        assert store.change("00000001", "test", lambda r: r).seq == 1
        assert store.stamp("00000001") == stamp

    def test_a_list_reads_what_changed(self, store: JobStore, root: Root):
        """Ten looks a second at a hundred records cost a stat each."""
        put(store, a_record("00000001"))
        put(store, a_record("00000002"))
        for path in root.jobs.glob("*.json"):
            os.utime(path, ns=(1, 1))
        before = store.list()
        store.change("00000002", "test", lambda r: msgspec.structs.replace(r, wanted="paused"))
        after = store.list()
        assert after[0] is before[0]
        assert after[1].wanted == "paused"

    def rewritten_within_a_tick(self, store: JobStore, root: Root) -> list[str]:
        """What a list says of a record that was replaced while the file system's clock stood still."""
        put(store, a_record())
        path, tick = root.jobs / "00000001.json", time.time_ns()
        os.utime(path, ns=(tick, tick))
        store.list()
        path.write_bytes(msgspec.json.encode(a_record(wanted="paused")))
        os.utime(path, ns=(tick, tick))
        return [record.wanted for record in store.list()]

    def test_a_list_is_not_deceived_by_a_coarse_clock(self, store: JobStore, root: Root):
        """A file that is as young as the clock's tick is read again."""
        assert self.rewritten_within_a_tick(store, root) == ["paused"]

    def test_without_waiting_for_the_clock_it_would_be(self, store: JobStore, root: Root, monkeypatch):
        """The mutant: every stamp is believed."""
        monkeypatch.setattr(records, "_SETTLED_NS", -(10**12))
        assert self.rewritten_within_a_tick(store, root) == ["running"]

    def test_an_unreadable_record_does_not_hide_the_others(self, store: JobStore, root: Root):
        """A torn or foreign file in the directory is passed over."""
        put(store, a_record())
        (root.jobs / "00000002.json").write_text("{not json")
        assert [record.id for record in store.list()] == ["00000001"]

    @pytest.mark.parametrize("name", ["ffffffff", "", "../../etc/passwd", "\x1b[31m"])
    def test_an_unknown_job_is_a_sentence(self, store: JobStore, name: str):
        """What is not there is said, with the name made harmless."""
        with pytest.raises(NotFoundError, match="there is no job") as caught:
            store.get(name)
        assert "\x1b" not in str(caught.value)

    def test_a_prefix_is_enough(self, store: JobStore):
        """As long as it names one job."""
        put(store, a_record("ab000001"))
        put(store, a_record("ab000002"))
        assert store.resolve("ab000002") == "ab000002"
        with pytest.raises(UsageError, match="names 2 jobs"):
            store.resolve("ab")

    def test_old_ended_jobs_are_forgotten_and_unfinished_ones_never(self, store: JobStore):
        """The directory does not grow for ever."""
        put(store, a_record("0000ffff"))
        for number in range(KEEP_ENDED + 5):
            outcome = Outcome(state="done", at=f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z")
            put(store, a_record(f"{number:08x}", outcome=outcome))
        with store.records_lock("test"):
            store.prune()
        left = [record.id for record in store.list()]
        assert len(left) == KEEP_ENDED + 1
        assert "0000ffff" in left
        assert "00000000" not in left


class TestManyProcesses:
    """Read-modify-write under one lock."""

    WRITER = """
        import sys, msgspec
        from pathlib import Path
        from rbee_tui.engine.paths import Root
        from rbee_tui.engine.records import JobStore
        store = JobStore(Root(Path(sys.argv[1])))
        if sys.argv[2] == "naive":
            from contextlib import nullcontext
            store.records_lock = lambda verb: nullcontext()
        for _ in range(40):
            store.change("00000001", "test", lambda r: msgspec.structs.replace(r, order=r.order + 1))
    """

    def run_writers(self, root: Root, mode: str) -> float:
        put(JobStore(root), a_record(order=0.0))
        program = textwrap.dedent(self.WRITER)
        command = [sys.executable, "-c", program, str(root.path), mode]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        writers = [subprocess.Popen(command, env=environment) for _ in range(4)]
        for writer in writers:
            assert writer.wait(60) == 0
        return JobStore(root).get("00000001").order

    def test_no_change_is_lost(self, root: Root):
        """Four processes raise a counter 40 times each."""
        assert self.run_writers(root, "locked") == 160

    def test_without_the_lock_changes_are_lost(self, root: Root):
        """The mutant: the same processes without the lock overwrite each other."""
        assert self.run_writers(root, "naive") < 160


class TestHolder:
    """Who runs a job is known from its note, and only while that process lives."""

    def test_a_living_process_holds(self, store: JobStore):
        """This very process, as its note names it."""
        me = identify(os.getpid())
        assert me is not None
        store.write_run("00000001", a_run(who=me))
        holder = store.holder("00000001")
        assert holder is not None
        assert holder.who == me

    def test_a_dead_one_does_not(self, store: JobStore):
        """A pid that another process has by now is not the runner."""
        me = identify(os.getpid())
        assert me is not None
        store.write_run("00000001", a_run(who=msgspec.structs.replace(me, start="1")))
        assert store.holder("00000001") is None

    @pytest.mark.anyio
    async def test_a_runner_that_does_not_answer_is_named(self, store: JobStore):
        """A verb does not wait for ever: it says who has the job, and what to do."""
        me = identify(os.getpid())
        assert me is not None
        store.write_run("00000001", a_run(who=me, seq=1))
        with pytest.raises(BusyError, match=f"pid {os.getpid()}") as caught:
            await store.wait_seq(a_record(seq=2), 0.1)
        assert "rbee jobs take 00000001" in caught.value.hint
