"""What one look at the hardware holds: frozen structs that encode to JSON; every size is in bytes."""

import msgspec


class Cpu(msgspec.Struct, kw_only=True, frozen=True):
    """The processor, and how much of it this process may use."""

    name: str
    cores_logical: int
    """What the machine has."""
    cores_available: float
    """What is left after affinity, cpuset and cgroup quota; 1.5 is one and a half cores."""
    limited_by: str = ""
    """What keeps `cores_available` below `cores_logical`, in words; empty when nothing does."""
    percent: float | None = None
    """How busy the whole machine was since the reading before, 0 to 100; None at the first."""
    features: tuple[str, ...] = ()
    """As the system spells them (`avx2`, `f16c`, `asimd`), sorted; empty where it does not tell."""


class Memory(msgspec.Struct, kw_only=True, frozen=True):
    """Main memory as this process may use it."""

    total: int
    available: int
    """What can be had without swapping: min(host available, limit - usage + reclaimable file cache)."""
    limited_by: str = ""
    """The cgroup that keeps `total` below the machine's; empty when none does."""


class Gpu(msgspec.Struct, kw_only=True, frozen=True):
    """One NVIDIA GPU, or one MIG instance of it; None is what the driver does not tell."""

    index: int
    """NVML's index of the GPU; MIG instances share it."""
    instance: int | None = None
    """NVML's index of the MIG instance on that GPU."""
    uuid: str = ""
    name: str = ""
    memory_total: int = 0
    memory_used: int = 0
    memory_free: int = 0
    shares_host_memory: bool = False
    """The GPU has no memory of its own that NVML counts: the figures are the host's."""
    utilization: int | None = None
    """Percent."""
    temperature: int | None = None
    """Degrees Celsius."""
    power: float | None = None
    """Watt."""
    driver: str = ""
    compute_capability: tuple[int, int] | None = None
    error: str = ""
    """Why it cannot be used, in words; empty when it can."""

    @property
    def label(self) -> str:
        """A short name that is unique on this machine: `GPU0`, or `GPU0:1` for a MIG instance."""
        return f"GPU{self.index}" if self.instance is None else f"GPU{self.index}:{self.instance}"


class Nvml(msgspec.Struct, kw_only=True, frozen=True):
    """Whether the NVIDIA driver answers, and why not."""

    available: bool
    reason: str = ""
    """Why it is not available, in words."""
    driver: str | None = None
    cuda: tuple[int, int] | None = None
    """The newest CUDA that this driver runs."""


class Metal(msgspec.Struct, kw_only=True, frozen=True):
    """Whether Apple's Metal can be used; told from the platform alone, and never tried on a Mac."""

    available: bool
    reason: str = ""
    """Why it is not available, in words."""


class OtherGpu(msgspec.Struct, kw_only=True, frozen=True):
    """A GPU that the kernel knows and none of the bundled workers uses."""

    vendor: str
    card: str
    """The kernel's name for it, as `card0`."""
    memory_total: int | None = None
    memory_used: int | None = None


class Disk(msgspec.Struct, kw_only=True, frozen=True):
    """The file system on which the cache root lies."""

    path: str
    """The directory that was asked: the root, or its nearest parent that exists."""
    total: int
    free: int
    """What this user may still write."""


class Reading(msgspec.Struct, kw_only=True, frozen=True):
    """One look at the hardware, all of it taken at one moment."""

    at: str
    """RFC 3339 in UTC."""
    platform: str
    """As `linux-x86_64`; the form of `Offer.platforms`."""
    cpu: Cpu
    memory: Memory
    disk: Disk
    nvml: Nvml
    metal: Metal
    gpus: tuple[Gpu, ...] = ()
    other_gpus: tuple[OtherGpu, ...] = ()

    @property
    def usable_gpus(self) -> tuple[Gpu, ...]:
        """The GPUs on which something could run."""
        return tuple(gpu for gpu in self.gpus if not gpu.error)
