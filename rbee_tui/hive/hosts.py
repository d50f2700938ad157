"""Which names a hive answers to: a page of another site that resolves to this address has another Host."""

import os
from collections.abc import Iterable

from rbee_tui.engine import addresses
from rbee_tui.engine.addresses import Address, written

_LOOPBACK = (addresses.LOOPBACK, "localhost")
_HTTP_PORT = 80


def allowed(listening: Address, port: int, machine: Iterable[str], extra: Iterable[str]) -> frozenset[str]:
    """Every value of Host that is right, exactly as it is sent.

    `machine` are this machine's names and addresses, which count unless it listens on loopback alone; `extra`
    are names that were given, as that of a proxy.
    """
    names = {written(listening), *extra}
    if listening.is_loopback or listening.is_unspecified:
        names |= set(_LOOPBACK) if listening.version == 4 or listening.is_unspecified else {"localhost"}  # noqa: PLR2004 - IPv4
    if listening.is_unspecified and listening.version == 6:  # noqa: PLR2004 - IPv6
        names.add("[::1]")
    if not listening.is_loopback:
        names |= {written(name) for name in machine}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == _HTTP_PORT else set()))


def of_this_machine() -> list[str]:
    """The name and the addresses of this machine."""
    return [os.uname().nodename, *addresses.of_this_machine()]
