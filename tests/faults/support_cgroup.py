"""A control group whose memory is limited, of either version."""

import os
from dataclasses import dataclass
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Cgroup:
    """One below that of this process."""

    path: Path
    events: str
    """The file that counts what the kernel ended in it."""

    @classmethod
    def make(cls, limit: int, name: str = "rbee") -> "Cgroup | str":
        """One with so many bytes of memory; where none can be had, why."""
        found = _own()
        if found is None:
            return "this process is in no cgroup that counts memory"
        path, maximum, events = found
        path /= f"{name}-{os.getpid()}"
        try:
            path.mkdir()
            (path / maximum).write_text(str(limit))
        except OSError as error:
            if path.is_dir():
                path.rmdir()
            return f"no cgroup with a limit can be made here: {error}"
        return cls(path, events)

    def enter(self) -> None:
        """Move this process into it; what it starts is born there."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self) -> int:
        """How many processes the kernel has ended in it."""
        lines = (self.path / self.events).read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def remove(self) -> bool:
        """Whether it is gone; not while a process is in it."""
        try:
            self.path.rmdir()
        except OSError:
            return False
        return True


def _own() -> tuple[Path, str, str] | None:
    """The cgroup of this process, and the names of its files for the limit and for events."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if "memory" in kinds.split(","):
            return _MOUNT / "memory" / path.lstrip("/"), "memory.limit_in_bytes", "memory.oom_control"
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    return None if own is None else (_MOUNT / own.lstrip("/"), "memory.max", "memory.events")
