"""Searching by keys: filters, more results than at first, and a Hub that does not answer."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.errors import NetworkError
from rbee_tui.engine.fitting.machine import Device, Machine, most_billions
from rbee_tui.engine.paths import Root
from rbee_tui.engine.repository import RepoSummary
from rbee_tui.ui.widgets.field import Field
from tests.ui import scenes
from tests.ui.support import cockpit, shown

pytestmark = pytest.mark.anyio


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """It has 260 repositories, the best known first; one of another task, one of many parameters."""
    repos = [DemoRepo(f"acme/r{n:03}", {"x.gguf": b"x"}, downloads=1000 - n) for n in range(260)]
    repos[0].task, repos[1].billions, repos[2].license = "text-ranking", 5000.0, "mit"
    with DemoHub([*repos, DemoRepo("other/one", {"x.gguf": b"x"})]) as served:
        yield served


class TestOpening:
    """By the first key."""

    async def test_what_is_typed_on_waits_for_nobody(
        self, root: Root, hub: DemoHub, monkeypatch: pytest.MonkeyPatch
    ):
        """The engine is busy: the search is there all the same, and the letters go into it."""
        async with cockpit(root, hub) as here:
            busy, bridge = asyncio.Event(), here.app.bridge
            ask = bridge.ask

            async def answer_late(do: Callable[[Any], Any]) -> Any:
                await busy.wait()
                return await ask(do)

            monkeypatch.setattr(bridge, "ask", answer_late)
            await here.press("a", "q")
            assert here.app.screen.query_one("#words", Field).value == "q"
            busy.set()
            await here.sees("Add a model from")


class TestMore:
    """At the last of the results."""

    async def test_they_come_as_one_goes_on(self, root: Root, hub: DemoHub):
        """Fifty, then more, from where one is; the Hub is not asked again for what is known."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("r000")
            await here.type("acme")
            await here.sees("50+ match 'acme'")
            for _ in range(49):
                await here.press("down")
            await here.sees("r049")
            await here.until(lambda: len(here.app.screen.choices) == 200)
            assert here.app.screen.pane.current.key == "acme/r049"
            await here.press("down")
            await here.sees("r050")
            asked = len(hub.requests)
            await here.press("enter")
            await here.sees("x.gguf")
            await here.press("escape")
            await here.sees("200+ match 'acme'")
            assert not [seen for seen in hub.requests[asked:] if seen.path == "/api/models"]


class TestFilters:
    """Ctrl-F."""

    async def test_each_is_a_few_keys(self, root: Root, hub: DemoHub):
        """Task, licence, author and what fits this machine; they are told in the frame, and kept."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("r000", "r001")
            await here.press("ctrl+f")
            await here.sees("Filters of the search", "fits this machine")
            await here.press("enter")
            await here.type("generation")
            await here.press("enter")
            await here.sees("Filters of the search", "text-generation")
            await here.press("down", "down", "down", "enter")
            await here.sees("at most ", " billion parameters")
            await here.press("escape")
            await here.until(lambda: here.row("r003") and not here.row("r000") and not here.row("r001"))
            await here.sees("text-generation", "B parameters")
            await here.press("ctrl+f")
            await here.sees("Filters of the search")
            await here.press("down", "down", "enter")
            await here.sees("Author")
            await here.type("other")
            await here.press("enter")
            await here.sees("Filters of the search")
            await here.press("escape")
            await here.until(lambda: here.row("other/one") and not here.row("acme/"))

    @pytest.mark.parametrize(("gib", "most"), [(1, 1), (8, 11), (24, 33), (141, 198)])
    def test_parameters_that_fit(self, gib: int, most: int):
        """On the roomiest device; never none."""
        devices = tuple(Device(name=f"{n}", kind="cpu", total=n << 30, room=n << 30) for n in (1, gib))
        assert most_billions(Machine(devices=devices)) == most


class TestNoNetwork:
    """A Hub that cannot be asked."""

    async def test_enter_tries_again(self):
        """It says so, and offers nothing that needs results; the first of those that come is not taken."""
        error = NetworkError("cannot reach the Hub", hint="check the network")
        found = [RepoSummary(id="acme/one", downloads=1, likes=0, updated_at="")]
        app = scenes.screen(scenes.empty(), ["https://hub", error, found])
        async with shown(app, (80, 24)) as here:
            await here.press("a")
            await here.sees("cannot reach the Hub", "Enter Try again  Esc Back")
            assert not here.row("Filters")
            await here.press("enter")
            await here.sees("acme/one", "Enter Its files  Ctrl-O Order")

    async def test_a_name_is_taken_all_the_same(self):
        """The repository itself may be asked for."""
        error = NetworkError("cannot reach the Hub", hint="check the network")
        app = scenes.screen(scenes.empty(), ["https://hub", error, error])
        async with shown(app, (80, 24)) as here:
            await here.press("a")
            await here.type("acme/one")
            await here.sees("cannot reach the Hub", "Enter Its files  Esc Back")


class TestSilence:
    """A Hub that takes questions and answers none."""

    async def test_what_nobody_waits_for_holds_up_nothing(self, root: Root):
        """Forty superseded searches, and every other call of the screen goes on at once."""
        with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
            async with cockpit(root, f"http://127.0.0.1:{silent.getsockname()[1]}") as here:
                waiting = [
                    asyncio.ensure_future(here.app.bridge.call(lambda engine: engine.search("x", 50, None)))
                    for _ in range(40)
                ]
                await asyncio.sleep(0)
                for each in waiting:
                    each.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
                async with asyncio.timeout(10):
                    assert await here.app.bridge.ask(lambda _: "here") == "here"
                assert all(each.cancelled() for each in waiting)
