"""What the control groups leave of the machine; a container's psutil reports the host.

Both versions, mounted apart or together: every directory from the mount point down to this process is
read, since each ancestor limits what is beneath it. Every function takes the root of a file system, so
that a tree written by a test is read by the same code.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

# Version 1 says "no limit" with the largest multiple of the page size below 2**63.
_UNLIMITED = 1 << 60
_FILE_CACHE = {"inactive_file", "active_file", "slab_reclaimable"}
_MOUNT_FIELDS = 5


class Limits(msgspec.Struct, kw_only=True, frozen=True):
    """The tightest limits on this process; None where nothing limits."""

    memory: int | None = None
    """Bytes."""
    memory_by: str = ""
    """The directory that sets it."""
    memory_left: int | None = None
    """Bytes that may still be taken, file cache that can be dropped included."""
    quota: float | None = None
    """Cores."""
    quota_by: str = ""
    cpuset: int | None = None
    """Cores."""
    cpuset_by: str = ""


class _Group(msgspec.Struct, frozen=True):
    """One directory that limits this process, and the version of its files."""

    path: Path
    version: int
    controllers: frozenset[str]

    def controls(self, *names: str) -> bool:
        """Whether one of these controllers may have files here; version 2 names none for a directory."""
        return self.version != 1 or not self.controllers.isdisjoint(names)

    def text(self, name: str) -> str:
        return _text(f"{self.path}/{name}").strip()

    def number(self, name: str) -> int | None:
        """A file's number; None for `max`, -1, an absurdly large one, or no such file."""
        return _number(self.text(name))

    def table(self, name: str) -> dict[str, int]:
        rows = (line.split() for line in self.text(name).splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}  # noqa: PLR2004 - key and value


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None


def limits(root: Path = Path("/")) -> Limits:
    """The tightest limits over all control groups of this process, under the file system at `root`."""
    # What this process belongs to hardly ever changes; the two files that say it are read each time.
    said = (_text(f"{root}/proc/self/{name}") for name in ("cgroup", "mountinfo"))
    groups = _groups(root, *said)
    memory = [found for group in groups if (found := _memory(group)) is not None]
    quotas = [(quota, group.path) for group in groups if (quota := _quota(group)) is not None]
    cpusets = [(count, group.path) for group in groups if (count := _cpuset(group)) is not None]
    tightest = min(memory, default=None)
    quota = min(quotas, default=None)
    cpuset = min(cpusets, default=None)
    return Limits(
        memory=tightest[0] if tightest else None,
        memory_by=str(tightest[2]) if tightest else "",
        memory_left=min((left for _, left, _ in memory), default=None),
        quota=quota[0] if quota else None,
        quota_by=str(quota[1]) if quota else "",
        cpuset=cpuset[0] if cpuset else None,
        cpuset_by=str(cpuset[1]) if cpuset else "",
    )


def _memory(group: _Group) -> tuple[int, int, Path] | None:
    """A group's limit, what is left of it, and where it stands; memory.high throttles, which is as bad."""
    if not group.controls("memory"):
        return None
    files = ("memory.max", "memory.high") if group.version == 2 else ("memory.limit_in_bytes",)  # noqa: PLR2004 - the version
    limit = min((found for name in files if (found := group.number(name)) is not None), default=None)
    if limit is None:
        return None
    used = group.number("memory.current" if group.version == 2 else "memory.usage_in_bytes") or 0  # noqa: PLR2004 - the version
    rows = group.table("memory.stat")
    # Version 1 counts the children only in the rows that start with total_.
    prefix = "total_" if any(row.startswith("total_") for row in rows) else ""
    cache = sum(rows.get(prefix + row, 0) for row in _FILE_CACHE)
    return limit, max(0, limit - max(0, used - cache)), group.path


def _quota(group: _Group) -> float | None:
    """Cores that a group's quota allows."""
    if not group.controls("cpu"):
        return None
    if group.version == 1:
        quota, period = group.number("cpu.cfs_quota_us"), group.number("cpu.cfs_period_us")
    else:
        first, _, second = group.text("cpu.max").partition(" ")
        quota, period = _number(first), _number(second)
    return quota / period if quota and period else None


def _cpuset(group: _Group) -> int | None:
    """Cores that a group's cpuset names, as `0-3,8`."""
    if not group.controls("cpuset"):
        return None
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
        if text := group.text(name):
            return _count(text)
    return None


def _count(ranges: str) -> int | None:
    total = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return None
        total += int(last or first) - int(first) + 1
    return total if total > 0 else None


@functools.lru_cache(maxsize=4)
def _groups(root: Path, membership: str, mounts: str) -> tuple[_Group, ...]:
    """Every directory that limits this process, of every hierarchy that is mounted."""
    own = dict(_membership(membership.splitlines()))
    found: list[_Group] = []
    for version, controllers, top, point in _mounts(mounts.splitlines()):
        key = frozenset[str]() if version == 2 else controllers  # noqa: PLR2004 - the version
        path = next((path for names, path in own.items() if names == key or names & key), None)
        if path is not None:
            base = root / point.lstrip("/")
            found += (_Group(each, version, controllers) for each in _line(base, _within(path, top)))
    return tuple(found)


def _line(base: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    yield base
    for part in parts:
        base = base / part
        yield base


def _within(own: str, top: str) -> tuple[str, ...]:
    """The way from a mount point to this process's group; none when that is not mounted here."""
    path = Path(own)
    with contextlib.suppress(ValueError):
        path = Path("/") / path.relative_to(top)
        return tuple(part for part in path.parts[1:]) if ".." not in path.parts else ()
    return ()


def _membership(lines: Iterable[str]) -> Iterator[tuple[frozenset[str], str]]:
    """Controllers and path of each hierarchy in /proc/self/cgroup; version 2 has no controllers there."""
    for line in lines:
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number.isdigit() and path.startswith("/"):
            yield frozenset(name for name in names.split(",") if name), path


def _mounts(lines: Iterable[str]) -> Iterator[tuple[int, frozenset[str], str, str]]:
    """Version, controllers, mounted path and mount point of each hierarchy in /proc/self/mountinfo."""
    for line in lines:
        before, dash, after = line.partition(" - ")
        fields, tail = before.split(" "), after.split(" ")
        if not dash or len(fields) < _MOUNT_FIELDS or tail[0] not in {"cgroup", "cgroup2"}:
            continue
        options = frozenset(tail[-1].split(",")) - {"rw", "ro"}
        version = 2 if tail[0] == "cgroup2" else 1
        yield version, options if version == 1 else frozenset(), _unescape(fields[3]), _unescape(fields[4])


def _unescape(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


def _text(path: str) -> str:
    """What a small file of the kernel says; nothing where there is none."""
    try:
        return Path(path).read_bytes().decode(errors="surrogateescape")
    except OSError:
        return ""
