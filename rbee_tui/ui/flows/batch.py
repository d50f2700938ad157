"""One verb on all marked lines: one question with their number and size, then one line after the other."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rbee_tui.engine import describe, removal
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.text import clean, counted, memory, size
from rbee_tui.ui.flows import keeping, updating, working
from rbee_tui.ui.keys import BY_NAME, Situation
from rbee_tui.ui.lines import (
    ActivityLine,
    DeadLine,
    FileLine,
    JobLine,
    Line,
    ModelLine,
    ProcessLine,
    WorkerLine,
)
from rbee_tui.ui.screens.question import Answer, Question

if TYPE_CHECKING:
    from rbee_tui.ui.app import RbeeApp

_LISTED = 8
_NOUNS: dict[type, str] = {
    ModelLine: "model",
    ProcessLine: "worker",
    WorkerLine: "worker",
    DeadLine: "ended worker",
    ActivityLine: "install",
    FileLine: "file",
    JobLine: "download",
}
Do = Callable[["RbeeApp", Line, str], Awaitable[object]]


def bytes_of(line: Line) -> int:
    """What a line's thing has on the disk, or will have; 0 where nothing tells."""
    if isinstance(line, ModelLine):
        return line.entry.artifact.size_bytes if line.entry.artifact else 0
    if isinstance(line, FileLine):
        return line.file.total
    return line.job.total if isinstance(line, JobLine) else 0


def memory_of(line: Line) -> int:
    """The memory of the worker that runs, or as much as was foreseen for it."""
    running = line.running if isinstance(line, ModelLine | ProcessLine) else None
    return (running.measured_bytes or running.estimate_bytes) if running else 0


@dataclass(frozen=True)
class Verb:
    """What a key does to many lines; `{size}` is what they have together, `{freed}` what becomes free."""

    about: str
    """What it means for all of them, a sentence."""
    done: str
    """As `3 models are ...` goes on."""
    do: Do
    more: tuple[Answer, ...] = ()
    """Other answers than to do it."""
    size_of: Callable[[Line], int] = bytes_of
    """What of a line is counted, in bytes."""
    said: Callable[[int], str] = size
    """Bytes in words."""


def _delete(app: "RbeeApp", line: Line, answer: str) -> Awaitable[object]:
    del answer
    artifact_id = line.entry.id if isinstance(line, ModelLine | WorkerLine) else ""
    if isinstance(line, ModelLine):
        return app.bridge.ask(lambda engine: engine.remove_model(artifact_id))
    return app.bridge.ask(lambda engine: engine.remove_worker(artifact_id))


async def _cancel(app: "RbeeApp", line: Line, answer: str) -> None:
    if isinstance(line, ActivityLine) and line.activity.give_up is not None:
        line.activity.give_up()
    elif isinstance(line, JobLine | FileLine):
        path = line.file.path if isinstance(line, FileLine) and line.steered_alone else None
        job_id, keep = line.job.id, answer == "keep" or line.job.repairs
        await app.bridge.call(lambda engine: engine.provisioner.cancel(job_id, path, keep=keep))


def _forget(app: "RbeeApp", line: Line, answer: str) -> Awaitable[object]:
    del answer
    model_id = line.death.model if isinstance(line, DeadLine) else ""
    return app.bridge.ask(lambda engine: engine.processes.forget(model_id))


def _alone(flow: Callable[["RbeeApp", Situation], Awaitable[None]], pane: str) -> Do:
    """A flow that asks nothing, on one of the lines."""
    return lambda app, line, _: flow(app, Situation(pane, line))


_KEEP = Answer("k", "k", "Keep what came for later", "keep")
_VERBS = {
    "Delete": Verb("{freed} become free.", "deleted", _delete),
    "Remove": Verb("{freed} become free.", "removed", _delete),
    "Forget": Verb("How they ended is forgotten.", "forgotten", _forget),
    "Cancel": Verb("What came of them is thrown away.", "cancelled", _cancel, (_KEEP,)),
    "Pause": Verb("What came of {size} stays.", "paused", _alone(keeping.pause, "downloads")),
    "Resume": Verb("They have {size}, with what came.", "resumed", _alone(keeping.pause, "downloads")),
    "Retry": Verb("They have {size}, with what came.", "tried again", _alone(keeping.pause, "downloads")),
    "Take over": Verb(
        "They have {size}; who runs them is ended.", "taken over", _alone(keeping.pause, "downloads")
    ),
    "Verify": Verb("{size} are read, one after the other.", "compared", _alone(keeping.verify, "models")),
    "Repair": Verb(
        "The bad blocks of {size} are fetched again.", "being repaired", _alone(keeping.repair, "models")
    ),
    "Fetch again": Verb(
        "What is missing of {size} is fetched.", "being fetched", _alone(keeping.fetch_missing, "models")
    ),
    "Stop": Verb(
        "They take {size}. Requests that are under way end.",
        "stopped",
        _alone(working.end, "workers"),
        size_of=memory_of,
        said=memory,
    ),
}


async def act(app: "RbeeApp", situation: Situation, name: str) -> None:
    """Do what a key stands for to all marked lines to which it applies, after one question."""
    if name == "newer":
        await updating.newer(app, situation)
        return
    action = BY_NAME[name]
    lines = action.affected(situation)
    word = action.word(situation.at(lines[0]))
    verb = _VERBS[word]
    freed = await _freed(app, lines) if "{freed}" in verb.about else 0
    notes = _notes(verb, lines, len(situation.marked) - len(lines))
    answer = await app.question(_question(word, verb, lines, freed, notes))
    if answer is None:
        return
    what, done = _counted(lines), 0
    for at, line in enumerate(lines, 1):
        app.narrate(f"{word.lower()}: {at} of {what}", "busy")
        try:
            await verb.do(app, line, answer)
        except RbeeError as error:
            app.fail(error)
            continue
        done += 1
        app.main.pane(situation.pane).unmark({line.key})
    said = what if done == len(lines) else f"{done} of {what}"
    more = f": {size(freed)} are free again" if freed and done == len(lines) else ""
    app.narrate(f"{said} {'is' if done == 1 else 'are'} {verb.done}{more}", "ok" if done else "wrong")


async def _freed(app: "RbeeApp", lines: Sequence[Line]) -> int:
    """What removing all of them gives back, hard links among them counted."""
    places = [Path(line.entry.directory) for line in lines if isinstance(line, ModelLine | WorkerLine)]
    return (await app.bridge.ask(lambda _: removal.weigh(*places))).freed


def _notes(verb: Verb, lines: Sequence[Line], left_out: int) -> list[str]:
    """What is not done: to files of other programs, and to lines on which the key does nothing."""
    notes: list[str] = []
    if "{freed}" in verb.about:
        away = [
            path for line in lines if isinstance(line, ModelLine) for path in describe.outside(line.entry)
        ]
        lie = "lies in place elsewhere, and stays" if len(away) == 1 else "lie in place elsewhere, and stay"
        notes += [f"{len(away):,} of their files {lie}."] if away else []
    if left_out:
        them = (
            "is left out: this does nothing on it"
            if left_out == 1
            else "are left out: this does nothing on them"
        )
        notes.append(f"{left_out:,} of the marked {them}.")
    return notes


def _question(
    word: str, verb: Verb, lines: Sequence[Line], freed: int, notes: Sequence[str] = ()
) -> Question:
    sizes = [verb.size_of(line) for line in lines]
    said = [
        (f"{verb.said(each) if each else '':>9}  {name_of(line)}", "")
        for line, each in zip(lines[:_LISTED], sizes, strict=False)
    ]
    if len(lines) > _LISTED:
        said.append((f"{'':>9}  and {len(lines) - _LISTED:,} more", "quiet"))
    total = verb.said(sum(sizes))
    about = verb.about.format(size=total, freed=size(freed))
    said += [(f"{total:>9}  together", "strong")] if any(sizes) and len(lines) > 1 else []
    said += [("", ""), (about, "")]
    said += [(note, "quiet") for note in notes]
    title = f"{word} {_counted(lines)}"
    return Question(title, said, [Answer("d", "Enter", word, "do"), *verb.more])


def _counted(lines: Sequence[Line]) -> str:
    """As `3 models`; of several kinds `3 lines`."""
    nouns = {_NOUNS[type(line)] for line in lines}
    noun = nouns.pop() if len(nouns) == 1 else "line"
    return counted(len(lines), noun)


def name_of(line: Line) -> str:
    """What a person calls it."""
    if isinstance(line, ModelLine | WorkerLine):
        return clean(line.entry.id)
    if isinstance(line, FileLine):
        return clean(line.file.path)
    if isinstance(line, JobLine):
        return clean(line.job.model_id)
    if isinstance(line, ProcessLine):
        return clean(line.running.model)
    return clean(line.death.model if isinstance(line, DeadLine) else line.activity.id)
