"""What all transfers of a process share: the connections to each origin, and the cap."""

import threading
from collections.abc import Hashable, Mapping
from typing import Protocol

import msgspec

from rbee_tui.engine.transfer import shares
from rbee_tui.engine.transfer.gauge import Gauge
from rbee_tui.engine.transfer.shares import Claim
from rbee_tui.engine.transfer.source import Limits
from rbee_tui.engine.transfer.throttle import Throttle
from rbee_tui.engine.transfer.tuner import Tuner


class Member(Protocol):
    """One file's connections, as the budget sees them."""

    @property
    def party(self) -> Hashable:
        """The job that it is of."""
        ...

    @property
    def hired(self) -> int:
        """Connections that it has, opening ones and those about to end too."""
        ...

    @property
    def staying(self) -> int:
        """Those of them that are not about to end."""
        ...


class Load(msgspec.Struct, frozen=True):
    """How one file's connections do, at one look."""

    connected: int
    arrived: int
    """Bytes since its beginning."""
    held: bool = False
    capped: bool = False
    hungry: bool = False
    """Whether it has work for one connection more."""


class Elsewhere(msgspec.Struct, frozen=True):
    """What other processes do at an origin."""

    connections: int = 0
    jobs: int = 0


class Budget:
    """The connections to one origin, over all files that are fetched from it."""

    def __init__(self, limits: Limits) -> None:
        self._tuner = Tuner(limits)
        self._lock = threading.Lock()
        self._members: dict[Member, Load] = {}
        self._gone = 0
        self.elsewhere = Elsewhere()

    @property
    def wanted(self) -> int:
        """How many connections this process may have."""
        with self._lock:
            return self._wanted()

    @property
    def reading(self) -> int:
        """How many connections read at once: each file has one, even where fewer are wanted."""
        with self._lock:
            return max(self._wanted(), len(self._members))

    @property
    def busy(self) -> bool | None:
        """Whether this process takes most of the machine's processors; None where that is not known yet."""
        with self._lock:
            return self._tuner.busy

    @property
    def hurries(self) -> bool:
        """Whether it is to be looked at often: what the first connections bring is about to be judged."""
        with self._lock:
            return self._tuner.hurries

    def _wanted(self) -> int:
        """The same; the caller holds the lock."""
        jobs = len({member.party for member in self._members})
        hungry = len({member.party for member, load in self._members.items() if load.hungry})
        wanted, most = (
            shares.part(total, jobs, self.elsewhere.jobs, self.elsewhere.connections)
            for total in (self._tuner.wanted, self._tuner.bearable)
        )
        return shares.even(wanted, hungry, most)

    def join(self, member: Member) -> None:
        """A file begins."""
        with self._lock:
            self._members[member] = Load(0, 0)

    def report(self, member: Member, load: Load, now: float, spent: float = 0.0) -> None:
        """Say how a file's connections do; `spent` as in `Tuner.sample()`."""
        with self._lock:
            self._members[member] = load
            loads = self._members.values()
            self._tuner.sample(
                now,
                self._gone + sum(each.arrived for each in loads),
                sum(each.connected for each in loads) + self.elsewhere.connections,
                held=all(each.held for each in loads),
                capped=any(each.capped for each in loads),
                spent=spent,
            )

    def may_hire(self, member: Member) -> bool:
        """Whether a file may open one more connection; its first one it may always."""
        if member.hired == 0:
            return True
        with self._lock:
            wanted = self._wanted()
            if sum(each.hired for each in self._members) >= wanted:
                return False
            return member.hired < self._of(member, shares.shares(wanted, self._claims()))

    def share(self, member: Member) -> int:
        """How many connections a file has a right to, where it has work for them."""
        with self._lock:
            return max(1, self._of(member, shares.shares(self._wanted(), self._claims(member))))

    def surplus(self, member: Member) -> int:
        """How many of its connections a file should let go."""
        with self._lock:
            return self._of(member, shares.releases(self._wanted(), self._claims()))

    def _claims(self, hungry: Member | None = None) -> list[Claim]:
        """What all have and want; `hungry` as if it had work for more."""
        return [
            Claim(each.party, each.staying, load.hungry or each is hungry)
            for each, load in self._members.items()
        ]

    def _of(self, member: Member, counts: list[int]) -> int:
        """A member's own of what was counted for all; nothing for one that has not joined."""
        return next((n for each, n in zip(self._members, counts, strict=True) if each is member), 0)

    def refused(self) -> None:
        """A further connection was refused while others went on."""
        with self._lock:
            self._tuner.refused(sum(each.connected for each in self._members.values()))

    def leave(self, member: Member) -> None:
        """A file is done."""
        with self._lock:
            load = self._members.pop(member, None)
            self._gone += load.arrived if load else 0


class Traffic:
    """What the transfers of one process share; each may also have one of its own."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._budgets: dict[str, Budget] = {}
        self.throttle = Throttle()
        """The cap of everything that this process receives."""
        self.gauge = Gauge()
        self._lock = threading.Lock()

    def elsewhere(self, others: Mapping[str, Elsewhere]) -> None:
        """Say what other processes do, by endpoint."""
        with self._lock:
            for endpoint, budget in self._budgets.items():
                budget.elsewhere = others.get(endpoint, Elsewhere())

    @property
    def roomy(self) -> bool:
        """Whether the processors are known to have room for more files at once."""
        with self._lock:
            known = {budget.busy for budget in self._budgets.values()}
        return False in known and True not in known

    def budget(self, endpoint: str) -> Budget:
        """The connections of files that come from one Hub or mirror."""
        with self._lock:
            return self._budgets.setdefault(endpoint, Budget(self._limits))
