"""Several connections to one file: together as fast as the server allows, none of them waited for."""

import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest

from rbee_tui.engine.hardware import host
from rbee_tui.engine.transfer import Progress, Source
from rbee_tui.engine.transfer.traffic import Budget, Load, Member, Traffic
from rbee_tui.engine.transfer.wire import Body
from tests.engine.transfer.server import MANY, Behaviour, Exchange, Hub, Place, content, running, wait_until

DATA = content(1, 1 << 20)
RATE = 400_000
"""What the server gives each connection, in bytes per second."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A server that limits each connection."""
    with Hub(DATA, rate=RATE) as found:
        yield found


class TestTogether:
    """What several connections bring."""

    def test_several_bring_more(self, hub: Hub, place: Place) -> None:
        """Four connections take clearly less time than one, over disjoint ranges."""
        began = time.monotonic()
        found = place.fetch(hub.source(), limits=MANY)
        assert time.monotonic() - began < 0.85 * len(DATA) / RATE
        assert place.target.read_bytes() == DATA
        assert found.fetched_bytes == len(DATA)
        asked = [x.span for x in hub.requests if x.at == "cdn"]
        assert len(asked) > 4
        assert sum(x.at == "hub" for x in hub.requests) == 1, "the others know the storage from the first"

    def test_the_last_segments_are_short(self, hub: Hub, place: Place) -> None:
        """So that all connections end together, the hash close behind, and nothing is fetched twice."""
        limits = msgspec.structs.replace(
            MANY, grid=16 << 10, piece=4 << 10, segment=256 << 10, segment_shortest=16 << 10
        )
        place.fetch(hub.source(), limits=limits)
        spans = sorted(x.span for x in hub.requests if x.at == "cdn" and x.span)
        lengths = [end - start for start, end in spans]
        assert max(lengths) > 40 << 10
        assert max(lengths[-6:]) <= 32 << 10, lengths

    def test_a_slow_one_is_relieved(self, hub: Hub, place: Place) -> None:
        """One connection at a hundredth of the speed holds nothing up: the others fetch its rear."""
        crawled: list[int] = []

        def crawl(x: Exchange) -> None:
            start, end = x.span or (0, len(DATA))
            x.head(206, Content_Length=end - start, Content_Range=f"bytes {start}-{end - 1}/{len(DATA)}")
            for at in range(start, end, 1000):
                x.body(DATA[at : min(end, at + 1000)], counted=False)
                crawled.append(at)
                if x.server.closing.wait(0.2):
                    return

        hub.behaviour = Behaviour(crawl, times=1, skip=1)
        place.fetch(hub.source(), limits=msgspec.structs.replace(MANY, slow_seconds=60.0, connect=10.0))
        assert place.target.read_bytes() == DATA
        spans = sorted(x.span or (0, 0) for x in hub.requests if x.at == "cdn")
        assert any(left[1] > right[0] for left, right in pairwise(spans)), spans
        assert 0 < len(crawled) * 1000 < 0.9 * MANY.segment

    def test_a_stalled_one_costs_no_retry(self, hub: Hub, place: Place) -> None:
        """One that stalls for ever is replaced although no retry is allowed; the others go on meanwhile."""

        def stall(x: Exchange) -> None:
            start, end = x.span or (0, len(DATA))
            x.head(206, Content_Length=end - start, Content_Range=f"bytes {start}-{end - 1}/{len(DATA)}")
            x.stall()

        hub.behaviour = Behaviour(stall, times=2, skip=1)
        place.fetch(hub.source(), limits=msgspec.structs.replace(MANY, retries=0))
        assert place.target.read_bytes() == DATA

    def test_a_server_of_whole_files(self, hub: Hub, place: Place) -> None:
        """Where Range is ignored one connection brings everything, in one request."""
        hub.rate = None
        hub.behaviour = Behaviour(lambda x: (x.head(200, Content_Length=len(DATA)), x.body(DATA))[0])
        place.fetch(hub.source(), limits=MANY)
        assert place.target.read_bytes() == DATA
        assert sum(x.at == "cdn" for x in hub.requests) == 1

    def test_a_server_of_one_connection(self, hub: Hub, place: Place) -> None:
        """One that answers 429 to each further connection is left with the one that it bears."""
        open_now = threading.Semaphore(1)

        def one(x: Exchange) -> None:
            if not open_now.acquire(blocking=False):
                x.head(429, Content_Length=0)
                return
            try:
                x.serve()
            finally:
                open_now.release()

        hub.behaviour = Behaviour(one)
        place.fetch(
            hub.source(), limits=msgspec.structs.replace(MANY, segment=512 << 10, segment_shortest=512 << 10)
        )
        assert place.target.read_bytes() == DATA
        refused = sum(x.at == "cdn" for x in hub.requests)
        assert refused < 20, "it is not asked over and over"

    def test_they_read_so_much_together(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is read at once is held in memory: four connections read a quarter each."""
        asked: list[int] = []
        original = Body.read

        def read(self: Body, count: int, gather: int = 1) -> bytes:
            asked.append(count)
            return original(self, count, gather)

        monkeypatch.setattr(Body, "read", read)
        with Hub(DATA) as hub:
            place.fetch(hub.source(), limits=MANY)
        assert max(asked) == MANY.read // 4


class TestWatching:
    """What can be seen of it."""

    def test_connections_are_counted(self, hub: Hub, place: Place) -> None:
        """While it runs, and none afterwards."""
        with running(hub, place, limits=MANY) as (_, progress, results):
            wait_until(lambda: progress.connections == 4)
            wait_until(lambda: bool(results))
            assert progress.connections == 0

    def test_the_first_answer_brings_the_others(self, hub: Hub, place: Place) -> None:
        """They are not kept waiting for the next look at the clock."""
        hub.rate = 8_000
        with running(hub, place, limits=msgspec.structs.replace(MANY, poll=9.0)) as (_, progress, results):
            wait_until(lambda: sum(x.at == "cdn" for x in hub.requests) == 4, 8.0)
            hub.rate = None
            wait_until(lambda: bool(results))
        assert progress.state == "done"

    def test_it_tells_how_busy_the_machine_is(
        self, hub: Hub, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the seconds of all processors together that this process took."""
        monkeypatch.setattr(host, "affinity", lambda: 4)
        told, before, report = list[float](), time.process_time(), Budget.report

        def heard(self: Budget, member: Member, load: Load, now: float, spent: float = 0.0) -> None:
            told.append(spent)
            report(self, member, load, now, spent)

        monkeypatch.setattr(Budget, "report", heard)
        place.fetch(hub.source(), limits=MANY)
        assert before / 4 < told[0] <= told[-1] <= time.process_time() / 4

    def test_an_end_leaves_no_thread(self, hub: Hub, place: Place) -> None:
        """A stop ends every connection within half a second."""
        with running(hub, place, limits=MANY) as (stop, progress, results):
            wait_until(lambda: progress.connections == 4)
            stop.set()
            wait_until(lambda: bool(results), 0.5)
        wait_until(lambda: not any(t.name == "rbee-fetch" for t in threading.enumerate()))


class TestFilesTogether:
    """Several files from one origin."""

    def test_one_budget(self, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Two files at once have as many connections together as one, and at most a moment one more."""
        traffic, most = Traffic(MANY), [0]
        places = [Place(tmp_path_factory.mktemp("root")).prepare() for _ in range(2)]
        progresses = [Progress(), Progress()]

        def bring(place: Place, progress: Progress, source: Source) -> None:
            place.fetch(source, limits=MANY, traffic=traffic, progress=progress)

        threads = [
            threading.Thread(target=bring, args=(place, progress, hub.source()))
            for place, progress in zip(places, progresses, strict=True)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most[0] = max(most[0], sum(p.connections for p in progresses))
            threads[0].join(0.01)
        assert [place.target.read_bytes() == DATA for place in places] == [True, True]
        assert 2 <= most[0] <= 5

    def test_a_second_job_has_its_half_soon(self, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
        """One that has all of them gives half back at once, in the middle of a segment."""
        limits = msgspec.structs.replace(
            MANY, connections_first=8, connections_most=8, segment=512 << 10, slow_seconds=60.0
        )
        hub.rate = 8_000
        traffic = Traffic(limits)
        places = [Place(tmp_path_factory.mktemp("root")).prepare() for _ in range(2)]
        with running(hub, places[0], limits=limits, traffic=traffic, job="one") as (_, first, one):
            wait_until(lambda: first.connections == 8)
            with running(hub, places[1], limits=limits, traffic=traffic, job="two") as (_, second, two):
                wait_until(lambda: (first.connections, second.connections) == (4, 4), 6.0)
                hub.rate = None
                wait_until(lambda: bool(one and two))
        assert [place.target.read_bytes() == DATA for place in places] == [True, True]
