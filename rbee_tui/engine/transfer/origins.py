"""Where requests go, and what the environment says of the way there: proxies and certificates."""

import os
import ssl
import sys
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean

_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host and port: what a token belongs to."""

    scheme: str
    host: str
    port: int


def origin(url: str) -> Origin:
    """The origin of an address; raises ValueError for one that cannot be used."""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if parts.scheme not in _PORTS or not host or parts.username is not None:
        raise ValueError(parts.scheme)
    return Origin(parts.scheme, host.lower(), port or _PORTS[parts.scheme])


def proxy_of(here: Origin) -> str | None:
    """The proxy's address that the environment names for an origin; raises UsageError for one of no use."""
    if not _may_name_proxies():
        return None
    import urllib.request  # noqa: PLC0415 - 0.4 MB that only who has a proxy pays

    proxies = urllib.request.getproxies()
    proxy = proxies.get(here.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(f"{here.host}:{here.port}"):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme = urlsplit(proxy).scheme
    if scheme not in _PORTS:
        raise UsageError(
            f"the environment names a {clean(scheme)[:20]} proxy, which rbee cannot use",
            hint="name an http:// or https:// proxy in HTTPS_PROXY, or the host in NO_PROXY",
        )
    return proxy


def _may_name_proxies() -> bool:
    """Whether there is anything to read: a variable for a scheme, or, on macOS, the system's settings."""
    named = (name.lower() for name in os.environ)
    return sys.platform == "darwin" or any(name.endswith("_proxy") and name != "no_proxy" for name in named)


def trust() -> ssl.SSLContext:
    """Whom TLS trusts, as the environment and the system have it; raises UsageError."""
    return _context(os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE") or None)


@cache
def _context(bundle: str | None) -> ssl.SSLContext:
    """Whom TLS trusts: the bundle that the environment names, the system's, else certifi's."""
    if bundle:
        try:
            return ssl.create_default_context(cafile=bundle)
        except OSError as error:
            raise UsageError(
                f"cannot read the certificates in {clean(bundle)}: {error.strerror or 'no certificates'}",
                hint="check SSL_CERT_FILE and REQUESTS_CA_BUNDLE",
            ) from None
    paths = ssl.get_default_verify_paths()
    context = ssl.create_default_context()
    if not (paths.cafile or paths.capath):
        # Interpreters that were built elsewhere look where this system has nothing.
        import certifi  # noqa: PLC0415 - only where the system has no certificates

        context.load_verify_locations(certifi.where())
    return context
