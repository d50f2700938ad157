# ruff: noqa: E402 - started by its path, it has to find the checkout first
"""How quick the screen is, and what it costs, beside a Textual application of one label.

Usage: `python tests/benchmarks/screen/measure.py [--json FILE]`; `--help` lists the sizes. The load is real:
downloads from a speed-limited Hub in a process of its own, models in the catalog, two GPUs of a stand-in for
NVML; the screen runs under a terminal of 120x40 that answers nothing. Each figure of a start is the median of
several; each of a window is the median of several windows.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
sys.path.insert(0, str(CHECKOUT))

from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner
from rbee_tui.ui.keys import MOVING
from tests.benchmarks.catalog.measure import put_models
from tests.benchmarks.screen.label import SHOWN
from tests.benchmarks.screen.served import FILE, repo_name
from tests.benchmarks.screen.standstill import losses, watching
from tests.benchmarks.screen.terminal import Terminal
from tests.engine.hardware.support import build_nvml, nvml_environment

SCREEN, LABEL = ("-m", "rbee_tui"), (str(HERE / "label.py"),)
CURSOR = "▎"
HELP = MOVING[-1][1]
SETTLE = 12.0
"""Seconds after which the catalog is read and the first scan has passed."""

Figures = dict[str, float]

GOALS: tuple[tuple[str, str, float | None], ...] = (
    ("first byte", "ms", 60),
    ("panes painted", "ms", None),
    ("? opens help", "ms", 500),
    ("models listed", "ms", None),
    ("written, idle", "B/s", 300),
    ("written, busy", "B/s", 5000),
    ("CPU, idle", "%", 1),
    ("CPU, busy", "%", 3),
    ("memory, idle", "MB", 70),
    ("memory, busy", "MB", 70),
    ("key to paint, busy, p50", "ms", None),
    ("key to paint, busy, p99", "ms", 50),
    ("key to paint, 8 files at full speed, p50", "ms", None),
    ("key to paint, 8 files at full speed, p99", "ms", 50),
    ("list of all models in another order", "ms", 100),
    ("a key typed into the filter, p50", "ms", None),
    ("a key typed into the filter, p99", "ms", 50),
    ("stalled link: a transfer's loss", "s", 0.2),
    ("stalled link: a transfer's standstill", "s", 0.2),
)

TYPED = "a key typed into the filter"


def environment(root: Path, endpoint: str, library: Path) -> dict[str, str]:
    """What the programs are started with."""
    found = nvml_environment(library, gpus=2, memory_mib=144384)
    found.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    return found | {
        "RBEE_HOME": str(root),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(root / "huggingface"),
        "PYTHONPATH": str(CHECKOUT),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "NO_PROXY": "127.0.0.1",
    }


class Served:
    """The Hub's process; `with` it."""

    def __init__(self, repos: int, size: int, rate: int, files: int = 1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "served.py"), *map(str, (repos, size, rate, files))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        self.url = self._line().strip()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def sent(self) -> dict[str, int]:
        """Bytes sent of each repository so far."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


async def want(root: Path, endpoint: str, jobs: int, file: str | None = FILE) -> None:
    """Ask for so many downloads, as `rbee pull --detach` does, and leave them to whoever takes them up."""
    async with ModelProvisioner(Root(root), Hub(endpoint)) as provisioner:
        for number in range(jobs):
            await provisioner.download_model(repo_name(number), file, id=f"arriving-{number:02d}-q4_k_m")


# One program, once


def start(words: tuple[str, ...], shown: Mapping[str, str], env: Mapping[str, str]) -> Figures:
    """One start that nobody touches: milliseconds until the first byte, and until each text is shown."""
    with Terminal(words, env) as terminal:
        found = {what: terminal.must_show(text) for what, text in {"first byte": "", **shown}.items()}
        return {what: 1000 * (when - terminal.began) for what, when in found.items()}


def start_asking(env: Mapping[str, str]) -> Figures:
    """One start at which somebody types `?` until help is there, in milliseconds."""
    with Terminal(SCREEN, env) as terminal:
        until = terminal.must_show("") + 20
        while time.monotonic() < until:
            terminal.press("?")
            if (when := terminal.wait_for(HELP, seconds=0.02)) is not None:
                return {"? opens help": 1000 * (when - terminal.began)}
    raise AssertionError("? opened no help")


def window(terminal: Terminal, seconds: float) -> Figures:
    """What is written and what it costs while nobody touches a key."""
    mark, cpu, began = terminal.mark, terminal.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {
        "written": terminal.written(mark) / took,
        "CPU": 100 * (terminal.cpu_seconds() - cpu) / took,
        "memory": terminal.resident_mb(),
    }


def key_times(terminal: Terminal, presses: int, keys: str = "jjjjjkkkkk") -> list[float]:
    """Milliseconds from a key to the cursor's line painted anew, at moments that no timer shares."""
    chance = random.Random(1)
    found: list[float] = []
    for number in range(presses):
        time.sleep(0.08 + 0.1 * chance.random())
        mark = terminal.mark
        pressed = terminal.press(keys[number % len(keys)])
        found.append(1000 * (terminal.must_show(CURSOR, mark) - pressed))
    return sorted(found)


def other_orders(terminal: Terminal, rounds: int) -> list[float]:
    """Milliseconds from `o` to the list of all models in the next order, painted."""
    found: list[float] = []
    for _ in range(rounds):
        for by in ("by size", "by status", "by last change", ""):
            time.sleep(0.3)
            mark = terminal.mark
            pressed = terminal.press("o")
            when = terminal.must_show(by or CURSOR, mark)
            found.append(1000 * (when - pressed))
    return found


def typing_times(terminal: Terminal, presses: int, words: str = "model") -> list[float]:
    """Milliseconds from a letter of the filter to the figures of what is left of all models, painted."""
    found: list[float] = []
    while len(found) < presses:
        terminal.press("/")
        time.sleep(0.3)
        for number, letter in enumerate(words, start=1):
            time.sleep(0.1)
            mark = terminal.mark
            pressed = terminal.press(letter)
            found.append(1000 * (terminal.must_show(f"match '{words[:number]}'", mark) - pressed))
        terminal.press("\x1b")
        time.sleep(0.5)
    return sorted(found)


def stall(terminal: Terminal, served: Served, sizes: argparse.Namespace) -> Figures:
    """What the transfer that fares worst loses to a reader that sleeps."""
    with watching(served.sent) as rest:
        time.sleep(sizes.stall)
    with watching(served.sent) as stalled:
        terminal.stall(sizes.stall, "jk")
    lost, stood = losses(rest, stalled, sizes.size)
    return {"stalled link: a transfer's loss": lost, "stalled link: a transfer's standstill": stood}


# All of it


def measure(sizes: argparse.Namespace, say: Callable[[str], None] = lambda _: None) -> dict[str, Figures]:
    """The figures of the screen and of the label, in the units of GOALS."""
    with tempfile.TemporaryDirectory(prefix="rbee-screen-") as scratch:
        root = Path(scratch, "root")
        Root(root).prepare()
        put_models(root, sizes.models)
        with Served(sizes.jobs, sizes.size, sizes.rate) as served:
            env = environment(root, served.url, build_nvml(Path(scratch)))
            label = measure_label(env, sizes)
            say("one label: measured")
            idle = measure_idle(env, sizes)
            say("idle: measured")
            asyncio.run(want(root, served.url, sizes.jobs))
            busy = measure_busy(env, served, sizes)
            say("busy: measured")
        other = Path(scratch, "other")
        Root(other).prepare()
        put_models(other, sizes.models)
        with Served(2, sizes.full_size, sizes.full_rate, 4) as served:
            asyncio.run(want(other, served.url, 2, None))
            full = measure_full(env | {"RBEE_HOME": str(other), "HF_ENDPOINT": served.url}, served, sizes)
            say("at full speed: measured")
    return {"rbee": idle | busy | full, "label": label}


def measure_label(env: Mapping[str, str], sizes: argparse.Namespace) -> Figures:
    """The application of one label; it has no load."""
    found = again(lambda: start(LABEL, {"panes painted": SHOWN}, env), sizes.rounds)
    with Terminal(LABEL, env) as terminal:
        terminal.must_show(SHOWN)
        time.sleep(min(1.0, sizes.settle))
        seen = window(terminal, sizes.seconds)
        keys = key_times(terminal, sizes.presses)
    return found | named("idle", seen) | percentiles(keys)


def measure_idle(env: Mapping[str, str], sizes: argparse.Namespace) -> Figures:
    """The screen on all models, while nothing is under way."""
    shown = {"panes painted": "1 Models", "models listed": f"{sizes.models:,} ·"}
    found = again(lambda: start(SCREEN, shown, env), sizes.rounds)
    found |= again(lambda: start_asking(env), sizes.rounds)
    with Terminal(SCREEN, env) as terminal:
        terminal.must_show(f"{sizes.models:,} ·")
        time.sleep(sizes.settle)
        found |= named("idle", again(lambda: window(terminal, sizes.seconds), 3))
    return found


def measure_busy(env: Mapping[str, str], served: Served, sizes: argparse.Namespace) -> Figures:
    """The screen on all models and downloads, of which as many move as rbee lets move."""
    with Terminal(SCREEN, env) as terminal:
        terminal.must_show(f"{sizes.models + sizes.jobs:,} ·" if sizes.jobs <= 3 else "of ")
        _until_it_moves(served, sizes.settle)
        time.sleep(sizes.settle)
        found = named("busy", again(lambda: window(terminal, sizes.seconds), 3))
        found |= stall(terminal, served, sizes)
        found |= percentiles(key_times(terminal, sizes.presses))
        found["list of all models in another order"] = statistics.median(other_orders(terminal, 2))
        typed = percentiles(typing_times(terminal, sizes.presses))
        found |= {what.replace("key to paint, busy", TYPED): value for what, value in typed.items()}
    return found


def measure_full(env: Mapping[str, str], served: Served, sizes: argparse.Namespace) -> Figures:
    """Keys while two downloads of four files each come as fast as they can."""
    every = 8 * sizes.full_size
    keys: list[float] = []
    with Terminal(SCREEN, env) as terminal:
        terminal.must_show(f"{sizes.models + 2:,} ·")
        _until_it_moves(served, sizes.settle)
        while len(keys) < sizes.presses and (sum(served.sent().values()) < every or not keys):
            keys += key_times(terminal, 2, "jk")
    return percentiles(sorted(keys), "8 files at full speed")


def _until_it_moves(served: Served, settle: float) -> None:
    until = time.monotonic() + settle + 20
    while not any(served.sent().values()):
        assert time.monotonic() < until, "no download moves"
        time.sleep(0.1)


def named(when: str, found: Figures) -> Figures:
    """The figures of a window, said to be of then."""
    return {f"{what}, {when}": value for what, value in found.items()}


def percentiles(times: list[float], when: str = "busy") -> Figures:
    """The middle one and the 99th of a hundred."""
    return {
        f"key to paint, {when}, p50": times[len(times) // 2],
        f"key to paint, {when}, p99": times[min(len(times) - 1, 99 * len(times) // 100)],
    }


def again(once: Callable[[], Figures], rounds: int) -> Figures:
    """The median of each figure over several rounds; one more before them warms the caches."""
    found = [once() for _ in range(rounds + 1)][1:]
    return {what: statistics.median(each[what] for each in found) for what in found[0]}


def table(found: Mapping[str, Figures]) -> list[str]:
    """The figures in lines of Markdown."""
    rows = ["| | goal | rbee | one label |", "|---|---|---|---|"]
    for what, unit, goal in GOALS:
        told = [_told(found[who].get(what), unit) for who in ("rbee", "label")]
        rows.append(f"| {what} | {f'<= {goal:g} {unit}' if goal is not None else ''} | {' | '.join(told)} |")
    return rows


def _told(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.1f} {unit}" if abs(value) < 10 else f"{value:,.0f} {unit}"


def arguments() -> argparse.ArgumentParser:
    """The sizes of the load and of the measuring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--size", type=int, default=150_000_000, help="bytes of each download")
    parser.add_argument("--rate", type=int, default=2_000_000, help="the Hub's bytes per second")
    parser.add_argument("--full-size", type=int, default=800_000_000, help="bytes of each of eight files")
    parser.add_argument("--full-rate", type=int, default=0, help="bytes per second of them all; 0: no limit")
    parser.add_argument("--rounds", type=int, default=7, help="starts")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a window")
    parser.add_argument("--settle", type=float, default=SETTLE, help="seconds before the first window")
    parser.add_argument("--presses", type=int, default=200, help="of keys")
    parser.add_argument("--stall", type=float, default=8.0, help="seconds in which nobody reads")
    return parser


def main() -> None:
    """Measure, print the table, and keep it."""
    sizes = arguments().parse_args()
    found: dict[str, Any] = dict(measure(sizes, lambda text: print(text, file=sys.stderr)))
    print(f"Python {platform.python_version()}, Textual {version('textual')}, {os.cpu_count()} cores")
    print("\n".join(table(found)))
    if sizes.json:
        sizes.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
