"""What is settled for all of rbee on this root: looked at and changed."""

from typing import TYPE_CHECKING

from rbee_tui.engine import choosable, settings
from rbee_tui.engine.choosable import Choosable
from rbee_tui.ui.keys import Situation
from rbee_tui.ui.lines import Cell, Column
from rbee_tui.ui.screens.line import LineScreen
from rbee_tui.ui.screens.pick import Choice, PickScreen

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.settings import Settings
    from rbee_tui.ui.app import RbeeApp

_COLUMNS = (Column("SETTING", 20), Column("VALUE", 12, weight=1))


async def settle(app: "RbeeApp", _: Situation) -> None:
    """Show the settings, and change one after the other until that is left."""
    at: str | None = None
    while True:
        now = await app.bridge.ask(lambda engine: settings.read(engine.root))
        shown = [
            Choice(each.name, (Cell(each.name), Cell(each.shown(now), "accent")), each, each.about)
            for each in choosable.ALL
        ]
        picked = await app.push_screen_wait(
            PickScreen("Settings", _COLUMNS, shown, app.glyphs, about=3, enter="Change", at=at)
        )
        if picked is None:
            return
        at = picked.name
        await _change(app, picked, now)


async def _change(app: "RbeeApp", each: Choosable, now: "Settings") -> None:
    """Ask for another value, and settle it where there is an answer."""
    if each.words:
        others = [word for word in each.words if word != each.shown(now)]
        shown = [Choice(word, (Cell(word), Cell("")), word) for word in others]
        title = f"{each.name} (now {each.shown(now)})"
        text = await app.push_screen_wait(PickScreen(title, _COLUMNS, shown, app.glyphs, enter="Settle"))
    else:
        text = await app.push_screen_wait(
            LineScreen(
                f"{each.name} (now {each.shown(now)})", f"as {each.example}", "Settle", check=each.read
            )
        )
    if text is not None:
        await app.bridge.ask(lambda engine: _settle(engine, each, text))


def _settle(engine: "Engine", each: Choosable, text: str) -> None:
    changed = settings.change(engine.root, **each.read(text))
    engine.facts.tell("setting.changed", each.name, f"{each.name} is {each.shown(changed)} now")
