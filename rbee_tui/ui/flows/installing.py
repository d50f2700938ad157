"""Installing workers: from what is offered, with updates, the way back, and giving up."""

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from rbee_tui.engine import hardware
from rbee_tui.engine.errors import RbeeError, RefusedError
from rbee_tui.engine.text import clean
from rbee_tui.engine.variants import choose
from rbee_tui.engine.workers import offers, versions
from rbee_tui.ui.house import Activity
from rbee_tui.ui.keys import Situation
from rbee_tui.ui.lines import ActivityLine, Cell, Column
from rbee_tui.ui.screens.pick import Choice, PickScreen
from rbee_tui.ui.screens.question import Answer, Question

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.variants import Verdict
    from rbee_tui.ui.app import RbeeApp

_ASK_SECONDS = 3.0
_COLUMNS = (
    Column("FITS", 6),
    Column("HERE", 10),
    Column("TYPE", 6),
    Column("WORKER", 20, weight=1),
)


class Offered(NamedTuple):
    """A line of the list: a verdict, and what is known of its versions."""

    verdict: "Verdict"
    version: str
    """The one in use; of an offer the one that is offered."""
    newer: str
    """Another version that is offered; empty for none."""
    before: str
    """The version that was in use before; empty for none."""
    catalog: str
    """Where an offer comes from; empty for the bundled listing."""


async def install(app: "RbeeApp", _: Situation) -> None:
    """Choose among the workers that may be installed, and install one, or another version of one."""
    app.narrate("looking at what fits this machine", "busy", passing=True)
    offered, told = await app.bridge.call(_look)
    for text in told:
        app.narrate(text, "wrong")
    picked = await _picked(app, offered)
    if picked is None:
        return
    worker_id = picked.verdict.worker_id
    answer = await app.question(_again(picked)) if picked.verdict.installed else "install"
    if answer == "back":
        await _go_back(app, worker_id)
    elif answer is not None:
        await install_worker(app, worker_id)


async def _picked(app: "RbeeApp", offered: list[Offered]) -> Offered | None:
    """The one that is picked; of one that does not run here it is said why, and the list comes again."""
    at: str | None = None
    while True:
        picked: Offered | None = await app.push_screen_wait(
            PickScreen(
                "Install a worker",
                _COLUMNS,
                [_choice(each, app) for each in offered],
                app.glyphs,
                about=3,
                enter="Install",
                at=at,
            )
        )
        # One that is here and does not run may be whole again once it is installed again.
        if picked is None or picked.verdict.usable or picked.verdict.installed:
            return picked
        at = picked.verdict.worker_id
        await app.explain(RefusedError(f"{clean(at)} does not run here: {picked.verdict.reason}"))


async def _look(engine: "Engine") -> tuple[list[Offered], list[str]]:
    """What may be installed, and what there is to say about the catalogs, which are asked for a moment."""
    told: list[str] = []
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            await engine.installer.catalogs.refresh_all(told.append)
    except TimeoutError:
        told.append("a worker catalog does not answer: what it said last is shown")
    except RbeeError as error:
        told.append(str(error))
    return await asyncio.to_thread(_offered, engine), told


def _offered(engine: "Engine") -> list[Offered]:
    installed = engine.workers.list()
    offered = {offer.id: offer for offer in engine.installer.offered()}
    here = {entry.id: entry for entry in installed}
    still = offers.still_open(installed, list(offered.values()))
    found: list[Offered] = []
    for verdict in choose(hardware.read(engine.root.path), [*installed, *still]).verdicts:
        offer, entry = offered.get(verdict.worker_id), here.get(verdict.worker_id)
        artifact = entry.artifact if entry and verdict.installed else None
        if not artifact or not entry:
            found.append(
                Offered(verdict, offer.version if offer else "", "", "", offer.catalog if offer else "")
            )
            continue
        listed = bool(offer and versions.directory_in_use(artifact))
        newer = offer.version if offer and listed and offer.version != artifact.version else ""
        found.append(
            Offered(verdict, artifact.version, newer, versions.name_before(entry), artifact.catalog or "")
        )
    # The cursor begins on the one that Enter should take.
    return sorted(found, key=lambda each: (not each.verdict.taken, not each.verdict.usable))


def _choice(offered: Offered, app: "RbeeApp") -> Choice:
    verdict = offered.verdict
    fits = "best" if verdict.taken else "yes" if verdict.usable else "no"
    mark = f"{app.glyphs.ok} {fits}" if verdict.usable else f"{app.glyphs.wrong} {fits}"
    here = ("newer" if offered.newer else "installed") if verdict.installed else "offered"
    cells = (
        Cell(mark, "ok" if verdict.usable else "wrong"),
        Cell(here, "accent" if offered.newer else "quiet"),
        Cell(clean(verdict.variant)),
        Cell(clean(verdict.worker_id)),
    )
    about = [verdict.reason]
    if offered.newer:
        about.insert(0, f"{clean(offered.newer)} is offered, {clean(offered.version)} is here")
    elif not verdict.installed and offered.catalog:
        about.append(f"{clean(offered.version)}, from {clean(offered.catalog)}")
    return Choice(verdict.worker_id, cells, offered, "; ".join(about))


def _again(offered: Offered) -> Question:
    name = clean(offered.verdict.worker_id)
    lines = [(f"{name} {clean(offered.version)} is installed.", "")]
    word = "Install again"
    if offered.newer:
        word = f"Update to {clean(offered.newer)}"
        lines.append((f"{clean(offered.version)} stays beside it, and can be taken back.", "quiet"))
    else:
        lines.append(("Again replaces it once the new one is whole.", ""))
    answers = [Answer("i", "Enter", word, "install")]
    if offered.before:
        answers.append(Answer("b", "b", f"Back to {clean(offered.before)}", "back"))
    return Question(word if offered.newer else "Install again", lines, answers)


async def _go_back(app: "RbeeApp", worker_id: str) -> None:
    try:
        entry = await app.bridge.ask(lambda engine: versions.use(engine.workers, worker_id))
    except RbeeError as error:
        app.fail(error)
        return
    app.narrate(f"{clean(worker_id)} is at {clean(entry.artifact.version if entry.artifact else '')}", "ok")


async def install_worker(app: "RbeeApp", worker_id: str) -> bool:
    """Install a worker while its log can be read and it can be given up; whether it is there now."""
    app.narrate(f"installing {clean(worker_id)}: l in the workers pane shows its log", "busy")
    app.show_line("workers", f"activity:installing:{worker_id}")
    installing = asyncio.ensure_future(app.bridge.call(lambda engine: engine.installer.install(worker_id)))
    async with app.doing(Activity("installing", worker_id, give_up=installing.cancel)):
        app.show_line("workers", f"activity:installing:{worker_id}")
        try:
            await asyncio.wait([installing])
        finally:
            installing.cancel()  # the screen goes: nothing is left to wait for it
        if installing.cancelled():
            app.narrate(f"the install of {clean(worker_id)} was given up: nothing was changed", "quiet")
            return False
        error = installing.exception()
        if isinstance(error, RbeeError):
            app.fail(error)
            return False
        installing.result()
    app.show_line("workers", f"worker:{worker_id}")
    return True


async def give_up(app: "RbeeApp", line: ActivityLine) -> None:
    """Give up an install, after a question."""
    lines = [(clean(line.activity.id), "strong"), ("", ""), ("What was there before stays as it is.", "")]
    asked = Question("Cancel the install", lines, [Answer("d", "Enter", "Cancel it", "cancel")])
    if await app.question(asked) and line.activity.give_up is not None:
        line.activity.give_up()
