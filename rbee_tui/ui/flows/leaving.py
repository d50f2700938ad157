"""Leaving: workers keep running; what becomes of downloads is asked, unless it was settled."""

import os
import signal
from typing import TYPE_CHECKING

from rbee_tui.engine import settings
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.settings import OnQuit
from rbee_tui.engine.text import clean, counted, size
from rbee_tui.ui.house import House
from rbee_tui.ui.keys import Situation
from rbee_tui.ui.screens.question import Answer, Question, QuestionScreen

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.ui.app import RbeeApp


async def quit_screen(app: "RbeeApp", _: Situation | None = None, *, code: int = 0) -> None:
    """Ask what becomes of the downloads that this screen runs, unless that is settled, and leave."""
    mine = own_jobs(app.house)
    if not mine:
        await app.leave(hand_over=False, code=code)
        return
    settled = await app.bridge.ask(lambda engine: settings.read(engine.root).on_quit)
    answer = settled if settled != "ask" and not app.temporary else await _asked(app, mine)
    if answer is None:
        return
    if answer in ("always background", "always pause"):
        answer = answer.removeprefix("always ")
        await app.bridge.ask(lambda engine: settings.change(engine.root, on_quit=_chosen(answer)))
    mine = own_jobs(app.house)  # some may have ended while it was asked
    if mine and answer != "background":
        app.narrate("pausing the downloads" if answer == "pause" else "cancelling the downloads", "busy")
        ended = await app.bridge.call(lambda engine: _end_jobs(engine, mine, answer))
        app.house.jobs |= {job.id: job for job in ended}
    await app.leave(hand_over=answer == "background", code=code)


async def _asked(app: "RbeeApp", mine: list[JobProgress]) -> str | None:
    app.quit_question = QuestionScreen(_question(app, mine), app.glyphs)
    try:
        return await app.push_screen_wait(app.quit_question)
    finally:
        app.quit_question = None


def ask_again(app: "RbeeApp", asked: QuestionScreen) -> None:
    """Let the question of the downloads go with them, while it is on the screen."""
    asked.ask(_question(app, own_jobs(app.house)))


def _chosen(answer: str) -> OnQuit:
    return "background" if answer == "background" else "pause"


async def _end_jobs(engine: "Engine", jobs: list[JobProgress], answer: str) -> list[JobProgress]:
    end = engine.provisioner.pause if answer == "pause" else engine.provisioner.cancel
    return [await end(job.id) for job in jobs]


def own_jobs(house: House) -> list[JobProgress]:
    """The downloads that this process runs."""
    return [job for job in house.moving_jobs() if job.holder == os.getpid()]


def _question(app: "RbeeApp", jobs: list[JobProgress]) -> Question:
    count = len(jobs)
    if not count:
        lines = [("No download of this screen runs any more.", ""), *_workers(app)]
        return Question("Nothing comes any more", lines, [Answer("q", "Enter", "Leave", "background")])
    lines = [
        (f"{clean(job.model_id)}: {size(job.downloaded)} of {size(job.total)}", "strong") for job in jobs[:5]
    ] + ([(f"and {count - 5} more", "strong")] if count > 5 else [])  # noqa: PLR2004 - as many as one reads
    lines += [("", ""), *_workers(app)]
    keep = Answer("p", "p", "Pause: all that came is kept", "pause")
    drop = Answer("c", "c", "Cancel: all that came is thrown away", "cancel")
    if app.temporary:
        lines += [("This demo's files go away with it.", "quiet")]
        return Question("Leave while downloads run", lines, [Answer("c", "Enter", "Leave", "cancel")])
    return Question(
        f"Leave while {count} download{'s run' if count > 1 else ' runs'}",
        lines,
        [
            Answer("b", "Enter", "Go on in the background", "background"),
            keep,
            drop,
            Answer("B", "B", "Background, from now on without asking", "always background"),
            Answer("P", "P", "Pause, from now on without asking", "always pause"),
        ],
    )


def _workers(app: "RbeeApp") -> list[tuple[str, str]]:
    count = 0 if app.options.demo else len(app.house.running)
    return [(f"{counted(count, 'worker')} {'keeps' if count == 1 else 'keep'} running.", "")] if count else []


def farewell(app: "RbeeApp", *, handed_over: bool) -> list[str]:
    """What goes on after the screen is left, in a line each."""
    if app.temporary:
        return []
    house = app.house
    lines = [
        f"{clean(each.model)} keeps running on {each.url} (rbee stop {clean(each.model)} ends it)"
        for each in (() if app.options.demo else house.running)
    ]
    own = own_jobs(house)
    jobs = [job for job in house.moving_jobs() if job.holder and (handed_over or job not in own)]
    if jobs:
        names = ", ".join(clean(job.model_id) for job in jobs[:3]) + (" ..." if len(jobs) > 3 else "")  # noqa: PLR2004
        lines.append(f"downloads go on in the background: {names} (rbee jobs shows them)")
    paused = [job for job in house.jobs.values() if job.state == "paused"]
    if paused:
        lines.append(
            f"{len(paused)} download{'s are' if len(paused) > 1 else ' is'} paused (rbee resume goes on)"
        )
    return lines


async def suspend(app: "RbeeApp", _: Situation) -> None:
    """Hand downloads over, give the terminal back, stop; after `fg` go on with an engine of its own."""
    app.narrate("handing over before the shell takes the terminal", "busy")
    app.stopping = True
    mine = own_jobs(app.house)
    await app.bridge.leave(hand_over=not app.temporary)
    with app.suspend():
        # As the terminal itself does it: the whole job stops, and nothing where no shell could continue it.
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(0, signal.SIGTSTP)
        app.take_signals(signal.SIGTSTP)
    # After the signal to continue, which waits for its turn.
    app.call_later(setattr, app, "stopping", False)
    app.begin()
    app.draw_all()
    handed = mine and not app.temporary
    app.narrate("back: the background runner has the downloads" if handed else "back", "quiet")
