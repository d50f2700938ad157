"""The file of an offer: fetched as models are, and gone on with after an interruption."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.demo.serving import Serving
from rbee_tui.engine.artifacts import Health
from rbee_tui.engine.listing import publishing
from rbee_tui.engine.listing.store import Store
from rbee_tui.engine.workers import bringing
from rbee_tui.server import worker_catalog
from tests.engine.workers.support import FAKE, House

ID = "llm-worker-large"
PADDING = 24 << 20


class Gate:
    """The catalog's application, which sends so many bytes of files and then none until it is opened."""

    def __init__(self, store: Store, most: int) -> None:
        self._application = worker_catalog.application(store)
        self.left = most
        self.sent = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything on but what would be too much."""

        async def counted(message: Any) -> None:
            size = len(message.get("body", b"")) if scope["path"].endswith("/download") else 0
            while size > self.left:  # noqa: ASYNC110 - the client that gives up ends this
                await asyncio.sleep(0.02)
            self.left -= size
            self.sent += size
            await send(message)

        await self._application(scope, receive, counted)


@pytest.mark.anyio
async def test_an_install_goes_on_where_it_was(house: House, tmp_path: Path, monkeypatch):
    """Given up half way, it keeps what has come; the next one fetches the rest, and compares all of it."""
    monkeypatch.setattr(bringing, "_SAY_SECONDS", 0.05)
    program = tmp_path / "llama-server"
    program.write_text(f"{FAKE.replace('PYTHON', sys.executable)}\n#{'x' * PADDING}\n")
    program.chmod(0o755)
    store = Store(tmp_path / "store").prepare()
    published = publishing.publish_binary(store, program, worker_id=ID)
    gate = Gate(store, 18 << 20)
    serving = Serving(gate)
    serving.start()
    try:
        house.installer.catalogs.trust(serving.url, store.key())
        task = asyncio.create_task(house.installer.install(ID))
        async with asyncio.timeout(60):
            while gate.sent < 17 << 20:  # noqa: ASYNC110 - another thread counts it
                await asyncio.sleep(0.02)
        # What is on the way to the disk has a moment to get there.
        part = next(house.root.tmp.glob("*.part"))
        async with asyncio.timeout(60):
            while not journalled(part):  # noqa: ASYNC110 - another thread writes it
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(house.root.workers.iterdir()) == []
        gate.left, gate.sent = 1 << 40, 0
        lines: list[str] = []
        entry = await house.installer.install(ID, lines.append)
        assert entry.health is Health.OK
        assert 0 < gate.sent < published.size_bytes - (8 << 20)
        assert lines[-1].endswith(f"of {published.size_bytes / 1e6:.1f} MB")
        assert list(house.root.tmp.iterdir()) == []
    finally:
        gate.left = 1 << 40
        serving.stop()


def journalled(part: Path) -> bool:
    """Whether a block of 8 MiB is noted as whole."""
    journal = part.with_name(f"{part.name}.journal")
    return journal.exists() and len(journal.read_bytes().splitlines()) > 1
