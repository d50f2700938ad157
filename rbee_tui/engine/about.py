"""What is known of a model beyond its entry: its header, what fits, whose its bytes are, who serves it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from rbee_tui.engine import gguf
from rbee_tui.engine.describe import held
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.text import clean, memory

if TYPE_CHECKING:
    from rbee_tui.engine.artifacts import Entry, Model
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.gguf import Header


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Facts in words, each with its name."""

    header: dict[str, str] = {}
    """What its GGUF header says of its shape; empty where it has none that can be read."""
    fit: dict[str, str] = {}
    """For each device whether it fits, with the largest context."""
    held: str = ""
    """`its own`, `linked` (another name holds the bytes, too) or `in place`."""
    projector: str = ""
    """The file that lets it see or hear."""
    workers: list[str] = []
    """The workers that run on it now, each with its state and port."""


def about(engine: "Engine", entry: "Entry[Model]") -> About:
    """Read what there is to know; blocking. What cannot be read is left out."""
    if entry.artifact is None:
        return About()
    running = [each for each in engine.processes.list() if each.model == entry.id]
    workers = [
        f"{clean(each.worker)} is {each.state}"
        + (f" on port {each.port}" if each.port else "")
        + (f", with projector {clean(each.projector)}" if each.projector else "")
        for each in running
    ]
    try:
        header = gguf.read_whole(engine.models.weights(entry))
        projector = engine.models.projector(entry)
        return About(
            header=dict(facts(header)),
            fit=dict(_fit(engine, entry.id)),
            held=held(entry),
            projector=projector.name if projector else "",
            workers=workers,
        )
    except (RbeeError, OSError):
        return About(workers=workers)


def facts(header: "Header") -> Iterator[tuple[str, str]]:
    """A header's facts in words, as far as it tells them. Pure."""
    if header.n_layers:
        yield "layers", f"{header.n_layers}, {header.n_embd:,} wide"
    if header.n_head:
        shared = f", {header.n_head_kv} for keys and values" if header.n_head_kv != header.n_head else ""
        yield "heads", f"{header.n_head}{shared}"
    if header.n_expert:
        yield "experts", f"{header.n_expert}, {header.n_expert_used} at work"
    if header.sliding_window:
        yield "window", f"{header.sliding_window:,} tokens in some layers"
    if header.n_vocab:
        yield "vocabulary", f"{header.n_vocab:,} tokens"
    if header.tensors:
        yield "tensors", f"{header.tensors:,}, {memory(header.tensor_bytes)}"
    yield "chat", "has a template" if header.chat_template else "has no template"


def _fit(engine: "Engine", model_id: str) -> Iterator[tuple[str, str]]:
    found = engine.fitter.of_model(model_id)
    for device in found.machine.devices:
        most = found.rows[0].largest[device.name]
        about = "" if found.covered else " (estimate)"
        yield device.name, f"fits up to {most:,} tokens{about}" if most else f"does not fit whole{about}"
