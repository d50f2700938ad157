"""Who may have how many connections to one origin: fair shares among jobs, then among their files. Pure."""

from collections.abc import Hashable, Sequence

import msgspec


class Claim(msgspec.Struct, frozen=True):
    """What one file has, and whether more would help it."""

    party: Hashable
    """The job that it is of: jobs share alike, however many files each has under way."""
    staying: int
    """Connections that it has, without those that are about to end."""
    hungry: bool
    """Whether it has work for one more."""


def divide(total: int, wants: Sequence[int], have: Sequence[int]) -> list[int]:
    """Give everyone as much as anyone else, nobody more than they want, and what that leaves to the others.

    What cannot be divided goes to those who `have` most, so that nothing changes hands for it.
    """
    given = [0] * len(wants)
    open_to = sorted(range(len(wants)), key=lambda i: -have[i])
    while open_to := [i for i in open_to if given[i] < wants[i]]:
        each, over = divmod(total - sum(given), len(open_to))
        if each == over == 0:
            break
        for place, i in enumerate(open_to):
            given[i] = min(wants[i], given[i] + each + (place < over))
    return given


def shares(total: int, claims: Sequence[Claim]) -> list[int]:
    """How many of `total` connections each file should have: one at least, even where that makes more."""
    found = [1] * len(claims)
    parties = _parties(claims)
    for due, files in zip(_due(total, claims, parties), parties, strict=True):
        wants = [_wants(total, claims[i]) for i in files]
        for i, count in zip(files, divide(due, wants, [claims[i].staying for i in files]), strict=True):
            found[i] = max(1, count)
    return found


def releases(total: int, claims: Sequence[Claim]) -> list[int]:
    """How many connections each file should let go: what is too many, and what another job waits for.

    A job that has more than its share keeps it while no other is the poorer for it, and its files let nothing
    go for one another: that would be work for nothing.
    """
    parties = _parties(claims)
    due = [max(len(files), n) for files, n in zip(parties, _due(total, claims, parties), strict=True)]
    have = [sum(claims[i].staying for i in files) for files in parties]
    waiting = [any(claims[i].hungry for i in files) for files in parties]
    waited = sum(max(0, d - h) for d, h, waits in zip(due, have, waiting, strict=True) if waits)
    needed = sum(have) + waited - total
    staying = [claim.staying for claim in claims]
    for d, h, files in zip(due, have, parties, strict=True):
        for _ in range(min(h - d, needed)):
            staying[max(files, key=lambda i: staying[i])] -= 1
            needed -= 1
    return [claim.staying - stays for claim, stays in zip(claims, staying, strict=True)]


def _parties(claims: Sequence[Claim]) -> list[list[int]]:
    """Which of the claims are of one job, job by job."""
    found: dict[Hashable, list[int]] = {}
    for i, claim in enumerate(claims):
        found.setdefault(claim.party, []).append(i)
    return list(found.values())


def _wants(total: int, claim: Claim) -> int:
    return total if claim.hungry else max(1, claim.staying)


def _due(total: int, claims: Sequence[Claim], parties: list[list[int]]) -> list[int]:
    """How many connections each job should have."""
    return divide(
        total,
        [min(total, sum(_wants(total, claims[i]) for i in files)) for files in parties],
        [sum(claims[i].staying for i in files) for files in parties],
    )


def part(total: int, own_jobs: int, other_jobs: int, taken: int) -> int:
    """How many of `total` connections one process may have, where others have `taken` for their own jobs.

    Its jobs' share at least, and what the others leave.
    """
    return max(1, total * own_jobs // max(1, own_jobs + other_jobs), total - taken)


def even(total: int, jobs: int, most: int) -> int:
    """The next number that can be divided among so many jobs, where it is no more than `most`.

    Where each has one or two connections, one more for somebody is a share twice as large.
    """
    divisible = -(-total // max(1, jobs)) * jobs
    return max(total, divisible) if divisible <= most else total
