"""`rbee fit`: what of a repository, a model or a file fits where, before it is downloaded or started."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import engine, json_option
from rbee_tui.engine.errors import NotFoundError, UsageError
from rbee_tui.engine.text import clean, memory, size

if TYPE_CHECKING:
    from rbee_tui.engine.fitting.fitter import Fitter
    from rbee_tui.engine.fitting.machine import Device
    from rbee_tui.engine.fitting.matrix import Matrix, Question, Row
    from rbee_tui.engine.fitting.placing import Placing

_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_GIB = 1 << 30
_KV_TYPES = ("f16", "q8_0", "q5_0", "q4_0")


class Bytes(click.ParamType[int]):
    """An amount of memory: 24GiB, 24G (both binary, as GPUs are sold) or 24GB."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        if found is None or not float(found[1]):
            self.fail(f"{clean(str(value))!r} is not an amount of memory: it looks like 24GiB", param, ctx)
        decimal = str(value).strip().lower().endswith("b") and not found[3] and bool(found[2])
        return int(float(found[1]) * (1000 if decimal else 1024) ** _POWERS[found[2].lower()])


@click.command()
@click.argument("what", metavar="REPO[:FILE] | MODEL | FILE.gguf")
@click.option("--context", "contexts", type=click.IntRange(1), multiple=True, help="Tokens; may be repeated.")
@click.option(
    "--kv-type", type=click.Choice(_KV_TYPES), default="f16", show_default=True, help="Of the cache."
)
@click.option(
    "--parallel", type=click.IntRange(1, 256), default=1, show_default=True, help="Requests at once."
)
@click.option(
    "--gpu", "gpus", type=Bytes(), multiple=True, help="What if there were this GPU; may be repeated."
)
@click.option("--ram", type=Bytes(), help="What if there were so much RAM.")
@json_option
def fit(
    *,
    what: str,
    contexts: tuple[int, ...],
    kv_type: str,
    parallel: int,
    gpus: tuple[int, ...],
    ram: int | None,
    as_json: bool,
) -> None:
    """Tell what fits this machine: quantisation by context, on each GPU, on all of them and on the CPU.

    Of a repository only a header is read, 12 MB at most.
    """
    from rbee_tui.engine.fitting.matrix import Question  # noqa: PLC0415 - the help does not pay for it

    question = Question(
        contexts=tuple(dict.fromkeys(contexts)), kv_type=kv_type, parallel=parallel, gpus=gpus, ram=ram
    )
    found = _ask(engine("fit").fitter, what, question)
    if as_json:
        output.print_json(found)
    else:
        _show(found)


def _ask(fitter: "Fitter", what: str, question: "Question") -> "Matrix":
    """A file that is there, a repository, or a model's id."""
    path = Path(what)
    if what.lower().endswith(".gguf") and ":" not in what and (path.is_absolute() or path.is_file()):
        return fitter.of_file(path, question)
    repo, colon, file = what.partition(":")
    if "/" in repo:
        if colon and not file:
            raise UsageError(f"{clean(what)!r} names no file", hint="leave the colon out to see all of them")
        return fitter.of_repository(repo, file or None, question)
    try:
        return fitter.of_model(what, question)
    except NotFoundError as error:
        hint = "a repository is owner/name; rbee models list shows what is here"
        raise NotFoundError(str(error), hint=error.hint or hint) from None


def _show(found: "Matrix") -> None:
    """A table for each device, and what is recommended."""
    trained = f", trained for {found.trained:,} tokens" if found.trained else ""
    output.result(f"{clean(found.subject)}: {clean(found.architecture or 'unknown architecture')}{trained}")
    if found.caveat:
        output.result(found.caveat)
    if found.correction:
        output.result(f"with {memory(found.correction)} that workers here took beyond their estimates")
    for device in found.machine.devices:
        output.result("")
        output.result(f"{device.name}: {_room(device)}")
        _table(found, device)
    output.result("")
    output.result("GiB needed and left, by tokens of context; of a part the layers on the GPU")
    output.result(_recommended(found))


def _room(device: "Device") -> str:
    kept = ", 1.0 GiB is kept free on each" if device.kind != "cpu" else ""
    promised = f", {memory(device.promised)} promised to workers" if device.promised else ""
    return f"room for {memory(device.room)} of {memory(device.total)}{promised}{kept}"


def _table(found: "Matrix", device: "Device") -> None:
    mark = output.glyph("\u2192", ">")
    columns = [
        output.Column(""),
        output.Column("QUANT"),
        output.Column("SIZE", right=True),
        *(output.Column(_tokens(each), right=True) for each in found.contexts),
        output.Column("LARGEST", right=True),
    ]
    rows = [
        (
            mark if row.name == found.recommended else "",
            row.quantization or row.name[:12],
            size(row.size_bytes),
            *(_cell(cell) for cell in _cells(row, device)),
            _tokens(row.largest[device.name]),
        )
        for row in found.rows
    ]
    output.print_table(columns, rows)


def _cells(row: "Row", device: "Device") -> "list[Placing]":
    return [cell for cell in row.cells if cell.device == device.name]


def _tokens(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count // 1024}k" if count % 1024 == 0 else str(count)


def _cell(cell: "Placing") -> str:
    """GiB and what is left: `5.6, 17.3 left`, `20/32 layers`, `no, 3.1 short`."""
    about = "<" if cell.estimate else ""
    if cell.word == "fits":
        return f"{about}{cell.needed / _GIB:.1f}, {cell.left / _GIB:.1f} left"
    if cell.word == "part":
        return f"part: {cell.layers}/{cell.of_layers}"
    return f"no, {-cell.left / _GIB:.1f} short"


def _recommended(found: "Matrix") -> str:
    if found.recommended is None:
        return "none of them fits"
    row = next(each for each in found.rows if each.name == found.recommended)
    return f"recommended: {clean(row.quantization or row.name)}, {found.reason}"
