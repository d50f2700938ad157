"""Memory that workers were promised: two plans never spend the same gigabyte."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.fitting.learned import Learned, correction
from rbee_tui.engine.workers import promises
from rbee_tui.engine.workers.promises import promised
from tests.engine.workers.support import MODEL, House, add_model, little_memory, wait_for

pytestmark = pytest.mark.anyio


async def start_both(house: House) -> list[object]:
    """Start two models at the same moment, by two engines on one root."""
    other = House(house.root)
    return await asyncio.gather(
        house.supervisor.start(MODEL, context=4096),
        other.supervisor.start("other", context=4096),
        return_exceptions=True,
    )


class TestTwoAtOnce:
    """Two models, of which one fits at a time."""

    @pytest.fixture
    def tight(self, fake: House, tiny_model: Path, monkeypatch) -> House:
        """Memory for one and a half."""
        add_model(fake, tiny_model, "other")
        needed = fake.supervisor.outlook(MODEL).needed_bytes
        little_memory(monkeypatch, needed * 3 // 2)
        return fake

    async def test_the_second_is_refused_with_figures(self, tight: House):
        """What it needs, what is available, and what is promised."""
        found = await start_both(tight)
        (refused,) = [each for each in found if isinstance(each, Exception)]
        assert isinstance(refused, RefusedError)
        assert "promised to other workers" in str(refused)
        assert len(tight.supervisor.list()) == 1

    async def test_it_is_told_before_a_start(self, tight: House):
        """What is promised to the one that runs is in the outlook of the other."""
        assert tight.supervisor.outlook("other").promised_bytes == 0
        await tight.supervisor.start(MODEL, context=4096)
        (record,) = tight.records.all()
        tight.records.write(msgspec.structs.replace(record, ready_at=None))
        assert tight.supervisor.promised()["host"] == record.estimate
        assert tight.supervisor.outlook("other").promised_bytes == record.estimate

    async def test_without_promises_both_start(self, tight: House, monkeypatch):
        """The mutant that the test before catches."""
        monkeypatch.setattr(promises, "promised", lambda *_, **__: {"gpu": 0, "host": 0})
        found = await start_both(tight)
        assert not [each for each in found if isinstance(each, Exception)]


class TestPools:
    """Main memory, and that of GPUs."""

    async def test_a_mapped_file_stays_promised(self, fake: House):
        """The system calls its pages available; what the processes have for themselves is taken off."""
        await fake.supervisor.start(MODEL)
        (record,) = fake.records.all()
        large = msgspec.structs.replace(record, estimate=4 << 30)
        found = wait_for(lambda: promised([large]))
        assert 3 << 30 < found["host"] < 4 << 30
        assert found["gpu"] == 0
        assert promised([large], besides=MODEL)["host"] == 0

    async def test_a_gpu_is_promised_until_it_is_ready(self, fake: House):
        """Then its driver tells."""
        await fake.supervisor.start(MODEL)
        (record,) = fake.records.all()
        ready = msgspec.structs.replace(record, variant="cuda", estimate=4 << 30)
        assert promised([ready]) == {"gpu": 0, "host": 0}
        loading = msgspec.structs.replace(ready, ready_at=None)
        assert promised([loading]) == {"gpu": 4 << 30, "host": 0}

    async def test_one_whose_process_is_not_there_yet(self, fake: House):
        """Its starter holds the lock; a record that was left behind by a dead one promises nothing."""
        await fake.supervisor.start(MODEL)
        (record,) = fake.records.all()
        await fake.supervisor.stop(MODEL)
        fake.records.write(msgspec.structs.replace(record, who=None, ready_at=None))
        assert fake.supervisor.promised()["host"] == 0
        with fake.records.start_lock(MODEL).acquire():
            assert fake.supervisor.promised()["host"] == record.estimate

    async def test_a_dead_one_is_promised_nothing(self, fake: House):
        """Whatever its record says."""
        await fake.supervisor.start(MODEL)
        (record,) = fake.records.all()
        await fake.supervisor.stop(MODEL)
        assert promised([record]) == {"gpu": 0, "host": 0}


class TestLearning:
    """A worker that is ready teaches what its kind takes."""

    async def test_the_next_start_knows(self, fake: House):
        """Its estimate has the difference on top, and is compared without it."""
        first = await fake.supervisor.start(MODEL)
        (pair,) = Learned(fake.root).pairs("llama")
        assert pair.predicted == first.estimate_bytes
        await fake.supervisor.stop(MODEL)
        second = await fake.supervisor.start(MODEL)
        assert second.estimate_bytes == first.estimate_bytes + correction([pair])
        assert Learned(fake.root).pairs("llama")[1].predicted == first.estimate_bytes
