"""The same bytes are not downloaded twice: counted at the server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine import nearby, repair
from rbee_tui.engine.errors import NoSpaceError
from rbee_tui.engine.jobfiles import part_paths
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner
from tests.engine.others import hub_cache, ollama, tree

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
