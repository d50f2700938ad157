"""Which threads go first: the screen and every other program, then the hash, then those that receive."""

import os
import sys
import threading
from contextlib import suppress

HASH = 5
RECEIVE = 10
"""Receivers must not starve the hash, which is the critical path."""


def yield_by(niceness: int) -> None:
    """Let others go before the calling thread; Linux counts niceness by thread, elsewhere nothing happens."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):
            # Whoever was started nicer stays so.
            os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))
