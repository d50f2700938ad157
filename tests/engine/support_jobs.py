"""Records and runs for the tests of jobs."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from rbee_tui.engine.artifacts import Model
from rbee_tui.engine.jobs import PlannedFile, Record, Run
from rbee_tui.engine.process import Identity, Machine

HERE = Machine("machine", "boot", "pid:[1]")


def a_file(path: str = "tiny.gguf", size: int = 1000, sha256: str | None = "a" * 64) -> PlannedFile:
    """A planned file with a hash."""
    return PlannedFile(path=path, target=path, size_bytes=size, sha256=sha256)


def a_record(job_id: str = "00000001", **changes: Any) -> Record:
    """A wanted, unfinished job of one file of 1,000 bytes."""
    record = Record(
        id=job_id,
        seq=1,
        wanted="running",
        order=1.0,
        created_at="2026-01-01T00:00:00Z",
        machine=HERE,
        endpoint="http://127.0.0.1:1",
        repo="acme/tiny",
        revision="c" * 40,
        model=Model(
            id="tiny", name="Tiny", version="F16", size_bytes=1000, source_url="http://127.0.0.1:1/x"
        ),
        files=[a_file()],
    )
    return msgspec.structs.replace(record, **changes)


def a_run(**changes: Any) -> Run:
    """The note of a runner that has 400 of 1,000 bytes."""
    run = Run(
        who=Identity(pid=4242, start="1", machine=HERE),
        verb="rbee pull",
        beat=1000.0,
        seq=1,
        state="running",
        downloaded=400,
        kept=100,
        rate=50.0,
    )
    return msgspec.structs.replace(run, **changes)


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until it is so, of which nothing tells; fails after so long."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is in files
            await asyncio.sleep(0.01)
