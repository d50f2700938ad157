"""From what is known to lines: each thing once, each fact in its place, a word beside each colour."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rbee_tui.engine.artifacts import DOWNLOADING, Health
from rbee_tui.engine.workers.record import Load
from rbee_tui.ui import lines
from rbee_tui.ui.glyphs import ASCII, UNICODE
from rbee_tui.ui.house import Activity
from rbee_tui.ui.lines import ActivityLine, FileLine, JobLine, ModelLine, ProcessLine, WorkerLine
from tests.ui.things import GIB, MB, a_file, a_house, a_job, a_model, a_running, a_worker, unreadable

JOB_STATES = (
    "queued", "running", "pausing", "paused", "cancelled", "failed", "done", "interrupted", "not responding",
    "foreign",
)  # fmt: skip


def texts(cells) -> list[str]:
    return [cell.text for cell in cells]


class TestModels:
    """One line for each, with what goes on with it."""

    def test_its_cells(self):
        """Size, quantisation, context, status, name."""
        cells = texts(lines.model_cells(ModelLine(a_model()), UNICODE))
        assert cells == ["4.9 GB", "Q4_K_M", "128k", "✓ verified", "tiny"]

    def test_what_says_nothing_has_empty_cells(self):
        """No zero that would be taken for a size."""
        cells = texts(lines.model_cells(ModelLine(unreadable("odd")), UNICODE))
        assert cells == ["", "", "", "✗ broken", "odd"]

    @pytest.mark.parametrize(
        ("line", "status"),
        [
            (ModelLine(a_model(verified_at=None)), ("✓ whole", "ok")),
            (ModelLine(a_model(health=Health.DAMAGED)), ("✗ damaged", "wrong")),
            (ModelLine(a_model(health=Health.MISSING)), ("· missing", "busy")),
            (ModelLine(a_model(health=Health.ARRIVING)), ("· arriving", "busy")),
            (ModelLine(a_model(status="Odd")), ("· ok", "busy")),
            (ModelLine(a_model(), running=a_running()), ("✓ ready", "ok")),
            (ModelLine(a_model(), running=a_running(state="loading")), ("● loading", "busy")),
            (ModelLine(a_model(), running=a_running(state="unhealthy")), ("✗ unhealthy", "wrong")),
            (
                ModelLine(
                    a_model(),
                    running=a_running(state="loading", load_share=0.46),
                    activity=Activity("starting", "tiny"),
                ),
                ("● 46 % read", "busy"),
            ),
            (
                ModelLine(a_model(), running=a_running(), activity=Activity("verifying", "tiny")),
                ("● verifying", "busy"),
            ),
            (
                ModelLine(a_model(), activity=Activity("verifying", "tiny", 0.416)),
                ("● verifying 42 %", "busy"),
            ),
            (ModelLine(a_model(), activity=Activity("starting", "tiny")), ("● starting", "busy")),
            (ModelLine(a_model(health=Health.PARTIAL), job=a_job()), ("● coming 61 %", "busy")),
            (ModelLine(a_model(health=Health.PARTIAL), job=a_job(state="paused")), ("‖ paused 61 %", "busy")),
            (
                ModelLine(a_model(health=Health.PARTIAL), job=a_job(state="foreign")),
                ("‖ halted 61 %", "busy"),
            ),
            (
                ModelLine(a_model(health=Health.PARTIAL), job=a_job(state="failed")),
                ("✗ failed 61 %", "wrong"),
            ),
        ],
    )
    def test_its_status(self, line, status):
        """What is under way goes before what lies there."""
        assert lines.model_status(line, UNICODE) == status

    def test_each_gets_what_is_its_own(self):
        """Its download unless that has ended, its worker, its activity; an install is none of a model's."""
        house = a_house(
            models=[a_model("a"), a_model("b", status=DOWNLOADING)],
            running=[a_running("a")],
            jobs=[a_job("1", model_id="a", state="done"), a_job("2", model_id="b")],
            activities={"x": Activity("installing", "a"), "y": Activity("verifying", "b")},
        )
        first, second = lines.model_lines(house)
        assert (first.job, first.running, first.activity) == (None, house.running[0], None)
        assert (second.job, second.running, second.activity) == (
            house.jobs["2"],
            None,
            house.activities["y"],
        )

    @pytest.mark.parametrize(
        ("tokens", "said"), [(None, ""), (0, ""), (512, "512"), (8192, "8k"), (131072, "128k")]
    )
    def test_a_context(self, tokens, said):
        """As people write it."""
        assert lines.context(tokens) == said

    @given(st.sampled_from(list(Health)), st.sampled_from(JOB_STATES), st.booleans())
    def test_a_status_is_never_colour_alone(self, health, state, with_job):
        """A glyph, a space and a word, in both sets of glyphs."""
        line = ModelLine(a_model(health=health), job=a_job(state=state) if with_job else None)
        for glyphs in (UNICODE, ASCII):
            glyph, _, word = lines.model_status(line, glyphs)[0].partition(" ")
            assert cell_len(glyph) == 1
            assert word[0].isalpha()


class TestWorkers:
    """What runs first, then what is about to, then what is installed."""

    def test_their_order(self):
        """A start that has its process already is not shown twice."""
        house = a_house(
            running=[a_running("a")],
            workers=[a_worker()],
            activities={
                "1": Activity("starting", "a"),
                "2": Activity("starting", "b"),
                "3": Activity("installing", "w"),
                "4": Activity("verifying", "c"),
            },
        )
        assert [line.key for line in lines.worker_lines(house)] == [
            "run:a",
            "activity:starting:b",
            "activity:installing:w",
            "worker:llm-worker-cpu",
        ]

    def test_one_that_runs(self):
        """State, memory, tokens per second, port, model; what is not known yet is left out."""
        load = Load(
            tokens_per_second=1202.64,
            mean_tokens_per_second=40.0,
            requests=1,
            waiting=0,
            slots=1,
            busy_slots=1,
            tokens_written=100,
            tokens_read=10,
        )
        running = a_running(load=load, gpu_memory_bytes=1 << 30)
        assert texts(lines.worker_cells(ProcessLine(running), UNICODE)) == [
            "✓ ready",
            "3.0 GiB",
            "1,203",
            ":4242",
            "tiny",
        ]
        loading = a_running(state="loading", port=0, memory_bytes=None)
        assert texts(lines.worker_cells(ProcessLine(loading), UNICODE)) == ["● loading", "", "", "", "tiny"]
        for share, said in ((0.0, "● 0 % read"), (0.999, "● 99 % read"), (1.0, "● loading")):
            some = msgspec.structs.replace(loading, load_share=share)
            assert lines.process_state(some, UNICODE)[0] == said

    def test_the_others(self):
        """They have a state, and a name in the column of names."""
        installed = lines.worker_cells(WorkerLine(a_worker()), UNICODE)
        assert texts(installed) == ["✓ installed", "1.2", "", "", "llm-worker-cpu"]
        ill = lines.worker_cells(WorkerLine(a_worker(health=Health.MISSING)), UNICODE)
        assert texts(ill)[0] == "✗ missing"
        doing = lines.worker_cells(ActivityLine(Activity("installing", "w")), UNICODE)
        assert texts(doing) == ["● installing", "", "", "", "w"]


class TestDownloads:
    """One line for each, and for each file where there are several."""

    def test_one_that_runs(self):
        """Percent, rate, time left, a bar, both sizes in one unit, what was kept, name."""
        job = a_job(kept=32 * MB)
        assert texts(lines.download_cells(JobLine(job), UNICODE)) == [
            "61 %",
            "2.0 MB/s",
            "0:20",
            "",
            "61.0/100.0 MB",
            "32.0 MB",
            "tiny",
            "",
        ]
        assert lines.share_of(JobLine(job)) == 0.61

    @pytest.mark.parametrize(
        ("state", "word"),
        [
            ("queued", "● queued"),
            ("pausing", "● pausing"),
            ("paused", "‖ paused"),
            ("interrupted", "‖ interrupted"),
            ("foreign", "‖ foreign"),
            ("failed", "✗ failed"),
            ("not responding", "✗ not responding"),
            ("done", "✓ verified"),
        ],
    )
    def test_what_stands_still_says_so_instead_of_a_bar(self, state, word):
        """And has no rate and no time left, whatever the runner's last note says."""
        line = JobLine(a_job(state=state))
        cells = texts(lines.download_cells(line, UNICODE))
        assert (cells[1].strip(), cells[2:4], lines.share_of(line)) == (word, ["", ""], None)

    def test_one_that_waits_says_for_what(self):
        """Where nothing comes, the word goes before the bar; one file that comes is enough for a bar."""
        waiting = a_file(rate=0.0, waiting_for="the network")
        line = JobLine(msgspec.structs.replace(a_job(rate=0.0, seconds_left=None), files=[waiting]))
        assert texts(lines.download_cells(line, UNICODE))[1].strip() == "● the network"
        assert lines.share_of(line) is None
        moving = JobLine(msgspec.structs.replace(a_job(), files=[waiting, a_file()]))
        assert lines.share_of(moving) == 0.61

    def test_an_error_stands_after_the_name(self):
        """Last in its line: it may be long."""
        job = a_job(state="failed", error="the Hub answers 403")
        assert texts(lines.download_cells(JobLine(job), UNICODE))[6] == "tiny: the Hub answers 403"

    def test_files_of_several(self):
        """Below their download while it is under way, at most forty; done, it is one line again."""
        several = a_job(files=3)
        assert [line.key for line in lines.download_lines(a_house(jobs=[several]))] == [
            "00000001",
            "00000001/part-0.gguf",
            "00000001/part-1.gguf",
            "00000001/part-2.gguf",
        ]
        assert len(lines.download_lines(a_house(jobs=[a_job(files=100)]))) == 41
        done = msgspec.structs.replace(several, state="done")
        assert len(lines.download_lines(a_house(jobs=[done]))) == 1

    def test_a_file(self):
        """As its download, in its own figures."""
        job = a_job(files=2)
        cells = texts(lines.download_cells(FileLine(job, job.files[0]), UNICODE))
        assert cells == ["61 %", "2.0 MB/s", "0:20", "", "61.0/100.0 MB", "", "└ part-0.gguf", ""]
        done = a_file(state="done", downloaded=100 * MB, kept=3)
        cells = texts(lines.download_cells(FileLine(job, done), UNICODE))
        assert [cells[0], cells[1].strip(), *cells[4:6]] == ["100 %", "✓ verified", "100.0 MB", ""]

    def test_every_row_has_a_cell_for_each_column(self):
        """Of the wide columns and of the narrow ones."""
        job = a_job(files=2)
        for line in (JobLine(job), FileLine(job, job.files[0])):
            cells = lines.download_cells(line, UNICODE)
            assert len(cells) == len(lines.DOWNLOAD_COLUMNS)
            assert all((column.cell or 0) < len(cells) for column in lines.NARROW_DOWNLOAD_COLUMNS)


class TestFigures:
    """Percents and bars."""

    @given(st.integers(0, 10**15), st.integers(0, 10**15))
    def test_a_hundred_percent_is_all_of_it(self, one, other):
        """And nothing less is."""
        part, whole = sorted((one, other))
        assert 0 <= lines.percent(part, whole) <= 100
        assert (lines.percent(part, whole) == 100) == (part == whole)

    @given(st.floats(0, 1), st.integers(0, 200))
    def test_a_bar_is_as_wide_as_it_is_to_be(self, share, width):
        """And full at the end alone."""
        for glyphs in (UNICODE, ASCII):
            drawn = "".join(lines.bar(share, width, glyphs))
            assert cell_len(drawn) == width
            if share == 1:
                assert drawn == glyphs.bar * width

    @pytest.mark.parametrize("share", [-1.0, 7.0])
    def test_an_absurd_share_draws_a_bar_all_the_same(self, share):
        """A server may send more than it said."""
        assert cell_len("".join(lines.bar(share, 10, UNICODE))) == 10

    def test_memory_is_binary(self):
        """As everywhere."""
        assert lines.worker_cells(ProcessLine(a_running(memory_bytes=3 * GIB)), ASCII)[1].text == "3.0 GiB"
