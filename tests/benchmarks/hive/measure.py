"""Readers of one stream: how late events are, whether any is lost, and what stalled readers cost.

    python tests/benchmarks/hive/measure.py [--readers 50] [--events 1000] [--rate 200] [--stalled 20]

The server is a process of its own with the hive's guard and connections; all readers are in this one.
"""

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from rbee_tui.hive.limits import Limits
from rbee_tui.hive.streams import Stream
from tests.hive.serving import Served, endpoint, serving


async def serve(events: int, rate: float) -> None:
    """Serve one stream; once a line comes in, its events, each the moment at which it was told."""
    limits = Limits()
    stream = Stream(limits)
    with tempfile.TemporaryDirectory() as place:
        async with serving(endpoint(stream, limits), limits, Path(place)) as served:
            print(served.port, flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                began = time.monotonic()
                for number in range(events):
                    await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                    stream.put("at", time.monotonic())
                stream.end("[DONE]")


async def read(served: Served) -> list[float]:
    """How late each event was, in seconds."""
    reader, writer = await served.connect(limit=1 << 22)
    writer.write(served.head("GET", "Connection: close"))
    late: list[float] = []
    while line := await reader.readline():
        if found := re.match(rb"data: ([\d.]+)$", line.strip()):
            late.append(time.monotonic() - float(found[1]))
    writer.close()
    return late


def resident(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measure(options: argparse.Namespace) -> None:
    """Run it and print the figures."""
    words = [
        sys.executable,
        __file__,
        "--serve",
        "--events",
        str(options.events),
        "--rate",
        str(options.rate),
    ]
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else goes on yet
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        served = Served(None, int(process.stdout.readline()))  # type: ignore[arg-type] - only its port is used
        stalled = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(options.stalled)]
        for each in stalled:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.sendall(served.head())
        readers = [asyncio.create_task(read(served)) for _ in range(options.readers)]
        await asyncio.sleep(1.0)
        before = resident(process.pid)
        process.stdin.write("go\n")
        process.stdin.flush()
        found = await asyncio.gather(*readers)
        after = resident(process.pid)
        process.kill()
    late = sorted(each for one in found for each in one)
    lost = options.readers * options.events - len(late)
    print(f"{options.readers} readers x {options.events} events at {options.rate:.0f}/s: {lost} lost")
    print(
        f"late: p50 {late[len(late) // 2] * 1000:.1f} ms, p99 {late[int(len(late) * 0.99)] * 1000:.1f} ms, "
        f"most {late[-1] * 1000:.1f} ms"
    )
    print(
        f"{options.stalled} stalled readers beside them: the server grew by {(after - before) / 1e6:.1f} MB"
    )


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--stalled", type=int, default=20)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asyncio.run(serve(options.events, options.rate) if options.serve else measure(options))


if __name__ == "__main__":
    main()
