"""The queue's order, the shares of the cap, and what is said while nothing arrives. All pure."""

import msgspec
import pytest

from rbee_tui.engine.jobs import (
    ActiveFile,
    Outcome,
    Run,
    decode_run,
    encode_run,
    moved,
    progress_of,
    share,
)
from tests.engine.support_jobs import a_record, a_run

LINE = [a_record(f"0000000{n}", order=float(n)) for n in range(1, 5)]


def after(where: str, job_id: str) -> str:
    """The line's ids, last digits only, after one was moved."""
    order = moved(LINE, job_id, where)  # type: ignore[arg-type] - a table of words
    line = [msgspec.structs.replace(r, order=order) if r.id == job_id else r for r in LINE]
    return "".join(r.id[-1] for r in sorted(line, key=lambda r: (r.order, r.id)))


class TestOrder:
    @pytest.mark.parametrize(
        ("where", "job", "line"),
        [
            ("up", 3, "1324"),
            ("up", 1, "1234"),
            ("up", 2, "2134"),
            ("down", 2, "1324"),
            ("down", 3, "1243"),
            ("down", 4, "1234"),
            ("top", 4, "4123"),
            ("top", 1, "1234"),
            ("bottom", 1, "2341"),
            ("bottom", 4, "1234"),
        ],
    )
    def test_places(self, where: str, job: int, line: str) -> None:
        """One place up or down, to the top, to the bottom; at an end it stays."""
        assert after(where, f"0000000{job}") == line

    def test_ended_jobs_have_no_place(self) -> None:
        """They are not counted."""
        done = a_record("00000009", order=1.5, outcome=Outcome(state="done", at=""))
        assert moved([*LINE, done], "00000002", "up") == 0.0

    def test_alone(self) -> None:
        """A queue of one has one order."""
        assert [moved(LINE[:1], "00000001", where) for where in ("up", "down", "top", "bottom")] == [1.0] * 4


class TestShare:
    def test_by_streams(self) -> None:
        """A process's part of the cap is its streams over all; one that begins counts as one."""
        assert share(None, 4, 4) is None
        assert share(1000, 4, 0) == 1000
        assert share(1000, 1, 3) == 250
        assert share(1000, 0, 1) == 500
        assert share(1, 1, 99) == 1


class TestTelling:
    def test_connections_time_and_reasons(self) -> None:
        """Each file has its own; the job has their sum, and a reason only while nothing comes."""
        run = a_run(
            active=[ActiveFile(0, 400, 100, 50.0, "fetching", "", 3)],
            connections=3,
            waiting_for="rate limited by the Hub, trying again in 40 s",
        )
        found = progress_of(a_record(), run, "running")
        assert (found.connections, found.files[0].connections) == (3, 3)
        assert (found.seconds_left, found.files[0].seconds_left) == (12.0, 12.0)
        assert found.waiting_for == "rate limited by the Hub, trying again in 40 s"
        ended = progress_of(a_record(), run, "interrupted")
        assert (ended.connections, ended.waiting_for) == (0, "")

    def test_a_file_that_is_paused_alone(self) -> None:
        """It says so."""
        found = progress_of(a_record(held_files=[0]), a_run(), "running")
        assert found.files[0].state == "paused"

    def test_the_note_of_an_older_runner(self) -> None:
        """One without the newer fields is read, and one with fields that are not known yet."""
        run = a_run(active=[ActiveFile(0, 400, 100, 50.0, "fetching", "")])
        old = msgspec.to_builtins(run)
        old["active"] = [old["active"][0][:6]]
        del old["connections"], old["waiting_for"]
        assert msgspec.convert(old, Run) == run
        newer = msgspec.to_builtins(run)
        newer["active"] = [[*newer["active"][0], "more"]]
        assert msgspec.convert(newer, Run) == run
        assert decode_run(encode_run(run)) == run
