"""The machine without its NVIDIA GPUs: processor, memory, disk, Metal, and GPUs that only sysfs knows."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import msgspec

from rbee_tui.engine.hardware.cgroup import Limits
from rbee_tui.engine.hardware.reading import Cpu, Disk, Memory, Metal, OtherGpu
from rbee_tui.engine.text import clean

_VENDORS = {"0x1002": "AMD", "0x8086": "Intel"}
_SYSCTL_S = 2.0
# Less than 0.1 s of counted time over all cores says nothing: the counters move in ticks of 10 ms.
_SHORTEST_S = 0.1


class Ticks(msgspec.Struct, frozen=True):
    """Seconds that all cores together have spent, and how much of them idle, since the machine started."""

    total: float
    idle: float


def ticks() -> Ticks:
    """The processor's counters now."""
    import psutil  # noqa: PLC0415 - 10 ms that only a reading pays

    times = psutil.cpu_times()
    # Linux counts a guest's time in user and nice too.
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return Ticks(sum(times) - guest, times.idle + getattr(times, "iowait", 0.0))


def percent(before: Ticks | None, after: Ticks) -> float | None:
    """How busy the machine was between two readings, 0 to 100; None when they are too close to tell."""
    if before is None or after.total - before.total < _SHORTEST_S:
        return None
    busy = 1 - (after.idle - before.idle) / (after.total - before.total)
    return round(100 * min(1.0, max(0.0, busy)), 1)


def cpu_identity(root: Path = Path("/")) -> tuple[str, tuple[str, ...]]:
    """The processor's name and features: /proc/cpuinfo, else sysctl (macOS; never tried there)."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _sysctl_identity()
    name, features = parse_cpuinfo(text)
    return name or platform.machine(), features


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and features of the first processor; x86 says `flags`, Arm `Features` and often no name."""
    rows: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            rows.setdefault(key.strip().lower(), value.strip())
    name = rows.get("model name") or rows.get("hardware") or rows.get("cpu model") or ""
    flags = rows.get("flags") or rows.get("features") or ""
    return clean(name), tuple(sorted(set(flags.split())))


def _sysctl_identity() -> tuple[str, tuple[str, ...]]:
    name = _sysctl("machdep.cpu.brand_string")
    features = f"{_sysctl('machdep.cpu.features')} {_sysctl('machdep.cpu.leaf7_features')}".lower()
    return clean(name) or platform.machine(), tuple(sorted(set(features.split())))


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, check=False, text=True, timeout=_SYSCTL_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def affinity() -> int | None:
    """On how many cores this process may run; None where the system has no such thing."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return len(os.sched_getaffinity(0))


def cpu(
    identity: tuple[str, tuple[str, ...]], limits: Limits, busy: float | None, cores: int, allowed: int | None
) -> Cpu:
    """The processor as this process may use it; `allowed` is its affinity."""
    bounds = (
        (float(cores), ""),
        (None if allowed is None else float(allowed), "affinity"),
        (None if limits.cpuset is None else float(limits.cpuset), f"cpuset of {limits.cpuset_by}"),
        (limits.quota, f"quota of {limits.quota_by}"),
    )
    best, by = min(((bound, why) for bound, why in bounds if bound is not None), key=lambda pair: pair[0])
    return Cpu(
        name=identity[0],
        cores_logical=cores,
        cores_available=round(best, 2),
        limited_by=by,
        percent=busy,
        features=identity[1],
    )


def cores() -> int:
    """The machine's logical cores."""
    return os.cpu_count() or 1


def host_memory() -> tuple[int, int]:
    """The machine's memory, and what of it can be had without swapping; in bytes."""
    import psutil  # noqa: PLC0415 - 10 ms that only a reading pays

    found = psutil.virtual_memory()
    return found.total, found.available


def memory(total: int, available: int, limits: Limits) -> Memory:
    """Main memory as this process may use it: the host's figures under the limits of its control groups."""
    limited = limits.memory is not None and limits.memory < total
    return Memory(
        total=min(total, limits.memory) if limits.memory is not None else total,
        available=min(available, limits.memory_left) if limits.memory_left is not None else available,
        limited_by=limits.memory_by if limited else "",
    )


def disk(directory: Path) -> Disk:
    """The file system of `directory`, or of its nearest parent that exists."""
    for path in (directory, *directory.parents):
        try:
            found = shutil.disk_usage(path)
        except OSError:
            continue
        return Disk(path=str(path), total=found.total, free=found.free)
    return Disk(path=str(directory), total=0, free=0)


def metal(system: str, machine: str) -> Metal:
    """Whether Metal is there, told from the platform: every Apple Silicon Mac has it."""
    if system != "Darwin":
        return Metal(available=False, reason=f"Metal is Apple's; this is {system}")
    if machine != "arm64":
        return Metal(available=False, reason=f"this Mac has no Apple Silicon ({machine})")
    return Metal(available=True)


def other_gpus(root: Path = Path("/")) -> tuple[OtherGpu, ...]:
    """AMD's and Intel's GPUs in /sys/class/drm, in order; their drivers are not asked."""
    cards = sorted((root / "sys/class/drm").glob("card*"), key=lambda card: (len(card.name), card.name))
    found: list[OtherGpu] = []
    for card in cards:
        vendor = _VENDORS.get(_read(card / "device/vendor"))
        # card0-HDMI-A-1 is a connector of card0.
        if vendor and "-" not in card.name:
            total, used = (
                _read(card / "device/mem_info_vram_total"),
                _read(card / "device/mem_info_vram_used"),
            )
            found.append(
                OtherGpu(
                    vendor=vendor, card=card.name, memory_total=_integer(total), memory_used=_integer(used)
                )
            )
    return tuple(found)


def _integer(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
