"""When to try again and when to give up: one class with all the state, and no clock of its own."""

import random
from collections.abc import Callable
from typing import Literal

import msgspec

from rbee_tui.engine.errors import HubError, NetworkError, RateLimitedError, RbeeError
from rbee_tui.engine.transfer.source import Limits

Kind = Literal["stall", "network", "answer", "limited", "expired"]
_DOUBLINGS = 16  # 2 ** 16 back-offs are longer than any that is allowed


class Fault(Exception):  # noqa: N818 - a fault is not yet an error: it may pass
    """Something that went wrong on the way and may pass; `text` is a clause fit for a person."""

    def __init__(self, kind: Kind, text: str, *, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(text)
        self.kind: Kind = kind
        self.text = text
        self.retry_after = retry_after
        """Seconds that the server asked for."""
        self.hint = hint


class Delay(msgspec.Struct, frozen=True):
    """Try again after `seconds`; `text` says what is being waited for."""

    seconds: float
    text: str


class Patience:
    """Decides after each fault: a delay, or the error that ends the transfer. `now` is monotonic seconds."""

    def __init__(
        self, limits: Limits, label: str, now: float, jitter: Callable[[], float] = random.random
    ) -> None:
        self._limits = limits
        self._label = label
        self._jitter = jitter
        self._spent = 0
        self._arrived = 0
        self._fresh = 0
        self._at = now
        self._last: Fault | None = None
        self._cut_waits = 0

    def note(self, arrived: int, now: float, *, busy: bool = False, lines: int = 1) -> None:
        """Take a sample: bytes that arrived since the beginning, and whether we ourselves hold them back.

        Each of the `lines` (connections) has a trickle of its own: many of them are no progress.
        """
        if arrived - self._arrived >= self._limits.trickle * max(1, lines):
            self._fresh += arrived - self._arrived
            self._arrived, self._at = arrived, now
        elif busy:
            self._at = now
        if self._fresh >= self._limits.refresh:
            self._fresh = 0
            self._spent = 0

    def exhausted(self, now: float) -> bool:
        """Whether nothing has arrived for too long."""
        return now - self._at >= self._limits.patience

    def after(self, fault: Fault, now: float) -> Delay | RbeeError:
        """What to do after a fault."""
        self._last = fault
        if self.exhausted(now):
            return self.give_up()
        if fault.kind == "stall":
            return Delay(0.0, fault.text)
        self._spent += 1
        if self._spent > self._limits.retries or self._too_long(fault):
            return self.give_up()
        # The first expired signature is ordinary: the file took longer than the signature lives.
        if fault.kind == "expired" and self._spent == 1:
            return Delay(0.0, fault.text)
        seconds = self._seconds(fault)
        if fault.retry_after is not None:
            self._at += seconds
        return Delay(seconds, f"{fault.text}, trying again in {max(1, round(seconds))} s")

    def _too_long(self, fault: Fault) -> bool:
        """Whether the server asks for a longer wait than is sat out, and not for the first time."""
        if fault.retry_after is None or fault.retry_after <= self._limits.retry_after_longest:
            return False
        self._cut_waits += 1
        return self._cut_waits > 1

    def _seconds(self, fault: Fault) -> float:
        if fault.retry_after is not None:
            asked = max(0.0, fault.retry_after)
            return asked if asked <= self._limits.retry_after_longest else self._limits.retry_after_cut
        longest = min(
            self._limits.backoff_longest,
            self._limits.backoff_first * 2.0 ** min(self._spent - 1, _DOUBLINGS),
        )
        return longest * (0.5 + self._jitter() / 2)

    def give_up(self) -> RbeeError:
        """The error that ends the transfer, named after the last fault."""
        fault = self._last or Fault("stall", "nothing arrives")
        again = "what has arrived is kept: try again later"
        if self._cut_waits > 1:
            again = "that is longer than rbee waits: what has arrived is kept, retry it in good time"
        if fault.kind == "limited":
            return RateLimitedError(
                f"cannot fetch {self._label}: {fault.text}", hint=again, retry_after=fault.retry_after
            )
        if fault.kind in ("stall", "network"):
            text = f"cannot fetch {self._label}: {fault.text}"
            return NetworkError(text, hint=fault.hint or f"check the network; {again}")
        return HubError(f"cannot fetch {self._label}: {fault.text}", hint=fault.hint or again)
