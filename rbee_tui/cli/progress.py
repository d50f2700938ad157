"""How a download goes: bars that are drawn again on a terminal, a plain line now and then elsewhere."""

import asyncio
import os
import sys
import time
from math import inf
from typing import TYPE_CHECKING, Protocol, TextIO

from rbee_tui.cli import output
from rbee_tui.engine.jobs import FileProgress, JobProgress
from rbee_tui.engine.text import clean, duration, size

if TYPE_CHECKING:
    from rbee_tui.engine.provisioner import ModelProvisioner

EVERY_SECONDS = 0.2
LINE_SECONDS = 5.0
SHOWN_FILES = 12
_MOVING = ("fetching", "hashing", "publishing")


class View(Protocol):
    """Shows one state of a job after the other."""

    def show(self, job: JobProgress) -> None:
        """Show how far the job is now."""
        ...

    def close(self) -> None:
        """Leave the last state on the screen and let go of it."""
        ...


async def follow(provisioner: "ModelProvisioner", job_id: str) -> JobProgress:
    """Run, take up or follow a job to its end, showing its progress; raises its error."""
    began = time.monotonic()
    first = provisioner.get_progress(job_id)
    _say_holder(first)
    run = asyncio.create_task(provisioner.run(job_id))
    view: View = Bars() if output.live() else Lines()
    said = first.state == "done"
    silent = False
    try:
        while not run.done():
            job = provisioner.get_progress(job_id)
            said = said or _say_kept(job)
            silent = silent or _say_silent(job)
            view.show(job)
            await asyncio.wait([run], timeout=EVERY_SECONDS)
        last = provisioner.get_progress(job_id)
        _ = said or _say_kept(last)
        view.show(last)
    finally:
        view.close()
        if not run.done():
            run.cancel()
    ended = await run
    output.note(f"{clean(ended.model_id)}: {summary(ended, first, time.monotonic() - began)}")
    return ended


def summary(ended: JobProgress, first: JobProgress, seconds: float) -> str:
    """What a finished download took, in words."""
    kept = max(first.downloaded, ended.kept)
    fetched = max(0, ended.total - kept)
    if first.state == "done" or not fetched:
        return f"{size(ended.total)} were here already, verified"
    rate = f"{size(int(fetched / seconds))}/s" if seconds > 0 else ""
    before = f", {size(kept)} of them kept" if kept else ""
    return f"{size(ended.total)}{before}, verified, {duration(seconds)} ({rate})"


def _say_holder(job: JobProgress) -> None:
    if job.holder is not None and job.holder != os.getpid():
        who = f"pid {job.holder} ({clean(job.holder_verb)})"
        output.note(f"{who} is at it already (job {job.id}): following it")


def _say_silent(job: JobProgress) -> bool:
    """Say once that the process that is followed does not answer, and what can be done about it."""
    if job.state != "not responding":
        return False
    output.note(
        f"pid {job.holder} ({clean(job.holder_verb)}) does not answer\n"
        f"  -> rbee jobs take {job.id} ends that process and takes the job over"
    )
    return True


def _say_kept(job: JobProgress) -> bool:
    """Say once from where an interrupted download goes on."""
    if job.kept <= 0:
        return False
    output.note(f"kept {size(job.kept)} of {size(job.total)} from before")
    return True


class Lines:
    """A line per file every few seconds, and one at its end: for pipes, logs and screen readers."""

    def __init__(self, every: float = LINE_SECONDS) -> None:
        self._every = every
        self._last: dict[str, float] = {}
        self._ended: set[str] = set()

    def show(self, job: JobProgress) -> None:
        """Print the lines that are due."""
        at = time.monotonic()
        for file in job.files:
            if file.path in self._ended:
                continue
            if file.state == "done":
                self._ended.add(file.path)
                # Files that were done before this run began to show are no news.
                if self._last or len(job.files) <= SHOWN_FILES:
                    output.note(line(file))
            elif file.state in _MOVING and at - self._last.get(file.path, -inf) >= self._every:
                self._last[file.path] = at
                output.note(line(file))

    def close(self) -> None:
        """Nothing is held."""


def line(file: FileProgress) -> str:
    """One file as a line; its name is last, since it came from outside."""
    share = 100 * file.downloaded // file.total if file.total else 100
    failed = f"failed: {file.error}" if file.error else ""
    doing = file.waiting_for or failed or ("" if file.state == "fetching" else file.state)
    rate = f"{size(int(file.rate))}/s" if file.rate > 0 and file.state == "fetching" else ""
    left = f"{duration((file.total - file.downloaded) / file.rate)} left" if rate else ""
    parts = [f"{share:3d} %", f"{size(file.downloaded)} of {size(file.total)}", rate, left, clean(doing)]
    return "  ".join(part for part in [*parts, clean(file.path)] if part)


class Bars:
    """A bar for each file that moves, and one for the whole where there are many; drawn by rich."""

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console  # noqa: PLC0415 - only a terminal pays for it
        from rich.progress import BarColumn, Progress, TaskID, TextColumn  # noqa: PLC0415 - as above
        from rich.table import Column  # noqa: PLC0415 - as above

        def text(cell: str) -> TextColumn:
            side = "left" if cell == "label" else "right"
            column = Column(no_wrap=True, overflow="ellipsis", ratio=1 if cell == "label" else None)
            return TextColumn(
                f"{{task.fields[cells][{cell}]}}", markup=False, justify=side, table_column=column
            )

        console = Console(file=stream or sys.stderr, highlight=False, emoji=False)
        bar = BarColumn(bar_width=max(8, min(40, console.width - 60)))
        columns = (text("share"), bar, text("amount"), text("rate"), text("left"), text("label"))
        self._progress = Progress(*columns, console=console, auto_refresh=False, expand=True)
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def show(self, job: JobProgress) -> None:
        """Draw the files that move or have ended, and the whole when there are more than fit."""
        many = len(job.files) > SHOWN_FILES
        shown = [file for file in job.files if file.state in _MOVING] if many else list(job.files)
        names = {file.path for file in shown}
        for path in [path for path in self._tasks if path and path not in names]:
            self._progress.remove_task(self._tasks.pop(path))
        if many:
            done = sum(file.state == "done" for file in job.files)
            self._draw("", whole(job, f"{done} of {len(job.files)} files"))
        for file in shown[:SHOWN_FILES]:
            self._draw(file.path, file)
        self._progress.refresh()

    def _draw(self, key: str, file: FileProgress) -> None:
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task("", total=max(1, file.total), cells=cells(file))
        done = file.downloaded if file.total else int(file.state == "done")
        self._progress.update(self._tasks[key], completed=done, cells=cells(file))

    def close(self) -> None:
        """Leave the bars as they are and give the cursor back."""
        self._progress.stop()


def cells(file: FileProgress) -> dict[str, str]:
    """What stands around a file's bar."""
    share = 100 * file.downloaded // file.total if file.total else 100
    moving = file.rate > 0 and file.state == "fetching"
    doing = file.waiting_for or {"done": output.glyph("✓ verified", "verified"), "fetching": ""}.get(
        file.state, file.state
    )
    return {
        "share": f"{share} %",
        "amount": f"{size(file.downloaded)}/{size(file.total)}",
        "rate": f"{size(int(file.rate))}/s" if moving else "",
        "left": duration((file.total - file.downloaded) / file.rate) if moving else clean(doing),
        "label": clean(file.path),
    }


def whole(job: JobProgress, label: str) -> FileProgress:
    """The whole job as if it were one file."""
    return FileProgress(
        path=label,
        downloaded=job.downloaded,
        total=job.total,
        kept=job.kept,
        rate=job.rate,
        state="fetching" if job.state == "running" else job.state,
    )
