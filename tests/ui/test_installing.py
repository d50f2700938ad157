"""Installing workers on the screen: from a catalog, another version and back, and given up."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo.serving import Serving
from rbee_tui.engine.listing import publishing
from rbee_tui.engine.listing.store import Store
from rbee_tui.engine.paths import Root
from rbee_tui.engine.workers import offers
from rbee_tui.server import worker_catalog
from tests.engine.workers.support import FAKE, House
from tests.engine.workers.test_install import an_offer
from tests.ui.support import cockpit

pytestmark = pytest.mark.anyio
NOWHERE = "http://127.0.0.1:9"
ID = "llm-worker-lan"


class Lan:
    """A catalog server of this network, with one program in it."""

    def __init__(self, place: Path) -> None:
        self.store = Store(place / "store").prepare()
        self.program = place / "llama-server"
        self.publish("4404")
        self.serving = Serving(worker_catalog.application(self.store))

    def publish(self, version: str) -> None:
        """Publish the program as of a version."""
        text = FAKE.replace("PYTHON", sys.executable).replace("version: 4404", f"version: {version}")
        self.program.write_text(text)
        self.program.chmod(0o755)
        publishing.publish_binary(self.store, self.program, worker_id=ID)


@pytest.fixture
def lan(root: Root, tmp_path: Path, monkeypatch) -> Iterator[Lan]:
    """A catalog that this root trusts; the bundled listing is empty."""
    monkeypatch.setattr(offers, "bundled", tuple)
    place = tmp_path / "lan"
    place.mkdir()
    made = Lan(place)
    made.serving.start()
    House(root).installer.catalogs.trust(made.serving.url, made.store.key())
    yield made
    made.serving.stop()


async def test_there_and_back(root: Root, lan: Lan):
    """i lists what a trusted catalog offers; on one that is here it updates it, or takes it back."""
    async with cockpit(root, NOWHERE) as here:
        await here.press("2", "i")
        await here.sees("Install a worker", ID, "offered", f"4404, from {lan.serving.url}")
        await here.press("enter")
        await here.sees("✓ installed   4404", ID)
        await here.back()
        lan.publish("4405")
        await here.press("i")
        await here.sees("newer", "4405 is offered, 4404 is here")
        await here.press("enter")
        await here.sees("Update to 4405", "4404 stays beside it")
        await here.press("enter")
        await here.sees("✓ installed   4405", ID)
        await here.back()
        await here.press("i")
        await here.sees("Enter Install", "best  installed")
        await here.press("enter")
        await here.sees("Install again", "Back to 4404")
        await here.press("b")
        await here.hears(f"{ID} is at 4404")
        await here.sees("✓ installed   4404", ID)


async def test_a_catalog_that_sends_what_it_must_not(root: Root, lan: Lan):
    """Why it is refused is said; the list comes all the same."""
    House(root).installer.catalogs.trust(lan.serving.url, "ed25519:" + "A" * 43 + "=")
    async with cockpit(root, NOWHERE) as here:
        await here.press("2", "i")
        await here.sees("Install a worker")
        await here.hears("it is signed by another key than the one that is trusted")


async def test_an_install_is_given_up(root: Root, tmp_path: Path, monkeypatch):
    """Ctrl-D on its line asks, and nothing of it stays."""
    monkeypatch.setattr(offers, "bundled", lambda: (an_offer("sha256:" + "0" * 64),))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        async with cockpit(root, NOWHERE) as here:
            await here.press("2", "i")
            await here.sees("Install a worker", "llm-worker-cpu")
            await here.press("enter")
            await here.sees("installing", "Ctrl-D Cancel")
            await here.press("ctrl+d")
            await here.sees("Cancel the install", "What was there before stays")
            await here.press("enter")
            await here.hears("the install of llm-worker-cpu was given up: nothing was changed")
            await here.until(lambda: list(root.workers.iterdir()) == [])
