"""Latest values are replaced, facts never are."""

import asyncio

import pytest

from rbee_tui.engine.board import Board
from rbee_tui.engine.facts import Fact


def a_fact(number: int) -> Fact:
    return Fact(kind="test", id=str(number), at="2026-01-01T00:00:00Z", pid=1)


@pytest.mark.anyio
class TestBoard:
    """What a follower sees."""

    async def test_values_are_merged_and_facts_kept_in_order(self):
        """A thousand updates between two looks are one value; each fact is there."""
        board = Board()
        changes = board.changes(every=0.0)
        first = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        for number in range(1000):
            board.record("job:1", number)
            board.tell(a_fact(number))
        seen = await first
        assert seen.latest == {"job:1": 999}
        assert [fact.id for fact in seen.facts] == [str(n) for n in range(1000)]
        await changes.aclose()

    async def test_each_follower_sees_everything(self):
        """Two faces on one board do not take each other's facts away."""
        board = Board()
        followers = [board.changes(every=0.0) for _ in range(2)]
        looks = [asyncio.ensure_future(anext(follower)) for follower in followers]
        await asyncio.sleep(0)
        board.tell(a_fact(1))
        assert [[f.id for f in (await look).facts] for look in looks] == [["1"], ["1"]]
        for follower in followers:
            await follower.aclose()

    async def test_a_follower_that_left_is_forgotten(self):
        """Nothing is collected for nobody."""
        board = Board()
        changes = board.changes()
        look = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        board.record("x", 1)
        await look
        await changes.aclose()
        assert board._subscriptions == []

    async def test_a_late_follower_begins_with_what_is(self):
        """Each latest value, however old; facts only from then on, and nothing where nothing was told."""
        board = Board()
        board.record("models", ["old"])
        board.record("models", ["new"])
        board.record("reading", 7)
        board.tell(a_fact(1))
        late = board.changes(every=0.0)
        seen = await anext(late)
        assert (seen.latest, seen.facts) == ({"models": ["new"], "reading": 7}, [])
        again = asyncio.ensure_future(anext(late))
        await asyncio.sleep(0)
        board.record("reading", 8)
        assert (await again).latest == {"reading": 8}, "what it had is not told again"
        await late.aclose()

    async def test_one_that_came_to_an_empty_board_waits(self):
        """For the first thing that is told."""
        board = Board()
        changes = board.changes(every=0.0)
        first = asyncio.ensure_future(anext(changes))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not first.done()
        board.record("x", 1)
        assert (await first).latest == {"x": 1}
        await changes.aclose()
