"""For which platform a program is, as its own first bytes say."""

import struct
from pathlib import Path

from rbee_tui.engine.durable import storage

_HEAD_BYTES = 64
_ELF_MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_MACH_MACHINES = {0x01000007: "x86_64", 0x0100000C: "aarch64"}
_MACH_MAGIC = b"\xcf\xfa\xed\xfe"


def platform_of(path: Path) -> str | None:
    """The platform that an ELF or Mach-O file is for, as `linux-x86_64`; None where it does not tell."""
    with storage("read", path), path.open("rb") as file:
        return platform_in(file.read(_HEAD_BYTES))


def platform_in(head: bytes) -> str | None:
    """The same from a file's first 64 bytes. A script tells none, and neither does a file for several."""
    if head.startswith(b"\x7fELF") and len(head) >= 20:  # noqa: PLR2004 - up to e_machine
        order = ">" if head[5] == 2 else "<"  # noqa: PLR2004 - ELFDATA2MSB
        machine = struct.unpack_from(f"{order}H", head, 18)[0]
        return f"linux-{_ELF_MACHINES.get(machine, f'machine{machine}')}"
    if head.startswith(_MACH_MAGIC) and len(head) >= 8:  # noqa: PLR2004 - up to cputype
        machine = struct.unpack_from("<I", head, 4)[0]
        return f"macos-{_MACH_MACHINES.get(machine, f'machine{machine}')}"
    return None
