"""How many connections to one origin are worth it: a decision from polled counters, without a clock."""

from typing import Literal

from rbee_tui.engine.transfer.source import Limits

_RISE = 1.1  # twice the connections have to bring this much more
_CLEAR_RISE = 1.5  # so much more needs no second look
_AS_GOOD = 0.95
_LEAP = 4  # the first step where each connection is slow: its server limits it more often than the line does
_SLOW = 0.33  # of what a connection is called fast by; between them, this machine may be what is busy
_BUSY, _STILL_BUSY = 0.7, 0.5  # of this machine's processors: what is added would only want more of them
_SCALES = 0.6  # after a leap that brought less than this of its share, half as many may do
_ENOUGH_AT_FIRST, _ENOUGH = 2 << 20, 4 << 20  # bytes that show a rate: at a slow server each chunk counts
_LONGEST_WINDOWS = 4
_LEAVING_SECONDS = 5.0  # surplus connections end with their segments; files that need one each never do
_SETTLED_SECONDS, _LONGEST_SETTLED = 20.0, 320.0  # each look again that brought nothing doubles the pause

Phase = Literal["growing", "shrinking", "settled"]


class Tuner:
    """Starts with a few, adds many, then more while the rate rises; takes fewer when those do as well."""

    def __init__(self, limits: Limits) -> None:
        self.wanted = limits.connections_first
        self.bearable = limits.connections_most
        """More than this the server is not asked for: it has refused them."""
        self._least = limits.connections_least
        self._most = limits.connections_most
        self._window = limits.window
        self._fast, self._ample = limits.connection_fast, limits.connection_ample
        self._first_look = limits.first_look
        self._phase: Phase = "growing"
        self._good = self.wanted
        """The smallest number that brought the best rate."""
        self._best = 0.0
        self._at: float | None = None
        self._arrived = 0
        self._spent = 0.0
        self._settled_at: float | None = None
        self._pause = _SETTLED_SECONDS
        self._looked_from: int | None = None
        """How many there were when more were tried again; None before the first time."""
        self._shrunk_at = 0.0
        self.hurries = True
        """Whether the first number is about to be judged: it is to be looked at often until then."""
        self.busy: bool | None = None
        """Whether this process took most of the machine's processors when a number was last judged; None
        before."""

    def sample(
        self, now: float, arrived: int, connected: int, *, held: bool, capped: bool, spent: float = 0.0
    ) -> int:
        """Take a sample and return how many are wanted.

        `arrived` counts bytes over all connections, `spent` seconds of this machine, all its processors
        together, that this process took. While they are `held` (the hash or the disk is behind) or
        `capped` the rate is our own and teaches nothing.
        """
        if self._phase == "settled":
            self._look_again(now, arrived, spent)
        elif held or capped or self._at is None or not self._is_as_wanted(connected, now):
            self._begin(now, arrived, spent)
        elif self._shows(arrived - self._arrived, now - self._at):
            rate = (arrived - self._arrived) / (now - self._at)
            busy = spent - self._spent >= (_STILL_BUSY if self.busy else _BUSY) * (now - self._at)
            fast = busy or rate >= self._fast * self.wanted
            clear = self._phase == "growing" and rate >= self._best * _CLEAR_RISE
            if fast or clear or now - self._at >= self._window:
                self.busy = busy
                self._judge(rate, now, fast=fast)
                self._begin(now, arrived, spent)
        self.hurries = self._best == 0.0 and self._phase != "settled" and not (held or capped)
        return self.wanted

    def _shows(self, count: int, seconds: float) -> bool:
        """Whether so many bytes, or so long a time without them, show what the rate is.

        With the first number nothing is compared yet: that takes less than a later one.
        """
        least, enough = (self._window / 2, _ENOUGH) if self._best else (self._first_look, _ENOUGH_AT_FIRST)
        return seconds >= least and (count >= enough or seconds >= _LONGEST_WINDOWS * self._window)

    def refused(self, connected: int) -> None:
        """A further connection was refused while `connected` went on: no more than those are wanted."""
        self.wanted = self._good = self.bearable = max(1, min(self.wanted, connected))
        if self._phase != "settled":
            self._settle()
        self._settled_at = None

    def _is_as_wanted(self, connected: int, now: float) -> bool:
        """Whether the number that is tried is there: neither opening nor leaving any more."""
        leaving = self._phase == "shrinking" and now - self._shrunk_at < _LEAVING_SECONDS
        return connected == self.wanted or (connected > self.wanted and not leaving)

    def _begin(self, now: float, arrived: int, spent: float) -> None:
        self._at, self._arrived, self._spent = now, arrived, spent

    def _settle(self) -> None:
        if self._looked_from is not None:
            vain = self.wanted <= self._looked_from
            self._pause = min(_LONGEST_SETTLED, 2 * self._pause) if vain else _SETTLED_SECONDS
        self._phase = "settled"
        self._settled_at = None

    def _look_again(self, now: float, arrived: int, spent: float) -> None:
        """Once in a while see whether more would help by now."""
        if self._settled_at is None or self._at is None:
            self._settled_at = now
            self._begin(now, arrived, spent)
        elif now - self._settled_at >= self._pause:
            self._best = (arrived - self._arrived) / (now - self._at)
            self._good = self._looked_from = self.wanted
            self._phase = "growing"
            self.bearable = self._most
            self.wanted = min(self._most, self.wanted * 2)
            self._begin(now, arrived, spent)

    def _judge(self, rate: float, now: float, *, fast: bool) -> None:
        if self._phase == "shrinking":
            do_as_well = rate >= self._best * _AS_GOOD or rate >= self._ample * self.wanted
            self.wanted = self.wanted if do_as_well else self._good
            self._settle()
        elif not fast and rate >= self._best * _RISE:
            self._grow(rate, now)
        elif self._good > self._least:
            # Twice as many were not worth it, or each is so fast that one may do.
            self._best = max(self._best, rate)
            self._shrink(self._least if fast else max(self._least, self._good // 2), now)
        else:
            self.wanted = self._good
            self._settle()

    def _shrink(self, wanted: int, now: float) -> None:
        self._phase, self.wanted, self._shrunk_at = "shrinking", wanted, now

    def _grow(self, rate: float, now: float) -> None:
        """The last step was worth it: take the next one, or see whether half of a leap had been enough."""
        step, scales = self.wanted / self._good, rate >= self._best * _SCALES * self.wanted / self._good
        leap = self._best == 0.0 and rate < self._fast * _SLOW * self.wanted
        self._best, self._good = rate, self.wanted
        if step > 2 and not scales:  # noqa: PLR2004 - more than doubled
            self._shrink(self.wanted // 2, now)
        elif self.wanted >= self._most:
            self._settle()
        else:
            self.wanted = min(self._most, self.wanted * (_LEAP if leap else 2))
