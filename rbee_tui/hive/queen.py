"""Telling the queen that this hive is there: quiet while she is away, found again when she is back."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from rbee_tui.engine import http, naming
from rbee_tui.engine.errors import NetworkError, UsageError
from rbee_tui.engine.text import clean
from rbee_tui.hive.log import Log

AGAIN_SECONDS = 30.0
"""How often a queen who answered is told again: she may have been started anew."""
LONGEST_SECONDS = 60.0
_SPREAD = 5
"""From so many failures in a row on the waits are spread, so that many hives do not come at once."""

Tell = Callable[[str, object], Awaitable[None]]


def wait_seconds(failures: int, chance: Callable[[float, float], float] = random.uniform) -> float:
    """How long to wait after so many failures in a row: 2, 4, 8, 16 s, then 16 to 32, then 30 to 60."""
    if failures < _SPREAD:
        return float(2**failures)
    longest = min(LONGEST_SECONDS, float(2 ** min(failures, _SPREAD + 1)))
    return chance(longest / 2, longest)


def check_url(url: str) -> str:
    """The queen's origin without a slash at its end; raises UsageError for what is no http URL of a host."""
    if not naming.is_server(url):
        raise UsageError(
            f"{clean(url)!r} is not the address of a queen", hint="as in http://localhost:7833; '' has none"
        )
    return url.rstrip("/")


async def announce(queen: str, hive_id: str, hive_url: str, log: Log, tell: Tell = http.post_json) -> None:
    """Tell the queen until cancelled; the log has a line when that changes, not for each attempt."""
    failures, known = 0, ""
    while True:
        try:
            await tell(f"{queen}/v1/hive/ready", {"hive_id": hive_id, "hive_url": hive_url})
            failures, state, why = 0, "found", ""
        except NetworkError as error:
            failures, state, why = failures + 1, "absent", str(error)
        if state != known:
            known = state
            log.write(f"queen.{state}", queen=queen, why=why)
        await asyncio.sleep(wait_seconds(failures) if failures else AGAIN_SECONDS)
