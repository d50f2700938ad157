"""How long a start takes beside the bare runtime: the same tiny model, in turns, in one run.

`bare` is the runtime's own process until it answers; `rbee` is the engine's `start` until it returns, which
decides, records and supervises on top. The goal is at most 0.2 s more. Run it in a prepared checkout:
.venv/bin/python tests/benchmarks/workers/measure.py --rounds 20
"""

import argparse
import asyncio
import http.client
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from rbee_tui.demo import tiny
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.paths import Root
from rbee_tui.engine.workers import profiles
from rbee_tui.engine.workers.runtimes import base_python
from rbee_tui.engine.workers.trees import LAUNCHER

GOAL_SECONDS = 0.2


def bare(model: Path, log: Path) -> float:
    """Seconds from the start of the runtime alone until it says that it is healthy."""
    words = [sys.executable, str(LAUNCHER), "--runtime", "xllamacpp", "--model", str(model)]
    words += ["--ctx-size", "4096", "--n-gpu-layers", "0"]
    begun = time.monotonic()
    with log.open("wb") as said, subprocess.Popen(words, stdout=said, stderr=said) as process:
        port = None
        while port is None or not is_healthy(port):
            port = port or profiles.port_in(log.read_text())
            time.sleep(0.005)
        took = time.monotonic() - begun
        process.terminate()
    return took


def is_healthy(port: int) -> bool:
    """Whether the runtime says so."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return answer.status == http.client.OK
    except OSError:
        return False


def supervised(engine: Engine) -> float:
    """Seconds that a start takes until the worker is ready."""

    async def start() -> float:
        begun = time.monotonic()
        await engine.processes.start("tiny")
        took = time.monotonic() - begun
        await engine.processes.stop("tiny")
        return took

    return asyncio.run(start())


def main() -> None:
    """Measure in turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        root = Root(Path(place) / "rbee").prepare()
        model = tiny.write(Path(place) / "tiny.gguf", "Measured.").path
        engine = Engine(root)
        engine.models.import_gguf(model, id="tiny")
        bare(model, Path(place) / "bare.log"), supervised(engine)  # the first of each reads from the disk
        pairs = [(bare(model, Path(place) / "bare.log"), supervised(engine)) for _ in range(rounds)]
    alone, beside = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(f"{platform.platform()}, Python {platform.python_version()}, {rounds} rounds, {base_python().name}")
    print(f"bare   {alone:.3f} s")
    print(f"rbee   {beside:.3f} s")
    print(f"more   {beside - alone:+.3f} s (goal: at most {GOAL_SECONDS} s)")


if __name__ == "__main__":
    main()
