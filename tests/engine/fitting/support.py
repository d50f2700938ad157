"""Machines and choices as tests describe them."""

import msgspec

from rbee_tui.engine import hardware
from rbee_tui.engine.choices import Choice, RemoteFile
from rbee_tui.engine.hardware.reading import Gpu, Metal, Reading

GIB = 1 << 30


def reading(ram: float, *gpus: float, shared: bool = False) -> Reading:
    """A machine with so many GiB of RAM available, and so many GiB free on each GPU."""
    found = hardware.read()
    memory = msgspec.structs.replace(found.memory, total=int(ram * GIB), available=int(ram * GIB))
    cards = tuple(
        Gpu(
            index=index,
            name="test",
            memory_total=int(each * GIB),
            memory_free=int(each * GIB),
            shares_host_memory=shared,
        )
        for index, each in enumerate(gpus)
    )
    return msgspec.structs.replace(
        found, memory=memory, gpus=cards, metal=Metal(available=False, reason="none")
    )


def choice(quantization: str, gib: float, *, kind: str = "gguf") -> Choice:
    """A choice of one file of so many GiB."""
    file = f"m-{quantization}.{kind}"
    return msgspec.convert(
        {
            "name": f"m-{quantization}",
            "quantization": quantization,
            "files": [RemoteFile(path=file, size_bytes=int(gib * GIB))],
            "format": kind,
            "file": file,
        },
        Choice,
    )
