"""Workers: starting one on a model, asking it, reading its log, stopping it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

from rbee_tui.engine import autostart
from rbee_tui.engine.addresses import is_loopback
from rbee_tui.engine.errors import RbeeError, WorkerError
from rbee_tui.engine.text import clean, counted, memory
from rbee_tui.engine.workers.listening import NO_KEY, OPEN
from rbee_tui.engine.workers.prompting import Conversation
from rbee_tui.ui.flows import starting
from rbee_tui.ui.flows.installing import install_worker
from rbee_tui.ui.house import Activity
from rbee_tui.ui.keys import Situation, running_model
from rbee_tui.ui.lines import ActivityLine, DeadLine, JobLine, ModelLine, ProcessLine, WorkerLine
from rbee_tui.ui.screens.prompt import PromptScreen
from rbee_tui.ui.screens.question import Answer, Question
from rbee_tui.ui.screens.text import LogScreen, TextScreen

if TYPE_CHECKING:
    from rbee_tui.engine.variants import Verdict
    from rbee_tui.engine.workers.outlook import Outlook
    from rbee_tui.engine.workers.prompting import Chunk, Turn
    from rbee_tui.ui.app import RbeeApp

_SHOWN_SECONDS = 2.0
_LAST_LINES = 5
_ANSWER_TOKENS = 1024


async def start(app: "RbeeApp", situation: Situation) -> None:
    """Start a worker on the model under the cursor, also one that has come; what is missing comes first."""
    model_id = _model_id(situation)
    said: dict[str, Any] = {}
    while True:
        outlook = await app.bridge.ask(lambda engine, said=said: engine.processes.outlook(model_id, **said))
        answer = await app.question(_start_question(outlook))
        if answer == "smaller":
            said |= {"context": outlook.retry_context}
        elif answer == "why":
            await _show_why(app, outlook)
        elif answer == "change":
            said = await starting.change(app, model_id, said) or said
        else:
            break
    if answer is None or outlook.refusal or outlook.worker_id is None:
        return
    if not outlook.installed and not await install_worker(app, outlook.worker_id):
        return
    app.show_line("models", model_id)
    await start_worker(app, model_id, **said)


async def start_worker(app: "RbeeApp", model_id: str, **said: Any) -> None:
    """Start the worker that fits on a model, and wait until it is ready; what fails can be tried smaller."""
    app.narrate(f"starting a worker on {clean(model_id)}", "busy")
    app.telling.leave_to_flow(model_id, "worker.starting", "worker.ready", "worker.failed")
    said = {"ends_with_me": True if app.house.settings.on_quit_workers == "stop" else None} | said
    try:
        async with app.doing(Activity("starting", model_id)):
            running = await app.bridge.call(lambda engine: engine.processes.start(model_id, **said))
    except RbeeError as error:
        await _failed(app, model_id, error, said)
        return
    await _until_shown(app, model_id)
    app.main.pane("workers").put_cursor(f"run:{model_id}")
    app.telling.leave_to_flow(model_id, "worker.starting", "worker.ready")
    app.narrate(f"{clean(model_id)} is ready on {running.url}: t tries it out", "ok")


async def _failed(app: "RbeeApp", model_id: str, error: RbeeError, said: dict[str, Any]) -> None:
    """Say what a start failed of, and try again with what would fit where that is wanted."""
    log = error.log if isinstance(error, WorkerError) else ""
    app.fail(error, log=log)
    if app.screen is not app.main:  # somebody does something else by now: e has it
        return
    context = error.details.get("retry_context")
    last = [line for line in log.splitlines() if line.strip()][-_LAST_LINES:]
    lines = [(str(error), "wrong"), ("", ""), *((line, "quiet") for line in last)]
    lines += [("", ""), (error.hint, "")] if error.hint else []
    answers = [Answer("s", "Enter", f"Start with {context:,} tokens", "again")] if context else []
    answers += [Answer("l", "l", "Log", "log")] if log else []
    question = Question("It did not start", lines, answers)
    while (answer := await app.question(question)) == "log":
        await _show_log(app, model_id)
    if answer == "again":
        await start_worker(app, model_id, **said | {"context": context})


async def pin(app: "RbeeApp", situation: Situation) -> None:
    """Let the worker under the cursor stay, or not any more."""
    model_id = running_model(situation) or ""
    each = app.house.running_on(model_id)
    pinned = each is None or not each.pinned
    await app.bridge.ask(lambda engine: engine.processes.pin(model_id, pinned=pinned))


async def autostart_with_hive(app: "RbeeApp", situation: Situation) -> None:
    """Have a starting hive start a worker on the model under the cursor, or not any more."""
    line = situation.line
    if isinstance(line, ModelLine | ProcessLine):
        model_id = line.entry.id if isinstance(line, ModelLine) else line.running.model
        await app.bridge.ask(
            lambda engine: autostart.mark(
                engine.root, model_id, on=model_id not in autostart.marked(engine.root)
            )
        )


async def _until_shown(app: "RbeeApp", model_id: str) -> None:
    """Wait for the look that sees it ready, at most a moment: the key that the next sentence names works."""
    until = time.monotonic() + _SHOWN_SECONDS
    while time.monotonic() < until:
        each = app.house.running_on(model_id)
        if each is not None and each.state == "ready":
            return
        await asyncio.sleep(_SHOWN_SECONDS / 40)


def _start_question(outlook: "Outlook") -> Question:
    name = clean(outlook.model)
    change = Answer("c", "c", "Change", "change")
    if outlook.worker_id is None or outlook.refusal:
        lines = [
            (outlook.refusal, "wrong"),
            ("", ""),
            (outlook.hint, "quiet"),
        ]
        answers = [*([change] if outlook.worker_id else []), Answer("w", "w", "Why", "why")]
        if outlook.retry_context:
            answers.insert(0, Answer("s", "Enter", f"{outlook.retry_context:,} tokens", "smaller"))
        return Question(f"{name} cannot be started", lines, answers)
    lines = [
        (name, "strong"),
        ("", ""),
        (f"worker   {clean(outlook.worker_id)}", ""),
        (f"because  {outlook.reason}", ""),
        *(
            [(f"layers   {outlook.gpu_layers} of {outlook.of_layers} on the GPU", "")]
            if outlook.gpu_layers
            else []
        ),
        (f"context  {outlook.context:,} tokens{_slots(outlook.slots)}, {_threads(outlook.threads)}", ""),
        *([(f"sees     with projector {clean(outlook.projector)}", "")] if outlook.projector else []),
        *([] if outlook.needs_key else [(f"key      {NO_KEY}", "busy")]),
        *([] if is_loopback(outlook.host) else [(f"address  {outlook.host}, {OPEN}", "busy")]),
        (f"memory   {memory(outlook.needed_bytes)} of {memory(outlook.free_bytes)} that it may take", ""),
    ]
    if outlook.promised_bytes:
        lines.append(
            (f"         {memory(outlook.promised_bytes)} more are promised to other workers", "quiet")
        )
    if not outlook.installed:
        lines += [("", ""), ("It is not installed yet: that comes first, from the package index.", "busy")]
    word = "Start" if outlook.installed else "Install and start"
    return Question("Start a worker", lines, [Answer("s", "Enter", word, "start"), change])


def _slots(count: int) -> str:
    return f" for {count} slots" if count > 1 else ""


def _threads(count: int) -> str:
    return counted(count, "thread")


async def why(app: "RbeeApp", situation: Situation) -> None:
    """Show every worker with each thing that was looked at, and why it is taken for this model or not."""
    model_id = _model_id(situation)
    await _show_why(app, await app.bridge.ask(lambda engine: engine.processes.outlook(model_id)))


async def _show_why(app: "RbeeApp", outlook: "Outlook") -> None:
    lines: list[tuple[str, str]] = []
    for verdict in outlook.verdicts:
        mark = app.glyphs.ok if verdict.usable else app.glyphs.wrong
        word = "is taken" if verdict.taken else "could be taken" if verdict.usable else "is not taken"
        here = "" if verdict.installed else ", not installed"
        style = "ok" if verdict.taken else "" if verdict.usable else "quiet"
        lines += [
            (f"{mark} {clean(verdict.worker_id)} {word}{here}", style),
            (f"    {verdict.reason}", "quiet"),
            *_probes(verdict, app),
            ("", ""),
        ]
    needs = f"It needs {memory(outlook.needed_bytes)}, and may take {memory(outlook.free_bytes)}."
    lines += [
        (outlook.refusal, "wrong")
        if outlook.refusal
        else (f"{needs} Context {outlook.context:,} tokens.", "")
    ]
    await app.push_screen_wait(TextScreen(f"Why: {clean(outlook.model)}", lines, app.glyphs))


def _probes(verdict: "Verdict", app: "RbeeApp") -> list[tuple[str, str]]:
    width = max((len(each.name) for each in verdict.probes), default=0)
    return [
        (
            f"    {app.glyphs.ok if each.ok else app.glyphs.wrong} {each.name.ljust(width)}  {each.text}",
            "" if each.ok else "wrong",
        )
        for each in verdict.probes
    ]


async def try_out(app: "RbeeApp", situation: Situation) -> None:
    """Talk with the running model, in turns."""
    model_id = running_model(situation) or ""
    conversation = Conversation()

    def ask(text: str, before: "Sequence[Turn]") -> "AsyncGenerator[Chunk]":
        return app.bridge.stream(
            lambda engine: engine.processes.prompt(model_id, text, _ANSWER_TOKENS, before)
        )

    await app.push_screen_wait(
        PromptScreen(
            model_id,
            lambda text: conversation.ask(ask, text),
            app.glyphs,
        )
    )


async def stop(app: "RbeeApp", situation: Situation) -> None:
    """Stop the worker of the model under the cursor."""
    model_id = running_model(situation) or ""
    lines = [
        (clean(model_id), "strong"),
        ("", ""),
        ("Requests that are under way end. The model stays on the disk.", ""),
    ]
    if not await app.question(Question("Stop the worker", lines, [Answer("x", "Enter", "Stop", "stop")])):
        return
    await end(app, situation)


async def end(app: "RbeeApp", situation: Situation) -> None:
    """Stop it, without a question; raises what the engine says."""
    model_id = running_model(situation) or ""
    app.narrate(f"stopping the worker of {clean(model_id)}", "busy")
    await app.bridge.call(lambda engine: engine.processes.stop(model_id))


async def logs(app: "RbeeApp", situation: Situation) -> None:
    """Read the log of a worker process, or of a worker's install."""
    line = situation.line
    if isinstance(line, WorkerLine) or (
        isinstance(line, ActivityLine) and line.activity.verb == "installing"
    ):
        worker_id = line.entry.id if isinstance(line, WorkerLine) else line.activity.id
        path = await app.bridge.ask(lambda engine: engine.installer.log_path(worker_id))
        title = f"Install of {clean(worker_id)}"
    else:
        await _show_log(app, running_model(situation) or _model_id(situation))
        return
    await app.push_screen_wait(LogScreen(title, path, app.glyphs))


async def _show_log(app: "RbeeApp", model_id: str) -> None:
    path = await app.bridge.ask(lambda engine: engine.processes.log_path(model_id))
    await app.push_screen_wait(LogScreen(f"Log of {clean(model_id)}", path, app.glyphs))


def _model_id(situation: Situation) -> str:
    line = situation.line
    if isinstance(line, JobLine):
        return line.job.model_id
    if isinstance(line, DeadLine):
        return line.death.model
    return line.entry.id if isinstance(line, ModelLine) else ""
