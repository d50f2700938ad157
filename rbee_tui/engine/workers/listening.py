"""Where a worker is to listen: refused before anything is started where that cannot be."""

import errno
import socket

from rbee_tui.engine import addresses
from rbee_tui.engine.errors import RefusedError, UsageError
from rbee_tui.engine.workers.wishes import Wishes

NO_KEY = "none: programs and web pages on this machine may ask it"
OPEN = "open to other machines: whoever has its key may ask it"
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def checked(wanted: Wishes) -> str:
    """The address to listen on.

    Raises UsageError for one that this machine has not, RefusedError for one that others reach without a key.
    """
    host = wanted.host or addresses.LOOPBACK
    if addresses.is_loopback(host):  # the usual start does not pay for a look at the interfaces
        return host
    if wanted.key is False:
        raise RefusedError(
            f"a worker without a key listens on loopback alone: on {host} whoever reaches this machine could "
            "use it",
            hint="--key lets it have one; or leave it on loopback, and let ssh -L bring its port elsewhere",
        )
    ours = addresses.of_this_machine()
    if why := addresses.lacking(host, ours):
        raise UsageError(f"a worker cannot listen there: {why}", hint=addresses.choices(ours))
    return host


def warning(host: str) -> str:
    """What another address than loopback opens, with what to do about it; empty on loopback."""
    if addresses.is_loopback(host):
        return ""
    return f"it is {OPEN}\n  -> the key travels in clear text: let ssh -L or a proxy with TLS stand before it"


def probe(host: str, port: int) -> None:
    """Take a port for a moment, as the runtime will; raises OSError for one that is taken.

    A wildcard takes it on every address, that of IPv6 on those of IPv4 as well. Raises UsageError for an
    address of a kind that this machine has not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            taken.bind((host, port))
    except OSError as error:
        if error.errno in _NOT_HERE:
            raise UsageError(
                f"a worker cannot listen on {host} here: {error.strerror}", hint=addresses.EVERY_INTERFACE
            ) from error
        raise
