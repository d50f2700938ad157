"""The connections that fetch one file: hired as far as they are worth it, watched, replaced, ended."""

import threading
import time
from collections.abc import Callable, Hashable
from statistics import median
from typing import TYPE_CHECKING

from rbee_tui.engine.hardware import host
from rbee_tui.engine.transfer import plan, segments
from rbee_tui.engine.transfer.attempt import Attempt
from rbee_tui.engine.transfer.patience import Delay, Fault, Patience
from rbee_tui.engine.transfer.segments import Segment, Victim
from rbee_tui.engine.transfer.sink import Sink
from rbee_tui.engine.transfer.source import Limits, Progress
from rbee_tui.engine.transfer.spans import Gap
from rbee_tui.engine.transfer.throttle import Gentle, buffer
from rbee_tui.engine.transfer.traffic import Load, Traffic

if TYPE_CHECKING:
    from rbee_tui.engine.transfer.wire import Wire

_CUT_SECONDS = 0.5
_LEAVING_SECONDS = 1.0  # how long others wait for a connection that is to end


class _Watched:
    """An attempt, and what was seen of it."""

    def __init__(self, attempt: Attempt, limits: Limits) -> None:
        self.attempt = attempt
        self.pace = plan.Pace(limits, attempt.began)
        self.cut_at = 0.0

    def cut(self, why: str, now: float) -> None:
        """End its connection."""
        if not self.cut_at:
            self.cut_at = now
            self.attempt.cut(Fault("stall", why))


class Crew:
    """Fetches what is missing of one file. `bring()` is for its own thread; the others ask for work."""

    def __init__(  # noqa: PLR0913 - what it needs from the start
        self,
        wire: "Wire",
        sink: Sink,
        patience: Patience,
        traffic: Traffic,
        limits: Limits,
        progress: Progress,
        *,
        endpoint: str,
        party: Hashable = None,
        gentle: bool = False,
        before: int = 0,
    ) -> None:
        """`party` is the job that the file is of; None for a file alone."""
        self.party: Hashable = party or self
        self._wire = wire
        self._sink = sink
        self._patience = patience
        self._budget = traffic.budget(endpoint)
        self._throttle = traffic.throttle
        self._gauge = traffic.gauge
        self._gentle = Gentle() if gentle else None
        self._throttles = [self._throttle, *([self._gentle.throttle] if self._gentle else [])]
        self._buffer: int | None = None
        self._limits = limits
        self._progress = progress
        self._watched: list[_Watched] = []
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._before = self._gone = before
        self._not_before = 0.0
        self._opened = False
        self._ranges = True
        self._only: Attempt | None = None
        self._processors = host.affinity() or host.cores()

    @property
    def hired(self) -> int:
        """Connections that it has, opening ones and those about to end too."""
        return len(self._watched)

    @property
    def staying(self) -> int:
        """Those of them that are not about to end."""
        return sum(not each.attempt.retiring for each in self._watched)

    def bring(self, heed: Callable[[], None]) -> int:
        """Fetch until nothing is missing; returns the bytes that arrived so far.

        `heed` raises what else ends it; so does patience.
        """
        self._budget.join(self)
        try:
            while self._sink.gap() is not None:
                heed()
                now = time.monotonic()
                self._reap(now)
                self._inspect(now)
                self._tell(now)
                self._hire(now)
                limits = self._limits
                self._changed.wait(limits.first_look if self._budget.hurries else limits.poll)
                self._changed.clear()
            heed()
            return self._arrived
        finally:
            for each in self._watched:
                each.attempt.abandon()
            self._progress.connections = 0
            self._budget.leave(self)

    # Work

    def next_segment(self, attempt: Attempt) -> Segment | None:
        """What an attempt fetches next; None when there is nothing left, or one connection too many."""
        with self._lock:
            if attempt.retiring or attempt.cut_because:
                return None
            # Set under the lock: nobody may find these bytes free.
            attempt.segment = self._take(attempt)
            return attempt.segment

    def answered(self, attempt: Attempt, *, whole: bool) -> None:
        """Headers came; a server that ignores Range gets one connection, which takes everything."""
        self._opened = True
        self._changed.set()
        if not whole:
            return
        with self._lock:
            if self._only not in (None, attempt) and not self._only.finished.is_set():
                raise Fault("stall", "the server sends whole files only")
            self._ranges, self._only = False, attempt
            segment = attempt.segment
            if segment is not None:
                rest = self._sink.gap([Gap(segment.start, segment.end)])
                if rest is not None and rest.start == segment.end:
                    segment.extend(rest.end)

    def _take(self, attempt: Attempt | None) -> Segment | None:
        """The first bytes that nobody has, else the rear of another's segment; the caller holds the lock."""
        active = self._active(attempt)
        gap = self._sink.gap(Gap(segment.start, segment.end) for _, segment in active)
        if gap is not None:
            return Segment(segments.clip(gap, self._segment_length(attempt, active), self._sink.grid))
        stolen = self._steal(attempt, active) if self._ranges else None
        return Segment(stolen) if stolen else None

    def _has_work(self, active: list[tuple[Attempt, Segment]]) -> bool:
        """Whether one more connection would find bytes to fetch; the caller holds the lock."""
        taken = (Gap(segment.start, segment.end) for _, segment in active)
        return self._sink.gap(taken) is not None or self._victim(active) is not None

    def _active(self, but: Attempt | None) -> list[tuple[Attempt, Segment]]:
        found = [(each.attempt, each.attempt.segment) for each in self._watched if each.attempt is not but]
        return [(attempt, segment) for attempt, segment in found if segment is not None]

    def _segment_length(self, attempt: Attempt | None, active: list[tuple[Attempt, Segment]]) -> int:
        """As long as is worth asking for; less for a slow connection, and for all of them near the end.

        So that none is long behind the others: the hash of the file waits for the hindmost.
        """
        limits = self._limits
        free = self._sink.missing - sum(segment.left for _, segment in active)
        share = max(limits.segment_shortest, free // (2 * self._budget.share(self)))
        rate, asking = (attempt.meter.rate, attempt.asking) if attempt else (0.0, 0.0)
        fair = segments.fair(limits.segment, rate, [each.meter.rate for each, _ in active])
        shortest = min(limits.segment, share, max(limits.segment_shortest, fair))
        longest = max(shortest, min(limits.segment_longest, share))
        return segments.length(rate, asking, shortest, longest, limits.segment_asks)

    def _steal(self, attempt: Attempt | None, active: list[tuple[Attempt, Segment]]) -> Gap | None:
        """The rear of what would take longest, if a new request pays for itself."""
        limits = self._limits
        found = self._victim(active)
        if found is None:
            return None
        victim, segment = found
        own = attempt.meter.rate if attempt else median(each.meter.rate for each, _ in active)
        return segment.give(segments.share(own, victim.rate), limits.steal, self._sink.grid)

    def _victim(self, active: list[tuple[Attempt, Segment]]) -> tuple[Victim, Segment] | None:
        """Whom an idle connection relieves."""
        limits = self._limits
        worth = max(limits.steal_seconds, *(4 * each.asking for each, _ in active), 0.0)
        # What a server has sent before it hears of a theft comes twice: a new one is left alone.
        known = time.monotonic() - limits.steal_seconds
        victims = {Victim(s.left, each.meter.rate): s for each, s in active if each.began < known}
        victim = segments.choose(victims, limits.steal, worth)
        return (victim, victims[victim]) if victim else None

    # Connections

    def _hire(self, now: float) -> None:
        """Open connections while they are worth it; the first one shows what the server does."""
        if now < self._not_before:
            return
        # Several connections take several shares of a line: a gentle file has one.
        more = self._opened and self._ranges and not self._gentle
        while self._budget.may_hire(self) and (self.hired == 0 or more):
            with self._lock:
                segment = self._take(None)
                if segment is None:
                    return
                attempt = Attempt(
                    self._wire,
                    self._sink,
                    segment,
                    self,
                    self._limits,
                    self._changed.set,
                    throttles=self._throttles,
                    buffer=buffer(self._throttles, self._budget.wanted),
                    most=self._most,
                )
                self._watched.append(_Watched(attempt, self._limits))

    def _reap(self, now: float) -> None:
        """Take leave of the attempts that have ended, and make of their faults what patience says."""
        for each in list(self._watched):
            attempt = each.attempt
            overdue = each.cut_at and now - each.cut_at > _CUT_SECONDS
            if not attempt.finished.is_set():
                if not overdue:
                    continue
                # It does not even notice: it is left to itself, kept from the file.
                attempt.abandon()
            with self._lock:
                self._watched.remove(each)
            self._gone += attempt.arrived
            fault = attempt.outcome or (attempt.cut_because if overdue else None)
            if fault is not None:
                self._suffer(fault, attempt, now)

    def _suffer(self, fault: Fault, attempt: Attempt, now: float) -> None:
        if attempt.arrived == 0 and self.hired and fault.kind in ("limited", "answer", "network"):
            self._budget.refused()
        self._patience.note(self._arrived, now, lines=self.hired + 1)
        decision = self._patience.after(fault, now)
        if not isinstance(decision, Delay):
            raise decision
        self._not_before = max(self._not_before, now + decision.seconds)
        if not self._connected or fault.kind == "limited":
            self._progress.waiting_for = decision.text

    def _inspect(self, now: float) -> None:
        """Cut what stalls or lags; let a surplus connection end with its segment."""
        for each in self._watched:
            each.attempt.meter.update(each.attempt.arrived, now)
        busy = any(each.attempt.busy for each in self._watched)
        self._patience.note(self._arrived, now, busy=busy, lines=self.hired)
        exhausted = self._patience.exhausted(now)
        for each in self._watched:
            attempt = each.attempt
            if each.pace.stalled(attempt.arrived, now, busy=attempt.busy) or exhausted:
                each.cut(f"nothing arrived for {self._limits.stall:.0f} s", now)
            elif self._lags(attempt, now):
                each.cut("the others are ten times as fast", now)
        for _ in range(self._budget.surplus(self)):
            self._retire()

    def _retire(self) -> None:
        """Let the slowest connection end soon, and keep what it brings until then."""
        staying = [each.attempt for each in self._watched if not each.attempt.retiring]
        self._let_go(min(staying, key=lambda each: each.meter.rate))

    def _let_go(self, attempt: Attempt) -> None:
        with self._lock:
            attempt.retiring = True
            if attempt.segment is not None:
                attempt.segment.shorten(int(attempt.meter.rate * _LEAVING_SECONDS), self._sink.grid)

    def _lags(self, attempt: Attempt, now: float) -> bool:
        if attempt.busy or now - attempt.began < self._limits.slow_seconds:
            return False
        others = [each.attempt for each in self._watched if each.attempt is not attempt]
        rates = [each.meter.rate for each in others if each.connected and not each.busy]
        return plan.lags(attempt.meter.rate, rates)

    # Telling

    @property
    def _arrived(self) -> int:
        return self._gone + sum(each.attempt.arrived for each in self._watched)

    @property
    def _connected(self) -> int:
        return sum(each.attempt.connected for each in self._watched)

    def _tell(self, now: float) -> None:
        with self._lock:
            # The first of them moves the contiguous beginning itself.
            active = self._active(None)
            lengths = [segment.end - segment.start for _, segment in active]
            work = self._ranges and self._opened and now >= self._not_before and self._has_work(active)
        self._sink.spread = sum(lengths) - max(lengths, default=0)
        if self._connected and now >= self._not_before:
            self._progress.waiting_for = ""
        self._progress.connections = self._connected
        load = Load(
            self._connected,
            self._arrived - self._before,
            held=self._sink.crowded(),
            capped=self._throttle.rate is not None or self._gentle is not None,
            hungry=work and not self._gentle,
        )
        if self._gentle:
            rate = sum(each.attempt.meter.rate for each in self._watched)
            peer = next(filter(None, (each.attempt.peer for each in self._watched)), None)
            self._gentle.look(self._gauge.look(peer, now) if peer else None, rate, now)
        self._fit()
        self._budget.report(self, load, now, time.process_time() / self._processors)

    @property
    def _most(self) -> int:
        """How many bytes a connection may read at once."""
        return self._limits.read // self._budget.reading

    def _fit(self) -> None:
        """Let what the connections hold follow their number, and their buffers a cap that has changed."""
        most = self._most
        for each in self._watched:
            each.attempt.most = most
        wanted = buffer(self._throttles, self._connected)
        if wanted != self._buffer:
            self._buffer = wanted
            for each in self._watched:
                if wanted is None:
                    # The system's own buffers grow with the line, and only those of new connections do.
                    self._let_go(each.attempt)
                else:
                    each.attempt.fit(wanted)
