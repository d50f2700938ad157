"""The hive's token: one secret for a root, in a file of mode 600, made when it is first needed."""

import hmac
import re
import secrets

from rbee_tui.engine import durable
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.paths import Root

_TOKEN = re.compile(rb"[\w-]{32,256}", re.ASCII)
_LOCK_SECONDS = 10.0


def read(root: Root) -> bytes | None:
    """The token of a root; None where there is none that could be right."""
    try:
        found = (root.state / "hive-token").read_bytes().strip()
    except OSError:
        return None
    return found if _TOKEN.fullmatch(found) else None


def ensure(root: Root, *, anew: bool = False) -> str:
    """The token of a root, made where there is none; `anew` replaces it, and the old one is worth nothing."""
    with Lock(root.locks / "hive-token.lock", "hive token").acquire(_LOCK_SECONDS):
        found = None if anew else read(root)
        if found is None:
            found = secrets.token_urlsafe(32).encode()
            durable.write(root.state / "hive-token", found + b"\n", mode=0o600)
    return found.decode()


def matches(root: Root, given: bytes) -> bool:
    """Whether this is the token; read each time, so that a new one holds at once."""
    expected = read(root)
    return expected is not None and hmac.compare_digest(expected, given)
