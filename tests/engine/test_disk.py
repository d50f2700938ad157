"""What takes room, and what removing it gives back: true for hard links, in place, and what is arriving."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo
from rbee_tui.engine import disk, headroom
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root

pytestmark = pytest.mark.anyio
GB = 10**9


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """It has a file that takes a while."""
    with DemoHub([DemoRepo("acme/big", {"big.gguf": bytes(40 * LARGE)})], rate=200_000) as served:
        yield served


class TestUsage:
    """Of everything that is ours."""

    async def test_what_is_freed_is_what_it_says(self, root: Root, hub: DemoHub, tmp_path: Path):
        """A copy gives back all of it, a link and what lies in place nothing; a removal frees as much."""
        source = tiny.write(tmp_path / "tiny.gguf").path
        async with Engine(root, Hub(hub.url, token="")) as here:
            for how in ("copy", "link", "in place"):
                here.models.import_gguf(source, how.replace(" ", "-"), how=how)  # type: ignore[arg-type]
            found = {each.id: each for each in disk.usage(here).shares}
            held = source.stat().st_blocks * 512
            assert (found["copy"].freed_bytes, found["link"].freed_bytes) == (source.stat().st_size, 0)
            assert found["link"].size_bytes >= held
            assert (found["copy"].shared_bytes, found["link"].shared_bytes) == (0, source.stat().st_size)
            placed = found["in-place"]
            assert (placed.size_bytes, placed.elsewhere_bytes, placed.freed_bytes) == (
                0,
                source.stat().st_size,
                0,
            )
            for name in ("copy", "link", "in-place"):
                assert here.remove_model(name).freed_bytes == found[name].freed_bytes
            assert source.is_file()

    async def test_each_directory_is_looked_at_once(self, root: Root, hub: DemoHub, tmp_path, monkeypatch):
        """However many figures it is for; where the models are a link to another disk, too."""
        source = tiny.write(tmp_path / "tiny.gguf").path
        root.models.rename(tmp_path / "models")
        root.models.symlink_to(tmp_path / "models")
        async with Engine(root, Hub(hub.url, token="")) as here:
            here.models.import_gguf(source, "one")
            looked: list[int] = []
            walk = os.fwalk

            def counted(*words, **options):
                for each in walk(*words, **options):
                    looked.append(os.fstat(each[3]).st_ino)
                    yield each

            monkeypatch.setattr(os, "fwalk", counted)
            found = disk.usage(here)
            assert len(looked) == len(set(looked))
            assert (tmp_path / "models" / "one").stat().st_ino in looked
            assert found.held_bytes >= source.stat().st_size

    async def test_a_file_with_two_names_is_counted_once(self, root: Root, hub: DemoHub, tmp_path: Path):
        """In the whole, that is; removing one of two models that share it frees nothing."""
        source = tiny.write(tmp_path / "tiny.gguf").path
        async with Engine(root, Hub(hub.url, token="")) as here:
            here.models.import_gguf(source, "one")
            before = disk.usage(here).held_bytes
            here.models.import_gguf(root.models / "one" / "tiny.gguf", "two", how="link")
            found = disk.usage(here)
            assert found.held_bytes - before < source.stat().st_size / 2
            assert {each.id: each.freed_bytes for each in found.shares if each.kind == "model"} == {
                "one": 0,
                "two": 0,
            }
            here.remove_model("one")
            assert here.remove_model("two").freed_bytes == source.stat().st_size

    async def test_what_arrives_and_what_nobody_wants(self, root: Root, hub: DemoHub):
        """A partial file has its job; once that is cancelled and it is kept, it can be purged."""
        async with Engine(root, Hub(hub.url, token="")) as here:
            job = await here.provisioner.download_model("acme/big")
            async with asyncio.timeout(20):
                while not here.provisioner.get_progress(job).downloaded:  # noqa: ASYNC110 - it is in files
                    await asyncio.sleep(0.01)
            await here.provisioner.pause(job)
            (partial,) = [each for each in disk.usage(here).shares if each.kind == "partial"]
            assert (partial.wanted_by, disk.usage(here).purgeable_bytes) == (job, 0)
            await here.provisioner.cancel(job, keep=True)
            found = disk.usage(here)
            (partial,) = [each for each in found.shares if each.kind == "partial"]
            assert (partial.wanted_by, found.purgeable_bytes) == (None, partial.freed_bytes)
            assert here.provisioner.purge().freed_bytes == partial.freed_bytes


class TestWarning:
    """Before the disk is full."""

    @pytest.mark.parametrize(
        ("free", "promised", "said"),
        [
            (100 * GB, 0, ""),
            (100 * GB, 90 * GB, ""),
            (100 * GB, 97 * GB, "only 3.0 GB are free once downloads have their 97.0 GB"),
            (4 * GB, 0, "only 4.0 GB are free"),
            (4 * GB, 5 * GB, "downloads need 1.0 GB more than the 4.0 GB that are free"),
        ],
    )
    def test_it_is_said(self, free: int, promised: int, said: str):
        """With what downloads will still take."""
        assert headroom.warning(free, 1000 * GB, promised) == said

    def test_a_small_disk_is_low_later(self):
        """A twentieth of it."""
        assert headroom.warning(2 * GB, 30 * GB, 0) == ""
        assert headroom.warning(1 * GB, 30 * GB, 0) == "only 1.0 GB are free"
