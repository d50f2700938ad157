"""Steering downloads by keys: the cap, the queue, what a cancelled one leaves, repairing a damaged model."""

from collections.abc import Iterator

import pytest

from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo
from rbee_tui.engine import settings
from rbee_tui.engine.paths import Root
from rbee_tui.engine.records import JobStore
from tests.ui.support import Cockpit, cockpit

pytestmark = pytest.mark.anyio
SLOW = 200_000


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """Two repositories whose files take a while."""
    repos = [DemoRepo(f"acme/{name}", {f"{name}.gguf": bytes(40 * LARGE)}) for name in ("one", "two")]
    with DemoHub(repos, rate=SLOW) as served:
        yield served


async def add(here: Cockpit, name: str) -> None:
    """Add a model by its name."""
    await here.press("a")
    await here.sees("Add a model from", "acme/one")
    await here.type(f"acme/{name}:{name}.gguf")
    await here.press("enter")
    await here.sees("size ", "Download")
    await here.press("enter")
    await here.back()
    await here.until(
        lambda: any(job.model_id == name and job.downloaded for job in here.app.house.jobs.values())
    )


class TestTheCap:
    """b asks for a rate, and every process on the root keeps it."""

    async def test_it_is_set_shown_and_lifted(self, root: Root, hub: DemoHub):
        """In the pane's title and in the settings that all read."""
        async with cockpit(root, hub) as here:
            await here.sees("3 Downloads")
            await here.press("3", "b")
            await here.sees("Cap of all downloads (now none)")
            await here.type("500kB/s")
            await here.press("enter")
            await here.sees("cap 500.0 kB/s")
            assert settings.read(root).cap == 500_000
            await here.press("b")
            await here.sees("(now 500.0 kB/s)")
            await here.type("off")
            await here.press("enter")
            await here.until(lambda: here.app.house.settings.cap is None)
            assert settings.read(root).cap is None

    async def test_what_is_no_rate_is_said(self, root: Root, hub: DemoHub):
        """With what one looks like, and it can be corrected where it stands."""
        async with cockpit(root, hub) as here:
            await here.sees("3 Downloads")
            await here.press("3", "b")
            await here.sees("Cap of all downloads")
            await here.type("fast")
            await here.press("enter")
            await here.sees("'fast' is not a rate: as in 20MB/s", "Cap of all downloads")
            assert settings.read(root).cap is None
            await here.press(*["backspace"] * 4)
            await here.type("2MB/s")
            await here.press("enter")
            await here.sees("cap 2.0 MB/s")


class TestTheQueue:
    """+ and - change a download's place."""

    async def test_sooner_and_later(self, root: Root, hub: DemoHub):
        """As the records say it, which every runner follows."""
        store = JobStore(root)
        async with cockpit(root, hub) as here:
            await add(here, "one")
            await add(here, "two")
            first, second = (record.id for record in store.list())
            here.app.show_line("downloads", second)
            await here.press("plus")
            await here.until(lambda: [record.id for record in store.list()] == [second, first])
            await here.press("minus")
            await here.until(lambda: [record.id for record in store.list()] == [first, second])


class TestCancelling:
    """What came may stay, for a later download of the same."""

    async def test_it_is_kept_where_one_says_so(self, root: Root, hub: DemoHub):
        """k: the partial file stays; adding it again goes on from there."""
        async with cockpit(root, hub) as here:
            await add(here, "one")
            await here.press("ctrl+d")
            await here.sees("Cancel the download", "keep what came")
            await here.press("k")
            await here.until(lambda: [job.state for job in here.app.house.jobs.values()] == ["cancelled"])
            assert list(root.part_directory().glob("*.part"))

    async def test_on_the_model_that_it_brings(self, root: Root, hub: DemoHub):
        """Ctrl-D there ends the download, as the footer says; the model cannot be deleted meanwhile."""
        async with cockpit(root, hub) as here:
            await add(here, "one")
            await here.press("1")
            await here.sees("Ctrl-D Cancel")
            await here.press("ctrl+d")
            await here.sees("Cancel the download", "throw")
            await here.press("enter")
            await here.until(lambda: [job.state for job in here.app.house.jobs.values()] == ["cancelled"])


class TestOneFile:
    """Where the cursor is on a file of a download, keys steer that file."""

    async def test_paused_resumed_cancelled(self, root: Root, hub: DemoHub):
        """p and Ctrl-D; the others come, and the model does without it."""
        large = bytes(2 * LARGE)
        files = {"model.safetensors": large, "extra.safetensors": large, "config.json": b"{}"}
        hub.repos["acme/parts"] = DemoRepo("acme/parts", files, tags=["safetensors"])
        hub.rate = 50_000

        def state() -> str:
            jobs = list(here.app.house.jobs.values())
            return next((f.state for job in jobs for f in job.files if f.path == "extra.safetensors"), "")

        async with cockpit(root, hub) as here:
            job_id = await here.app.bridge.call(
                lambda engine: engine.provisioner.download_model("acme/parts")
            )
            await here.until(lambda: state() == "fetching")
            await here.press("3")
            await here.sees("extra.safetensors")
            here.app.show_line("downloads", f"{job_id}/extra.safetensors")
            await here.press("p")
            await here.until(lambda: state() == "paused")
            await here.sees("p Resume")
            await here.press("p")
            await here.until(lambda: state() == "fetching")
            await here.press("ctrl+d")
            await here.sees("Cancel one file", "parts does without it then")
            await here.press("d")
            await here.until(lambda: state() == "cancelled")
            await here.sees("p Retry")
            hub.rate = None
            await here.hears("parts is here and verified")
            there = {path.name for path in (root.models / "parts").iterdir()}
            assert there & files.keys() == {"model.safetensors", "config.json"}


class TestRepair:
    """r on a damaged model fetches the bad blocks, and those alone."""

    async def test_a_flipped_bit_costs_a_block(self, root: Root, hub: DemoHub):
        """v finds it, r mends it."""
        hub.rate = None
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("acme/one")
            await here.type("acme/one:one.gguf")
            await here.press("enter")
            await here.sees("size ", "Download")
            await here.press("enter")
            await here.hears("one is here and verified")
            file = root.models / "one" / "one.gguf"
            raw = bytearray(file.read_bytes())
            raw[7] ^= 1
            file.write_bytes(raw)
            await here.press("1")
            await here.sees("v Verify")
            await here.press("v")
            await here.sees("damaged", "r Repair")
            await here.press("r")
            await here.until(lambda: (entry := here.app.house.model("one")) and entry.health == "ok")
            assert file.read_bytes() == bytes(40 * LARGE)
