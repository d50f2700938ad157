"""What a record and its runner's note mean together; all pure."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.engine.jobs import (
    RUN_BYTES,
    ActiveFile,
    Outcome,
    admit,
    adoptable,
    decode_run,
    encode_run,
    finished_bits,
    foreign,
    progress_of,
    state_of,
)
from rbee_tui.engine.process import Machine
from tests.engine.support_jobs import HERE, a_file, a_record, a_run

DONE = Outcome(state="done", at="2026-01-01T00:00:00Z")


class TestNote:
    """The runner's note is one block that either decodes or is known to be torn."""

    def test_it_comes_back_as_written(self):
        """A note survives the way to the disk."""
        run = a_run(active=[ActiveFile(0, 400, 100, 50.0, "fetching", "")], finished="5")
        assert decode_run(encode_run(run)) == run

    def test_it_always_fits_one_block(self):
        """However many files are under way, the note is one write of 4 KiB."""
        many = [ActiveFile(i, 1 << 50, 1 << 50, 1e12, "fetching", "rate limited " * 9) for i in range(500)]
        block = encode_run(a_run(active=many))
        assert len(block) == RUN_BYTES
        assert decode_run(block) is not None

    @given(at=st.integers(0, 200), value=st.integers(1, 255))
    def test_a_torn_block_is_nothing(self, at: int, value: int):
        """A block with a changed byte is never taken for a note."""
        block = bytearray(encode_run(a_run()))
        block[at] ^= value
        assert decode_run(bytes(block)) in (None, a_run())

    def test_a_naive_reader_would_take_a_torn_block(self):
        """The mutant: without its CRC, a note with a changed digit reads as another count."""
        torn = encode_run(a_run()).replace(b'"downloaded":400', b'"downloaded":900')
        naive = msgspec.json.decode(torn.partition(b" ")[2])
        assert naive["downloaded"] == 900
        assert decode_run(torn) is None

    def test_finished_files_are_bits(self):
        """The set of finished files is told in a few characters, and left out when it would not fit."""
        assert finished_bits([0, 2]) == "5"
        assert finished_bits([100_000]) == ""


class TestState:
    """One word says what a job does."""

    @pytest.mark.parametrize(
        ("changes", "held", "now", "state"),
        [
            ({}, True, 1001.0, "running"),
            ({}, True, 1011.0, "not responding"),
            ({"wanted": "paused"}, True, 1001.0, "pausing"),
            ({"wanted": "paused"}, False, 1001.0, "paused"),
            ({"wanted": "cancelled"}, False, 1001.0, "cancelled"),
            ({}, False, 1001.0, "interrupted"),
            ({"machine": Machine("other", "boot", "pid:[1]")}, False, 1001.0, "foreign"),
            ({"outcome": DONE}, True, 9999.0, "done"),
        ],
    )
    def test_state(self, changes, held, now, state):
        """The outcome wins, then a living runner, then what is wanted."""
        assert state_of(a_record(**changes), a_run(), held=held, here=HERE, now=now) == state

    def test_a_reboot_does_not_make_a_job_foreign(self):
        """The same machine after a reboot takes its own jobs up; another container does not."""
        assert not foreign(Machine("machine", "earlier boot", "pid:[9]"), HERE)
        assert foreign(Machine("machine", "boot", "pid:[9]"), HERE)
        assert foreign(Machine("other", "boot", "pid:[1]"), HERE)

    def test_only_wanted_jobs_of_this_machine_are_adopted(self):
        """Nobody takes up what is paused, ended, or another machine's."""
        assert adoptable(a_record(), HERE)
        assert not adoptable(a_record(wanted="paused"), HERE)
        assert not adoptable(a_record(outcome=DONE), HERE)
        assert not adoptable(a_record(machine=Machine("other", "b", "p")), HERE)


def every_one(record):
    """Somebody runs every job."""
    return True


class TestAdmission:
    """Every process comes to the same answer about who may move bytes."""

    def test_the_first_by_order_go(self):
        """Three jobs at once, lowest order first, whatever the order in which they are seen."""
        records = [a_record(f"{n:08x}", order=float(n)) for n in (5, 1, 4, 2, 3)]
        assert admit(records, every_one) == {"00000001", "00000002", "00000003"}

    def test_what_nobody_runs_takes_no_place(self):
        """Jobs without a living runner are passed over; behind the last place nobody is asked for."""
        records = [a_record(f"{n:08x}", order=float(n)) for n in range(1, 7)]
        asked: list[str] = []

        def is_held(record):
            asked.append(record.id)
            return record.id != "00000002"

        assert admit(records, is_held) == {"00000001", "00000003", "00000004"}
        assert asked == ["00000001", "00000002", "00000003", "00000004"]

    def test_what_is_not_wanted_takes_no_place(self):
        """A paused or ended job does not hold the queue up."""
        records = [
            a_record("00000001", wanted="paused"),
            a_record("00000002", outcome=DONE),
            a_record("00000003", order=9.0),
        ]
        assert admit(records, every_one, limit=1) == {"00000003"}

    @given(orders=st.lists(st.floats(0, 100), max_size=20), limit=st.integers(1, 5))
    def test_never_more_than_the_limit(self, orders, limit):
        """The limit holds for any queue, and places are not left empty."""
        records = [a_record(f"{i:08x}", order=order) for i, order in enumerate(orders)]
        assert len(admit(records, every_one, limit)) == min(limit, len(records))


class TestProgress:
    """What a person is shown of a job."""

    def test_a_running_job_says_rate_and_time_left(self):
        """Time left is what is missing at the present rate."""
        progress = progress_of(a_record(), a_run(), "running")
        assert (progress.downloaded, progress.total, progress.kept) == (400, 1000, 100)
        assert progress.seconds_left == 12.0
        assert progress.holder == 4242

    def test_a_paused_job_has_no_rate_and_no_holder(self):
        """What its last runner measured is not what happens now."""
        progress = progress_of(a_record(wanted="paused"), a_run(), "paused")
        assert (progress.rate, progress.seconds_left, progress.holder) == (0.0, None, None)
        assert progress.downloaded == 400

    def test_files_are_told_one_by_one(self):
        """A finished file is whole, an active one where it is, the rest queued."""
        files = [a_file(f"part-{n}.gguf", 500) for n in range(3)]
        run = a_run(active=[ActiveFile(1, 40, 10, 5.0, "fetching", "")], finished=finished_bits([0]))
        shown = progress_of(a_record(files=files), run, "running").files
        assert [(f.state, f.downloaded) for f in shown] == [("done", 500), ("fetching", 40), ("queued", 0)]

    def test_a_done_job_is_whole(self):
        """Whatever its last note said."""
        progress = progress_of(a_record(outcome=DONE), a_run(), "done")
        assert progress.downloaded == 1000
        assert [f.state for f in progress.files] == ["done"]


class TestSameRequest:
    """Asking twice for the same bytes is one job."""

    def test_same_files_for_the_same_model(self):
        """The model and each file's path, size and hashes decide, not the job's id."""
        assert a_record().same_request("tiny", [a_file()])
        assert not a_record().same_request("other", [a_file()])
        assert not a_record().same_request("tiny", [a_file(sha256="b" * 64)])

    def test_same_bytes(self):
        """Sizes must agree, and a hash that both sides know."""
        file = a_file()
        assert file.same_bytes(1000, "a" * 64, None)
        assert not file.same_bytes(1001, "a" * 64, None)
        assert not file.same_bytes(1000, None, None)
