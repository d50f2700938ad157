"""Updating: which models have newer files at the Hub, a question with the figures, the downloads."""

from typing import TYPE_CHECKING

from rbee_tui.engine import updates
from rbee_tui.engine.text import clean, counted, size
from rbee_tui.ui.keys import Situation
from rbee_tui.ui.lines import ModelLine
from rbee_tui.ui.screens.question import Answer, Question

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.updates import Update
    from rbee_tui.ui.app import RbeeApp

_LISTED = 8


async def newer(app: "RbeeApp", situation: Situation) -> None:
    """Ask the Hub which models have newer files, mark them, and offer to bring them."""
    app.narrate("asking the Hub for newer files", "busy", passing=True)
    found = await app.bridge.ask(_look)
    app.house.newer = {each.id: each for each in found if each.state == "newer"}
    app.main.show({"activities"})
    for each in found:
        if each.was:
            app.narrate(f"{clean(each.id)}: {each.renamed}", "quiet")
    marked = {line.key for line in situation.marked}
    updates = [each for each in app.house.newer.values() if not marked or each.id in marked]
    if not updates:
        gone = sum(each.state == "gone" for each in found)
        said = _nothing_newer(len(found), gone)
        renamed = next((f"; {each.renamed}" for each in found if each.was), "")
        app.narrate(f"{said}{renamed}", "quiet" if gone else "ok")
        return
    line = situation.line
    alone = isinstance(line, ModelLine) and not marked
    here = app.house.newer.get(line.key) if line and alone else None
    answer = await app.question(_question(updates, here))
    for each in updates if answer == "all" else [here] if answer == "one" and here else []:
        job_id = await app.bridge.call(lambda engine, each=each: engine.provisioner.update(each))
        app.main.pane("models").unmark({each.id})
        app.show_line("downloads", job_id)


def _look(engine: "Engine") -> "list[Update]":
    """What the Hub has now; a repository that was renamed there is known by its new name from then on."""
    found = updates.look(engine.models.list(), engine.hub)
    updates.take_names(engine.models, found)
    return found


def _nothing_newer(count: int, gone: int) -> str:
    compared = counted(count, "model")
    if gone:
        return f"{gone} of {compared} {'is' if gone == 1 else 'are'} not at the Hub any more"
    return f"{compared} compared: {'it is' if count == 1 else 'all are'} the newest"


def _question(updates: "list[Update]", here: "Update | None") -> Question:
    count = len(updates)
    lines = [(f"{count} model{'s have' if count > 1 else ' has'} newer files at the Hub:", ""), ("", "")]
    lines += [
        (f"{size(each.size_bytes):>9}  {clean(each.id)}", "strong" if each is here else "")
        for each in updates[:_LISTED]
    ]
    lines += [(f"{'':>9}  {each.renamed}", "quiet") for each in updates[:_LISTED] if each.was]
    if count > _LISTED:
        lines.append((f"{'':>9}  and {count - _LISTED} more", "quiet"))
    lines += [("", ""), ("The old files stay, and in use, until all the new are verified.", "quiet")]
    every = sum(each.size_bytes for each in updates)
    one = [Answer("u", "Enter", f"Update {clean(here.id)}", "one")] if here else []
    shown = "a" if one else "Enter"
    all_of_them = f"Update all, {size(every)}" if count > 1 else f"Update {clean(updates[0].id)}"
    more = [Answer("a", shown, all_of_them, "all")] if count > 1 or not one else []
    return Question("Newer files", lines, [*one, *more])
