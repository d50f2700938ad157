"""Taking up what lies on this disk: a loose file, or a model of another program's, as it lies there."""

from pathlib import Path
from typing import TYPE_CHECKING

from rbee_tui.engine import elsewhere
from rbee_tui.engine.artifacts import Health
from rbee_tui.engine.text import clean, counted, size
from rbee_tui.ui.house import Activity
from rbee_tui.ui.keys import Situation
from rbee_tui.ui.lines import Cell, Column, ModelLine
from rbee_tui.ui.screens.pick import Choice, PickScreen
from rbee_tui.ui.screens.question import Answer, Question
from rbee_tui.ui.widgets.drawn import Drawn

if TYPE_CHECKING:
    from rbee_tui.engine.elsewhere import Found
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.imports import How
    from rbee_tui.ui.app import RbeeApp

_COLUMNS = (
    Column("SIZE", 9, right=True),
    Column("QUANT", 8),
    Column("PROGRAM", 12),
    Column("HERE", 4),
    Column("NAME", 20, weight=1),
)
_NOTHING: list[Drawn] = [
    [("No other program has models on this disk. These were looked for:", "")],
    [("Hugging Face, Ollama, LM Studio, llama.cpp, GPT4All, Jan.", "")],
    [("rbee models import FILE takes up a file from anywhere.", "quiet")],
]
_HOW: "dict[str, How]" = {"link": "link", "place": "in place", "copy": "copy"}


async def take_up(app: "RbeeApp", situation: Situation) -> None:
    """Take up the loose file under the cursor, else what is picked of what other programs have."""
    line = situation.line
    if isinstance(line, ModelLine) and line.entry.health is Health.IMPORTABLE:
        path = Path(line.entry.directory)
        entry = await app.bridge.ask(lambda engine: engine.models.import_gguf(path, how="link"))
        await app.bridge.call(_look_again)
        app.narrate(f"{clean(entry.id)} is a model now", "ok")
    else:
        await _from_elsewhere(app)


async def _look_again(engine: "Engine") -> None:
    """The fact of an import names the model, not the file that it was."""
    engine.watching.look_again()


async def _from_elsewhere(app: "RbeeApp") -> None:
    app.narrate("looking for what other programs have", "busy", passing=True)
    found = await app.bridge.ask(_look)
    picked = await app.push_screen_wait(
        PickScreen(
            "What other programs have on this disk",
            _COLUMNS,
            [_line(each, app.glyphs.ok) for each in found],
            app.glyphs,
            search="words of a name or a program",
            empty=_NOTHING,
            about=2,
            enter="Take up",
        )
    )
    if picked is None:
        return
    if picked.here:
        app.narrate(f"{clean(picked.id)} is here already, as {clean(picked.here)}", "ok")
        app.show_line("models", picked.here)
        return
    answer = await app.question(_question(picked))
    if answer is None:
        return
    async with app.doing(Activity("hashing", picked.id)):
        entry = await app.bridge.ask(lambda engine: engine.models.adopt(picked, how=_HOW[answer]))
    app.narrate(f"{clean(entry.id)} is a model now; {picked.program} keeps its own", "ok")
    app.show_line("models", entry.id)


def _look(engine: "Engine") -> "list[Found]":
    return elsewhere.mark_here(elsewhere.look(but=engine.root.path), engine.models.list())


def _line(found: "Found", ok: str) -> Choice:
    here = f"It is here already, as {clean(found.here)}." if found.here else f"It lies at {clean(found.path)}"
    cells = (
        Cell(size(found.size_bytes)),
        Cell(found.quantization or "", "accent"),
        Cell(found.program, "quiet"),
        Cell(ok if found.here else "", "ok"),
        Cell(clean(found.id)),
    )
    return Choice(found.id, cells, found, here)


def _question(found: "Found") -> Question:
    count = len(found.files)
    lines = [
        (clean(found.id), "strong"),
        ("", ""),
        (f"of      {found.program}", ""),
        (f"size    {size(found.size_bytes)} in {counted(count, 'file')}", ""),
        (f"at      {clean(found.path)}", ""),
    ]
    if found.commit:
        lines.append((f"commit  {found.commit[:12]} of {clean(found.repo or '')}", ""))
    lines += [("", ""), ("It is hashed first. Its program keeps it, whatever becomes of it here.", "quiet")]
    answers = [
        Answer("l", "Enter", "Without a copy", "link"),
        Answer("i", "i", "In place, not even a link", "place"),
        Answer("c", "c", "Copy it", "copy"),
    ]
    return Question("Take up", lines, answers)
