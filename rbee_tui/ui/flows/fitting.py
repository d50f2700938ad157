"""What fits: the matrix of a model or a repository, and the column and the line that say it in short."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rbee_tui.engine.fitting.matrix import rounded
from rbee_tui.engine.text import clean, memory, size
from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.keys import Situation
from rbee_tui.ui.lines import Cell, ModelLine
from rbee_tui.ui.screens.text import TextScreen

if TYPE_CHECKING:
    from rbee_tui.engine.choices import Choice
    from rbee_tui.engine.fitting.choice import ChoiceFit
    from rbee_tui.engine.fitting.machine import Device
    from rbee_tui.engine.fitting.matrix import Matrix, Row
    from rbee_tui.engine.fitting.placing import Placing
    from rbee_tui.engine.gguf import Header
    from rbee_tui.engine.hub import Repository
    from rbee_tui.ui.app import RbeeApp

Lines = list[tuple[str, str]]
_GIB = 1 << 30
_FIXED = 36
"""Cells of a row that hold no context: mark, quantisation, size, the largest context, the frame."""
_CELL = 15
_SMALL = 0.095
"""GiB; less is shown with two digits."""
_MEANING = (
    "GiB needed, and +left or -missing; of a part the layers on the GPU, the rest are on the CPU. "
    "MOST: tokens of context that fit."
)


async def model_matrix(app: "RbeeApp", situation: Situation) -> None:
    """Show what of the model under the cursor fits where."""
    line = situation.line
    model_id = line.entry.id if isinstance(line, ModelLine) else ""
    await _show(app, await app.bridge.ask(lambda engine: engine.fitter.of_model(model_id)))


async def repository_matrix(
    app: "RbeeApp", repository: "Repository", choices: "list[Choice]"
) -> "Header | None":
    """Show what of a repository fits where, once a header of it was read; that header."""
    gguf = [choice for choice in choices if choice.format == "gguf"]
    app.narrate(f"reading a header of {clean(repository.id)}", "busy", passing=True)
    found, header = await app.bridge.ask(
        lambda engine: (engine.fitter.of_choices(repository, gguf), engine.fitter.known(repository))
    )
    await _show(app, found)
    return header


async def _show(app: "RbeeApp", found: "Matrix") -> None:
    lines = matrix_lines(found, app.glyphs, app.size.width)
    await app.push_screen_wait(TextScreen(f"Fit of {clean(found.subject)}", lines, app.glyphs))


def matrix_lines(found: "Matrix", glyphs: Glyphs, width: int) -> Lines:
    """The matrix as text for so many cells: what is recommended, then a table for each device."""
    shown = max(1, (width - _FIXED) // _CELL)
    contexts = found.contexts[-shown:]
    lines: Lines = [_recommended(found)]
    if found.caveat:
        lines.append((found.caveat, "busy"))
    if found.correction:
        lines.append((f"with {memory(found.correction)} that workers here took beyond their estimates", ""))
    for device in found.machine.devices:
        lines += [("", ""), (_room(device), "strong"), (_titles(contexts), "quiet")]
        lines += [_row(found, row, device, contexts, glyphs) for row in found.rows]
    return [*lines, ("", ""), (_MEANING, "quiet")]


def _recommended(found: "Matrix") -> tuple[str, str]:
    if found.recommended is None:
        return "none of them fits", "wrong"
    row = next(each for each in found.rows if each.name == found.recommended)
    what = clean(row.quantization or row.name)
    if len(found.rows) == 1 and found.reason.startswith("the largest"):
        return f"it fits{found.reason.removeprefix('the largest that fits')}", "ok"
    return f"recommended: {what}, {found.reason}", "ok"


def _room(device: "Device") -> str:
    kept = ", 1.0 GiB of each kept free" if device.kind != "cpu" else ""
    promised = f", {memory(device.promised)} promised to workers" if device.promised else ""
    return f"{device.name}: room for {memory(device.room)} of {memory(device.total)}{promised}{kept}"


def _titles(contexts: Sequence[int]) -> str:
    heads = "".join(f"{tokens(each):<{_CELL}}" for each in contexts)
    return f"  {'QUANT':<9}{'SIZE':>9}  {heads}{'MOST':>7}"


def _row(
    found: "Matrix", row: "Row", device: "Device", contexts: Sequence[int], glyphs: Glyphs
) -> tuple[str, str]:
    taken = row.name == found.recommended and len(found.rows) > 1
    wanted = [rounded(each, found.parallel) for each in contexts]
    cells = [cell for cell in row.cells if cell.device == device.name and cell.context in wanted]
    shown = "".join(f"{_cell(cell, glyphs):<{_CELL}}" for cell in cells)
    name = clean(row.quantization or row.name)[:8]
    style = "ok" if taken else "" if any(cell.word != "no" for cell in cells) else "quiet"
    most = tokens(row.largest[device.name])
    mark = ">" if taken else " "
    return f"{mark} {name:<9}{size(row.size_bytes):>9}  {shown}{most:>7}", style


def _cell(cell: "Placing", glyphs: Glyphs) -> str:
    about = "<" if cell.estimate else ""
    if cell.word == "part":
        return f"{glyphs.busy} part {cell.layers}/{cell.of_layers}"
    mark = glyphs.ok if cell.word == "fits" else glyphs.wrong
    needed = cell.needed / _GIB
    return f"{mark} {about}{needed:.{1 if needed >= _SMALL else 2}f} {cell.left / _GIB:+.1f}"


def tokens(count: int | None) -> str:
    """A context in short, as `32k`."""
    if count is None:
        return "-"
    return f"{count // 1024}k" if count % 1024 == 0 else str(count)


def column(fit: "ChoiceFit", glyphs: Glyphs, *, best: bool) -> Cell:
    """Where a choice fits, for a list: `✓ GPU0 best`."""
    star = " best" if best else ""
    if fit.word == "fits":
        return Cell(f"{glyphs.ok} {fit.device}{star}", "ok")
    if fit.word == "part":
        return Cell(f"{glyphs.busy} part{star}", "busy")
    return Cell(f"{glyphs.wrong} no", "wrong") if fit.word == "no" else Cell("")


def line(fit: "ChoiceFit") -> tuple[str, str]:
    """The line of a question before a download."""
    style = {"fits": "", "part": "busy", "no": "wrong"}.get(fit.word, "quiet")
    about = ", estimate" if fit.estimate and fit.word != "unknown" else ""
    at = f" at {fit.context:,} tokens" if fit.context else ""
    return f"fit     {fit.text}{at}{about}", style
