"""A repository's page by keys: card, revisions, who may have it; and how few keys a download takes."""

from collections.abc import Iterator

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.paths import Root
from tests.ui.support import cockpit

pytestmark = pytest.mark.anyio
MOST_KEYS = 6
SMALL, LARGE = tiny.build("small"), tiny.build("large, and it says a good deal more than the small one does")
CARD = b"""---
license: mit
---
# Many

A repository with several quantisations of one tiny model, of which the largest that fits is to be taken.
"""


@pytest.fixture
def repos() -> list[DemoRepo]:
    """One with several choices and a branch, one that is gated."""
    files = {"README.md": CARD, **{f"many-{name}.gguf": SMALL for name in ("IQ1_S", "Q2_K", "Q3_K_M")}}
    many = DemoRepo(
        "acme/many", files | {"many-Q8_0.gguf": LARGE, "many-F16.gguf": LARGE + bytes(1 << 20)}, license="mit"
    )
    many.revisions["dev"] = {"only-dev-Q4_0.gguf": SMALL}
    return [many, DemoRepo("acme/gated", {"gated-f16.gguf": SMALL}, gated=True)]


@pytest.fixture
def hub(repos: list[DemoRepo]) -> Iterator[DemoHub]:
    """It knows one token."""
    with DemoHub(repos, token="hf_" + "a" * 20) as served:
        yield served


class TestPage:
    """What is said of a repository before anything is downloaded."""

    async def test_card_licence_and_revision(self, root: Root, hub: DemoHub):
        """Its first sentences above the files; c shows all of the card."""
        async with cockpit(root, hub, (80, 24)) as here:
            await here.press("a")
            await here.sees("acme/many")
            await here.type("acme/many")
            await here.press("enter")
            await here.sees("A repository with several quantisations", "licence mit", "open", "main at ")
            await here.press("c")
            await here.sees("Card", "Many")
            await here.press("escape")
            await here.sees("licence mit")

    async def test_another_revision(self, root: Root, hub: DemoHub):
        """By v, or with @; what is downloaded is what was seen, and its branch is remembered."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("acme/many")
            await here.type("acme/many")
            await here.press("enter")
            await here.sees("many-Q8_0.gguf")
            await here.press("v")
            await here.sees("Revisions of acme/many", "branch")
            await here.type("dev")
            await here.press("enter")
            await here.sees("dev at ", "only-dev-Q4_0.gguf")
            await here.press("escape")
            await here.sees("Add a model from")
            await here.press("ctrl+u")
            await here.type("acme/many@dev:Q4_0")
            await here.press("enter")
            await here.sees("from    acme/many at dev")
            await here.press("enter")
            await here.hears("only-dev-q4_0 is here and verified")
            entry = await here.until(lambda: here.app.house.model("only-dev-q4_0"))
            assert entry.artifact.requested_revision == "dev"

    async def test_what_is_gated(self, root: Root, hub: DemoHub):
        """Says so in words, takes a token by t without showing it, and downloads with it."""
        async with cockpit(root, hub, anonymous=False) as here:
            await here.press("a")
            await here.sees("acme/gated")
            await here.type("acme/gated")
            await here.press("enter")
            await here.sees("gated", "ask for access on the page of acme/gated", "t enters one")
            await here.press("t")
            await here.sees("Token for this Hub")
            await here.type("hf_" + "a" * 20)
            assert not here.row("hf_aaa")
            await here.press("enter")
            await here.hears("the token is kept")
            await here.sees("has to belong to who asked")
            await here.press("enter")
            await here.sees("size ")
            await here.press("enter")
            await here.hears("gated-f16 is here and verified")


class TestKeys:
    """From an empty root to the right download."""

    @pytest.mark.parametrize(("name", "most"), [("acme/many", 3), ("acme/many:Q8_0", 2)])
    async def test_few_keys_after_the_name(self, root: Root, hub: DemoHub, name: str, most: int):
        """The cursor stands on what is recommended, the largest below 16 bits that fits."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("acme/many")
            await here.type(name)
            steps = ("Q8_0    ", "from    acme/many", "3 Downloads")[-most:]
            for seen in steps:
                await here.press("enter")
                await here.sees(seen)
            await here.hears("many-q8_0 is here and verified")
            assert len(steps) == most <= MOST_KEYS
