"""The engine alone: `fetch()` in a process that has its imports, over pages that lie in memory.

Usage: `python tests/benchmarks/transfer/engine.py [--gib 2] [--rounds 9] [--only warm,...] [--scratch DIR]`.
Needs nginx, openssl and gcc with libcrypto. A new file costs as much as the machine takes for fresh
memory, which swings by the minute on a virtual one; here all programs write again over one file, since how
its pages lie makes a difference too. Beside it: what C takes for receiving, writing and SHA-256 (it syncs
nothing, the engine syncs everything), and what sixteen connections bring at most where the server limits
each.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
sys.path.insert(0, str(CHECKOUT))

from rbee_tui.engine.transfer.fetch import fetch  # noqa: E402 - it runs as a script
from rbee_tui.engine.transfer.source import Limits, Progress, Source  # noqa: E402
from tests.benchmarks.transfer.measure import PACE, compile_limit, prepare  # noqa: E402
from tests.benchmarks.transfer.servers import COMMIT, Hub, Listing, Paced, nginx  # noqa: E402

REPO, NAME = "bench/one", "big.gguf"
SETTLE_SECONDS = 0.5  # the disk is still busy when `os.sync()` returns
Took = tuple[float, float]
"""Seconds by the clock, and of processor time."""


class Engine:
    """One file, fetched again and again over its own pages."""

    def __init__(self, hub: Hub, listing: Listing, scratch: Path) -> None:
        self._hub = hub
        self.size, digest = listing.repos[REPO][NAME]
        self._source = Source(hub.url, REPO, COMMIT, NAME, self.size, sha256=digest)
        self.part, self._target = scratch / "big.part", scratch / "published" / NAME
        self._lock = scratch / "big.lock"

    def run(self, storage: str) -> Took:
        """Fetch it once from a storage."""
        self._hub.aim(storage)
        before, began = _processor(resource.RUSAGE_SELF), time.monotonic()
        fetch(
            self._source,
            part=self.part,
            target=self._target,
            token=None,
            stop=threading.Event(),
            progress=Progress(self.size),
            lock=self._lock,
        )
        took = time.monotonic() - began, _processor(resource.RUSAGE_SELF) - before
        self._target.replace(self.part)
        shutil.rmtree(self._target.parent)
        return took


def _processor(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def in_c(limit: Path, port: int, engine: Engine) -> Took:
    """Receive and hash the file once in C, over the engine's pages."""
    words = [str(limit), str(port), f"/{REPO}/{NAME}", str(engine.size), str(engine.part), "hash"]
    before, began = _processor(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began, _processor(resource.RUSAGE_CHILDREN) - before


def measure(rounds: int, programs: dict[str, Callable[[], Took]], size: int) -> dict[str, list[float]]:
    """Each program once unmeasured, then in turn; prints medians, returns seconds by the clock, by round."""
    for program in programs.values():
        program()
    took: dict[str, list[Took]] = {name: [] for name in programs}
    for turn in range(rounds):
        for name, program in list(programs.items())[:: 1 if turn % 2 == 0 else -1]:
            os.sync()
            time.sleep(SETTLE_SECONDS)
            took[name].append(program())
    for name, runs in took.items():
        clock = [wall for wall, _ in runs]
        spent = statistics.median(cpu for _, cpu in runs) / (size / 1e9)
        print(
            f"  {name:12} {statistics.median(clock):6.2f} s ({min(clock):.2f} to {max(clock):.2f}), "
            f"{size / 1e6 / statistics.median(clock):6.0f} MB/s, {spent:.2f} CPU s/GB",
            flush=True,
        )
    return {name: [wall for wall, _ in runs] for name, runs in took.items()}


def main() -> None:
    """Measure what was asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="warm,tls,limited,slow")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rbee-bench-", dir=options.scratch) as name:
        scratch = Path(name)
        limit = compile_limit(scratch)
        listing = prepare(scratch / "www", int(options.gib * (1 << 30)))
        with nginx(scratch / "www", scratch) as (plain, tls):
            os.environ["SSL_CERT_FILE"] = str(scratch / "cert.pem")
            engine = Engine(Hub(listing), listing, scratch)
            for word in options.only.split(","):
                print(f"\n{word}, load {os.getloadavg()[0]:.1f}")
                if word == "warm":
                    took = measure(
                        options.rounds,
                        {
                            "engine": lambda: engine.run(f"http://127.0.0.1:{plain}"),
                            "C, sha256": lambda: in_c(limit, plain, engine),
                        },
                        engine.size,
                    )
                    ratios = [ours / c for ours, c in zip(took["engine"], took["C, sha256"], strict=True)]
                    print(f"  engine / C, median of the rounds: {statistics.median(ratios):.2f}")
                elif word == "tls":
                    measure(
                        options.rounds,
                        {"engine": lambda: engine.run(f"https://127.0.0.1:{tls}")},
                        engine.size,
                    )
                else:
                    _limited(engine, scratch / "www", options.rounds, slow=word == "slow")


def _limited(engine: Engine, www: Path, rounds: int, *, slow: bool) -> None:
    """A server that limits each connection: what part of connections x limit arrives."""
    with _apart(www, slow=slow) as port:
        took = measure(rounds, {"engine": lambda: engine.run(f"http://127.0.0.1:{port}")}, engine.size)
    most = Limits().connections_most * PACE - (PACE * 3 // 4 if slow else 0)
    print(f"  of connections x limit: {engine.size / statistics.median(took['engine']) / most:.3f}")


@contextmanager
def _apart(www: Path, *, slow: bool) -> Generator[int]:
    """The port of a limiting server in a process of its own, so that it takes nothing of the engine's."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    server = spawning.Process(target=_serve, args=(www, theirs, slow), daemon=True)
    server.start()
    try:
        yield ours.recv()
    finally:
        server.terminate()
        server.join()


def _serve(www: Path, to: Connection, slow: bool) -> None:
    to.send(Paced(www, PACE, slow=slow).port)
    threading.Event().wait()


if __name__ == "__main__":
    main()
