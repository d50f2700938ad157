"""A model that rotted on the disk: only its bad blocks come again, and a death in between loses nothing."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine import provisioner as provisioners
from rbee_tui.engine.artifacts import Model
from rbee_tui.engine.errors import BusyError, RefusedError
from rbee_tui.engine.provisioner import ModelProvisioner
from rbee_tui.engine.transfer import blocks_path

pytestmark = pytest.mark.anyio
BLOCK = 8 << 20
DATA = random.Random(5).randbytes(6 * BLOCK + 1000)
NAME = "acme/big/big.gguf"


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """With a file of seven blocks."""
    with DemoHub([DemoRepo("acme/big", {"big.gguf": DATA})]) as served:
        yield served


async def pulled(here: ModelProvisioner) -> Path:
    """The file of the model, pulled."""
    await here.run(await here.download_model("acme/big"))
    return here.models.files(here.models.get("big"))[0]


def flip(path: Path, *offsets: int) -> None:
    """Flip a bit at each offset."""
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 8]))


class TestRepair:
    async def test_three_flipped_bytes_are_three_blocks(self, make, hub: DemoHub) -> None:
        """What is fetched is at most the blocks that hold them; the model is whole again."""
        async with make() as here:
            path = await pulled(here)
            flip(path, 7, 3 * BLOCK + 99, 6 * BLOCK + 999)
            assert not here.models.verify("big").ok
            sent = hub.bytes_sent(NAME)
            found = await here.repair("big")
            (file,) = found.files
            assert (file.bad_blocks, file.blocks, file.note) == (3, 7, "")
            assert file.fetch_bytes == 2 * BLOCK + 1000
            ended = await here.run(found.job_id or "")
            assert ended.state == "done"
            assert hub.bytes_sent(NAME) - sent == 2 * BLOCK + 1000
            assert path.read_bytes() == DATA
            assert here.models.get("big").health == "ok"
            assert blocks_path(path).exists()

    async def test_a_whole_model(self, make, hub: DemoHub) -> None:
        """Nothing is fetched, and there is no job."""
        async with make() as here:
            await pulled(here)
            sent = hub.bytes_sent(NAME)
            assert (await here.repair("big")).job_id is None
            assert hub.bytes_sent(NAME) == sent

    async def test_without_block_digests_everything_comes(self, make, hub: DemoHub) -> None:
        """It says so; where the Hub has the file is found by its hash."""
        async with make() as here:
            path = await pulled(here)
            blocks_path(path).unlink()
            flip(path, BLOCK)
            sent = hub.bytes_sent(NAME)
            found = await here.repair("big")
            assert found.files[0].note == "it has no block digests"
            await here.run(found.job_id or "")
            assert hub.bytes_sent(NAME) - sent >= len(DATA)
            assert path.read_bytes() == DATA

    @pytest.mark.parametrize("left", [0, BLOCK + 5])
    async def test_a_file_that_was_cut(self, make, hub: DemoHub, left: int) -> None:
        """Only what is gone comes again."""
        async with make() as here:
            path = await pulled(here)
            with path.open("r+b") as file:
                file.truncate(left)
            found = await here.repair("big")
            assert found.files[0].bad_blocks == 7 - left // BLOCK
            await here.run(found.job_id or "")
            assert path.read_bytes() == DATA

    async def test_a_file_that_is_gone(self, make, hub: DemoHub) -> None:
        """It is fetched."""
        async with make() as here:
            path = await pulled(here)
            path.unlink()
            await here.run((await here.repair("big")).job_id or "")
            assert path.read_bytes() == DATA

    async def test_a_cancelled_repair_keeps_what_is_good(self, make, hub: DemoHub) -> None:
        """Whatever was asked for: a pull goes on from it."""
        async with make() as here:
            path = await pulled(here)
            flip(path, 7)
            hub.rate = 100_000
            found = await here.repair("big")
            await here.cancel(found.job_id or "")
            hub.rate = None
            sent = hub.bytes_sent(NAME)
            await here.run(await here.download_model("acme/big"))
            assert path.read_bytes() == DATA
            assert hub.bytes_sent(NAME) - sent <= BLOCK

    async def test_a_death_before_the_job_was_written(
        self, make, hub: DemoHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file has been taken back: a pull goes on from its good blocks."""
        async with make() as here:
            path = await pulled(here)
            flip(path, 7)

            class Dead(BaseException):
                pass

            def die(*_: object) -> None:
                raise Dead

            with monkeypatch.context() as patch:
                patch.setattr(provisioners.JobStore, "put", die)
                with pytest.raises(Dead):
                    await here.repair("big")
            assert not path.exists()
        async with make() as here:
            sent = hub.bytes_sent(NAME)
            await here.run(await here.download_model("acme/big"))
            assert path.read_bytes() == DATA
            assert hub.bytes_sent(NAME) - sent <= BLOCK

    async def test_what_cannot_be_repaired(self, make, hub: DemoHub) -> None:
        """A model of unknown origin, one that is in use, and one that a download wants."""
        async with make() as here:
            path = await pulled(here)
            here.models.add_model(
                Model(id="mine", name="Mine", version="1", size_bytes=1, source_url="file:///x")
            )
            with pytest.raises(RefusedError, match="nobody knows where the files of mine come from"):
                await here.repair("mine")
            flip(path, 7)
            with here.models.lock("big", "start"), pytest.raises(BusyError, match="is at work"):
                await here.repair("big")
            hub.rate = 100_000
            job = (await here.repair("big")).job_id
            with pytest.raises(RefusedError, match=f"job {job} is at work on big already"):
                await here.repair("big")
            await here.cancel(job or "")
