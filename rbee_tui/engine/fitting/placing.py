"""One model at one context on one device: whole, in part with the rest on the CPU, or not. Pure."""

from typing import Literal

import msgspec

from rbee_tui.engine.fit import Estimate
from rbee_tui.engine.fitting.machine import Device, Machine

Word = Literal["fits", "part", "no"]
_UNREAD_LAYERS = 32
"""What stands for the layers of a model whose header was not read."""
_LEAST_PART = 0.1
"""With a smaller share of its layers on the GPU a model is no faster for it."""


class Placing(msgspec.Struct, frozen=True, kw_only=True):
    """How a model lies on a device; sizes in bytes."""

    device: str
    context: int
    word: Word
    layers: int
    """Layers on the device; all of them where it fits."""
    of_layers: int
    weights: int
    kv: int
    compute: int
    output: int
    projector: int = 0
    low: int
    """The least that it can take; `needed` where the figure is one to rely on."""
    needed: int
    room: int
    left: int
    """What is left of the device's room; below 0 what is missing."""
    estimate: bool
    """Whether `needed` is the upper end of an interval."""


def place(need: Estimate, layers: int, device: Device, machine: Machine) -> Placing:
    """How a model of `layers` layers that needs `need` lies on `device` of `machine`."""
    of_layers = layers or _UNREAD_LAYERS
    on_device = _layers_on(need, of_layers, device)
    word: Word = "fits" if on_device >= of_layers else "no"
    if word == "no" and device.kind != "cpu" and not device.shared and on_device >= _LEAST_PART * of_layers:
        rest = beside(need, of_layers, on_device)
        fixed = need.total - need.weights - need.kv
        word = "part" if rest + fixed <= machine.host.room else "no"
    return Placing(
        device=device.name,
        context=need.context,
        word=word,
        layers=on_device if word != "no" else 0,
        of_layers=of_layers,
        weights=need.weights,
        kv=need.kv,
        compute=need.compute,
        output=need.output,
        projector=need.projector,
        low=need.low,
        needed=need.total,
        room=device.room,
        left=device.room - need.total,
        estimate=not need.covered,
    )


def beside(need: Estimate, of_layers: int, on_device: int) -> int:
    """Bytes of main memory for the layers that are not among the `on_device` on a GPU."""
    return (need.weights + need.kv) * (of_layers - on_device) // of_layers


def _layers_on(need: Estimate, layers: int, device: Device) -> int:
    """Layers that the device holds: each of several GPUs takes whole ones, and computes for itself."""
    if len(device.rooms) <= 1:
        if need.total <= device.room:
            return layers
        rooms = (device.room,)
    else:
        rooms = device.rooms
    # A copy of the input embedding is the output layer of many models: it is spread over all layers here.
    layer = max(1, (need.weights + need.kv) // layers)
    fixed = need.total - need.weights - need.kv
    found = sum(max(0, room - fixed) // layer for room in rooms)
    if len(device.rooms) > 1:
        return min(layers, found)
    return min(layers - 1, found)
