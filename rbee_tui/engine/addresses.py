"""Addresses to listen on: what is one, where to ask who does, how it stands in a URL. Pure but the last."""

import ipaddress
from collections.abc import Iterable

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean

LOOPBACK = "127.0.0.1"
EVERY_INTERFACE = "127.0.0.1 is this machine alone, 0.0.0.0 is every interface"
# A wildcard is no destination: who asks goes to the loopback of its family.
_ASKED = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - it is looked up, nothing is bound here

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address(said: str) -> Address:
    """The address to listen on; raises UsageError for what is none."""
    try:
        found = ipaddress.ip_address(LOOPBACK if said == "localhost" else said.strip("[]"))
    except ValueError:
        raise UsageError(f"{clean(said)!r} is not an address to listen on", hint=EVERY_INTERFACE) from None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def written(host: str | Address) -> str:
    """A host as it stands in a URL."""
    text = str(host)
    return f"[{text}]" if ":" in text else text


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    return address(host).is_loopback


def asked(host: str) -> str:
    """Where this machine asks a server that listens on an address."""
    return _ASKED.get(host, host)


def url(host: str, port: int, name: str) -> str:
    """The URL for clients of a server that listens on an address; `name` is what others call this machine."""
    return f"http://{written(name if host in _ASKED else host)}:{port}"


def lacking(host: str, ours: Iterable[str]) -> str:
    """Why a server on a machine with `ours` as its addresses cannot listen on one; empty where it can."""
    found = address(host)
    if found.is_loopback or found.is_unspecified:
        return ""
    if found.version == 6 and found.is_link_local:  # noqa: PLR2004 - IPv6
        return f"{found} is an address of one link alone, which no URL can name"
    return "" if found in _read(ours) else f"{found} is no address of this machine"


def choices(ours: Iterable[str]) -> str:
    """What there is to listen on, as the hint for whoever chose something else."""
    reached = [str(each) for each in _read(ours) if not (each.is_loopback or each.is_link_local)]
    return f"{EVERY_INTERFACE}; it has {', '.join(reached)}" if reached else EVERY_INTERFACE


def _read(ours: Iterable[str]) -> list[Address]:
    return [ipaddress.ip_address(each) for each in ours]


def of_this_machine() -> list[str]:
    """The addresses of this machine, as its interfaces have them."""
    import socket  # noqa: PLC0415 - with psutil, only a server that others reach asks

    import psutil  # noqa: PLC0415 - as above

    families = (socket.AF_INET, socket.AF_INET6)
    return [
        each.address.partition("%")[0]
        for every in psutil.net_if_addrs().values()
        for each in every
        if each.family in families
    ]
