"""Workers on the screen: what a start fails of, what a dead one left, how long one stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.engine import autostart, settings
from rbee_tui.engine.paths import Root
from tests.engine.workers.failing import FAILURES, failing
from tests.engine.workers.support import House, add_fake, add_model, end_all, get, little_memory, of_root
from tests.ui.support import cockpit

pytestmark = pytest.mark.anyio
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def house(root: Root, tmp_path: Path) -> Iterator[House]:
    """A root with the tiny model and the stand-in."""
    made = House(root)
    add_model(made, tiny.write(tmp_path / "tiny.gguf", "A real worker says this.").path)
    add_fake(made, tmp_path)
    yield made
    end_all(root)


class TestFailures:
    """What a start fails of is shown to whoever waits for it."""

    @pytest.mark.root
    @pytest.mark.parametrize("how", FAILURES)
    async def test_each_has_its_text(self, root: Root, tmp_path: Path, monkeypatch, how: str):
        """As the command says it, with what to do."""
        *_, words, _more = FAILURES[how]
        with failing(how, root, tmp_path, monkeypatch):
            if how == "big":
                little_memory(monkeypatch)
            async with cockpit(root, NOWHERE) as here:
                await here.press("s")
                if how == "big":
                    await here.sees("tiny cannot be started", words)
                else:
                    await here.sees("Start a worker", "because")
                    await here.press("enter")
                    await here.sees("It did not start", words)
                await here.press("escape")
                await here.back()
        assert of_root(root) == []

    async def test_what_would_fit_is_one_key_away(self, house: House, monkeypatch, tmp_path: Path):
        """Enter starts it with a smaller context."""
        monkeypatch.setenv("FAKE_MODE", "gpu")
        async with cockpit(house.root, NOWHERE) as here:
            await here.press("s")
            await here.sees("Start a worker")
            await here.press("enter")
            await here.sees(
                "It did not start", "the GPU has not enough free memory", "Start with 2,048 tokens"
            )
            monkeypatch.setenv("FAKE_MODE", "")
            await here.press("enter")
            await here.hears("tiny is ready")
            assert house.supervisor.get("tiny").context == 2048

    async def test_x_ends_one_that_loads(self, house: House, monkeypatch):
        """And its start says so."""
        monkeypatch.setenv("FAKE_MODE", "never")
        async with cockpit(house.root, NOWHERE) as here:
            await here.press("s")
            await here.sees("Start a worker")
            await here.press("enter")
            await here.sees("loading")
            await here.press("2", "g", "x")
            await here.sees("Stop the worker")
            await here.press("enter")
            await here.hears("was stopped while it was loading")
        assert of_root(house.root) == []


class TestDead:
    """A worker that ended by itself."""

    async def test_its_certificate_can_be_read_and_forgotten(self, house: House):
        """In the workers pane, with the end of its log; s starts it again."""
        started = await house.supervisor.start("tiny", restart=False)
        async with cockpit(house.root, NOWHERE) as here:
            await here.sees("✓ ready")
            with pytest.raises(ConnectionError):
                get(f"{started.url}/crash")
            await here.sees("gone", "it ended with exit code 3")
            await here.press("2", "g", "enter")
            await here.sees("What became of the worker of tiny", "exit code 3", "the end of its log")
            await here.press("escape", "ctrl+d")
            await here.until(lambda: not here.row("gone"))


class TestStaying:
    """How long a worker stays."""

    async def test_pin(self, house: House):
        """P, and P again."""
        await house.supervisor.start("tiny")
        async with cockpit(house.root, NOWHERE) as here:
            await here.sees("✓ ready", "P Pin")
            await here.press("P")
            await here.sees("P Unpin")
            assert house.supervisor.get("tiny").pinned
            await here.press("P")
            await here.until(lambda: not house.supervisor.get("tiny").pinned)

    async def test_autostart(self, house: House):
        """A, and A again: what becomes of it is said."""
        async with cockpit(house.root, NOWHERE) as here:
            await here.sees("tiny")
            await here.press("A")
            await here.sees("a worker starts on tiny with the hive")
            assert autostart.marked(house.root) == ("tiny",)
            await here.press("A")
            await here.sees("no worker starts any more on tiny with the hive")
            assert autostart.marked(house.root) == ()

    async def test_settings_and_a_worker_that_ends_with_the_screen(self, house: House):
        """Settled by keys; what is started then is bound to this process."""
        async with cockpit(house.root, NOWHERE) as here:
            await here.press("comma")
            await here.sees("Settings", "workers-on-quit", "keep")
            await here.press("down", "enter")
            await here.sees("workers-on-quit (now keep)", "stop")
            await here.press("enter")
            await here.sees("Settings", "stop")
            await here.press("down", "down", "enter")
            await here.sees("idle (now never)")
            await here.type("30m")
            await here.press("enter")
            await here.sees("Settings", "30m")
            await here.press("escape")
            await here.back()
            found = settings.read(house.root)
            assert (found.on_quit_workers, found.idle_seconds) == ("stop", 1800)
            await here.until(lambda: here.app.house.settings == found)
            await here.press("s")
            await here.sees("Start a worker")
            await here.press("enter")
            await here.hears("tiny is ready")
            each = house.supervisor.get("tiny")
            assert (each.ends_with_screen, each.idle_seconds) == (True, 1800)
            await here.press("2", "g", "enter")
            await here.sees("until nobody asks for 30m; as long as the screen that started it")
            await here.press("escape")


class TestOptions:
    """What a start is to be like."""

    async def test_each_can_be_changed_and_saved(self, house: House):
        """c in the question; what makes no sense is said; p saves it for the next start."""
        async with cockpit(house.root, NOWHERE) as here:
            await here.press("s")
            await here.sees("Start a worker", "4,096 tokens", "c Change")
            await here.press("c")
            await here.sees("Start tiny: options", "GPU layers", "Esc Back")
            await here.press("down", "enter")
            await here.sees("tokens of all slots together")
            await here.type("many")
            await here.press("enter")
            await here.sees("'many' is no whole number")
            await here.press(*["backspace"] * 4)
            await here.type("1024")
            await here.press("enter")
            await here.sees("Start tiny: options", "1024")
            await here.press("p")
            await here.sees("1024")
            await here.press("s")
            await here.sees("Start a worker", "1,024 tokens")
            await here.press("enter")
            await here.hears("tiny is ready")
        assert house.supervisor.get("tiny").context == 1024
        assert house.supervisor.presets.read("tiny").context == 1024

    async def test_another_address(self, house: House):
        """What it opens is said in the question; one that there is not is refused there."""
        async with cockpit(house.root, NOWHERE) as here:
            await here.press("s")
            await here.sees("Start a worker")
            await here.press("c")
            await here.sees("Start tiny: options", "address")
            await here.press(*["down"] * 6, "enter")
            await here.sees("where it listens")
            await here.type("203.0.113.7")
            await here.press("enter")
            await here.sees("Start tiny: options", "203.0.113.7")
            await here.press("s")
            await here.sees("tiny cannot be started", "203.0.113.7 is no address of this")
            await here.press("c")
            await here.sees("Start tiny: options")
            await here.press(*["down"] * 6, "enter")
            await here.type("0.0.0.0")
            await here.press("enter")
            await here.sees("Start tiny: options", "0.0.0.0")
            await here.press("s")
            await here.sees("address  0.0.0.0, open to other machines")
            await here.press("enter")
            await here.hears("tiny is ready")
        assert house.supervisor.get("tiny").host == "0.0.0.0"

    async def test_w_shows_each_probe(self, house: House):
        """Also of those that are not taken."""
        async with cockpit(house.root, NOWHERE) as here:
            await here.press("w")
            await here.sees("Why: tiny", "fake is taken", "platform", "memory", "of main memory")
            await here.press("escape")
