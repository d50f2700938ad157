"""The cap: exact, smooth, changeable while it runs; and gentleness, which finds its own."""

import errno
import socket
import threading
import time

import msgspec
import pytest

from rbee_tui.engine.transfer import Traffic
from rbee_tui.engine.transfer.attempt import Line
from rbee_tui.engine.transfer.gauge import Gauge, Peer, Trip, handshake
from rbee_tui.engine.transfer.throttle import Gentle, Throttle, buffer
from rbee_tui.engine.transfer.traffic import Budget, Load
from rbee_tui.engine.transfer.wire import Link, Wire
from tests.engine.transfer.server import FAST, MANY, Hub, Place, content, running, wait_until


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


class TestBuffers:
    """What the server may run ahead by follows the cap, also of a connection that is there already."""

    def test_the_smallest_of_several(self) -> None:
        """Each throttle that has a cap counts."""
        assert buffer([Throttle(), Throttle()], 4) is None
        assert buffer([Throttle(8_000_000), Throttle(), Throttle(4_000_000)], 4) == 50_000

    def test_of_the_last_connection(self) -> None:
        """The one that brings the file, not the one that led there; a closed line is left alone."""
        line = Line()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            first, last = (line.attach(socket.create_connection(listener.getsockname())) for _ in range(2))
            before = first.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            line.fit(20_000)
            assert first.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before
            # Linux doubles what it is told, for its own needs.
            assert 20_000 <= last.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 40_000
            assert line.peer == listener.getsockname()
            line.close()
            line.fit(10_000)
            assert line.peer is None
            first.close()
            last.close()

    def test_follow_a_cap_that_changes(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """Told once for each change; where there is no cap any more a new connection takes over."""
        told, made = list[int](), list[int | None]()
        real = Wire.link

        def link(wire: Wire, line: Line, buffer: int | None = None) -> Link:
            made.append(buffer)
            return real(wire, line, buffer)

        monkeypatch.setattr(Line, "fit", lambda _, buffer: told.append(buffer))
        monkeypatch.setattr(Wire, "link", link)
        one = msgspec.structs.replace(FAST, connections_first=1, connections_least=1, connections_most=1)
        traffic = Traffic(one)
        with (
            Hub(content(1, 32_000_000), rate=2_000_000) as hub,
            running(hub, place, limits=one, traffic=traffic) as (_, progress, results),
        ):
            wait_until(lambda: progress.received > 0)
            assert not told
            traffic.throttle.rate = 1_000_000
            wait_until(lambda: bool(told))
            traffic.throttle.rate = None
            assert made == [None]
            wait_until(lambda: len(made) > 1)
            assert made == [None, None]
            assert told == [50_000]
            assert not results


class TestGentle:
    """A handshake that takes longer than it could means that somebody waits on the line."""

    def test_halves_and_recovers(self) -> None:
        """Half the rate while it takes twice as long, slowly back when it does not; no cap in the end."""
        gentle = Gentle()
        gentle.look(None, 8e6, 0.0)
        gentle.look(Trip(0.0, 0.05, 0.05), 8e6, 0.1)
        assert gentle.throttle.rate is None
        gentle.look(Trip(0.5, 0.2, 0.05), 8e6, 1.0)
        assert gentle.throttle.rate == 4_000_000
        gentle.look(Trip(2.9, 0.2, 0.05), 4e6, 3.5)
        assert gentle.throttle.rate == 4_000_000, "what is on the way by then says nothing of the new rate"
        gentle.look(Trip(3.0, 0.2, 0.05), 4e6, 3.6)
        assert gentle.throttle.rate == 2_000_000
        gentle.look(Trip(6.0, 0.055, 0.05), 2e6, 6.1)
        assert gentle.throttle.rate == 4_000_000
        gentle.look(Trip(6.5, 0.055, 0.05), 2e6, 6.6)
        assert gentle.throttle.rate == 4_000_000, "slowly, however often it looks"
        for second in range(8, 30):
            gentle.look(Trip(second, 0.05, 0.05), 2e6, second)
        assert gentle.throttle.rate is None

    def test_comes_back_where_nobody_answers(self) -> None:
        """A peer that refuses or drops handshakes says nothing of the line: no cap stays for that."""
        gentle = Gentle()
        gentle.look(Trip(0.0, 0.5, 0.05), 8e6, 1.0)
        gentle.look(None, 4e6, 2.9)
        assert gentle.throttle.rate == 4_000_000
        gentle.look(None, 4e6, 3.0)
        assert gentle.throttle.rate == 5_000_000
        gentle.look(None, 4e6, 3.9)
        assert gentle.throttle.rate == 5_000_000

    def test_comes_back_quickly_to_half_of_what_it_had(self) -> None:
        """From a little it doubles each second until then; what it had is the rate before it yielded."""
        gentle, caps = Gentle(), list[int | None]()
        for second in (0, 3, 6, 9):
            gentle.look(Trip(second, 0.3, 0.01), 8e6 / 2 ** (second // 3), second)
        assert gentle.throttle.rate == 500_000
        for second in range(12, 17):
            gentle.look(Trip(second, 0.01, 0.01), gentle.throttle.rate or 0, second)
            caps.append(gentle.throttle.rate)
        assert caps == [1_000_000, 2_000_000, 4_000_000, 5_000_000, 6_250_000]

    def test_never_less_than_a_little(self) -> None:
        """However long somebody else is there, some bytes arrive."""
        gentle = Gentle()
        for second in range(0, 60, 3):
            gentle.look(Trip(second, 0.3, 0.01), 8e6, second)
        assert gentle.throttle.rate == 64 << 10

    def test_noise_on_a_fast_line_is_nothing(self) -> None:
        """On loopback a handshake of 0.1 ms may well double."""
        gentle = Gentle()
        gentle.look(Trip(0.0, 0.005, 0.0001), 8e6, 1.0)
        assert gentle.throttle.rate is None

    def test_a_gentle_fetch(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """It fetches like any other where nobody else is, over one connection; it claims none besides."""
        loads = list[Load]()
        monkeypatch.setattr(Budget, "report", lambda _self, _member, load, *_: loads.append(load))
        data = content(1, 4_000_000)
        with (
            Hub(data, rate=2_000_000) as hub,
            running(hub, place, limits=MANY, gentle=True) as (_, seen, done),
        ):
            counts = set[int]()
            wait_until(lambda: counts.add(seen.connections) or bool(done))
            assert max(counts) == 1
        assert loads
        assert not any(load.hungry for load in loads)
        assert place.target.read_bytes() == data

    def test_a_fetch_on_a_crowded_line(self, place: Place) -> None:
        """It looks at its own server, and lowers its own rate alone."""
        asked = list[Peer]()

        def ask(peer: Peer) -> float:
            asked.append(peer)
            return 0.5 if crowded else 0.01

        crowded = False
        traffic = Traffic(MANY)
        traffic.gauge = Gauge(ask)
        with (
            Hub(content(1, 32_000_000), rate=400_000) as hub,
            running(hub, place, limits=MANY, traffic=traffic, gentle=True) as (_, progress, results),
        ):

            def rate() -> float:
                before, began = progress.received, time.monotonic()
                wait_until(lambda: progress.received - before > 200_000)
                return (progress.received - before) / (time.monotonic() - began)

            wait_until(lambda: bool(asked))
            free = rate()
            crowded = True
            wait_until(lambda: rate() < 0.6 * free, 20)
            host, port = hub.url("cdn").removeprefix("http://").split(":")
            assert asked[-1] == (host, int(port))
            assert traffic.throttle.rate is None
            assert not results


class TestGauge:
    """Handshakes, timed beside the file."""

    def test_tells_the_newest_and_the_quickest(self) -> None:
        """Each answer is the newest; the quickest stays known, and is forgotten after a minute unasked."""
        answers = [0.2, 0.1, 0.3, 0.4]
        gauge, peer = Gauge(lambda _: answers.pop(0)), ("192.0.2.1", 443)

        def after(left: int, now: float) -> Trip | None:
            gauge.look(peer, now)
            wait_until(lambda: len(answers) == left)
            return told(now)

        def told(now: float) -> Trip | None:
            wait_until(lambda: (trip := gauge.look(peer, now)) is not None and trip.began == now)
            return gauge.look(peer, now)

        assert after(3, 10.0) == Trip(10.0, 0.2, 0.2)
        assert after(2, 11.1) == Trip(11.1, 0.1, 0.1)
        assert after(1, 12.2) == Trip(12.2, 0.3, 0.1)
        assert after(0, 80.0) == Trip(80.0, 0.4, 0.4)

    def test_asks_one_at_a_time_and_not_more_than_once_a_second(self) -> None:
        """A peer that does not answer is asked once, whoever looks however often."""
        asked, answer = list[Peer](), threading.Event()

        def ask(peer: Peer) -> None:
            asked.append(peer)
            answer.wait(20)

        gauge = Gauge(ask)
        for now in (0.0, 0.1, 0.9, 5.0, 50.0):
            assert gauge.look(("192.0.2.1", 443), now) is None
        wait_until(lambda: bool(asked))
        gauge.look(("2001:db8::1", 443, 0, 0), 50.0)
        wait_until(lambda: len(asked) == 2)
        answer.set()
        assert asked == [("192.0.2.1", 443), ("2001:db8::1", 443, 0, 0)]

    def test_what_is_not_answered_any_more_is_old(self) -> None:
        """Six seconds later it says nothing of the line."""
        answers: list[float | None] = [0.1, None]
        gauge, peer = Gauge(lambda _: answers.pop(0)), ("192.0.2.1", 443)
        gauge.look(peer, 10.0)
        wait_until(lambda: gauge.look(peer, 10.0) is not None)
        assert gauge.look(peer, 16.0) == Trip(10.0, 0.1, 0.1)
        wait_until(lambda: not answers)
        assert gauge.look(peer, 16.1) is None

    def test_the_quickest_of_long_ago_is_forgotten(self) -> None:
        """Another line may be slower for good: after ten minutes at most it is measured by itself."""
        took = 0.01
        gauge, peer = Gauge(lambda _: took), ("192.0.2.1", 443)

        def quickest(now: float) -> float:
            wait_until(lambda: (trip := gauge.look(peer, now)) is not None and trip.began == now)
            return (gauge.look(peer, now) or Trip(0, 0, 0)).quickest

        assert quickest(0.0) == 0.01
        took = 0.1
        found = [quickest(float(now)) for now in range(50, 651, 50)]
        assert found[0] == found[5] == 0.01
        assert found[-1] == 0.1

    def test_without_a_thread_it_is_asked_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A download does not end because the system has no thread to give."""

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        gauge, peer = Gauge(lambda _: 0.1), ("192.0.2.1", 443)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            assert gauge.look(peer, 10.0) is None
        gauge.look(peer, 11.0)
        wait_until(lambda: gauge.look(peer, 11.0) is not None)

    def test_without_a_socket_nothing_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither is a trace printed."""

        def refuse(*_: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(socket, "socket", refuse)
        assert handshake(("127.0.0.1", 1)) is None

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_a_real_one(self, host: str) -> None:
        """A listening peer answers in no time; one that refuses says nothing of the line."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, 0), family=family)
        except OSError:
            pytest.skip("there is no IPv6 here")
        with listener:
            peer = listener.getsockname()
            took = handshake(peer)
            assert took is not None
            assert 0.0 < took < 3.0
        assert handshake(peer) is None
