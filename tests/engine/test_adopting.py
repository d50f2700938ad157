"""Screens and runners take up what is wanted and what nobody runs."""

import asyncio
from collections.abc import Callable

import pytest

from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo
from rbee_tui.engine import runner
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from tests.engine.support_jobs import a_record, until

pytestmark = pytest.mark.anyio
SLOW = 200_000


@pytest.fixture
def hub():
    """With one model whose file takes a while at the rate SLOW."""
    with DemoHub([DemoRepo("acme/big", {"big.gguf": bytes(10 * LARGE)})]) as served:
        yield served


@pytest.fixture
def make(root: Root, hub: DemoHub) -> Callable[[], Engine]:
    """An engine, as a process of its own would have it."""
    return lambda: Engine(root, Hub(hub.url, token=""))


async def test_a_job_that_was_let_go_of_is_taken_up(make, hub: DemoHub):
    """And said to be; one that somebody runs is left to them."""
    hub.rate = SLOW
    async with make() as first:
        job = await first.provisioner.download_model("acme/big")
        await until(lambda: first.provisioner.get_progress(job).downloaded)
        async with make() as other:
            assert other.provisioner.adopt() == [], "its own process runs it"
    said, stop = [], asyncio.Event()
    async with make() as second:
        adopting = asyncio.create_task(runner.adopt(second, "a screen", stop=stop, say=said.append))
        hub.rate = None
        await until(lambda: second.provisioner.get_progress(job).state == "done")
        stop.set()
        await adopting
    assert said == [f"taking up job {job}"]


async def test_while_somebody_adopts_a_resume_waits_for_it(make):
    """A paused job that is wanted again is run by the one that is there."""
    async with make() as screen, make() as command:
        assert not command.provisioner.store.adopters()
        stop, ready = asyncio.Event(), asyncio.Event()
        adopting = asyncio.create_task(runner.adopt(screen, "a screen", stop=stop, ready=ready.set))
        await ready.wait()
        assert command.provisioner.store.adopters()
        assert screen.provisioner.store.adopters(), "to itself, too"
        stop.set()
        await adopting
        assert not command.provisioner.store.adopters()


async def test_several_may_adopt_at_once(make):
    """A screen in each of two terminals."""
    async with make() as one, make() as other:
        stop, ready = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(runner.adopt(one, "a screen", stop=stop))
        second = asyncio.create_task(runner.adopt(other, "a screen", stop=stop, ready=ready.set))
        await ready.wait()
        stop.set()
        await asyncio.gather(first, second)


async def test_what_is_promised_is_what_will_still_come(make, hub: DemoHub):
    """All of it at first, less while it comes, nothing of what is paused or done."""
    hub.rate = SLOW
    async with make() as engine:
        provisioner = engine.provisioner
        assert provisioner.promised() == 0
        job = await provisioner.download_model("acme/big")
        assert 0 < provisioner.promised() <= 10 * LARGE
        await provisioner.pause(job)
        assert provisioner.promised() == 0
        provisioner.store.put(a_record("00000009"))
        assert provisioner.promised() == 1000
        await provisioner.cancel("00000009")
        hub.rate = None
        await provisioner.resume(job)
        assert (await provisioner.run(job)).state == "done"
        assert provisioner.promised() == 0
