"""Every number on the main screen is the one that the same verb says with --json, at the same state."""

import asyncio
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rbee_tui.demo import tiny
from rbee_tui.engine import watch
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.jobs import ActiveFile, Outcome
from rbee_tui.engine.paths import Root
from rbee_tui.engine.process import identify, this_machine
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.text import memory, size, size_as
from tests.cli.support import Command, put_model
from tests.engine.support_jobs import a_file, a_record, a_run
from tests.engine.workers.support import House, add_fake
from tests.ui.support import Cockpit, cockpit

pytestmark = pytest.mark.anyio
MB = 1_000_000
_NUMBER = re.compile(r"\d[\d.,:]*")


def numbers(texts: list[str]) -> list[str]:
    """Every number in these texts, in the order of their values as texts."""
    return sorted(found.strip(".,:") for text in texts for found in _NUMBER.findall(text))


def pane(here: Cockpit, title: str) -> list[str]:
    """The rows of a pane, frame and titles of columns left out, the figures of its frame first."""
    rows = here.rows
    top = next(at for at, row in enumerate(rows) if title in row)
    left = rows[top].rindex("╭", 0, rows[top].index(title))
    right = rows[top].index("╮", left)
    end = next(at for at in range(top, len(rows)) if rows[at][left] == "╰")
    return [row[left + 1 : right] for row in (rows[top], *rows[top + 2 : end])]


def percent(part: int, whole: int) -> str:
    return f"{100 * part // whole}"


@pytest.fixture
def busy(root: Root, tmp_path: Path) -> Iterator[Root]:
    """Whole and ill models, a worker, downloads in every state that a file can put one into."""
    ModelCatalog(root).import_gguf(tiny.write(tmp_path / "tiny.gguf", "Numbers.").path, id="tiny")
    put_model(root.path, "large", size_bytes=19_800_000_000, quantization="Q4_K_M", context_length=131072)
    put_model(root.path, "small", size_bytes=386_000, quantization="Q8_0", context_length=512)
    add_fake(House(root), tmp_path)
    store = JobStore(root)
    who = identify(os.getpid())
    assert who is not None
    # A run whose process is this one, and whose beat lies ahead: it goes on for ever, and stands still.
    still = {"who": who, "beat": time.time() + 3600, "verb": "a test"}
    files = [a_file(f"part-{number}.gguf", 50 * MB) for number in range(2)]
    model = msgspec.structs.replace(a_record().model, size_bytes=100 * MB)
    here = {"machine": this_machine(), "model": model}
    store.put(a_record("00000001", files=files, finished=[0], **here))
    active = [ActiveFile(1, 11 * MB, 7 * MB, 3.2e6, "fetching", "")]
    run = a_run(**still, downloaded=61 * MB, kept=7 * MB, rate=3.2e6, active=active, finished="1")
    store.write_run("00000001", run)
    whole = [a_file("whole.gguf", 43 * MB)]
    store.put(a_record("00000002", wanted="paused", files=whole, **here))
    store.write_run("00000002", a_run(state="paused", downloaded=22 * MB, kept=5 * MB))
    store.put(a_record("00000003", files=whole, outcome=Outcome(state="done", at=""), **here))
    failed = Outcome(state="failed", at="", error="it is gone")
    store.put(a_record("00000004", files=whole, outcome=failed, **here))
    with store.job_lock("00000001", "a test").acquire():  # nobody takes it up
        yield root


@pytest.fixture
def command(busy: Root) -> Command:
    """The verbs on the same root."""
    return Command(busy.path)


async def asked(command: Command, *words: str) -> Any:
    """What a verb says with --json."""
    return await asyncio.to_thread(command.json, *words)


def context(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)


async def shown_models(here: Cockpit) -> list[str]:
    """The numbers of the models' pane."""
    await here.sees("large", "small", "tiny")
    return numbers(pane(here, "1 Models"))


async def told_models(command: Command) -> list[str]:
    """The numbers that belong there, as the verb has them."""
    entries = await asked(command, "models", "list")
    held = sum(entry["artifact"]["size_bytes"] for entry in entries if entry["health"] != "missing")
    expected = ["1 Models", str(len(entries)), size(held)]
    for entry in entries:
        model = entry["artifact"]
        expected += [entry["id"], size(model["size_bytes"]), model["quantization"]]
        expected.append(context(model["context_length"]))
    return numbers(expected)


class TestNumbers:
    """No number is on the screen that the command does not say, and none is another."""

    async def test_models(self, busy: Root, command: Command):
        """Size, quantisation, context; how many there are and what they hold."""
        async with cockpit(busy, "http://127.0.0.1:9", (160, 50)) as here:
            assert await shown_models(here) == await told_models(command)

    async def test_one_that_is_another_is_found(self, busy: Root, command: Command, monkeypatch):
        """The mutant: sizes on the screen that are off by a little."""
        monkeypatch.setattr("rbee_tui.ui.lines.size", lambda count: size(count + 100_000))
        async with cockpit(busy, "http://127.0.0.1:9", (160, 50)) as here:
            assert await shown_models(here) != await told_models(command)

    async def test_downloads(self, busy: Root, command: Command):
        """Share, rate, time left, sizes, what was kept: of each, and of each file where there are two."""
        async with cockpit(busy, "http://127.0.0.1:9", (160, 50)) as here:
            await here.until(lambda: len(here.app.house.jobs) == 4)
            jobs = {job["id"]: job for job in await asked(command, "jobs")}
            running = jobs["00000001"]
            assert running["state"] == "running"
            unfinished = [job for job in jobs.values() if job["state"] in ("running", "paused")]
            expected = ["3 Downloads", f"1 of {len(unfinished)}", size(int(running["rate"]))]
            for job in jobs.values():
                done = job["state"] == "done"
                expected += self.line(job, rate=job["rate"], left=job["seconds_left"], done=done)
            for file in running["files"]:
                left = (file["total"] - file["downloaded"]) / file["rate"] if file["rate"] else None
                expected += self.line(file, rate=file["rate"], left=left, done=file["state"] == "done")
                expected.append(file["path"])
            assert numbers(pane(here, "3 Downloads")) == numbers(expected)

    @staticmethod
    def line(of: dict[str, Any], *, rate: float, left: float | None, done: bool) -> list[str]:
        texts = [percent(of["downloaded"], of["total"]), size(of["total"])]
        texts += [] if done else [size_as(of["downloaded"], of["total"])]
        texts += [size(of["kept"])] if of["kept"] and not done else []
        texts += [size(int(rate))] if rate else []
        return [*texts, *([f"{round(left) // 60}:{round(left) % 60:02d}"] if left is not None else [])]

    async def test_workers(self, busy: Root, command: Command):
        """How many run and are installed; port and memory of one that runs, the version of the other."""
        house = House(busy)
        async with cockpit(busy, "http://127.0.0.1:9", (160, 50)) as here:
            started = await house.supervisor.start("tiny")
            try:
                await here.sees("✓ ready")
                await here.until(lambda: here.app.house.running and here.app.house.running[0].memory_bytes)
                listed, running = await asked(command, "workers", "list"), await asked(command, "ps")
                installed = [entry for entry in listed if entry["installed"]]
                shown = here.app.house.running[0]
                (told,) = running
                assert (shown.port, shown.pid, shown.state) == (told["port"], told["pid"], told["state"])
                assert told["pid"] == started.pid
                # Memory is measured anew at each look: the screen shows its own, near what the verb measured.
                assert abs(shown.memory_bytes - told["memory_bytes"]) < told["memory_bytes"] / 4
                expected = ["2 Workers", str(len(running)), str(len(installed)), str(told["port"])]
                expected += [memory(shown.memory_bytes), "4404"]
                assert numbers(pane(here, "2 Workers")) == numbers(expected)
            finally:
                await house.supervisor.stop("tiny")

    async def test_hardware(self, busy: Root, command: Command, monkeypatch):
        """What stands still of it: all memory; what moves lies between two looks, give or take a little."""
        monkeypatch.setattr(watch, "HARDWARE_SECONDS", 0.2)
        async with cockpit(busy, "http://127.0.0.1:9", (160, 50)) as here:
            told = await asked(command, "hardware")
            row = here.row("RAM")
            used, total = re.search(r"RAM ([\d.]+)/([\d.]+) GiB", row).groups()  # type: ignore[union-attr]
            assert total == f"{told['memory']['total'] / 2**30:.1f}"
            assert abs(float(used) * 2**30 - told["memory"]["total"] + told["memory"]["available"]) < 4 << 30
            free = re.search(r"disk ([\d.]+) (\w+) free", row)
            assert free is not None
            scale = {"MB": 1e6, "GB": 1e9, "TB": 1e12}[free[2]]
            assert abs(float(free[1]) * scale - told["disk"]["free"]) < 10e9
            promised = await asked(command, "jobs")
            expected = sum(
                job["total"] - file["total"] * (file["state"] == "done")
                for job in promised
                if job["state"] == "running"
                for file in job["files"][:1]
            )
            assert f"({size(expected)} promised)" in row
