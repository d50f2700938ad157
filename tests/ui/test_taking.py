"""Taking up what other programs have, by keys; and a download that need not be one."""

from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.paths import Root
from tests.engine.others import hub_cache, tree
from tests.ui.support import cockpit

pytestmark = pytest.mark.anyio
MODEL = tiny.build("it was here all along")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The Hub's own cache, with one model."""
    hub_cache(tmp_path / "huggingface/hub", "acme/tiny", {"tiny.gguf": MODEL})
    return tmp_path / "huggingface"


class TestTakeUp:
    """The key u, and Ctrl-D afterwards."""

    @pytest.mark.parametrize(("key", "held"), [("enter", True), ("i", False)])
    async def test_from_an_empty_root(self, root: Root, cache: Path, key: str, held: bool):
        """The first screen says so; three keys, and it is a model; deleting it leaves the cache alone."""
        before = tree(cache)
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.sees("No models yet", "takes up what other programs have")
            await here.press("u")
            await here.sees("What other programs have", "Hugging Face", "acme/tiny:tiny.gguf", "It lies at")
            await here.press("enter")
            await here.sees("commit  cccccccccccc of acme/tiny", "Without a copy")
            await here.press(key)
            await here.hears("tiny is a model now")
            await here.sees("verified")
            assert (root.models / "tiny" / "tiny.gguf").exists() is held
            await here.press("u")
            await here.sees("It is here already, as tiny")
            await here.press("enter")
            await here.hears("is here already, as tiny")
            await here.press("ctrl+d")
            await here.sees("Delete the model", "other names hold its bytes" if held else "stays where it is")
            await here.press("enter")
            await here.hears("tiny is deleted")
        assert tree(cache) == before

    async def test_nothing_elsewhere(self, root: Root):
        """Is said with what one may do."""
        async with cockpit(root, "http://127.0.0.1:9", (80, 24)) as here:
            await here.press("u")
            await here.sees("No other program has models on this disk", "rbee models import FILE")

    @pytest.mark.usefixtures("cache")
    async def test_a_download_says_what_is_here(self, root: Root):
        """And fetches nothing of it."""
        with DemoHub([DemoRepo("acme/other", {"other.gguf": MODEL})]) as hub:
            async with cockpit(root, hub) as here:
                await here.press("a")
                await here.sees("acme/other")
                await here.press("enter")
                await here.sees("other.gguf")
                await here.press("enter")
                await here.sees(f"here    {len(MODEL) / 1e6:.1f} MB of it, Hugging Face: not fetched again")
                sent = hub.bytes_sent("acme/other/other.gguf")  # the header, to say what fits
                await here.press("enter")
                await here.hears("other.gguf is on this disk already (Hugging Face)")
                await here.hears("other is here and verified")
            assert hub.bytes_sent("acme/other/other.gguf") == sent
