"""Does this choice of a repository fit this machine, and which of several is recommended. Pure.

One header serves a whole repository: its quantisations differ in their weights alone, and a file's size tells
those. Without any header the size alone gives an interval.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from rbee_tui.engine.choices import Choice
from rbee_tui.engine.fit import Estimate, estimate
from rbee_tui.engine.fitting.machine import Machine
from rbee_tui.engine.fitting.placing import Placing, place
from rbee_tui.engine.fitting.weighing import alike
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.text import memory

CONTEXT = 8192
"""Tokens that a model is judged by, or fewer where it was trained for fewer; as a start takes it."""
_UNREAD_SHARE = 0.2
_UNREAD_LEAST = 1 << 30
"""What a model is thought to take on top whose header was not read: so much, and that share of weights."""

Word = Literal["fits", "part", "no", "unknown"]


class ChoiceFit(msgspec.Struct, frozen=True, kw_only=True):
    """How one choice fits one machine, on the best place for it; sizes in bytes."""

    word: Word
    """`fits` on one place, `part` of it on the GPUs and the rest on the CPU, `no`, or `unknown`."""
    device: str
    """Where: `GPU0`, `all GPUs`, `CPU`; empty for `no` and `unknown`."""
    context: int
    needed: int
    """What it takes there; of an interval the most."""
    room: int
    """What it may take there."""
    estimate: bool
    """Whether `needed` is an upper bound, and no figure to rely on."""
    read: bool = False
    """Whether a header was read; else its size alone tells."""
    text: str
    """For a person, in one line: `fits GPU0: 5.6 GiB of 22.9 GiB`."""

    @property
    def left(self) -> int:
        """What is left there then; below 0 what is missing."""
        return self.room - self.needed


class Recommended(msgspec.Struct, frozen=True):
    """The choice to take, and why."""

    choice: Choice
    fit: ChoiceFit
    reason: str


def fit_of_choice(choice: Choice, machine: Machine, header: Header | None = None) -> ChoiceFit:
    """How `choice` fits; `header` is of any choice of the same repository, None where none was read yet."""
    if choice.format != "gguf" or any(file.size_bytes is None for file in choice.files):
        why = "no worker here serves it" if choice.format != "gguf" else "its size is not told"
        return ChoiceFit(word="unknown", device="", context=0, needed=0, room=0, estimate=True, text=why)
    need = _needed(choice, header)
    layers = header.n_layers if header else 0
    placings = [place(need, layers, device, machine) for device in machine.devices]
    for word in ("fits", "part"):
        for found in placings:
            if found.word == word:
                return _told(found, read=header is not None)
    return msgspec.structs.replace(_refused(need, machine), read=header is not None)


def recommend(
    choices: Sequence[Choice], machine: Machine, header: Header | None = None
) -> Recommended | None:
    """The largest choice up to 8 bits that fits on the best place; None where none fits.

    Larger ones follow the original more closely; above 8 bits nobody tells the difference.
    """
    places = [device.name for device in machine.devices]
    found = [(choice, fit_of_choice(choice, machine, header)) for choice in choices]
    fitting = [(choice, fit) for choice, fit in found if fit.word == "fits"]
    if fitting:
        modest = [each for each in fitting if not _wide(each[0])] or fitting
        choice, fit = min(modest, key=lambda each: (places.index(each[1].device), -each[0].size_bytes))
        return Recommended(choice, fit, f"the largest that fits on {fit.device} at {fit.context:,} tokens")
    parts = [(choice, fit) for choice, fit in found if fit.word == "part"]
    if not parts:
        return None
    choice, fit = min(parts, key=lambda each: each[0].size_bytes)
    return Recommended(choice, fit, "the smallest, of which the most is on the GPU")


def _wide(choice: Choice) -> bool:
    return choice.quantization in ("F32", "F16", "BF16")


def _needed(choice: Choice, header: Header | None) -> Estimate:
    """The estimate for it at the context that a start would take."""
    if header is not None:
        context = min(header.context_length or CONTEXT, CONTEXT)
        return estimate(alike(header, choice), context)
    weights = choice.size_bytes
    on_top = _UNREAD_LEAST + int(weights * _UNREAD_SHARE)
    return Estimate(
        context=CONTEXT,
        weights=weights,
        kv=0,
        compute=on_top,
        output=0,
        low=weights,
        high=weights + on_top,
        total=weights + on_top,
        covered=False,
    )


def _told(found: Placing, *, read: bool) -> ChoiceFit:
    about = "" if not found.estimate else "up to " if read else "about "
    whole = f"fits {found.device}: {about}{memory(found.needed)} of {memory(found.room)}"
    part = f"{found.layers} of {found.of_layers} layers on {found.device}, the rest on the CPU"
    return ChoiceFit(
        word=found.word,
        device=found.device,
        context=found.context,
        needed=found.needed,
        room=found.room,
        estimate=found.estimate,
        read=read,
        text=whole if found.word == "fits" else part,
    )


def _refused(need: Estimate, machine: Machine) -> ChoiceFit:
    most = max(machine.devices, key=lambda device: device.room)
    return ChoiceFit(
        word="no",
        device="",
        context=need.context,
        needed=need.total,
        room=most.room,
        estimate=not need.covered,
        text=f"does not fit: {memory(need.low)} needed, {most.name} has room for {memory(most.room)}",
    )
