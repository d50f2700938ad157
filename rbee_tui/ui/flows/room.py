"""What takes room on the disk, and giving it back; and the word that it is about to be full."""

from typing import TYPE_CHECKING

from rbee_tui.engine.disk import Share, Usage, usage
from rbee_tui.engine.text import clean, size
from rbee_tui.ui.flows import keeping
from rbee_tui.ui.keys import Situation
from rbee_tui.ui.lines import Cell, Column, ModelLine, WorkerLine
from rbee_tui.ui.screens.pick import Choice, PickScreen, Pressed
from rbee_tui.ui.screens.question import Answer, Question

if TYPE_CHECKING:
    from rbee_tui.ui.app import RbeeApp

_COLUMNS = (
    Column("SIZE", 9, right=True),
    Column("FREED", 9, right=True),
    Column("KIND", 8),
    Column("NAME", 20, weight=1),
)
_ABOUT = {
    "model": "A model. Enter deletes it, after a question.",
    "worker": "An installed worker. Enter removes it, after a question.",
    "partial": "A file that has partly arrived. Enter throws it away, after a question.",
    "update": "Newer files of a model that are not all here yet: its download has them.",
    "logs": "Logs of workers and installs.",
}


async def disk(app: "RbeeApp", _: Situation | None = None) -> None:
    """Show what takes room, the most first, and give some of it back, until that is left."""
    while True:
        found = await app.bridge.ask(usage)
        picked = await app.push_screen_wait(
            PickScreen(
                _title(found),
                _COLUMNS,
                [_line(each) for each in found.shares if each.size_bytes or each.elsewhere_bytes],
                app.glyphs,
                empty=[[("Nothing takes room yet.", "")]],
                about=2,
                enter="Give back",
                also={"p": "Purge partials"} if found.purgeable_bytes else {},
            )
        )
        if picked is None:
            return
        if isinstance(picked, Pressed):
            await _purge(app, None, found.purgeable_bytes)
        else:
            await _give_back(app, picked)


def _title(found: "Usage") -> str:
    promised = f", {size(found.promised_bytes)} promised" if found.promised_bytes else ""
    said = f"{size(found.free_bytes)} of {size(found.total_bytes)} free{promised}"
    return f"Disk: {size(found.held_bytes)} here, {found.warning or said}"


def _line(share: "Share") -> Choice:
    about = _ABOUT[share.kind]
    if share.elsewhere_bytes:
        about = f"Its {size(share.elsewhere_bytes)} lie in place, another program's: they stay. {about}"
    elif share.shared_bytes:
        about = f"Other names hold {size(share.shared_bytes)} of it. {about}"
    if share.wanted_by:
        about = f"Job {share.wanted_by} goes on from it: Ctrl-D on that download cancels it."
    cells = (
        Cell(size(share.size_bytes or share.elsewhere_bytes)),
        Cell(size(share.freed_bytes), "" if share.freed_bytes else "quiet"),
        Cell(share.kind, "quiet"),
        Cell(clean(share.id)),
    )
    return Choice(f"{share.kind}:{share.id}", cells, share, about)


async def _give_back(app: "RbeeApp", share: "Share") -> None:
    if share.kind == "model" and (entry := app.house.model(share.id)):
        running = app.house.running_on(share.id)
        if running is not None:
            app.narrate(f"a worker runs on {clean(share.id)}: x stops it", "wrong")
        else:
            await keeping.delete_model(app, ModelLine(entry))
    elif share.kind == "worker":
        worker = next((each for each in app.house.workers if each.id == share.id), None)
        if worker is not None:
            await keeping.remove_worker(app, WorkerLine(worker))
    elif share.kind == "partial" and share.wanted_by is None:
        await _purge(app, [share.id], share.freed_bytes)


async def _purge(app: "RbeeApp", names: list[str] | None, freed: int) -> None:
    what = "this partial file" if names else "all partial files that no download wants"
    lines = [(f"Throw away {what}?", "strong"), ("", ""), (f"{size(freed)} become free", "")]
    lines.append(("A later download of the same file begins anew.", "quiet"))
    answer = await app.question(Question("Purge", lines, [Answer("d", "Enter", "Throw away", "purge")]))
    if answer is not None:
        purged = await app.bridge.ask(lambda engine: engine.provisioner.purge(names))
        app.narrate(f"{size(purged.freed_bytes)} of partial files are free again", "ok")
