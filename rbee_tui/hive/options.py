"""What a hive is started with, checked before anything else happens. Pure."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rbee_tui.engine.addresses import LOOPBACK, Address, address
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean
from rbee_tui.hive.queen import check_url

PORT = 7835
QUEEN_URL = "http://localhost:7833"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Options:
    """An address and a port to listen on, further names to answer to, the queen (or none), its own name."""

    address: Address
    port: int
    names: tuple[str, ...]
    queen_url: str
    hive_id: str


def checked(
    bind: str = LOOPBACK,
    port: int = PORT,
    names: Sequence[str] = (),
    queen_url: str = QUEEN_URL,
    hive_id: str = "",
) -> Options:
    """The options; raises UsageError with what is wrong. An empty `queen_url` tells no queen."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{clean(name)!r} is not a host's name", hint="without a port, as gpu.example.org"
            )
    if hive_id and not _ID.fullmatch(hive_id):
        raise UsageError(
            f"{clean(hive_id)!r} cannot name a hive", hint="letters, digits, dots, - and _; at most 64"
        )
    return Options(
        address=address(bind),
        port=port,
        names=tuple(names),
        queen_url=check_url(queen_url) if queen_url else "",
        hive_id=hive_id or _own_name(),
    )


def _own_name() -> str:
    """The machine's name, as far as it can name a hive."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", os.uname().nodename).strip("-._")[:64] or "hive"
