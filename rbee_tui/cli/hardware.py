"""`rbee hardware`: what this machine has, and what this process may use of it."""

from collections.abc import Iterator

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import json_option
from rbee_tui.engine.hardware import Gpu, Reading, read
from rbee_tui.engine.text import clean, memory, size

_SETTLE_SECONDS = 0.2


@click.command()
@json_option
def hardware(*, as_json: bool) -> None:
    """Show the processor, memory, disk and GPUs as a worker may use them."""
    reading = read(settle=_SETTLE_SECONDS)
    if as_json:
        output.print_json(reading)
    else:
        output.print_fields(dict(fields(reading)))


def fields(reading: Reading) -> Iterator[tuple[str, str]]:
    """A reading as names and sentences."""
    cpu, ram, disk = reading.cpu, reading.memory, reading.disk
    yield "platform", reading.platform
    cores = f"{cpu.cores_available:g} of {cpu.cores_logical} cores" + _because(cpu.limited_by)
    busy = f", {cpu.percent:.0f} % busy" if cpu.percent is not None else ""
    yield "CPU", f"{cores}{busy}, {cpu.name}"
    yield "memory", f"{memory(ram.available)} of {memory(ram.total)} available" + _because(ram.limited_by)
    yield "disk", f"{size(disk.free)} of {size(disk.total)} free, {disk.path}"
    for gpu in reading.gpus:
        yield gpu.label, _gpu(gpu)
    if not reading.nvml.available:
        yield "NVIDIA", reading.nvml.reason
    elif reading.nvml.driver:
        runs = f", CUDA up to {'.'.join(map(str, reading.nvml.cuda))}" if reading.nvml.cuda else ""
        yield "NVIDIA", f"driver {reading.nvml.driver}{runs}"
    yield "Metal", "available" if reading.metal.available else reading.metal.reason
    for other in reading.other_gpus:
        held = f", {memory(other.memory_total)}" if other.memory_total else ""
        yield other.card, f"{other.vendor}{held}: none of the bundled workers uses it"


def _because(limit: str) -> str:
    return f" (limited by {clean(limit)})" if limit else ""


def _gpu(gpu: Gpu) -> str:
    if gpu.error:
        return f"{gpu.error}, {gpu.name}"
    parts = [f"{memory(gpu.memory_free)} of {memory(gpu.memory_total)} free"]
    parts += [f"{gpu.utilization} % busy"] if gpu.utilization is not None else []
    parts += [f"{gpu.temperature} °C"] if gpu.temperature is not None else []
    parts += [f"{gpu.power:.0f} W"] if gpu.power is not None else []
    parts += ["shares the host's memory"] if gpu.shares_host_memory else []
    return ", ".join([*parts, gpu.name])
