"""The same bytes are not downloaded twice: counted at the server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo
from rbee_tui.engine import nearby, repair
from rbee_tui.engine.errors import NoSpaceError
from rbee_tui.engine.jobfiles import part_paths
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner
from tests.engine.others import hub_cache, ollama, tree
from tests.engine.support_jobs import a_record

pytestmark = pytest.mark.anyio
MODEL = tiny.build("the same bytes")
PATH = "acme/tiny/tiny.gguf"


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """It has one model."""
    with DemoHub([DemoRepo("acme/tiny", {"tiny.gguf": MODEL, "README.md": b"# x"})]) as served:
        yield served


def in_hub_cache(tmp_path: Path) -> Path:
    """The Hub's own cache, with another commit."""
    return hub_cache(tmp_path / "huggingface/hub", "other/name", {"a.gguf": MODEL}) / "a.gguf"


def in_ollama(tmp_path: Path) -> Path:
    """Ollama's store."""
    return ollama(tmp_path / "ollama", "tiny", "latest", MODEL)


def in_llama_cpp(tmp_path: Path) -> Path:
    """A file of the same name and size, of which no hash is known."""
    path = tmp_path / "llama.cpp" / "tiny.gguf"
    path.parent.mkdir()
    path.write_bytes(MODEL)
    return path


PROGRAMS = pytest.mark.parametrize("put", [in_hub_cache, in_ollama, in_llama_cpp])


class TestNotTwice:
    """Whoever has it."""

    @PROGRAMS
    async def test_another_program_s_file_is_linked(self, make, hub: DemoHub, tmp_path: Path, put):
        """Not a byte of it is sent; removing the model leaves that program's files as they were."""
        path = put(tmp_path).resolve()
        before = tree(path.parent)
        async with make() as here:
            ended = await here.run(await here.download_model("acme/tiny"))
            file = here.models.directory(ended.model_id) / "tiny.gguf"
            assert file.samefile(path)
            assert hub.bytes_sent(PATH) == 0
            assert ended.kept == len(MODEL)
            assert here.models.verify(ended.model_id).ok
            assert tree(path.parent) == before
            here.models.remove(ended.model_id)
            assert tree(path.parent) == before

    async def test_another_model_s_file(self, make, hub: DemoHub, tmp_path: Path):
        """Imported from somewhere, copied."""
        (tmp_path / "mine.gguf").write_bytes(MODEL)
        async with make() as here:
            here.models.import_gguf(tmp_path / "mine.gguf")
            await here.run(await here.download_model("acme/tiny"))
            assert hub.bytes_sent(PATH) == 0
            assert {entry.health for entry in here.models.list()} == {"ok"}

    async def test_where_no_link_can_be_made_it_is_copied(
        self, make, hub: DemoHub, tmp_path: Path, monkeypatch
    ):
        """From the other disk."""
        path = in_hub_cache(tmp_path).resolve()

        def refuse(*_: object, **__: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(nearby.os, "link", refuse)
        async with make() as here:
            ended = await here.run(await here.download_model("acme/tiny"))
            file = here.models.directory(ended.model_id) / "tiny.gguf"
            assert (file.read_bytes(), file.samefile(path)) == (MODEL, False)
            assert hub.bytes_sent(PATH) == 0

    @PROGRAMS
    async def test_a_file_with_other_bytes_is_not_taken(self, make, hub: DemoHub, tmp_path: Path, put):
        """Whatever its name says: it is fetched, and that file stays as it is."""
        path = put(tmp_path).resolve()
        path.write_bytes(MODEL[:-1] + b"!")
        before = tree(path.parent)
        async with make() as here:
            ended = await here.run(await here.download_model("acme/tiny"))
            assert (here.models.directory(ended.model_id) / "tiny.gguf").read_bytes() == MODEL
            assert hub.bytes_sent(PATH) >= len(MODEL)
            assert tree(path.parent) == before
            assert list(here.root.tmp.iterdir()) == []

    async def test_what_had_arrived_goes(self, make, hub: DemoHub, tmp_path: Path, root: Root):
        """A download that was paused finds the file when it goes on."""
        hub.rate = 400_000
        async with make() as here:
            job = await here.download_model("acme/tiny")
            async with asyncio.timeout(20):
                while not here.get_progress(job).downloaded:  # noqa: ASYNC110 - what is waited for is in files
                    await asyncio.sleep(0.01)
            await here.pause(job)
            (part,) = part_paths(here.store.get(job), root)
            assert part.exists()
            in_hub_cache(tmp_path)
            sent = hub.bytes_sent(PATH)
            await here.resume(job)
            await here.run(job)
            assert hub.bytes_sent(PATH) == sent
            assert list(root.tmp.iterdir()) == []

    async def test_room_is_not_asked_for(self, make, tmp_path: Path, monkeypatch):
        """What is linked takes none."""
        monkeypatch.setattr(ModelProvisioner, "free", lambda _: 1000)
        async with make() as here:
            with pytest.raises(NoSpaceError):
                await here.download_model("acme/tiny")
            in_hub_cache(tmp_path)
            plan = await asyncio.to_thread(here.plan, "acme/tiny")
            assert [twin.whose for twin in here.nearby(plan)] == ["Hugging Face"]
            assert (await here.run(await here.download_model("acme/tiny"))).state == "done"


class TestRoom:
    """What a question says before a download, and what the download is refused for."""

    async def test_both_count_alike(self, make, hub: DemoHub, monkeypatch):
        """To the byte, for an update of which one file is here and another is linked from elsewhere."""
        hub.repos["acme/two"] = two = DemoRepo(
            "acme/two", {"a-Q8_0.gguf": MODEL, "mmproj.gguf": bytes(2 * LARGE)}
        )
        async with make() as here:
            await here.run(await here.download_model("acme/two"))
            two.push({"a-Q8_0.gguf": MODEL + bytes(LARGE)})
            plan = await asyncio.to_thread(here.plan, "acme/two")
            room = here.room(plan, here.nearby(plan))
            assert room.needed == len(MODEL) + LARGE
            monkeypatch.setattr(ModelProvisioner, "free", lambda _: room.needed - 1)
            assert here.room(plan, here.nearby(plan)).left == -1
            with pytest.raises(NoSpaceError):
                await here.download_model("acme/two")
            monkeypatch.setattr(ModelProvisioner, "free", lambda _: room.needed)
            assert here.room(plan, here.nearby(plan)).left == 0
            assert (await here.run(await here.download_model("acme/two"))).state == "done"

    @pytest.mark.parametrize(("wanted", "promised"), [("running", True), ("paused", False)])
    async def test_one_that_goes_on_is_not_counted_twice(self, make, wanted: Any, promised: bool):
        """While it is wanted, what is missing of it is promised already; paused it is not."""
        async with make() as here:
            plan = await asyncio.to_thread(here.plan, "acme/tiny")
            record = a_record(model=plan.model, repo=plan.repo, files=plan.files, wanted=wanted)
            here.store.put(record)
            room = here.room(plan)
            assert (room.promised, room.needed) == ((plan.total, 0) if promised else (0, plan.total))


class TestRepair:
    """A linked file that went bad."""

    async def test_another_s_name_of_it_is_not_written_into(self, make, hub: DemoHub, tmp_path: Path):
        """The model is mended; that program's file has the bytes that it had."""
        blob = in_hub_cache(tmp_path).resolve()
        async with make() as here:
            model_id = (await here.run(await here.download_model("acme/tiny"))).model_id
            rotten = MODEL[:-1] + b"!"
            blob.write_bytes(rotten)
            begun = await here.repair(model_id)
            assert isinstance(begun, repair.Repair)
            await here.run(begun.job_id or "")
            assert here.models.verify(model_id).ok
            assert blob.read_bytes() == rotten
