"""The probe: one frozen Reading per poll from everything that can be asked."""

import platform
import time
from pathlib import Path
from typing import Self

import msgspec

from rbee_tui.engine.artifacts import this_platform
from rbee_tui.engine.hardware import cgroup, host, nvml
from rbee_tui.engine.hardware.reading import Gpu, Memory, Reading
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import now


class Probe:
    """Asks the hardware and keeps what does not change; blocking, 1-10 ms and 50 ms the first time.

    `directory` is where free disk space is looked at (default: the cache root); `system` is the root of the
    file system whose /proc and /sys are read.
    """

    def __init__(self, directory: Path | None = None, *, system: Path = Path("/")) -> None:
        self._directory = directory or Root.find().path
        self._system = system
        self._library = nvml.Library()
        self._identity: tuple[str, tuple[str, ...]] | None = None
        self._ticks: host.Ticks | None = None

    def __enter__(self) -> Self:
        self._ticks = host.ticks()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of NVML."""
        self._library.close()

    def read(self) -> Reading:
        """The hardware now."""
        if self._identity is None:
            self._identity = host.cpu_identity(self._system)
        limits = cgroup.limits(self._system)
        memory = host.memory(*host.host_memory(), limits)
        answer = self._library.ask()
        ticks = host.ticks()
        busy = host.percent(self._ticks, ticks)
        self._ticks = ticks
        return Reading(
            at=now(),
            platform=this_platform(),
            cpu=host.cpu(self._identity, limits, busy, host.cores(), host.affinity()),
            memory=memory,
            disk=host.disk(self._directory),
            nvml=answer.nvml,
            metal=host.metal(platform.system(), platform.machine()),
            gpus=tuple(with_host_memory(gpu, memory) for gpu in answer.gpus),
            other_gpus=host.other_gpus(self._system),
        )


def with_host_memory(gpu: Gpu, memory: Memory) -> Gpu:
    """A GPU of which NVML counts no memory shares the host's (GB10): its figures are those."""
    if gpu.error or gpu.memory_total:
        return gpu
    return msgspec.structs.replace(
        gpu,
        memory_total=memory.total,
        memory_used=memory.total - memory.available,
        memory_free=memory.available,
        shares_host_memory=True,
    )


def read(directory: Path | None = None, *, settle: float = 0.0) -> Reading:
    """One reading; with `settle` seconds of waiting it also knows how busy the processor is."""
    with Probe(directory) as probe:
        if settle > 0:
            time.sleep(settle)
        return probe.read()
