"""The machine's devices under the names that the HTTP interface gives them. Pure."""

import msgspec

from rbee_tui.engine.errors import NotFoundError, RefusedError
from rbee_tui.engine.hardware.reading import Gpu, Reading
from rbee_tui.engine.text import clean
from rbee_tui.engine.variants import Verdict

_GIB = 1 << 30


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device that a model can be put on."""

    id: str
    """`GPU-n`, `GPU-n:m` for a MIG instance, or `CPU-0`."""
    name: str
    device_type: str
    """`gpu` or `cpu`."""
    vram_gb: float
    """GiB of its memory; of the CPU, what this process may use of the machine's."""
    compute_capability: str | None = None
    """As `8.9`; of NVIDIA GPUs alone."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has."""

    devices: list[Device]


def capabilities(reading: Reading) -> Capabilities:
    """The devices of a reading: each GPU that can be used, then the CPU."""
    gpus = [_gpu(gpu) for gpu in reading.usable_gpus]
    if reading.metal.available:
        gpus.append(Device(id="GPU-0", name="Metal", device_type="gpu", vram_gb=_gib(reading.memory.total)))
    cpu = Device(id="CPU-0", name=reading.cpu.name, device_type="cpu", vram_gb=_gib(reading.memory.total))
    return Capabilities(devices=[*gpus, cpu])


def _gpu(gpu: Gpu) -> Device:
    capability = gpu.compute_capability
    return Device(
        id=gpu.label.replace("GPU", "GPU-"),
        name=gpu.name,
        device_type="gpu",
        vram_gb=_gib(gpu.memory_total),
        compute_capability=f"{capability[0]}.{capability[1]}" if capability else None,
    )


def _gib(count: int) -> float:
    return round(count / _GIB, 1)


def worker_for(
    device_id: str, worker_id: str | None, found: Capabilities, verdicts: tuple[Verdict, ...]
) -> str:
    """The installed worker that puts a model on a device, the best first; `worker_id` has to be one of them.

    Raises NotFoundError for a device that is not there, RefusedError where no worker does it.
    """
    device = next((each for each in found.devices if each.id == device_id), None)
    if device is None:
        there = ", ".join(each.id for each in found.devices)
        raise NotFoundError(f"there is no device {clean(device_id)!r}", hint=f"there are {there}")
    if device.device_type == "gpu" and sum(each.device_type == "gpu" for each in found.devices) > 1:
        raise RefusedError(
            f"a worker takes all GPUs of this machine: none can be put on {device.id} alone",
            hint="leave the device out",
        )
    kinds = ("cpu",) if device.device_type == "cpu" else ("cuda", "metal")
    fitting = [each for each in verdicts if each.installed and each.variant in kinds]
    usable = [each.worker_id for each in fitting if each.usable and worker_id in (None, each.worker_id)]
    if usable:
        return usable[0]
    reasons = "; ".join(f"{clean(each.worker_id)}: {each.reason}" for each in fitting)
    which = f"{clean(worker_id)} does not run" if worker_id else "no installed worker runs"
    raise RefusedError(f"{which} on {device.id}" + (f" ({reasons})" if reasons else ""))
