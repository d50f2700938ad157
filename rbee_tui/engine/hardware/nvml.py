"""NVIDIA's management library, asked in one place; that it is absent, or answers nothing, is a value.

Each field may be NotSupported on some GPU (GB10 has no memory of its own, a MIG instance no utilisation),
a GPU may fall off the bus between two readings, and the driver may be replaced under a running program.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

import msgspec

from rbee_tui.engine.hardware.reading import Gpu, Nvml
from rbee_tui.engine.text import clean

T = TypeVar("T")

# A failed init costs 50 ms (the loader looks everywhere): a poll does not repeat it each time.
RETRY_S = 30.0

_WORDS = {
    "NVMLError_LibraryNotFound": "no NVIDIA driver is installed (libnvidia-ml.so.1 was not found)",
    "NVMLError_DriverNotLoaded": "the NVIDIA driver is installed, but its kernel module is not loaded",
    "NVMLError_LibRmVersionMismatch": "the NVIDIA driver was updated and its kernel module was not: reboot",
    "NVMLError_NoPermission": "this user may not talk to the NVIDIA driver",
    "NVMLError_GpuIsLost": "the GPU is lost: it fell off the bus, and needs a reset or a reboot",
    "NVMLError_ResetRequired": "the GPU needs a reset",
    "NVMLError_FunctionNotFound": "this NVIDIA driver is too old to be asked",
}
# After these the library has to be initialised again.
_STALE = {"NVMLError_Uninitialized", "NVMLError_LibRmVersionMismatch"}


class Answer(msgspec.Struct, frozen=True):
    """What NVML says: the library, and its GPUs; a GPU of which it counts no memory has 0 in all three."""

    nvml: Nvml
    gpus: tuple[Gpu, ...] = ()


class Library:
    """NVML, initialised once at the first question, shut down by `close()`; many threads may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pynvml: Any = None
        self._failed: Answer | None = None
        self._failed_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Shut NVML down; the next question initialises it again."""
        with self._lock:
            self._stop()

    def ask(self) -> Answer:
        """Everything that NVML tells now; never raises."""
        with self._lock:
            if self._pynvml is None:
                return self._start()
            return self._guarded()

    def processes(self) -> dict[int, int]:
        """Bytes that each process has on the GPUs together, by pid; none where NVML does not tell.

        The pids are those of the driver's own namespace: in a container they may be others.
        """
        if not self.ask().nvml.available:
            return {}
        with self._lock:
            if self._pynvml is None:
                return {}
            try:
                return _held(self._pynvml)
            except self._pynvml.NVMLError:
                return {}

    def _start(self) -> Answer:
        if self._failed is not None and time.monotonic() - self._failed_at < RETRY_S:
            return self._failed
        # It brings no types, and 25 ms of import that only a reading pays.
        import pynvml  # noqa: PLC0415, TID251 - as above  # pyright: ignore[reportMissingTypeStubs] - as above

        try:
            pynvml.nvmlInit()
        except (pynvml.NVMLError, OSError) as error:
            self._failed, self._failed_at = _absent(error), time.monotonic()
            return self._failed
        self._pynvml, self._failed = pynvml, None
        return self._guarded()

    def _guarded(self) -> Answer:
        try:
            return _answer(self._pynvml)
        except self._pynvml.NVMLError as error:
            if type(error).__name__ in _STALE:
                self._stop()
            return _absent(error)

    def _stop(self) -> None:
        if self._pynvml is not None:
            with contextlib.suppress(self._pynvml.NVMLError):
                self._pynvml.nvmlShutdown()
        self._pynvml = self._failed = None


def _words(error: Exception) -> str:
    known = _WORDS.get(type(error).__name__)
    return known or f"NVML answers: {clean(str(error)).rstrip('.')}"


def _absent(error: Exception) -> Answer:
    return Answer(Nvml(available=False, reason=_words(error)))


def _optional(pynvml: Any, ask: Callable[[], T]) -> T | None:
    """One field; None when the GPU or the driver has no such thing. A lost GPU still raises."""
    try:
        return ask()
    except pynvml.NVMLError as error:
        if error.value in {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}:
            raise
        if type(error).__name__ in _STALE:
            raise
        return None


def _answer(pynvml: Any) -> Answer:
    driver = clean(_optional(pynvml, pynvml.nvmlSystemGetDriverVersion) or "")
    number = _optional(pynvml, pynvml.nvmlSystemGetCudaDriverVersion_v2)
    # 12040 is CUDA 12.4.
    cuda = (number // 1000, number % 1000 // 10) if number else None
    count = pynvml.nvmlDeviceGetCount()
    gpus = [gpu for index in range(count) for gpu in _gpu(pynvml, index, driver)]
    return Answer(Nvml(available=True, driver=driver or None, cuda=cuda), tuple(gpus))


def _held(pynvml: Any) -> dict[int, int]:
    """What each process holds, over all GPUs and instances; a lost GPU holds nothing."""
    held: dict[int, int] = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        with contextlib.suppress(pynvml.NVMLError):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                held[each.pid] = held.get(each.pid, 0) + (each.usedGpuMemory or 0)
    return {pid: size for pid, size in held.items() if size}


def _gpu(pynvml: Any, index: int, driver: str) -> Iterator[Gpu]:
    """A GPU; where MIG is on, its instances instead, since nothing runs beside them."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        mode = _optional(pynvml, lambda: pynvml.nvmlDeviceGetMigMode(handle))
        if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            yield _described(pynvml, handle, Gpu(index=index, driver=driver))
            return
        found = list(_instances(pynvml, handle, Gpu(index=index, driver=driver)))
    except pynvml.NVMLError as error:
        if type(error).__name__ in _STALE:
            raise
        yield Gpu(index=index, driver=driver, error=_words(error))
        return
    if not found:
        name = clean(_optional(pynvml, lambda: pynvml.nvmlDeviceGetName(handle)) or "")
        yield Gpu(index=index, name=name, driver=driver, error="MIG is on, and no instance has been made")
    yield from found


def _instances(pynvml: Any, parent: Any, blank: Gpu) -> Iterator[Gpu]:
    for number in range(_optional(pynvml, lambda: pynvml.nvmlDeviceGetMaxMigDeviceCount(parent)) or 0):
        try:
            handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, number)
        except (pynvml.NVMLError_NotFound, pynvml.NVMLError_InvalidArgument):
            continue  # instances may lie with gaps between them
        found = _described(pynvml, handle, msgspec.structs.replace(blank, instance=number))
        if found.compute_capability is None:
            of_parent = _optional(pynvml, lambda: pynvml.nvmlDeviceGetCudaComputeCapability(parent))
            found = msgspec.structs.replace(found, compute_capability=of_parent)
        yield found


def _described(pynvml: Any, handle: Any, blank: Gpu) -> Gpu:
    """`blank` with everything that NVML tells of one device."""

    def ask(name: str, *arguments: object) -> Any:
        return _optional(pynvml, lambda: getattr(pynvml, name)(handle, *arguments))

    memory = ask("nvmlDeviceGetMemoryInfo")
    rates = ask("nvmlDeviceGetUtilizationRates")
    milliwatts = ask("nvmlDeviceGetPowerUsage")
    return msgspec.structs.replace(
        blank,
        uuid=clean(ask("nvmlDeviceGetUUID") or ""),
        name=clean(ask("nvmlDeviceGetName") or ""),
        memory_total=memory.total if memory else 0,
        memory_used=memory.used if memory else 0,
        memory_free=memory.free if memory else 0,
        utilization=rates.gpu if rates else None,
        temperature=ask("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU),
        power=None if milliwatts is None else milliwatts / 1000,
        compute_capability=ask("nvmlDeviceGetCudaComputeCapability"),
    )
