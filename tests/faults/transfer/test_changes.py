"""What changes at the Hub between one question and the next."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine import jobfiles
from rbee_tui.engine.errors import IntegrityError
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner

pytestmark = pytest.mark.anyio
OLD, NEW = (random.Random(seed).randbytes(1_000_000) for seed in (1, 2))
SLOW = 400_000


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is in files
            await asyncio.sleep(0.01)


async def _interrupted(root: Root, hub: DemoHub) -> str:
    """Begin to download, and stop somewhere in the middle; returns the job."""
    hub.rate = SLOW
    async with ModelProvisioner(root, Hub(hub.url, token="")) as first:
        job = await first.download_model("acme/tiny")
        await _until(lambda: first.get_progress(job).downloaded > len(OLD) // 10)
    hub.rate = None
    return job


class TestANewCommitMidway:
    """The repository gets another version of the file while it is downloaded."""

    async def test_the_pinned_one_comes(self, root: Root) -> None:
        """Whole and with the old hash; asked for again, the new one comes, and the old is kept until then."""
        repo = DemoRepo("acme/tiny", {"tiny.gguf": OLD})
        before = repo.commit
        with DemoHub([repo]) as hub:
            job = await _interrupted(root, hub)
            repo.push({"tiny.gguf": NEW})
            async with ModelProvisioner(root, Hub(hub.url, token="")) as here:
                done = await here.run(job)
                assert done.kept > 0
                entry = here.models.get(done.model_id)
                file = Path(entry.directory) / "tiny.gguf"
                assert file.read_bytes() == OLD
                assert entry.artifact is not None
                assert entry.artifact.revision == before
                assert (await here.run(await here.download_model("acme/tiny"))).state == "done"
                assert file.read_bytes() == NEW
                assert here.models.get(done.model_id).artifact.revision == repo.commit  # type: ignore[union-attr]

    async def test_a_branch_that_is_followed_is_noticed(
        self, root: Root, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mutant: whoever asks for the branch each time mixes two versions, and is told."""
        real = jobfiles.source_of
        monkeypatch.setattr(
            jobfiles, "source_of", lambda *words: msgspec.structs.replace(real(*words), revision="main")
        )
        repo = DemoRepo("acme/tiny", {"tiny.gguf": OLD})
        with DemoHub([repo]) as hub:
            job = await _interrupted(root, hub)
            repo.push({"tiny.gguf": NEW})
            async with ModelProvisioner(root, Hub(hub.url, token="")) as here:
                with pytest.raises(IntegrityError, match="has another hash at the Hub"):
                    await here.run(job)
