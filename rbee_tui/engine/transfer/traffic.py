"""What all transfers of a process share: the connections to each origin, and the cap."""

import threading
from typing import Protocol

import msgspec

from rbee_tui.engine.transfer.source import Limits
from rbee_tui.engine.transfer.throttle import Throttle
from rbee_tui.engine.transfer.tuner import Tuner


class Member(Protocol):
    """One file's connections, as the budget sees them."""

    @property
    def hired(self) -> int:
        """Connections that it has, opening ones too."""
        ...


class Load(msgspec.Struct, frozen=True):
    """How one file's connections do, at one look."""

    connected: int
    arrived: int
    """Bytes since its beginning."""
    held: bool = False
    capped: bool = False


class Budget:
    """The connections to one origin, over all files that are fetched from it."""

    def __init__(self, limits: Limits) -> None:
        self._tuner = Tuner(limits)
        self._lock = threading.Lock()
        self._members: dict[Member, Load] = {}
        self._gone = 0
        self.taken_elsewhere = 0
        """Connections that other processes have to it."""

    @property
    def wanted(self) -> int:
        """How many connections this process may have."""
        return max(1, self._tuner.wanted - self.taken_elsewhere)

    def report(self, member: Member, load: Load, now: float) -> None:
        """Say how a file's connections do."""
        with self._lock:
            self._members[member] = load
            loads = self._members.values()
            self._tuner.sample(
                now,
                self._gone + sum(each.arrived for each in loads),
                sum(each.connected for each in loads),
                held=all(each.held for each in loads),
                capped=any(each.capped for each in loads),
            )

    def may_hire(self, member: Member) -> bool:
        """Whether a file may open one more connection; its first one it may always."""
        return member.hired == 0 or self._hired() < self.wanted

    def surplus(self, member: Member) -> bool:
        """Whether a file should let one of its connections go."""
        return member.hired > 1 and self._hired() > self.wanted

    def refused(self) -> None:
        """A further connection was refused while others went on."""
        with self._lock:
            self._tuner.refused(sum(each.connected for each in self._members.values()))

    def leave(self, member: Member) -> None:
        """A file is done."""
        with self._lock:
            load = self._members.pop(member, None)
            self._gone += load.arrived if load else 0

    def _hired(self) -> int:
        with self._lock:
            return sum(member.hired for member in self._members)


class Traffic:
    """What the transfers of one process share; each may also have one of its own."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._budgets: dict[str, Budget] = {}
        self.throttle = Throttle()
        """The cap of everything that this process receives."""
        self._lock = threading.Lock()

    def taken_elsewhere(self, connections: dict[str, int]) -> None:
        """Say how many connections other processes have, by endpoint."""
        with self._lock:
            for endpoint, budget in self._budgets.items():
                budget.taken_elsewhere = connections.get(endpoint, 0)

    def budget(self, endpoint: str) -> Budget:
        """The connections of files that come from one Hub or mirror."""
        with self._lock:
            return self._budgets.setdefault(endpoint, Budget(self._limits))
