"""What is here: details, verification, deleting, copying; and steering downloads."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from rbee_tui.engine import describe, removal
from rbee_tui.engine.about import about
from rbee_tui.engine.errors import RbeeError, RefusedError
from rbee_tui.engine.jobs import FileProgress, JobProgress, Where
from rbee_tui.engine.rates import rate_of
from rbee_tui.engine.text import clean, counted, size
from rbee_tui.engine.transfer.source import Progress
from rbee_tui.ui import details
from rbee_tui.ui.flows import adding, installing
from rbee_tui.ui.house import Activity
from rbee_tui.ui.keys import BY_NAME, Situation
from rbee_tui.ui.lines import (
    ActivityLine,
    Cell,
    Column,
    DeadLine,
    FileLine,
    JobLine,
    ModelLine,
    ProcessLine,
    WorkerLine,
)
from rbee_tui.ui.screens.line import LineScreen
from rbee_tui.ui.screens.pick import Choice, PickScreen
from rbee_tui.ui.screens.question import Answer, Question
from rbee_tui.ui.screens.text import TextScreen

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.ui.app import RbeeApp

_LOOK_SECONDS = 0.5
_BESIDE_DETAILS = ("start", "logs", "copy")
"""Actions that details name, or that one wants next; they work there as on the line."""


async def show_details(app: "RbeeApp", situation: Situation) -> None:
    """Show all that is known of the line under the cursor."""
    line = situation.line
    if line is not None:
        more = (
            await app.bridge.ask(lambda engine: about(engine, line.entry))
            if isinstance(line, ModelLine)
            else None
        )
        title, lines = details.of(line, more)
        others = [BY_NAME[name] for name in _BESIDE_DETAILS if BY_NAME[name].works(situation.at(line))]
        answers = [
            Answer(each.keys[0], each.shown, each.word(situation.at(line)), each.name) for each in others
        ]
        picked = await app.push_screen_wait(TextScreen(title, lines, app.glyphs, answers=answers))
        if picked is not None:
            app.do(picked, situation.at(line))


async def verify(app: "RbeeApp", situation: Situation) -> None:
    """Compare a model's files with their hashes, with how far that is in its line."""
    model_id = _model_id(situation)
    progress, activity = Progress(), Activity("verifying", model_id, 0.0)
    async with app.doing(activity):
        running = asyncio.ensure_future(
            app.bridge.ask(lambda engine: engine.models.verify(model_id, progress))
        )
        try:
            while not running.done():
                done = progress.received + progress.hashed
                activity.share = min(1.0, done / progress.total) if progress.total else None
                app.main.show({"activities"})
                await asyncio.wait([running], timeout=_LOOK_SECONDS)
            await running
        finally:
            running.cancel()


async def fetch_again(app: "RbeeApp", situation: Situation) -> None:
    """Download what is missing of a model, from where it came."""
    line = situation.line
    if not isinstance(line, ModelLine) or line.entry.artifact is None:
        return
    found = details.source(line.entry.artifact)
    if found is None:
        app.narrate(f"nothing says where {clean(line.entry.id)} came from: a searches for it", "wrong")
        return
    try:
        await adding.fetch(app, *found)
    except RbeeError as error:
        await app.explain(error)


async def fetch_missing(app: "RbeeApp", situation: Situation) -> None:
    """The same without a question; raises what the engine says, RefusedError without a known source."""
    line = situation.line
    model = line.entry.artifact if isinstance(line, ModelLine) else None
    found = details.source(model) if model else None
    if model is None or found is None:
        raise RefusedError(f"nothing says where {clean(_model_id(situation))} came from")
    repo, file = found
    await app.bridge.call(lambda engine: engine.provisioner.download_model(repo, file, id=model.id))


async def delete(app: "RbeeApp", situation: Situation) -> None:
    """Delete a model, remove a worker or cancel a download, after a question with the bytes."""
    line = situation.line
    if isinstance(line, JobLine | FileLine):
        await _cancel(app, line)
    elif isinstance(line, DeadLine):
        model_id = line.death.model
        await app.bridge.ask(lambda engine: engine.processes.forget(model_id))
    elif isinstance(line, WorkerLine):
        await remove_worker(app, line)
    elif isinstance(line, ActivityLine):
        await installing.give_up(app, line)
    elif isinstance(line, ModelLine) and line.comes and line.job is not None:
        await _cancel(app, JobLine(line.job))
    elif isinstance(line, ModelLine):
        await delete_model(app, line)


async def delete_model(app: "RbeeApp", line: ModelLine) -> None:
    """Delete a model, after a question with the bytes that become free."""
    model_id, directory = line.entry.id, Path(line.entry.directory)
    tree = await app.bridge.ask(lambda _: removal.weigh(directory))
    files, freed = tree.files, tree.freed
    outside = describe.outside(line.entry)
    lines = [
        (clean(model_id), "strong"),
        ("", ""),
        (f"{counted(files, 'file')} in {clean(str(directory))}", ""),
        *((f"{clean(path)} stays where it is", "") for path in outside),
        (f"{size(freed)} become free", "")
        if freed or outside
        else ("nothing becomes free: other names hold its bytes", ""),
    ]
    if await app.question(Question("Delete the model", lines, [Answer("d", "Enter", "Delete", "delete")])):
        removed = await app.bridge.ask(lambda engine: engine.remove_model(model_id))
        app.narrate(f"{clean(model_id)} is deleted: {size(removed.freed_bytes)} are free again", "ok")


async def remove_worker(app: "RbeeApp", line: WorkerLine) -> None:
    """Remove a worker, after a question with the bytes that become free."""
    worker_id, directory = line.entry.id, Path(line.entry.directory)
    freed = (await app.bridge.ask(lambda _: removal.weigh(directory))).freed
    worker = line.entry.artifact
    lines = [(clean(worker_id), "strong"), ("", ""), (f"{size(freed)} become free", "")]
    if worker is not None and worker.binary_path.startswith("/"):
        lines.append((f"{clean(worker.binary_path)} itself stays", ""))
    if await app.question(Question("Remove the worker", lines, [Answer("d", "Enter", "Remove", "remove")])):
        await app.bridge.ask(lambda engine: engine.remove_worker(worker_id))
        app.narrate(f"{clean(worker_id)} is removed", "ok")


async def _cancel(app: "RbeeApp", line: JobLine | FileLine) -> None:
    alone = isinstance(line, FileLine) and line.steered_alone and line.file.state != "cancelled"
    file = line.file if isinstance(line, FileLine) and alone else None
    answer = await app.question(_about_file(line.job, file) if file else _about_job(line.job))
    if answer == "pause":
        await pause(app, Situation("downloads", line if file else JobLine(line.job)))
    elif answer is not None:
        path = file.path if file and answer != "whole" else None
        job_id, keep = line.job.id, answer == "keep"
        await app.bridge.call(lambda engine: engine.provisioner.cancel(job_id, path, keep=keep))


def _about_job(job: JobProgress) -> Question:
    if job.repairs:
        lines = [
            (clean(job.model_id), "strong"),
            ("", ""),
            ("What is good of it is kept for the next repair.", ""),
        ]
        return Question("Cancel the repair", lines, [Answer("d", "Enter", "Cancel it", "keep")])
    lines = [
        (clean(job.model_id), "strong"),
        ("", ""),
        (f"{size(job.downloaded)} of {size(job.total)} have come.", ""),
    ]
    stay = [Answer("p", "p", "Pause it instead", "pause")] if job.state in ("running", "queued") else []
    answers = [
        Answer("d", "Enter", "Cancel it, throw away what came", "purge"),
        Answer("k", "k", "Cancel it, keep what came for later", "keep"),
        *stay,
    ]
    return Question("Cancel the download", lines, answers)


def _about_file(job: JobProgress, file: FileProgress) -> Question:
    lines = [
        (clean(file.path), "strong"),
        ("", ""),
        (f"{size(file.downloaded)} of {size(file.total)} have come.", ""),
        (f"{clean(job.model_id)} does without it then.", "quiet"),
    ]
    stands = file.state in ("paused", "failed", "cancelled")
    answers = [
        Answer("d", "Enter", "Cancel this file, throw away what came", "purge"),
        Answer("k", "k", "Cancel this file, keep what came for later", "keep"),
        Answer("w", "w", "Cancel the whole download, throw away what came", "whole"),
        *([] if stands else [Answer("p", "p", "Pause this file instead", "pause")]),
    ]
    return Question("Cancel one file", lines, answers)


async def repair(app: "RbeeApp", situation: Situation) -> None:
    """Find the bad blocks of a damaged model, and fetch those again."""
    model_id = _model_id(situation)
    async with app.doing(Activity("checking", model_id)):
        found = await app.bridge.call(lambda engine: engine.provisioner.repair(model_id))
    if found.job_id is None:
        app.narrate(f"{clean(model_id)} is whole: nothing to repair", "ok")
        return
    bytes_ = sum(file.fetch_bytes for file in found.files)
    app.narrate(f"repairing {clean(model_id)}: {size(bytes_)} are fetched again", "busy")
    app.show_line("downloads", found.job_id)


async def move_up(app: "RbeeApp", situation: Situation) -> None:
    """Let a download come sooner."""
    await _move(app, situation, "up")


async def move_down(app: "RbeeApp", situation: Situation) -> None:
    """Let a download come later."""
    await _move(app, situation, "down")


async def _move(app: "RbeeApp", situation: Situation, where: Where) -> None:
    line = situation.line
    if isinstance(line, JobLine | FileLine):
        job_id = line.job.id
        await app.bridge.ask(lambda engine: engine.provisioner.move(job_id, where))
        app.narrate(f"{clean(line.job.model_id)} is moved {where} in the queue", "quiet")


async def cap(app: "RbeeApp", _: Situation) -> None:
    """Ask for the cap of all downloads, and set it."""
    now = app.house.settings.cap
    said = f"{size(now)}/s" if now else "none"
    title = f"Cap of all downloads (now {said})"
    text = await app.push_screen_wait(
        LineScreen(title, "as 20MB/s or 500kB/s; off lifts it", "Set it", check=rate_of)
    )
    if text:
        rate = rate_of(text)
        await app.bridge.ask(lambda engine: engine.provisioner.set_cap(rate))


async def pause(app: "RbeeApp", situation: Situation) -> None:
    """Pause a download or a file of it that runs, resume one that stands still, retry one that failed."""
    line = situation.line
    job = line.job if isinstance(line, JobLine | FileLine | ModelLine) else None
    if job is None:
        return
    if isinstance(line, FileLine) and line.steered_alone:
        await _pause_file(app, job.id, line.file)
    elif job.state in ("running", "queued"):
        app.narrate(f"pausing {clean(job.model_id)}", "busy")
        await app.bridge.call(lambda engine: engine.provisioner.pause(job.id))
    elif job.state == "not responding":
        await app.bridge.call(lambda engine: _take(engine, job.id))
        app.narrate(f"{clean(job.model_id)} is taken over", "ok")
    else:
        await app.bridge.call(lambda engine: engine.provisioner.resume(job.id))
        app.narrate(f"{clean(job.model_id)} goes on at {size(job.downloaded)} of {size(job.total)}", "busy")


async def _pause_file(app: "RbeeApp", job_id: str, file: FileProgress) -> None:
    stands = file.state in ("paused", "failed", "cancelled")
    app.narrate(f"{'going on with' if stands else 'pausing'} {clean(file.path)}", "busy")
    if stands:
        await app.bridge.call(lambda engine: engine.provisioner.resume(job_id, file.path))
    else:
        await app.bridge.call(lambda engine: engine.provisioner.pause(job_id, file.path))


async def _take(engine: "Engine", job_id: str) -> None:
    await engine.provisioner.take(job_id)
    engine.provisioner.adopt()


_COPY_COLUMNS = (Column("WHAT", 12), Column("TEXT", 12, weight=1))


async def copy(app: "RbeeApp", situation: Situation) -> None:
    """Copy something of the line under the cursor to the terminal's clipboard."""
    line = situation.line
    found = details.copyable(line, app.host) if line else []
    shown = [
        Choice(
            what, (Cell(what, "accent"), Cell("*" * 12 if what == "API key" else clean(text))), (what, text)
        )
        for what, text in found
    ]
    title = "Copy (by OSC 52: the terminal has to allow it)"
    picked = await app.push_screen_wait(PickScreen(title, _COPY_COLUMNS, shown, app.glyphs, enter="Copy"))
    if picked is not None:
        what, text = picked
        app.copy_to_clipboard(text)
        app.narrate(f"{what} is copied", "ok")


def _model_id(situation: Situation) -> str:
    line = situation.line
    if isinstance(line, ModelLine):
        return line.entry.id
    return line.running.model if isinstance(line, ProcessLine) else ""
