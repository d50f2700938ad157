"""Newer files by keys: asked for, marked, brought; on a real engine and a small Hub."""

from collections.abc import Iterator

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner
from tests.ui.support import cockpit

pytestmark = pytest.mark.anyio
OLD, NEW = tiny.build("what it was"), tiny.build("what it will be, which is more")


@pytest.fixture
def repos() -> list[DemoRepo]:
    """Two models."""
    return [DemoRepo(f"acme/{name}", {f"{name}.gguf": OLD}) for name in ("one", "two")]


@pytest.fixture
def hub(repos: list[DemoRepo]) -> Iterator[DemoHub]:
    """It has them."""
    with DemoHub(repos) as served:
        yield served


@pytest.fixture
async def here_already(root: Root, hub: DemoHub, repos: list[DemoRepo]) -> None:
    """Both are downloaded."""
    async with ModelProvisioner(root, Hub(hub.url, token="")) as provisioner:
        for repo in repos:
            await provisioner.run(await provisioner.download_model(repo.id))


@pytest.mark.usefixtures("here_already")
class TestNewer:
    """The key n."""

    async def test_one_is_marked_and_brought(self, root: Root, hub: DemoHub, repos: list[DemoRepo]):
        """The mark is gone once it is here."""
        async with cockpit(root, hub) as here:
            await here.sees("one", "two")
            await here.press("n")
            await here.hears("2 models compared: all are the newest")
            repos[0].push({"one.gguf": NEW})
            await here.press("n")
            await here.sees("1 model has newer files", "Update one")
            await here.press("escape")
            await here.until(lambda: "newer" in here.row(" one"))
            assert "verified" in here.row(" two")
            await here.press("n")
            await here.sees("Update one")
            await here.press("enter")
            await here.hears("one is updated and verified")
            await here.until(lambda: here.app.house.newer == {})
            assert (root.models / "one" / "one.gguf").read_bytes() == NEW

    async def test_all_are_brought(self, root: Root, hub: DemoHub, repos: list[DemoRepo]):
        """By one question, which has what they take together."""
        for repo in repos:
            repo.push({next(iter(repo.files)): NEW})
        async with cockpit(root, hub) as here:
            await here.sees("one", "two")
            await here.press("n")
            await here.sees("2 models have newer files", f"Update all, {2 * len(NEW) / 1e6:.1f} MB")
            await here.press("a")
            await here.hears("one is updated and verified")
            await here.hears("two is updated and verified")

    async def test_a_renamed_repository_is_followed(self, root: Root, hub: DemoHub, repos: list[DemoRepo]):
        """It is said, and the newer files are offered under the model's own id."""
        repos[0].id = "acme/first"
        hub.repos["acme/first"], hub.renamed = repos[0], {"acme/one": "acme/first"}
        repos[0].push({"one.gguf": NEW})
        async with cockpit(root, hub) as here:
            await here.sees("one", "two")
            await here.press("n")
            await here.sees("1 model has newer files", "acme/one is called acme/first now", "Update one")
            assert "one: acme/one is called acme/first now" in here.told
            await here.press("enter")
            await here.hears("one is updated and verified")
            assert (root.models / "one" / "one.gguf").read_bytes() == NEW

    async def test_of_marked_ones_those_alone(self, root: Root, hub: DemoHub, repos: list[DemoRepo]):
        """The other has newer files, too, and keeps what it has; the marks are gone afterwards."""
        for repo in repos:
            repo.push({next(iter(repo.files)): NEW})
        async with cockpit(root, hub) as here:
            await here.sees("one", "two")
            await here.press("j", "space", "n")
            await here.sees("1 model has newer files", "Update two")
            await here.press("enter")
            await here.hears("two is updated and verified")
            assert here.app.main.pane("models").marked == ()
            assert (root.models / "one" / "one.gguf").read_bytes() == OLD
