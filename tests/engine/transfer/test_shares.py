"""Who may have how many connections to one origin: pure, but for the budget that asks."""

from collections.abc import Hashable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.engine.transfer import Limits
from rbee_tui.engine.transfer.shares import Claim, divide, even, part, releases, shares
from rbee_tui.engine.transfer.traffic import Budget, Elsewhere, Load, Traffic

LIMITS = Limits()
CLAIMS = st.lists(st.builds(Claim, st.integers(0, 3), st.integers(1, 20), st.booleans()), max_size=12)


class TestDivide:
    """A number among some who want so many each."""

    def test_alike(self) -> None:
        """Everyone as much as anyone else; what cannot be divided stays where more is already."""
        assert divide(16, [16, 16], [0, 0]) == [8, 8]
        assert divide(16, [16, 16, 16], [5, 5, 6]) == [5, 5, 6]
        assert divide(16, [16, 16, 16], [6, 5, 5]) == [6, 5, 5]

    def test_nobody_gets_more_than_they_want(self) -> None:
        """What one leaves is for the others."""
        assert divide(16, [2, 16, 16], [0, 0, 0]) == [2, 7, 7]
        assert divide(16, [2, 3], [0, 0]) == [2, 3]
        assert divide(0, [1], [0]) == [0]
        assert divide(5, [], []) == []


class TestShares:
    """A number of connections among files, fairly by job."""

    def test_jobs_share_alike_however_many_files_they_have(self) -> None:
        """One of four files has as much as one of a single file."""
        files = [Claim("many", 0, hungry=True) for _ in range(4)]
        assert shares(16, [*files, Claim("one", 0, hungry=True)]) == [2, 2, 2, 2, 8]

    def test_each_file_has_one(self) -> None:
        """Also where more files than connections are under way."""
        files = [Claim("many", 1, hungry=True) for _ in range(4)]
        assert shares(2, [*files, Claim("one", 1, hungry=True)]) == [1, 1, 1, 1, 1]

    def test_who_has_no_work_leaves_it_to_the_others(self) -> None:
        """The last connections of a file that is nearly there hold nobody back."""
        assert shares(16, [Claim("a", 2, hungry=False), Claim("b", 5, hungry=True)]) == [2, 14]

    def test_one_alone_has_all(self) -> None:
        """Until another comes, who is given half; nothing is taken before he has work for it."""
        alone = Claim("a", 16, hungry=True)
        assert shares(16, [alone]) == [16]
        assert releases(16, [alone, Claim("b", 1, hungry=False)]) == [1, 0]
        assert releases(16, [alone, Claim("b", 1, hungry=True)]) == [8, 0]

    def test_too_many_go_whoever_waits(self) -> None:
        """When fewer are wanted, those above their share end."""
        assert releases(8, [Claim("a", 13, hungry=True), Claim("b", 3, hungry=True)]) == [9, 0]
        assert releases(2, [Claim("a", 1, hungry=True), Claim("b", 1, hungry=True)]) == [0, 0]

    def test_files_of_one_job_let_nothing_go_for_one_another(self) -> None:
        """A file that begins gets its connections as others end; another job does not wait for that."""
        files = [Claim("many", 8, hungry=True), Claim("many", 7, hungry=True), Claim("many", 1, hungry=True)]
        assert releases(16, files) == [0, 0, 0]
        assert releases(16, [*files, Claim("one", 1, hungry=True)]) == [5, 3, 0, 0]

    def test_nothing_goes_for_nothing(self) -> None:
        """Who has more than a share keeps it while nobody waits, or while some are free for those who do."""
        assert releases(16, [Claim("a", 13, hungry=True), Claim("b", 3, hungry=False)]) == [0, 0]
        assert releases(16, [Claim("a", 9, hungry=True), Claim("b", 6, hungry=True)]) == [1, 0]
        assert releases(16, [Claim("a", 6, hungry=True), Claim("b", 5, hungry=True)]) == [0, 0]

    @given(st.integers(1, 16), CLAIMS)
    def test_always(self, total: int, claims: list[Claim]) -> None:
        """A file keeps one; what is let go is too many or waited for; and it comes to rest."""
        for _ in range(3):
            due, gone = shares(total, claims), releases(total, claims)
            assert all(count >= 1 for count in due)
            assert all(0 <= go < each.staying for go, each in zip(gone, claims, strict=True))
            claims = [
                msgspec.structs.replace(each, staying=share if each.hungry else min(each.staying, share))
                for each, share in zip(claims, due, strict=True)
            ]
        assert releases(total, claims) == [0] * len(claims)


class TestProcesses:
    """Several processes at one origin."""

    @pytest.mark.parametrize(
        ("own", "others", "taken", "found"),
        [(1, 0, 0, 16), (1, 1, 16, 8), (1, 1, 2, 14), (3, 1, 4, 12), (1, 3, 99, 4), (0, 9, 99, 1)],
    )
    def test_a_part_by_jobs(self, own: int, others: int, taken: int, found: int) -> None:
        """As many as its jobs are due, more where the others leave them, one always."""
        assert part(16, own, others, taken) == found

    @pytest.mark.parametrize(
        ("total", "jobs", "most", "found"),
        [(2, 3, 16, 3), (4, 3, 16, 6), (16, 3, 16, 16), (6, 3, 16, 6), (4, 0, 16, 4), (4, 3, 5, 4)],
    )
    def test_few_are_made_even(self, total: int, jobs: int, most: int, found: int) -> None:
        """Nobody has twice as many as another for the sake of one connection, if the server bears more."""
        assert even(total, jobs, most) == found


class _File:
    def __init__(self, hired: int, party: Hashable = None) -> None:
        self.hired = self.staying = hired
        self.party = party or self


def budget_of(limits: Limits, *files: _File, hungry: bool = True) -> Budget:
    """A budget to which files have reported."""
    budget = Budget(limits)
    for file in files:
        budget.join(file)
        budget.report(file, Load(file.hired, 0, hungry=hungry), 0.0)
    return budget


class TestBudget:
    """One number of connections to an origin, over all files."""

    def test_the_first_connection_is_free_the_others_are_shared(self) -> None:
        """Each file moves; beyond that the sum counts."""
        files = [_File(1) for _ in range(4)]
        budget = budget_of(msgspec.structs.replace(LIMITS, connections_first=4), *files)
        assert not any(budget.may_hire(file) for file in files)
        assert budget.may_hire(_File(0))
        budget.leave(files.pop())
        assert budget.may_hire(files[0])

    def test_nobody_goes_beyond_a_share(self) -> None:
        """The room that others are about to take is theirs."""
        one, other = _File(5), _File(1)
        budget = budget_of(msgspec.structs.replace(LIMITS, connections_first=8), one, other)
        assert not budget.may_hire(one)
        assert budget.may_hire(other)

    def test_a_job_is_counted_once(self) -> None:
        """Files of one job share what the job is due."""
        files = [_File(2, "many"), _File(2, "many"), _File(1, "one")]
        budget = budget_of(msgspec.structs.replace(LIMITS, connections_first=8), *files)
        assert [budget.share(file) for file in files] == [2, 2, 4]

    def test_surplus_goes(self) -> None:
        """When fewer are wanted, a file with several lets some go; the last one stays."""
        one, other = _File(3), _File(1)
        budget = budget_of(msgspec.structs.replace(LIMITS, connections_first=2), one, other)
        assert budget.surplus(one) == 2
        assert budget.surplus(other) == 0

    def test_those_about_to_end_are_not_counted_again(self) -> None:
        """A second look, before they have ended, lets no further ones go."""
        one, other = _File(3), _File(1)
        budget = budget_of(msgspec.structs.replace(LIMITS, connections_first=2), one, other)
        one.staying = 1
        assert budget.surplus(one) == 0

    @pytest.mark.parametrize(("elsewhere", "wanted"), [(0, 4), (3, 1), (99, 1)])
    def test_other_processes_count(self, elsewhere: int, wanted: int) -> None:
        """What others have is taken off, but one is always allowed."""
        budget = Budget(LIMITS)
        budget.elsewhere = Elsewhere(elsewhere)
        assert budget.wanted == wanted

    def test_each_file_reads(self) -> None:
        """Three files have three connections where one is wanted: they divide what is read at once."""
        limits = msgspec.structs.replace(LIMITS, connections_first=1)
        assert budget_of(limits, *(_File(1) for _ in range(3)), hungry=False).reading == 3
        assert budget_of(LIMITS, _File(1)).reading == LIMITS.connections_first

    def test_there_is_room_while_no_origin_takes_it(self) -> None:
        """What the processors do for one is missing for the others; before a look nothing is known."""
        traffic = Traffic(LIMITS)
        traffic.budget("http://nobody")
        assert not traffic.roomy
        for endpoint, spent, roomy in [("http://one", 0.5, True), ("http://other", 0.8, False)]:
            file, budget = _File(4), traffic.budget(endpoint)
            budget.join(file)
            for tick in range(9):
                now = tick / 10
                budget.report(file, Load(budget.wanted, tick * 10_000_000), now, spent * now)
            assert traffic.roomy == roomy

    def test_a_refusal_is_not_evened_out(self) -> None:
        """A server that bears four gets four, though three jobs cannot divide them."""
        files = [_File(2), _File(1), _File(1)]
        budget = budget_of(msgspec.structs.replace(LIMITS, connections_first=4), *files)
        assert budget.wanted == 6
        budget.refused()
        assert budget.wanted == 4
