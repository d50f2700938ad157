"""What lies in the catalogs is on the board soon, whoever changed it."""

import asyncio
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.engine import health, watch
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from tests.cli.support import Command, model_entry
from tests.engine.support_jobs import a_record
from tests.engine.support_watch import watched

pytestmark = pytest.mark.anyio
QUICK = 0.05
NEVER = 3600.0
OLD = 1_700_000_000


@pytest.fixture
def engine(root: Root) -> Engine:
    """On an empty root."""
    return Engine(root, Hub("http://127.0.0.1:9", token=""))


@pytest.fixture
def scanning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other hands' work is looked for all the time."""
    monkeypatch.setattr(watch, "SCAN_SECONDS", QUICK)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other hands' work is never looked for: what is seen was told by a fact."""
    monkeypatch.setattr(watch, "SCAN_SECONDS", NEVER)


def put(root: Root, model_id: str, data: bytes = b"", *, size: int | None = None) -> Path:
    """Put a model with one file into the root by hand; its file's path. `size` is what the metadata says."""
    place = root.models / model_id
    place.mkdir()
    file = {"path": "m.gguf", "size_bytes": len(data) if size is None else size}
    (place / "metadata.json").write_text(json.dumps(model_entry(model_id, files=[file])))
    if data:
        (place / "m.gguf").write_bytes(data)
    return place / "m.gguf"


class TestOtherProcesses:
    """Each tells what it did; nobody has to look for it."""

    async def test_an_import_is_there_within_a_second(self, engine: Engine, blind, tmp_path: Path):
        """In the worst of cases half a second, and the time of one reading; the best of three counts."""
        command = Command(engine.root.path)
        file = tiny.write(tmp_path / "tiny.gguf", "It came from elsewhere.").path
        waited: list[float] = []
        async with watched(engine) as board:
            for number in range(3):
                await asyncio.to_thread(command.run, "models", "import", str(file), "--id", f"m{number}")
                began = time.monotonic()
                await board.until(lambda number=number: board.health(f"m{number}"))
                waited.append(time.monotonic() - began)
        assert min(waited) < 1.0

    async def test_a_removal_too(self, engine: Engine, blind):
        """By another engine on the same root."""
        put(engine.root, "gone", b"x")
        async with watched(engine) as board:
            assert board.health("gone") == "ok"
            Engine(engine.root, engine.hub).remove_model("gone")
            await board.until(lambda: board.health("gone") is None)

    async def test_a_fact_of_what_is_not_there_any_more(self, engine: Engine, blind):
        """It came and went before it was read."""
        put(engine.root, "kept", b"x")
        async with watched(engine) as board:
            engine.facts.tell("model.added", "fleeting")
            await board.until(lambda: board.told["models"] > 1)
            assert [entry.id for entry in board.latest["models"]] == ["kept"]

    async def test_the_room_that_downloads_were_promised(self, engine: Engine, blind):
        """Told with their jobs."""
        async with watched(engine) as board:
            engine.provisioner.store.put(a_record("00000001"))
            engine.facts.tell("job.queued", "00000001", "tiny: 1.0 kB to download")
            assert await board.until(lambda: board.latest.get("promised")) == 1000


class TestOtherHands:
    """What `scp`, `rm` or an editor do is found by looking."""

    async def test_a_copy_arrives_and_is_then_whole(self, engine: Engine, scanning):
        """Its metadata first, then a part of its file, then the rest: nothing but bytes changes last."""
        async with watched(engine) as board:
            path = put(engine.root, "copy", b"half", size=8)
            await board.until(lambda: board.health("copy") == "arriving")
            with path.open("ab") as file:
                file.write(b"done")
            await board.until(lambda: board.health("copy") == "ok")

    async def test_a_copy_that_stood_still_goes_on(self, engine: Engine, scanning):
        """It was called damaged meanwhile, as a short file is that nobody writes."""
        path = put(engine.root, "stalled", b"half", size=8)
        os.utime(path, (OLD, OLD))
        async with watched(engine) as board:
            assert board.health("stalled") == "damaged"
            with path.open("ab") as file:
                file.write(b"done")
            await board.until(lambda: board.health("stalled") == "ok")

    async def test_what_stopped_arriving_says_so(self, engine: Engine, scanning, monkeypatch):
        """Ten seconds after its last byte; time passes by, the disk stays as it was."""
        put(engine.root, "broken-off", b"half", size=8)
        async with watched(engine) as board:
            assert board.health("broken-off") == "arriving"
            monkeypatch.setattr(health, "ARRIVING_SECONDS", 0.0)
            await board.until(lambda: board.health("broken-off") == "damaged")

    async def test_what_is_removed_vanishes(self, engine: Engine, scanning):
        """With `rm -r`."""
        put(engine.root, "gone", b"x")
        put(engine.root, "kept", b"x")
        async with watched(engine) as board:
            shutil.rmtree(engine.root.models / "gone")
            await board.until(lambda: board.health("gone") is None)
            assert board.health("kept") == "ok"

    async def test_the_order_stays_that_of_the_ids(self, engine: Engine, scanning):
        """As a listing has it, whatever came last."""
        put(engine.root, "b", b"x")
        async with watched(engine) as board:
            put(engine.root, "c", b"x")
            put(engine.root, "a", b"x")
            await board.until(lambda: len(board.latest["models"]) == 3)
            assert [entry.id for entry in board.latest["models"]] == ["a", "b", "c"]

    async def test_without_looking_nothing_is_found(self, engine: Engine, blind):
        """The mutant: the scan is what finds it, and nothing else does."""
        put(engine.root, "gone", b"x")
        async with watched(engine) as board:
            shutil.rmtree(engine.root.models / "gone")
            put(engine.root, "told", b"x")
            engine.facts.tell("model.added", "told")
            await board.until(lambda: board.health("told"))
            assert board.health("gone") == "ok"

    async def test_looking_again_reads_everything(self, engine: Engine, blind):
        """Also what was written over in its place, which changes no stamp of a directory."""
        path = put(engine.root, "cut", b"whole")
        async with watched(engine) as board:
            shutil.rmtree(put(engine.root, "other", b"x").parent)
            with path.open("r+b") as file:
                file.truncate(2)
            os.utime(path, (OLD, OLD))
            engine.watching.look_again()
            await board.until(lambda: board.health("cut") == "damaged")

    async def test_an_unreadable_catalog_keeps_what_was_seen(self, engine: Engine, scanning):
        """It is read at a later turn; the watch goes on."""
        put(engine.root, "kept", b"x")
        async with watched(engine) as board:
            away = engine.root.models.with_name("away")
            engine.root.models.rename(away)
            ticks = board.told["reading"]
            await board.until(lambda: board.told["reading"] > ticks)
            assert board.health("kept") == "ok"
            away.rename(engine.root.models)
            put(engine.root, "new", b"x")
            await board.until(lambda: board.health("new"))


class TestQuiet:
    """While nothing happens nothing is told but the hardware."""

    async def test_values_that_did_not_change_are_not_told_again(self, engine: Engine, scanning):
        """However often one looks."""
        put(engine.root, "kept", b"x")
        os.utime(put(engine.root, "short", b"x", size=8), (OLD, OLD))
        async with watched(engine) as board:
            before = board.told["models"], board.told["workers"], board.told["running"]
            ticks = board.told["reading"]
            await board.until(lambda: board.told["reading"] > ticks)
            assert (board.told["models"], board.told["workers"], board.told["running"]) == before
