"""Which names a hive answers to: a page of another site that resolves to this address has another Host."""

import ipaddress
from collections.abc import Iterable

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean

_LOOPBACK = ("127.0.0.1", "localhost")
_HTTP_PORT = 80

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address(bind: str) -> Address:
    """The address to listen on; raises UsageError for what is none."""
    try:
        return ipaddress.ip_address("127.0.0.1" if bind == "localhost" else bind.strip("[]"))
    except ValueError:
        raise UsageError(
            f"{clean(bind)!r} is not an address to listen on",
            hint="127.0.0.1 is this machine alone, 0.0.0.0 is every interface",
        ) from None


def written(host: str | Address) -> str:
    """A host as it stands in a URL."""
    text = str(host)
    return f"[{text}]" if ":" in text else text


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
    import os  # noqa: PLC0415 - with psutil, only a hive that others reach asks
    import socket  # noqa: PLC0415 - as above

    import psutil  # noqa: PLC0415 - as above

    families = (socket.AF_INET, socket.AF_INET6)
    found = [
        each.address.partition("%")[0]
        for every in psutil.net_if_addrs().values()
        for each in every
        if each.family in families
    ]
    return [os.uname().nodename, *found]
