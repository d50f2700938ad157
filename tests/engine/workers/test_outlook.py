"""What a start would do, told before it does it: the worker, its reason, the figures."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from rbee_tui.engine import gguf, hardware
from rbee_tui.engine.artifacts import Entry, Health, Offer, Worker, this_platform
from rbee_tui.engine.errors import NotFoundError, RefusedError
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.workers import outlook
from rbee_tui.engine.workers.outlook import Outlook
from tests.engine.workers.support import MODEL, House

MUCH = 32 << 30
HERE = this_platform()


@pytest.fixture
def header(tiny_model: Path) -> Header:
    """The tiny model's."""
    return gguf.read(tiny_model)


@pytest.fixture
def reading() -> Reading:
    """This machine, with memory to spare and no GPU."""
    found = hardware.read()
    memory = msgspec.structs.replace(found.memory, total=2 * MUCH, available=MUCH)
    return msgspec.structs.replace(found, memory=memory, gpus=())


def a_worker(worker_id: str, worker_type: str = "cpu", **changes: Any) -> Entry[Worker]:
    worker = Worker(
        id=worker_id,
        name=worker_id,
        version="1",
        binary_path="w",
        worker_type=worker_type,
        platforms=[changes.pop("platform", HERE)],
    )
    return Entry(id=worker_id, artifact=worker, health=changes.pop("health", Health.OK), reason="")


def an_offer(worker_id: str, worker_type: Any = "cpu", platform: str = HERE) -> Offer:
    return Offer(
        id=worker_id,
        name=worker_id,
        version="1",
        worker_type=worker_type,
        runtime="xllamacpp",
        platforms=(platform,),
    )


def marked(found: Outlook) -> list[tuple[str, bool]]:
    """The verdicts that say that a start takes them."""
    return [(each.worker_id, each.installed) for each in found.verdicts if each.taken]


class TestChoice:
    """An installed worker goes before an offer, as a start would take it."""

    @pytest.fixture
    def look(self, header: Header, reading: Reading):
        """The outlook with these workers and so much room."""

        def look(installed=(), offered=(), room=MUCH) -> Outlook:
            memory = msgspec.structs.replace(reading.memory, available=room)
            here = msgspec.structs.replace(reading, memory=memory)
            return outlook.look("tiny", header, here, installed, offered, {"gpu": 0, "host": 0})

        return look

    def test_an_installed_one_before_an_offer(self, look):
        """Also where the offer's name comes first."""
        found = look([a_worker("z-here")], [an_offer("a-offered")])
        assert (found.worker_id, found.variant, found.installed) == ("z-here", "cpu", True)
        assert found.reason
        assert not found.refusal

    def test_an_offer_where_nothing_installed_fits(self, look):
        """It has to be installed first, and that is told."""
        found = look([a_worker("far", platform="plan9-68k")], [an_offer("offered")])
        assert (found.worker_id, found.installed, marked(found)) == ("offered", False, [("offered", False)])

    def test_an_ill_one_does_not_hide_its_own_offer(self, look):
        """The same id twice: the one that fits is marked, the ill one is told of."""
        found = look([a_worker("same", health=Health.DAMAGED)], [an_offer("same")])
        assert (found.worker_id, found.installed, marked(found)) == ("same", False, [("same", False)])
        ill = next(each for each in found.verdicts if each.installed)
        assert not ill.usable
        assert ill.reason

    def test_a_verdict_on_every_worker(self, look):
        """Installed or offered, fitting or not, each with its reason; exactly one is taken."""
        installed = [a_worker("here"), a_worker("far", platform="plan9-68k")]
        found = look(installed, [an_offer("offered"), an_offer("gpu", "cuda")])
        assert {each.worker_id for each in found.verdicts} == {"here", "far", "offered", "gpu"}
        assert all(each.reason for each in found.verdicts)
        assert marked(found) == [(found.worker_id, found.installed)] == [("here", True)]

    def test_none_that_fits(self, look):
        """No worker, no context, a refusal, and still a reason beside each."""
        found = look([a_worker("far", platform="plan9-68k")], [])
        assert (found.worker_id, found.context, found.refusal) == (None, 0, "no worker fits this machine")
        assert found.hint
        assert [each.usable for each in found.verdicts] == [False]

    def test_nothing_at_all(self, look):
        """No worker anywhere."""
        found = look()
        assert (found.worker_id, found.verdicts) == (None, ())
        assert found.refusal

    def test_too_little_memory_is_a_refusal_with_figures(self, look):
        """The worker that would be taken is named all the same."""
        found = look([a_worker("here")], room=1000)
        assert (found.worker_id, found.context, found.free_bytes) == ("here", 0, 1000)
        assert "tiny needs" in found.refusal
        assert "1000 B are available" in found.refusal
        assert "smaller quantisation" in found.hint
        assert found.needed_bytes > 1000

    def test_the_figures_of_one_that_fits(self, look, header: Header):
        """As much context as the model has, up to what is sensible; never more memory than there is."""
        found = look([a_worker("here")])
        assert found.context == min(header.context_length or 8192, 8192)
        assert 0 < found.needed_bytes <= found.free_bytes == MUCH


@pytest.mark.anyio
class TestAsAStartDoes:
    """What is marked as taken is what `start` takes."""

    async def test_the_same_worker_reason_and_context(self, fake: House):
        """On the real catalogs of a root."""
        told = fake.supervisor.outlook(MODEL)
        running = await fake.supervisor.start(MODEL)
        try:
            assert (running.worker, running.variant) == (told.worker_id, told.variant)
            assert (running.context, running.estimate_bytes) == (told.context, told.needed_bytes)
            assert marked(told) == [(running.worker, True)]
            assert running.reason == told.reason
        finally:
            await fake.supervisor.stop(MODEL)

    async def test_looking_starts_nothing(self, fake: House):
        """No process, no record, no fact."""
        fake.told()
        fake.supervisor.outlook(MODEL)
        assert fake.supervisor.list() == []
        assert fake.told() == []

    async def test_rbee_s_own_worker_is_taken_up_by_itself(self, house: House):
        """Where its environment has the runtime, nothing has to be installed."""
        pytest.importorskip("xllamacpp", reason="needs xllamacpp")
        told = house.supervisor.outlook(MODEL)
        assert (told.worker_id, told.installed) == ("llm-worker-xllamacpp", True)

    @pytest.mark.parametrize("action", ["outlook", "start"])
    async def test_a_model_that_is_not_whole_is_refused_by_both(self, fake: House, action):
        """With the same words."""
        (fake.root.models / MODEL / "tiny.gguf").unlink()
        with pytest.raises(RefusedError, match="tiny is missing"):
            fake.supervisor.outlook(MODEL) if action == "outlook" else await fake.supervisor.start(MODEL)
        with pytest.raises(NotFoundError):
            fake.supervisor.outlook("another")
