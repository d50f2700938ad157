"""Finding one's way: help, the palette, what happened."""

from typing import TYPE_CHECKING

from rbee_tui.engine.text import clean
from rbee_tui.ui.keys import ACTIONS, GROUPS, MOVING, Action, Situation
from rbee_tui.ui.lines import Cell, Column
from rbee_tui.ui.screens.pick import Choice, PickScreen
from rbee_tui.ui.screens.text import TextScreen

if TYPE_CHECKING:
    from rbee_tui.ui.app import RbeeApp

_COLUMNS = (Column("KEY", 8), Column("COMMAND", 12), Column("WHAT IT DOES", 20, weight=1))
_KEY_WIDTH = 16


async def help_screen(app: "RbeeApp", _: Situation) -> None:
    """Show every key."""
    await app.push_screen_wait(TextScreen("Keys", help_lines(), app.glyphs))


def help_lines() -> list[tuple[str, str]]:
    """Every key with its sentence, by group."""
    lines = [("Moving", "strong"), *((f"  {keys:{_KEY_WIDTH}}{text}", "") for keys, text in MOVING), ("", "")]
    for group in GROUPS:
        lines.append((group, "strong"))
        lines += [
            (f"  {action.shown:{_KEY_WIDTH}}{action.help}", "") for action in ACTIONS if action.group == group
        ]
        lines.append(("", ""))
    return lines[:-1]


async def palette(app: "RbeeApp", situation: Situation) -> None:
    """Find a command by its words; those that do something here come first."""
    here = [action for action in ACTIONS if action.works(situation) and action.name != "palette"]
    picked = await app.push_screen_wait(
        PickScreen(
            "Commands",
            _COLUMNS,
            [_line(action, situation) for action in here],
            app.glyphs,
            search="words of a command",
            empty=[[("No command has these words.", "")]],
            enter="Do it",
        )
    )
    if picked is not None:
        app.do(picked, situation)


def _line(action: Action, situation: Situation) -> Choice:
    cells = (Cell(action.shown, "key"), Cell(action.word(situation)), Cell(action.help, "quiet"))
    return Choice(action.name, cells, action.name)


async def events(app: "RbeeApp", _: Situation) -> None:
    """Show what happened, the latest first, and with each error what to do about it."""
    lines: list[tuple[str, str]] = []
    for event in reversed(app.telling.events):
        lines.append((f"{event.clock}  {event.text}", event.style))
        if event.hint:
            lines.append((f"       {event.hint}", ""))
        lines += [(f"       | {clean(line)}", "quiet") for line in event.log.splitlines()]
    lines = lines or [("Nothing has happened yet.", "quiet")]
    await app.push_screen_wait(TextScreen("Events", lines, app.glyphs))
