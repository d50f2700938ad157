"""What results of a search have to be: task, licence, author, and whether they fit this machine."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from rbee_tui.engine.fitting.machine import most_billions
from rbee_tui.engine.repository import Filters
from rbee_tui.engine.text import clean
from rbee_tui.ui.lines import Cell, Column
from rbee_tui.ui.screens.line import LineScreen
from rbee_tui.ui.screens.pick import Choice, PickScreen

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.ui.app import RbeeApp

_COLUMNS = (Column("FILTER", 20), Column("VALUE", 12, weight=1))
_ONE = (Column("VALUE", 20, weight=1),)
_ANY = "any"
_TYPED = "another one"
_TASKS = (
    "text-generation",
    "image-text-to-text",
    "feature-extraction",
    "text-ranking",
    "automatic-speech-recognition",
    "text-to-speech",
    "any-to-any",
)
_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "llama3.1", "llama3.2", "gemma", "openrail")


async def choose(app: "RbeeApp", filters: Filters) -> Filters:
    """Show the filters, and change one after the other until that is left."""
    at: str | None = None
    while True:
        fits = f"at most {filters.billions} billion parameters" if filters.billions else _ANY
        rows = (
            ("task", filters.task or _ANY, "What the model is for, as the Hub calls it."),
            ("license", filters.license or _ANY, "As the Hub calls it."),
            ("author", filters.author or _ANY, "A user or an organisation of the Hub."),
            ("billions", fits, "What fits this machine at four bits, estimated from the parameters."),
        )
        names = {"license": "licence", "billions": "fits this machine"}
        shown = [
            Choice(name, (Cell(names.get(name, name)), Cell(clean(value), "accent")), name, about)
            for name, value, about in rows
        ]
        picked = await app.push_screen_wait(
            PickScreen("Filters of the search", _COLUMNS, shown, app.glyphs, about=2, enter="Change", at=at)
        )
        if picked is None:
            return filters
        at = picked
        filters = replace(filters, **{picked: await _value(app, picked, filters)})


async def _value(app: "RbeeApp", name: str, filters: Filters) -> str | int | None:
    """Another value of a filter; None lets everything through."""
    if name == "billions":
        return None if filters.billions else await app.bridge.ask(_most)
    if name == "author":
        return await app.push_screen_wait(LineScreen("Author", "as Qwen; empty lets all through", "Take it"))
    known = _TASKS if name == "task" else _LICENCES
    shown = [Choice(each, (Cell(each),), each) for each in (_ANY, *known, _TYPED)]
    picked = await app.push_screen_wait(
        PickScreen(f"Filter: {name}", _ONE, shown, app.glyphs, search="words of one", enter="Take it")
    )
    if picked == _TYPED:
        return await app.push_screen_wait(LineScreen(f"Filter: {name}", "as the Hub calls it", "Take it"))
    before: str | None = getattr(filters, name)
    return before if picked is None else None if picked == _ANY else picked


def _most(engine: "Engine") -> int:
    return most_billions(engine.fitter.machine())
