"""What a running worker does now: figures of both kinds of server, rates between looks, and memory."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.workers import live, profiles
from rbee_tui.engine.workers.live import Figures, Watcher, figures_of
from rbee_tui.engine.workers.prompting import Meter, generation_rate
from tests.engine.workers.support import MODEL, House

METRICS = b"""# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 12
llamacpp:tokens_predicted_total 100
llamacpp:tokens_predicted_seconds_total 0.5
llamacpp:requests_processing 2
llamacpp:requests_deferred 1
"""
SLOTS = (
    b'[{"id":0,"is_processing":false},'
    b'{"id":1,"is_processing":true,"next_token":[{"n_decoded":7}]},'
    b'{"id":2,"is_processing":true,"next_token":{"n_decoded":5}}]'
)


class TestFigures:
    """What a server tells."""

    def test_those_of_both_pages(self):
        """Tokens of answers that are under way count as well, as newer and older servers tell them."""
        assert figures_of(METRICS, SLOTS) == Figures(112, 12, 0.5, 100, 2, 1, 3, 2)

    @pytest.mark.parametrize("slots", [None, b"", b"{}", b"[1]", b'[{"is_processing": true}]'])
    def test_slots_that_tell_nothing(self, slots):
        """The other figures are there."""
        found = figures_of(METRICS, slots)
        assert found is not None
        assert (found.written, found.processing) == (100, 2)

    def test_its_mean_is_the_rate_that_the_answer_told(self):
        """Of the same tokens and time, where the rate that the server tells leaves the first token out."""
        meter = Meter(0.0, 100)
        timings = {"predicted_n": 11, "predicted_ms": 3.004, "predicted_per_second": 3328.9}
        meter.count({"choices": [], "usage": {"completion_tokens": 11}, "timings": timings}, 1.0, spoke=False)
        usage = meter.usage(1.0)
        assert (usage.tokens, usage.tokens_per_second) == (11, 3661.8)
        mean = generation_rate(11, 0.003004)
        assert mean is not None
        assert round(mean, 1) == usage.tokens_per_second

    def test_one_token_took_no_time_of_its_own(self):
        """It comes with the prompt: there is no rate, rather than a million tokens per second."""
        assert generation_rate(1, 0.000001) is None
        meter = Meter(0.0, 100)
        meter.count({"timings": {"predicted_n": 1, "predicted_ms": 0.001}}, 0.5, spoke=True)
        assert meter.usage(0.5).tokens_per_second == 2.0

    def test_another_server(self):
        """Has none."""
        assert figures_of(b"process_cpu_seconds_total 3\n", None) is None


class TestRate:
    """Tokens per second are what came between two looks."""

    @pytest.mark.anyio
    async def test_it_goes_on_over_the_end_of_an_answer(self, fake: House, monkeypatch):
        """What was unfinished is finished at the next look, and is not counted twice."""
        await fake.supervisor.start(MODEL)
        record = fake.records.read(MODEL)
        clock = iter([10.0, 12.0, 14.0])
        told = iter([Figures(100, 0, 0.0, 0, 1, 0, 1, 1), Figures(180, 0, 2.0, 180, 0, 0, 1, 0)] * 2)
        monkeypatch.setattr(live, "figures_of", lambda *_: next(told))
        watcher = Watcher(lambda: next(clock))
        first, second = watcher.load(record, "key"), watcher.load(record, "key")
        assert first is not None
        assert second is not None
        assert first.tokens_per_second is None
        assert (second.tokens_per_second, second.mean_tokens_per_second) == (40.0, 90.0)
        third = watcher.load(record, "key")
        assert third is not None
        assert third.tokens_per_second == 0.0

    @pytest.mark.anyio
    async def test_a_runtime_that_does_not_tell(self, fake: House):
        """Is not asked."""
        assert not profiles.tells("llama-cpp-python")
        await fake.supervisor.start(MODEL)
        record = msgspec.structs.replace(fake.records.read(MODEL), runtime="llama-cpp-python")
        assert Watcher().load(record, "key") is None


class TestListed:
    """Beside each running worker."""

    @pytest.mark.anyio
    async def test_all_of_it(self, fake: House):
        """Before and after a question."""
        await fake.supervisor.start(MODEL)
        (idle,) = fake.supervisor.list()
        assert idle.load is not None
        assert (idle.load.tokens_per_second, idle.load.requests, idle.load.slots) == (0.0, 0, 1)
        assert [chunk async for chunk in fake.supervisor.prompt(MODEL, "hello")]
        (asked,) = await asyncio.to_thread(fake.supervisor.list)
        assert asked.load is not None
        assert (asked.load.tokens_written, asked.load.tokens_read) == (2, 1)
        assert asked.measured_bytes == asked.memory_bytes
        assert asked.estimate_bytes > 0
        assert asked.gpu_memory_bytes is None

    @pytest.mark.anyio
    async def test_memory_on_gpus_by_its_processes(self, fake: House, monkeypatch, tmp_path: Path):
        """The keeper's and those below it; a foreign process's is not its own."""
        started = await fake.supervisor.start(MODEL)
        record = msgspec.structs.replace(fake.records.read(MODEL), variant="cuda")
        watcher = Watcher()
        child = live.ready.family(started.pid)[1]
        monkeypatch.setattr(watcher._nvml, "processes", lambda: {child: 5 << 30, 1: 7 << 30})
        assert watcher.gpu_memory(record) == 5 << 30
        monkeypatch.setattr(watcher._nvml, "processes", lambda: {1: 7 << 30})
        assert watcher.gpu_memory(record) is None
        listed = msgspec.structs.replace(fake.supervisor.get(MODEL), gpu_memory_bytes=5 << 30)
        assert listed.measured_bytes == (5 << 30) + (listed.memory_bytes or 0)
