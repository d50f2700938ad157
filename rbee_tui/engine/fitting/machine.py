"""Where a model may be put: each GPU, all of them, the CPU, and the room that is left on each. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from rbee_tui.engine.fit import MARGIN_BYTES
from rbee_tui.engine.hardware.reading import Reading

_BYTES_A_PARAMETER = 0.61
"""Of Q4_K_M, its embeddings and output counted."""
_SHARE_OF_WEIGHTS = 0.8
Pool = Literal["gpu", "host"]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One place for a whole model; sizes in bytes."""

    name: str
    """`GPU0`, `all GPUs` or `CPU`."""
    kind: Literal["gpu", "gpus", "cpu"]
    total: int
    room: int
    """What a model may take: what is free, less the margin and what loading workers were promised."""
    rooms: tuple[int, ...] = ()
    """The room of each GPU, of a GPU or of all of them."""
    promised: int = 0
    """What was taken off for workers that were promised it."""
    shared: bool = False
    """Its memory is the host's."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The places of one machine: each GPU, the roomiest first, all of them, and the CPU as the last."""

    devices: tuple[Device, ...]
    imagined: bool = False
    """Whether it was described by its user, and is not this one."""

    @property
    def host(self) -> Device:
        """The CPU with main memory."""
        return self.devices[-1]


def machine_of(reading: Reading, promised: Mapping[Pool, int] | None = None) -> Machine:
    """The places of this machine; `promised` bytes of each pool belong to workers that are loading."""
    taken = promised or {}
    host = _host(reading, taken.get("host", 0))
    gpus = [
        _shared(gpu.label, host.total, host.room)
        if gpu.shares_host_memory
        else _gpu(gpu.label, gpu.memory_total, gpu.memory_free)
        for gpu in reading.usable_gpus
        if gpu.memory_total or gpu.shares_host_memory
    ]
    if not gpus and reading.metal.available:
        gpus = [_shared("Metal", host.total, host.room)]
    return Machine(devices=(*_with_all(gpus, taken.get("gpu", 0)), host))


def imagine(reading: Reading, gpus: Sequence[int], ram: int | None) -> Machine:
    """A machine with these GPUs (bytes each) and this RAM, all of it free; None: the RAM of this one."""
    host = _host(reading, 0)
    if ram is not None:
        host = msgspec.structs.replace(host, total=ram, room=ram)
    places = [_gpu(f"GPU{index}", size, size) for index, size in enumerate(gpus)]
    return Machine(devices=(*_with_all(places), host), imagined=True)


def _host(reading: Reading, promised: int) -> Device:
    room = max(0, reading.memory.available - promised)
    return Device(name="CPU", kind="cpu", total=reading.memory.total, room=room, promised=promised)


def _gpu(name: str, total: int, free: int) -> Device:
    room = max(0, free - MARGIN_BYTES)
    return Device(name=name, kind="gpu", total=total, room=room, rooms=(room,))


def _shared(name: str, total: int, free: int) -> Device:
    room = max(0, free - MARGIN_BYTES)
    return Device(name=name, kind="gpu", total=total, room=room, rooms=(room,), shared=True)


def _with_all(gpus: Sequence[Device], promised: int = 0) -> list[Device]:
    """The GPUs, the roomiest first, and after them all together where there are several.

    Nobody tells on which GPU a loading worker will be: each counts what is promised until it is taken.
    """
    rooms = tuple(gpu.room for gpu in gpus if not gpu.shared)
    shared = max((gpu.room for gpu in gpus if gpu.shared), default=0)
    together = Device(
        name="all GPUs",
        kind="gpus",
        total=sum(gpu.total for gpu in gpus),
        room=max(0, sum(rooms) + shared - promised),
        promised=promised,
        rooms=(*rooms, *((shared,) if shared else ())),
    )
    alone = [
        msgspec.structs.replace(gpu, room=left, rooms=(left,), promised=promised)
        for gpu in sorted(gpus, key=lambda gpu: -gpu.room)
        for left in [max(0, gpu.room - promised)]
    ]
    return alone if len(gpus) < 2 else [*alone, together]  # noqa: PLR2004 - one is all


def most_billions(machine: Machine) -> int:
    """Thousand millions of parameters of the largest model that fits, estimated at the usual quantisation.

    At least 1; the rest of the room is for the context.
    """
    room = max(device.room for device in machine.devices)
    return max(1, int(room * _SHARE_OF_WEIGHTS / _BYTES_A_PARAMETER / 1e9))
