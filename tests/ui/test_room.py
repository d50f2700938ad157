"""What takes room, by keys; and the word before the disk is full."""

from pathlib import Path

import msgspec
import pytest

from rbee_tui.demo import tiny
from rbee_tui.engine.board import Changes
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.paths import Root
from tests.ui import scenes
from tests.ui.support import cockpit, shown

pytestmark = pytest.mark.anyio


class TestDisk:
    """The key D."""

    async def test_a_model_is_given_back(self, root: Root, tmp_path: Path):
        """After a question; then the list is looked at anew."""
        ModelCatalog(root).import_gguf(tiny.write(tmp_path / "tiny.gguf").path)
        async with cockpit(root, "http://127.0.0.1:9", (80, 24)) as here:
            await here.sees("tiny")
            await here.press("D")
            await here.sees("Disk: ", "FREED", "model", "Enter deletes it")
            await here.press("enter")
            await here.sees("Delete the model", "become free")
            await here.press("enter")
            await here.hears("tiny is deleted")
            await here.until(lambda: not here.row(" tiny"))

    async def test_partial_files_are_purged(self, root: Root):
        """All that nobody wants, by one key and a question."""
        (root.tmp / "left.part").write_bytes(bytes(100_000))
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("D")
            await here.sees("left.part", "Purge partials")
            await here.press("p")
            await here.sees("Throw away all partial files")
            await here.press("enter")
            await here.hears("of partial files are free again")
            await here.until(lambda: not here.row("left.part"))
        assert list(root.tmp.iterdir()) == []


class TestWarning:
    """Once, and again when it was better in between."""

    async def test_it_is_told_when_it_comes_about(self):
        """By what is free less what is promised."""
        told = scenes.busy()
        app = scenes.screen(told)
        async with shown(app) as here:
            reading = await here.until(lambda: app.house.reading)

            def at(free: int) -> list[str]:
                disk = msgspec.structs.replace(reading.disk, free=free)
                app._show(
                    Changes({"reading": msgspec.structs.replace(reading, disk=disk), "promised": 0}, [])
                )
                return [each for each in here.told if each.startswith("the disk: ")]

            at(10**11)
            before = len(at(10**11))
            assert len(at(10**9)) == before + 1
            assert len(at(10**9 - 1)) == before + 1
            await here.sees("low")
            at(10**11)
            assert "only 2.0 GB are free" in at(2 * 10**9)[-1]
