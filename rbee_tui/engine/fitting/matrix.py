"""The matrix of a model's choices and contexts on each place of a machine, with the recommended one. Pure."""

from collections.abc import Sequence

import msgspec

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.fit import estimate
from rbee_tui.engine.fitting.machine import Device, Machine
from rbee_tui.engine.fitting.placing import Placing, place
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.text import clean

CONTEXTS = (4096, 8192, 32768, 131072)
DEFAULT_CONTEXT = 8192
_STEP = 256


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a fit."""

    contexts: tuple[int, ...] = ()
    """Tokens; empty: the usual ones up to what the model was trained for."""
    kv_type: str = "f16"
    parallel: int = 1
    gpus: tuple[int, ...] = ()
    """Bytes of each GPU of an imagined machine."""
    ram: int | None = None
    """Bytes of RAM of an imagined machine."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One choice: a cell for each device and context, devices in the machine's order."""

    name: str
    file: str | None
    quantization: str | None
    size_bytes: int
    cells: tuple[Placing, ...]
    largest: dict[str, int | None]
    """The largest context that fits on each device, up to what the model was trained for."""


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """What fits where."""

    subject: str
    architecture: str | None
    covered: bool
    """Whether figures are to be relied on; else they are the upper ends of intervals."""
    projector: bool = False
    """Whether a projector is loaded with it, and counted."""
    trained: int | None
    """Tokens that the model was trained for."""
    kv_type: str
    parallel: int
    machine: Machine
    contexts: tuple[int, ...]
    rows: tuple[Row, ...]
    recommended: str | None = None
    """The name of the row to take."""
    reason: str = ""
    correction: int = 0
    """Bytes that measured workers of this architecture took beyond their estimates; part of `compute`."""

    @property
    def caveat(self) -> str:
        """Why its figures are upper bounds, in a sentence; empty where they are to be relied on."""
        if self.covered:
            return ""
        if self.projector:
            return "estimate: a projector takes more for each picture, so figures are upper bounds"
        kind = clean(self.architecture or "this architecture")
        return f"estimate: {kind} is not covered, so figures are upper bounds"

    def best(self, row: Row) -> Placing | None:
        """A row's cell at the context that a start takes, on the best device that holds it."""
        wanted = rounded(_default(self.contexts, self.trained), self.parallel)
        cells = [cell for cell in row.cells if cell.context == wanted]
        for word in ("fits", "part"):
            found = next((cell for cell in cells if cell.word == word), None)
            if found is not None:
                return found
        return None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A choice with the header that tells its needs; `header.tensor_bytes` are its own."""

    name: str
    file: str | None
    quantization: str | None
    size_bytes: int
    header: Header


def matrix(
    subject: str, candidates: Sequence[Candidate], machine: Machine, question: Question, correction: int = 0
) -> Matrix:
    """The matrix for these choices, the smallest first; raises UsageError for numbers that make no sense."""
    if not candidates:
        raise UsageError(f"{clean(subject)} has no GGUF file", hint="the workers here serve GGUF models only")
    header = candidates[0].header
    contexts = question.contexts or usual(header.context_length)
    ordered = sorted(candidates, key=lambda each: each.size_bytes)
    found = Matrix(
        subject=subject,
        architecture=header.architecture,
        covered=all(
            estimate(each.header, contexts[0], parallel=question.parallel, kv_type=question.kv_type).covered
            for each in ordered
        ),
        projector=any(each.header.projector_bytes for each in ordered),
        trained=header.context_length,
        kv_type=question.kv_type,
        parallel=question.parallel,
        machine=machine,
        contexts=contexts,
        rows=tuple(_row(each, contexts, machine, question, correction) for each in ordered),
        correction=correction,
    )
    taken = _recommended(found)
    return msgspec.structs.replace(found, recommended=taken[0], reason=taken[1]) if taken else found


def usual(trained: int | None) -> tuple[int, ...]:
    """The usual contexts, up to what the model was trained for."""
    most = trained or DEFAULT_CONTEXT
    return tuple(each for each in CONTEXTS if each <= most) or (most,)


def rounded(context: int, parallel: int = 1) -> int:
    """A context as the runtime rounds it for so many requests at once."""
    whole = -(-context // _STEP) * _STEP
    return -(-(whole // parallel) // _STEP) * _STEP * parallel


def _default(contexts: Sequence[int], trained: int | None) -> int:
    """The asked context that is nearest to what a start takes."""
    wanted = min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    return min(contexts, key=lambda each: abs(each - wanted))


def _row(
    each: Candidate, contexts: Sequence[int], machine: Machine, question: Question, correction: int
) -> Row:
    cells = [
        _cell(each, context, device, machine, question, correction)
        for device in machine.devices
        for context in contexts
    ]
    return Row(
        name=each.name,
        file=each.file,
        quantization=each.quantization,
        size_bytes=each.size_bytes,
        cells=tuple(cells),
        largest={
            device.name: _largest(each, device, machine, question, correction) for device in machine.devices
        },
    )


def _cell(
    each: Candidate, context: int, device: Device, machine: Machine, question: Question, correction: int
) -> Placing:
    need = estimate(each.header, context, parallel=question.parallel, kv_type=question.kv_type)
    if correction:
        need = need.plus(correction)
    return place(need, each.header.n_layers, device, machine)


def _largest(
    each: Candidate, device: Device, machine: Machine, question: Question, correction: int
) -> int | None:
    """By halving, in the steps in which the runtime rounds."""

    def fits(steps: int) -> bool:
        found = _cell(each, steps * _STEP, device, machine, question, correction)
        return found.word == "fits"

    low, high = (
        question.parallel,
        max(question.parallel, (each.header.context_length or DEFAULT_CONTEXT) // _STEP),
    )
    if not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low * _STEP


def _recommended(found: Matrix) -> tuple[str, str] | None:
    """The largest choice up to 8 bits on the best device; where none fits, the smallest that fits in part."""
    places = [device.name for device in found.machine.devices]
    best = [(row, cell) for row in found.rows for cell in [found.best(row)] if cell]
    whole = [(row, cell) for row, cell in best if cell.word == "fits"]
    modest = [each for each in whole if each[0].quantization not in ("F32", "F16", "BF16")] or whole
    if modest:
        row, cell = min(modest, key=lambda each: (places.index(each[1].device), -each[0].size_bytes))
        return row.name, f"the largest that fits on {cell.device} at {cell.context:,} tokens"
    if best:
        row, cell = best[0]
        return (
            row.name,
            f"none fits whole; of this one {cell.layers} of {cell.of_layers} layers go on {cell.device}",
        )
    return None
