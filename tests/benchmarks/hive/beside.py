"""A hive as a process: its start, its cost at rest, how soon it and a screen see what the other changes.

python tests/benchmarks/hive/beside.py [--rounds 10] [--seconds 10]
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from tests.e2e.support import Rbee
from tests.e2e.terminal import processor_seconds
from tests.hive.support import HiveProcess, hive

_BIG = bytes(64 << 20)
_SETTLE_SECONDS = 5.0


def resident(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def at_rest(process: HiveProcess, seconds: float) -> str:
    """What it takes while nothing happens, once what it loads behind its first answer is there."""
    time.sleep(_SETTLE_SECONDS)
    before = processor_seconds(process.process.pid)
    time.sleep(seconds)
    spent = processor_seconds(process.process.pid) - before
    share = 100 * spent / seconds
    return f"at rest: {share:.1f} % of a core, {resident(process.process.pid) / 1e6:.0f} MB"


async def seconds_until(condition: Callable[[], Any], began: float) -> float:
    """Seconds from a moment until a condition holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def see_each_other(process: HiveProcess, hub: DemoHub, rounds: int) -> str:
    """How long each side's changes take to the other: a screen's board, and a hive's stream."""
    here, there = [], []
    seen: dict[str, Any] = {}
    async with Engine(Root(process.rbee.home), Hub(hub.url, token=""), verb="a screen") as engine:

        async def follow() -> None:
            async for changes in engine.changes(0.5):  # as the screen does
                seen.update(changes.latest)

        following = asyncio.create_task(follow())
        for _ in range(rounds):
            job_id = (await asyncio.to_thread(process.submit, "model_download", model="acme/big")).json[
                "job_id"
            ]
            here.append(await seconds_until(lambda key=f"job:{job_id}": key in seen, time.monotonic()))
            reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
            head = f"GET /v1/jobs/{job_id}/stream HTTP/1.1\r\nHost: 127.0.0.1:{process.port}\r\n"
            writer.write(f"{head}Authorization: Bearer {process.token}\r\n\r\n".encode())
            await reader.readuntil(b'"state":"running"')
            began = time.monotonic()
            await engine.provisioner.pause(job_id)
            await reader.readuntil(b'"state":"paused"')
            there.append(time.monotonic() - began)
            writer.close()
            await engine.provisioner.cancel(job_id)
        following.cancel()
    return (
        f"begun by the hive, seen on a screen: at most {max(here):.2f} s; "
        f"paused from a screen, told by the hive's stream: at most {max(there):.2f} s"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as place,
        DemoHub([DemoRepo("acme/big", {"big.gguf": _BIG})], rate=2 << 20) as hub,
    ):
        began = time.monotonic()
        with hive(Rbee(Path(place) / "rbee", hub.url)) as process:
            print(f"ready after {process.ready - began:.2f} s")
            print(at_rest(process, options.seconds))
            print(asyncio.run(see_each_other(process, hub, options.rounds)))


if __name__ == "__main__":
    main()
