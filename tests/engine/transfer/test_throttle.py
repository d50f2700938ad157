"""The cap: exact, smooth, changeable while it runs; and gentleness, which finds its own."""

import socket
import sys
import time

import pytest

from rbee_tui.engine.transfer import Traffic
from rbee_tui.engine.transfer.attempt import Line
from rbee_tui.engine.transfer.throttle import Gentle, Throttle
from tests.engine.transfer.server import MANY, Hub, Place, content, running, wait_until


class TestClock:
    """The virtual clock, driven by a clock that is handed in."""

    @pytest.mark.parametrize("rate", [10_000, 1_000_000, 10_000_000, 200_000_000])
    @pytest.mark.parametrize("readers", [1, 8])
    def test_exact_and_smooth(self, rate: int, readers: int) -> None:
        """Within 1 % but for each reader's first chunk, and at most a quarter too much in 100 ms."""
        throttle = Throttle(rate)
        due = [0.0] * readers
        marks = list[tuple[float, int]]()
        while (now := min(due)) < 10.0:
            count = throttle.chunk(1 << 20)
            due[due.index(now)] = now + max(1e-6, throttle.charge(count, now))
            marks.append((now, count))
        total = sum(count for _, count in marks)
        assert abs(total - rate * 10) <= 0.1 * rate + readers * throttle.chunk(1 << 20)
        if rate >= 1_000_000:
            for tenth in range(1, 100):
                within = sum(count for at, count in marks if tenth / 10 <= at < (tenth + 1) / 10)
                assert within <= 1.25 * rate / 10 + readers * throttle.chunk(1 << 20)

    def test_a_pause_is_no_credit(self) -> None:
        """After a second without a byte there is no burst."""
        throttle = Throttle(1_000_000)
        throttle.charge(10_000, 0.0)
        assert throttle.charge(10_000, 5.0) == pytest.approx(0.0, abs=1e-9)
        assert throttle.charge(10_000, 5.0) == pytest.approx(0.01)

    def test_without_a_cap(self) -> None:
        """Nothing waits, and the system chooses its buffers."""
        throttle = Throttle()
        assert throttle.charge(1 << 30, 0.0) == 0.0
        assert (throttle.chunk(1 << 20), throttle.buffer(4)) == (1 << 20, None)

    def test_buffers(self) -> None:
        """50 ms worth over all connections, within bounds."""
        assert Throttle(8_000_000).buffer(4) == 100_000
        assert Throttle(1000).buffer(16) == 4 << 10
        assert Throttle(1 << 40).buffer(1) == 4 << 20


class TestCap:
    """A fetch under a cap."""

    def test_it_holds_and_can_be_changed(self, place: Place) -> None:
        """Never more than 5 % above, and within 5 % where the machine keeps up; over several connections."""
        traffic = Traffic(MANY)
        traffic.throttle.rate = 1_000_000
        data = content(1, 16_000_000)
        with Hub(data) as hub, running(hub, place, limits=MANY, traffic=traffic) as (_, progress, results):
            for rate in (1_000_000, 2_000_000):
                traffic.throttle.rate = rate
                start = progress.received
                wait_until(lambda start=start: progress.received > start + 100_000)
                measured = list[float]()
                while not measured or (max(measured) < 0.95 and len(measured) < 4):
                    before, began = progress.received, time.monotonic()
                    wait_until(lambda before=before, rate=rate: progress.received - before >= rate // 2)
                    measured.append((progress.received - before) / (time.monotonic() - began) / rate)
                assert 0.95 <= max(measured) <= 1.05, measured
            traffic.throttle.rate = None
            wait_until(lambda: bool(results))
        assert place.target.read_bytes() == data


class TestGentle:
    """Round trips that grow mean that somebody else waits."""

    def test_halves_and_recovers(self) -> None:
        """Half the rate when round trips double, slowly back when they do not; no cap in the end."""
        gentle = Gentle()
        gentle.look([50_000], 8e6, 0.0)
        assert gentle.throttle.rate is None
        gentle.look([150_000], 8e6, 1.0)
        assert gentle.throttle.rate == 4_000_000
        gentle.look([150_000], 4e6, 1.5)
        assert gentle.throttle.rate == 4_000_000, "not more than once a second"
        gentle.look([150_000], 4e6, 2.1)
        assert gentle.throttle.rate == 2_000_000
        gentle.look([55_000], 2e6, 3.2)
        assert gentle.throttle.rate == 2_200_000
        gentle.look([55_000], 2e6, 3.5)
        assert gentle.throttle.rate == 2_200_000, "slowly, however often it looks"
        for second in range(5, 60):
            gentle.look([50_000], 2e6, float(second))
        assert gentle.throttle.rate is None

    def test_one_that_is_lucky_does_not_hide_the_others(self) -> None:
        """The usual round trip counts; the shortest only shows what is possible."""
        gentle = Gentle()
        gentle.look([1000, 1000, 1000], 8e6, 0.0)
        gentle.look([1000, 90_000, 90_000], 8e6, 2.0)
        assert gentle.throttle.rate == 4_000_000

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: it asks for TCP_INFO")
    def test_what_the_system_tells(self) -> None:
        """The round trip of the connection that brings something, not of the one that led there."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            line = Line()
            pairs = [
                (line.attach(socket.create_connection(listener.getsockname())), listener.accept()[0])
                for _ in range(2)
            ]
            there, here = pairs[1]

            def quick() -> bool:
                here.sendall(bytes(64 << 10))
                left = 64 << 10
                while left:
                    left -= len(there.recv(left))
                (trip,) = line.trips()
                return 0 < trip < 10_000

            wait_until(quick, 20)
            line.close()
            for pair in pairs:
                for each in pair:
                    each.close()

    def test_noise_on_a_fast_line_is_nothing(self) -> None:
        """On loopback a round trip of 0.1 ms may well double."""
        gentle = Gentle()
        gentle.look([100], 8e6, 0.0)
        gentle.look([5000], 8e6, 1.0)
        gentle.look([], 8e6, 2.0)
        assert gentle.throttle.rate is None

    def test_a_gentle_fetch(self, place: Place) -> None:
        """It fetches like any other where nobody else is."""
        with Hub(content(1)) as hub:
            place.fetch(hub.source(), limits=MANY, gentle=True)
        assert place.target.read_bytes() == content(1)
