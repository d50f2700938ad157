"""How a download is shown: lines for pipes, bars for terminals."""

import asyncio
import io

import pytest

from rbee_tui.cli import progress
from rbee_tui.engine.jobs import FileProgress, JobProgress


def file(path: str, downloaded: int, state: str = "fetching", **changes) -> FileProgress:
    values = {"total": 1000, "kept": 0, "rate": 100.0 if state == "fetching" else 0.0}
    return FileProgress(path=path, downloaded=downloaded, state=state, **(values | changes))


def job(*files: FileProgress, state: str = "running", **changes) -> JobProgress:
    values = {
        "downloaded": sum(each.downloaded for each in files),
        "total": sum(each.total for each in files),
        "kept": 0,
        "rate": 100.0,
        "seconds_left": None,
    }
    return JobProgress(
        id="0123abcd", repo="a/b", model_id="b", state=state, files=list(files), **(values | changes)
    )


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


class TestLines:
    def test_a_line_has_the_figures_first_and_the_name_last(self):
        """As a person and a screen reader want it."""
        assert progress.line(file("a.gguf", 610)) == " 61 %  610 B of 1.0 kB  100 B/s  0:04 left  a.gguf"

    def test_a_name_drives_no_terminal(self):
        """Names come from the Hub."""
        assert "\x1b" not in progress.line(file("a\x1b[2J.gguf", 610))

    def test_a_file_that_waits_says_for_what(self):
        """As for room, or for another process."""
        assert "room on the disk" in progress.line(file("a", 0, "waiting", waiting_for="room on the disk"))

    def test_lines_come_now_and_then_and_once_at_the_end(self, capsys: pytest.CaptureFixture[str]):
        """However often the state is shown: one line in the interval, and one for the end."""
        lines = progress.Lines(every=3600)
        for step in range(10):
            lines.show(job(file("a", 100 * step)))
        lines.show(job(file("a", 1000, "done")))
        lines.show(job(file("a", 1000, "done")))
        said = capsys.readouterr().err.splitlines()
        assert [line[:5] for line in said] == ["  0 %", "100 %"]

    def test_many_files_that_were_here_are_no_news(self, capsys: pytest.CaptureFixture[str]):
        """Going on with a repository of hundreds of files does not print them all."""
        progress.Lines().show(job(*(file(f"{n}", 1000, "done") for n in range(300))))
        assert capsys.readouterr().err == ""


class TestBars:
    @pytest.fixture
    def screen(self, monkeypatch: pytest.MonkeyPatch) -> Screen:
        """A terminal of 120 columns as standard error."""
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", "120")
        return Screen()

    def test_each_file_has_a_bar(self, screen: Screen):
        """With its figures before its name."""
        bars = progress.Bars(screen)
        bars.show(job(file("one.gguf", 500), file("two.gguf", 250)))
        bars.close()
        text = screen.getvalue()
        for word in ("50 %", "25 %", "500 B/1.0 kB", "one.gguf", "two.gguf"):
            assert word in text

    def test_a_name_is_no_markup_and_drives_no_terminal(self, screen: Screen):
        """A file called [red] is shown so."""
        bars = progress.Bars(screen)
        bars.show(job(file("[red]\x1b[2J.gguf", 500)))
        bars.close()
        assert "[red]\\x1b[2J.gguf" in screen.getvalue()

    def test_of_many_files_those_that_move_are_shown(self, screen: Screen):
        """And the whole, with how many are done."""
        files = [file(f"done-{n}", 1000, "done") for n in range(20)]
        bars = progress.Bars(screen)
        bars.show(job(*files, file("moving", 500)))
        bars.close()
        text = screen.getvalue()
        assert "20 of 21 files" in text
        assert "moving" in text
        assert "done-3" not in text

    def test_an_empty_file_is_no_division_by_zero(self, screen: Screen):
        """Some repositories have them."""
        bars = progress.Bars(screen)
        bars.show(job(file("empty", 0, total=0)))
        bars.close()
        assert "100 %" in screen.getvalue()


class TestSummary:
    def test_it_says_what_was_kept(self):
        """Bytes that an interrupted run had brought are not counted into the rate."""
        first = job(file("a", 0), downloaded=400)
        ended = job(file("a", 1000, "done"), state="done", kept=400)
        assert progress.summary(ended, first, 2.0) == "1.0 kB, 400 B of them kept, verified, 0:02 (300 B/s)"

    def test_what_is_here_is_not_downloaded(self):
        """A second pull of the same file says so."""
        done = job(file("a", 1000, "done"), state="done")
        assert "here already" in progress.summary(done, done, 0.1)


class Scripted:
    """A provisioner whose one job goes through these states, one at each look."""

    def __init__(self, *states: JobProgress) -> None:
        self.states = list(states)
        self.last = asyncio.Event()

    def get_progress(self, job_id: str) -> JobProgress:
        """The next state; the last one stays."""
        found = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if len(self.states) == 1:
            self.last.set()
        return found

    async def run(self, job_id: str) -> JobProgress:
        """Until the last state was seen."""
        await self.last.wait()
        return self.states[0]


@pytest.mark.anyio
class TestFollow:
    """What is said while a job goes on, whoever runs it."""

    async def test_a_holder_that_does_not_answer_is_said_once(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        """With what can be done about it: following it alone would wait for ever."""
        monkeypatch.setattr(progress, "EVERY_SECONDS", 0.001)
        silent = job(file("a", 400), state="not responding", holder=42, holder_verb="rbee pull")
        ended = job(file("a", 1000, "done"), state="done")
        await progress.follow(Scripted(silent, silent, silent, silent, ended), "0123abcd")
        said = capsys.readouterr().err
        assert said.count("pid 42 (rbee pull) does not answer") == 1
        assert "rbee jobs take 0123abcd" in said

    async def test_a_job_that_is_done_goes_on_nowhere(self, capsys: pytest.CaptureFixture[str]):
        """What its last run had kept is no news."""
        done = job(file("a", 1000, "done"), state="done", kept=400)
        await progress.follow(Scripted(done), "0123abcd")
        said = capsys.readouterr().err
        assert "going on" not in said
        assert "were here already" in said
