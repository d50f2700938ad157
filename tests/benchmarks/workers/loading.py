"""Whether the share of a model that a loading worker has read is honest: its course, cold and warm.

A model of F16 weights and one of Q4_K are made, then started on xllamacpp: `cold` once its file was
dropped from the page cache, `warm` with all of it there. What was told of each start is printed, up to
ready. The share never falls, and at 1 the rest is what the runtime does with what it has read. On Linux,
in a prepared checkout: .venv/bin/python tests/benchmarks/workers/loading.py --gb 2
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from rbee_tui.engine.engine import Engine
from rbee_tui.engine.paths import Root
from tests.engine.fitting import synthetic
from tests.engine.fitting.synthetic import Shape

LOOK_SECONDS = 0.1
SHOWN = 16
LAYERS = {"f16": (synthetic.F16, 8), "q4_k": (synthetic.Q4_K, 28)}
"""The type of the weights, and how many layers of this width take 1 GB."""


def make(path: Path, kind: str, gigabytes: float) -> Path:
    """A model whose weights are zeros that really lie on the disk."""
    weight, layers = LAYERS[kind]
    shape = Shape(layers=round(layers * gigabytes), embd=2048, ff=8192, heads=16, trained=4096, weight=weight)
    hollow = synthetic.write(path.with_suffix(".hollow"), shape)
    with hollow.open("rb") as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        os.fsync(target.fileno())
    hollow.unlink()
    return path


def drop(path: Path) -> None:
    """Take a file out of the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def course(engine: Engine, model: str) -> tuple[float, list[tuple[float, float | None]]]:
    """Seconds until the worker is ready, and the shares that were told before, each with its moment."""
    begun = time.monotonic()
    start = asyncio.create_task(engine.processes.start(model, context=512))
    told: list[tuple[float, float | None]] = []
    while not start.done():
        found = await asyncio.to_thread(engine.processes.list)
        told += [(time.monotonic() - begun, each.load_share) for each in found]
        await asyncio.sleep(LOOK_SECONDS)
    await start
    took = time.monotonic() - begun
    await engine.processes.stop(model)
    return took, told


def main() -> None:
    """Print each start's course."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=2.0, help="the size of each model")
    parser.add_argument("--at", help="a directory on the disk to read from")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=words.at) as place:
        engine = Engine(Root(Path(place) / "rbee").prepare())
        for kind in LAYERS:
            model = make(Path(place) / f"{kind}.gguf", kind, words.gb)
            engine.models.import_gguf(model, id=kind, how="in place")
            for how in ("cold", "warm"):
                if how == "cold":
                    drop(model)
                took, told = asyncio.run(course(engine, kind))
                shares = [share for _, share in told if share is not None]
                fell = "never fell" if shares == sorted(shares) else "FELL"
                print(f"{kind} {model.stat().st_size / 1e9:.1f} GB {how}: ready after {took:.1f} s, {fell}")
                some = told[:: max(1, len(told) // SHOWN)]
                print("   ", "  ".join(f"{at:.1f}s {'-' if s is None else f'{s:.0%}'}" for at, s in some))
            model.unlink()


if __name__ == "__main__":
    main()
