"""Who fetches which bytes: segments, stealing, and how many connections are worth it. All pure."""

import threading
from itertools import pairwise

import pytest

from rbee_tui.engine.transfer import Limits
from rbee_tui.engine.transfer.plan import lags
from rbee_tui.engine.transfer.segments import Segment, Victim, choose, clip, fair, length, share
from rbee_tui.engine.transfer.spans import Gap
from rbee_tui.engine.transfer.tuner import Tuner

MIB = 1 << 20
GRID = 8 * MIB
LIMITS = Limits()


class TestSegments:
    """Bytes with one owner each."""

    def test_whole_blocks_in_file_order(self) -> None:
        """A segment ends between two blocks, and where the gap ends."""
        assert clip(Gap(0, 100 * MIB), 32 * MIB, GRID) == Gap(0, 32 * MIB)
        assert clip(Gap(3 * MIB, 100 * MIB), 32 * MIB, GRID) == Gap(3 * MIB, 32 * MIB)
        assert clip(Gap(30 * MIB, 33 * MIB), 32 * MIB, GRID) == Gap(30 * MIB, 33 * MIB)
        assert clip(Gap(0, 100 * MIB), 1000, GRID) == Gap(0, GRID)
        assert clip(Gap(0, 100 * MIB), 31 * MIB, GRID) == Gap(0, 32 * MIB)

    def test_longer_where_asking_takes_long(self) -> None:
        """Asking for a segment is a twentieth of fetching it, between the shortest and the longest."""
        assert length(0.0, 0.0, 32, 512, 20.0) == 32
        assert length(100.0, 0.1, 32, 512, 20.0) == 200
        assert length(100.0, 9.0, 32, 512, 20.0) == 512

    def test_a_slow_one_gets_less(self) -> None:
        """So that all take as long; a fast one no more than is usual, an unknown one as little as can be."""
        assert fair(32, 25.0, [100.0, 100.0]) == 8
        assert fair(32, 100.0, [100.0, 25.0]) == 32
        assert fair(32, 400.0, [100.0, 100.0]) == 32
        assert fair(32, 0.0, [100.0, 100.0]) == 0
        assert fair(32, 0.0, []) == 0

    def test_the_rear_is_given_away(self) -> None:
        """By share, between two blocks where both keep enough, never what was claimed."""
        segment = Segment(Gap(0, 32 * MIB))
        assert segment.claim(5 * MIB) == 5 * MIB
        assert segment.give(0.5, MIB, GRID) == Gap(16 * MIB, 32 * MIB)
        assert segment.give(0.99, MIB, GRID) == Gap(6 * MIB, 16 * MIB)
        assert segment.claim(99 * MIB) == MIB
        assert segment.give(0.5, MIB, GRID) is None

    @pytest.mark.parametrize(("reach", "end"), [(40, 32), (20, 24), (10, 8), (2, 5), (0, 5)])
    def test_one_ends_soon(self, reach: int, end: int) -> None:
        """Where it would end anyway if that is near, else after the last block in reach, else where it is."""
        segment = Segment(Gap(0, 32 * MIB))
        segment.claim(5 * MIB)
        segment.shorten(reach * MIB, GRID)
        assert segment.end == end * MIB

    def test_no_byte_has_two_owners(self) -> None:
        """One thread claims while another steals: together they have each byte once."""
        segment = Segment(Gap(0, 1_000_000))
        claimed, stolen = [0], list[Gap]()

        def claim() -> None:
            while count := segment.claim(7):
                claimed[0] += count

        thread = threading.Thread(target=claim)
        thread.start()
        while (gap := segment.give(0.1, 10, 1)) is not None:
            stolen.append(gap)
        thread.join()
        assert claimed[0] + sum(gap.end - gap.start for gap in stolen) == 1_000_000

    def test_whom_to_relieve(self) -> None:
        """The one that would take longest; one whose rate is not known yet counts as the slowest."""
        slow, quick, new = Victim(10 * MIB, 1e6), Victim(30 * MIB, 1e8), Victim(20 * MIB, 0.0)
        assert choose([slow, quick], MIB, 0.0) is slow
        assert choose([slow, quick, new], MIB, 0.0) is new
        assert choose([quick], MIB, 1.0) is None
        assert choose([Victim(MIB, 1.0)], MIB, 0.0) is None

    def test_the_last_segments_are_shared(self) -> None:
        """The shortest segment at 20 MiB/s, half of it there: nobody is idle while another fetches that."""
        last = Victim(LIMITS.segment_shortest // 2, 20.0 * MIB)
        assert choose([last], LIMITS.steal, LIMITS.steal_seconds) is last

    def test_both_end_together(self) -> None:
        """The thief takes as much as it can fetch in the time that the other needs for the rest."""
        assert share(3.0, 1.0) == 0.75
        assert share(0.0, 5.0) == 0.5
        assert share(1e9, 1.0) == 0.95

    def test_laggards(self) -> None:
        """Under a tenth of the median of at least two others."""
        assert lags(9.0, [100.0, 100.0, 1.0])
        assert not lags(11.0, [100.0, 100.0])
        assert not lags(0.0, [100.0])


def drive(tuner: Tuner, total: "dict[int, float]", seconds: float, busy: float = 0.0) -> int:
    """Let a tuner see a network that brings `total[n]` bytes a second over n connections.

    `busy` is the part of the machine's processors that this takes.
    """
    arrived = 0.0
    for tick in range(int(seconds * 10)):
        connected = tuner.wanted
        arrived += total[max(n for n in total if n <= connected)] / 10
        spent = busy * tick / 10
        tuner.sample(tick / 10, int(arrived), connected, held=False, capped=False, spent=spent)
    return tuner.wanted


class TestTuner:
    """How many connections are worth it."""

    def test_a_server_that_limits_each(self) -> None:
        """While the rate rises more are added: sixteen after one look, and none is taken away again."""
        each = {n: n * 20e6 for n in range(1, 17)}
        assert drive(Tuner(LIMITS), each, LIMITS.window) == 16
        assert drive(Tuner(LIMITS), each, 0.2) == 16, "a moment shows what the first ones bring"
        assert drive(Tuner(LIMITS), {n: n * 1e6 for n in range(1, 17)}, 0.5) == 4, "two chunks show nothing"
        assert drive(Tuner(LIMITS), each, 5.0) == 16

    def test_quick_connections_are_added_step_by_step(self) -> None:
        """Where each brings 50 MB/s, this machine may be what is busy: twice as many are tried first."""
        each = {2: 100e6, 4: 200e6, 8: 210e6, 16: 210e6}
        assert drive(Tuner(LIMITS), each, LIMITS.window) == 8
        assert drive(Tuner(LIMITS), each, 5.0) == 4

    def test_a_line_that_is_full_with_eight(self) -> None:
        """The leap to sixteen was too far: half of them do as well."""
        assert drive(Tuner(LIMITS), {4: 80e6, 8: 160e6, 16: 160e6}, 5.0) == 8
        assert drive(Tuner(LIMITS), {4: 80e6, 8: 140e6, 16: 190e6}, 5.0) == 16

    def test_fewer_are_judged_once_the_others_have_left(self) -> None:
        """A surplus connection ends with its segment: while it brings bytes, fewer seem to do as well."""
        tuner, arrived, connected = Tuner(LIMITS), 0.0, 4
        brought = {4: 80e6, 8: 160e6} | dict.fromkeys(range(9, 17), 180e6)
        for tick in range(100):
            connected = max(tuner.wanted, connected - tick % 2)
            arrived += brought[connected] / 10
            tuner.sample(tick / 10, int(arrived), connected, held=False, capped=False)
        assert tuner.wanted == 16

    def test_connections_that_cannot_leave_are_not_waited_for(self) -> None:
        """Each file keeps one: with more files than connections are wanted, it settles all the same."""
        tuner, arrived, wanted = Tuner(LIMITS), 0, list[int]()
        for tick in range(400):
            arrived += 120_000_000
            wanted.append(tuner.sample(tick / 10, arrived, max(8, tuner.wanted), held=False, capped=False))
        assert 2 in wanted[wanted.index(1) :], "it did not look again"

    def test_a_line_that_is_full_with_four(self) -> None:
        """More bring nothing, fewer bring less: four stay."""
        assert drive(Tuner(LIMITS), {1: 20e6, 2: 40e6, 4: 80e6, 8: 80e6}, 5.0) == 4

    def test_a_line_that_is_full_with_two(self) -> None:
        """Fewer do as well: two stay."""
        assert drive(Tuner(LIMITS), {1: 40e6, 2: 80e6, 8: 80e6}, 5.0) == 2

    def test_fast_connections_are_made_fewer_first(self) -> None:
        """On loopback or a LAN one does as well, and it is not tried with eight."""
        assert drive(Tuner(LIMITS), {1: 1e9, 4: 1e9}, 0.5) == 1
        assert drive(Tuner(LIMITS), {1: 1e9, 4: 1e9}, 5.0) == 1
        assert drive(Tuner(LIMITS), {1: 150e6, 2: 300e6, 4: 600e6}, 2.0) == 4

    def test_one_that_brings_plenty_is_left_alone(self) -> None:
        """What more bring beyond that, no hash follows; below it they are worth it."""
        ample = LIMITS.connection_ample
        assert drive(Tuner(LIMITS), {1: ample * 1.01, 4: ample * 1.5}, 2.0) == 1
        assert drive(Tuner(LIMITS), {1: ample * 0.9, 4: ample * 1.5}, 2.0) == 4

    def test_a_busy_machine_gets_no_more(self) -> None:
        """Where the processors are what is short, more connections only want more of them."""
        rises = {1: 60e6, 4: 200e6, 8: 300e6, 16: 400e6}
        assert drive(Tuner(LIMITS), rises, 5.0, busy=0.6) == 16
        assert drive(Tuner(LIMITS), rises, 5.0, busy=0.8) == 4
        assert drive(Tuner(LIMITS), {1: 195e6, 4: 200e6}, 5.0, busy=0.8) == 1

    def test_it_is_called_busy_until_it_clearly_is_not(self) -> None:
        """What was taken away because of it made it a little less busy: that is no reason to give it back."""
        tuner, spent, seen = Tuner(LIMITS), 0.0, list[bool]()
        for busy in (0.6, 0.8, 0.6, 0.4):
            for _ in range(4000):
                at = len(seen) / 10
                tuner.sample(at, int(at * 200e6), tuner.wanted, held=False, capped=False, spent=spent)
                spent += busy / 10
                seen.append(tuner.busy)
        assert seen[3999::4000] == [False, True, True, False]

    @pytest.mark.parametrize(("held", "capped"), [(True, False), (False, True)])
    def test_our_own_bounds_teach_nothing(self, held: bool, capped: bool) -> None:
        """A rate that a cap or the hash bounds does not say what the server would do."""
        tuner = Tuner(LIMITS)
        for tick in range(100):
            assert tuner.sample(tick / 10, tick, 4, held=held, capped=capped) == 4
        assert not tuner.hurries

    def test_it_hurries_until_the_first_number_is_judged(self) -> None:
        """Whoever watches looks often until then, and no longer: each look costs processor time."""
        tuner = Tuner(LIMITS)
        assert tuner.hurries
        drive(tuner, {1: 1e5}, 1.0)
        assert tuner.hurries
        drive(tuner, {1: 1e5}, 5.0)
        assert not tuner.hurries
        refused = Tuner(LIMITS)
        refused.refused(1)
        refused.sample(0.0, 0, 1, held=False, capped=False)
        assert not refused.hurries

    def test_it_is_tried_again_later(self) -> None:
        """The network is another one half a minute later."""
        tuner = Tuner(LIMITS)
        drive(tuner, {1: 40e6, 4: 40e6}, 5.0)
        arrived = 0
        wanted = set[int]()
        for tick in range(600):
            arrived += 100_000 * tuner.wanted
            wanted.add(tuner.sample(100 + tick / 10, arrived, tuner.wanted, held=False, capped=False))
        assert max(wanted) == 16

    @pytest.mark.parametrize("refuses", [True, False])
    def test_what_brought_nothing_is_tried_ever_more_rarely(self, refuses: bool) -> None:
        """A server is not asked thrice a minute for what it does not give; no pause is over six minutes."""
        tuner, arrived, tried, before = Tuner(LIMITS), 0, list[float](), 4
        for tick in range(16_000):
            arrived += 2_000_000
            wanted = tuner.sample(tick / 10, arrived, tuner.wanted, held=False, capped=False)
            if wanted > before and tick > 100:
                tried.append(tick / 10)
                if refuses:
                    tuner.refused(before)
            before = tuner.wanted
        pauses = [later - sooner for sooner, later in pairwise(tried) if later - sooner > 10]
        assert len(pauses) > 5
        assert all(later > 1.5 * sooner for sooner, later in pairwise(pauses[:4]))
        assert 300 < pauses[-1] < 340

    def test_more_that_help_end_the_rarity(self) -> None:
        """Once a look again brought more, the next one comes soon."""
        tuner, arrived = Tuner(LIMITS), 0
        wanted = list[int]()
        for tick in range(8_000):
            arrived += 100_000 * min(tuner.wanted, 4 if tick < 4_000 else 8)
            wanted.append(tuner.sample(tick / 10, arrived, tuner.wanted, held=False, capped=False))
        rises = [tick / 10 for tick in range(1, len(wanted)) if wanted[tick] > wanted[tick - 1]]
        looks = [later for sooner, later in pairwise(rises) if later - sooner > 5]
        better = next(n for n, at in enumerate(looks) if at > 400)
        assert looks[better] - looks[better - 1] > 80
        assert looks[better + 1] - looks[better] < 40

    def test_a_slow_rate_is_looked_at_for_longer(self) -> None:
        """A few chunks more or less in a short time are chance: they bring no further connections."""
        tuner, arrived = Tuner(LIMITS), 0
        wanted = list[int]()
        for tick in range(60):
            arrived += 500_000 if tick % 8 == 0 else 100_000
            wanted.append(tuner.sample(tick / 10, arrived, tuner.wanted, held=False, capped=False))
        assert wanted[15] == 4
        assert wanted[-1] == 2

    def test_a_refusal_is_heeded(self) -> None:
        """A server that turns a fifth connection away gets no fifth one, until it is tried again later."""
        tuner = Tuner(LIMITS)
        tuner.refused(3)
        assert (tuner.wanted, tuner.bearable) == (3, 3)
        for tick in range(250):
            tuner.sample(tick / 10, tick * 1_000_000, tuner.wanted, held=False, capped=False)
        assert tuner.bearable == 16
