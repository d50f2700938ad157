"""The pure decisions: what is kept, when to try again, when a connection is too slow, when to give up."""

import msgspec
import pytest

from rbee_tui.engine.errors import HubError, NetworkError, RateLimitedError, RbeeError
from rbee_tui.engine.transfer import Limits, Source, part_name
from rbee_tui.engine.transfer.journal import Block, Header, Loaded
from rbee_tui.engine.transfer.patience import Delay, Fault, Kind, Patience
from rbee_tui.engine.transfer.plan import Pace, header, resume

SOURCE = Source("https://hub.example", "owner/tiny", "c" * 40, "model.gguf", 20_000, "a" * 64)
LIMITS = Limits(grid=8192)
HEADER = header(SOURCE, 8192)
FIRST, SECOND, LAST = Block(0, 8192, "1"), Block(8192, 8192, "2"), Block(16384, 3616, "3")


def changed(**changes: object) -> Header:
    """The source's header with other facts."""
    return msgspec.structs.replace(HEADER, **changes)


class TestResume:
    """What of an earlier transfer is kept."""

    def test_trusted_and_unproven(self) -> None:
        """What was synced is kept unread; the rest is to be read, in file order."""
        loaded = Loaded(HEADER, {0: FIRST}, {16384: LAST}, {9000: Block(9000, 10, "4")})
        found = resume(loaded, SOURCE, 20_000, LIMITS)
        assert (found.trusted, found.unproven) == ([FIRST], [Block(9000, 10, "4"), LAST])
        assert found.note == ""

    def test_blocks_behind_the_end_of_the_part(self) -> None:
        """A part that was cut short keeps only what it has."""
        found = resume(Loaded(HEADER, {0: FIRST, 8192: SECOND}, {16384: LAST}, {}), SOURCE, 16_383, LIMITS)
        assert (found.trusted, found.unproven) == ([FIRST], [])

    def test_the_grid_of_the_journal_stays(self) -> None:
        """A journal with another block size is gone on with."""
        assert resume(Loaded(changed(grid=4096)), SOURCE, 20_000, LIMITS).grid == 4096

    @pytest.mark.parametrize(
        ("found", "why"),
        [
            (changed(oid="sha256:" + "b" * 64), "the file changed at the Hub"),
            (changed(size=19_999), "the file changed at the Hub"),
            (changed(version=2), "another version of rbee"),
            (changed(digest="blake3"), "another version of rbee"),
            (changed(grid=0), "blocks of a size that cannot be"),
            (changed(grid=5000), "blocks of a size that cannot be"),
            (changed(grid=1 << 40), "blocks of a size that cannot be"),
        ],
    )
    def test_foreign_bytes(self, found: Header, why: str) -> None:
        """Bytes of other content start at zero, and it is said why."""
        decision = resume(Loaded(found, {0: FIRST}, {}, {}), SOURCE, 20_000, LIMITS)
        assert not decision.trusted
        assert decision.note.startswith("starting at zero: ")
        assert why in decision.note

    @pytest.mark.parametrize("key", ["endpoint", "repo", "commit", "path"])
    def test_the_same_content_from_elsewhere(self, key: str) -> None:
        """The hash is the identity: a mirror, another commit or a renamed file keep all blocks."""
        loaded = Loaded(changed(**{key: "other"}), {0: FIRST}, {}, {})
        assert resume(loaded, SOURCE, 20_000, LIMITS).trusted == [FIRST]

    @pytest.mark.parametrize("key", ["endpoint", "repo", "commit", "path"])
    def test_without_a_hash_the_commit_is_the_identity(self, key: str) -> None:
        """Where the Hub gives no hash, only the very same pinned place keeps its blocks."""
        bare = msgspec.structs.replace(SOURCE, sha256=None)
        same, other = changed(oid=""), changed(oid="", **{key: "other"})
        assert resume(Loaded(same, {0: FIRST}, {}, {}), bare, 20_000, LIMITS).trusted == [FIRST]
        assert "begun from another place" in resume(Loaded(other), bare, 20_000, LIMITS).note

    def test_no_journal(self) -> None:
        """Size and holes prove nothing: without a journal it starts at zero and says so."""
        assert "has no journal" in resume(Loaded(), SOURCE, 20_000, LIMITS).note
        assert resume(Loaded(), SOURCE, None, LIMITS).note == ""


class TestPatience:
    """Again, or the end: decided from counters and a clock that is handed in."""

    LIMITS = Limits(
        retries=3,
        backoff_first=1.0,
        backoff_longest=5.0,
        patience=60.0,
        retry_after_longest=300.0,
        retry_after_cut=40.0,
    )

    def patience(self) -> Patience:
        return Patience(self.LIMITS, "model.gguf of owner/tiny", 0.0, jitter=lambda: 1.0)

    def test_backs_off_and_gives_up(self) -> None:
        """Each failure in a row waits twice as long; after the last one the error names the cause."""
        patience = self.patience()
        fault = Fault("network", "the connection to hub.example broke off")
        waits = [patience.after(fault, 1.0) for _ in range(3)]
        assert [w.seconds for w in waits if isinstance(w, Delay)] == [1.0, 2.0, 4.0]
        end = patience.after(fault, 1.0)
        assert isinstance(end, NetworkError)
        text = "cannot fetch model.gguf of owner/tiny: the connection to hub.example broke off"
        assert str(end) == text

    def test_jitter_shortens_by_half_at_most(self) -> None:
        """Many clients that failed together do not come back together."""
        patience = Patience(self.LIMITS, "x", 0.0, jitter=lambda: 0.0)
        assert patience.after(Fault("answer", "x"), 1.0) == Delay(0.5, "x, trying again in 1 s")

    def test_new_bytes_forgive(self) -> None:
        """A connection that brought something sets the count of failures back."""
        patience = self.patience()
        for turn in range(1, 20):
            patience.note(turn * self.LIMITS.refresh, float(turn))
            assert isinstance(patience.after(Fault("network", "x"), float(turn)), Delay)

    def test_stalls_spend_no_retry_but_time(self) -> None:
        """A stalled connection is replaced at once, any number of times; a minute without a byte ends it."""
        patience = self.patience()
        fault = Fault("stall", "nothing arrived for 10 s")
        assert [patience.after(fault, float(at)) for at in range(10, 60, 10)] == [Delay(0.0, fault.text)] * 5
        assert isinstance(patience.after(fault, 60.0), NetworkError)

    def test_a_trickle_is_not_progress(self) -> None:
        """One byte a second does not keep a transfer alive."""
        patience = self.patience()
        for second in range(60):
            patience.note(second, float(second))
        assert patience.exhausted(60.0)

    def test_what_the_server_asks_for_is_waited_and_costs_no_patience(self) -> None:
        """Up to the Hub's own five minutes, and as often as anything else is tried again."""
        patience = self.patience()
        fault = Fault("limited", "rate limited by the Hub", retry_after=300.0)
        assert [patience.after(fault, 300.0 * n) for n in range(3)] == [
            Delay(300.0, "rate limited by the Hub, trying again in 300 s")
        ] * 3
        assert not patience.exhausted(959.0)
        assert isinstance(patience.after(fault, 900.0), RateLimitedError)

    @pytest.mark.parametrize("kind", ["limited", "answer"])
    def test_an_absurd_wait_is_cut_once_then_it_is_the_end(self, kind: Kind) -> None:
        """It may be a mistake; the second time it is meant, and said."""
        patience = self.patience()
        fault = Fault(kind, "the Hub asks to wait for 11574 days", retry_after=1e9)
        first = patience.after(fault, 30.0)
        assert first == Delay(40.0, "the Hub asks to wait for 11574 days, trying again in 40 s")
        assert not patience.exhausted(99.0)
        end = patience.after(fault, 70.0)
        assert isinstance(end, RbeeError)
        assert "asks to wait for 11574 days" in str(end)
        assert "longer than rbee waits" in end.hint

    def test_the_first_expired_signature_is_ordinary(self) -> None:
        """It is resolved again at once; the next one waits."""
        patience = self.patience()
        waits = [patience.after(Fault("expired", "x"), 0.0) for _ in range(2)]
        assert [w.seconds for w in waits if isinstance(w, Delay)] == [0.0, 2.0]

    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            ("limited", RateLimitedError),
            ("answer", HubError),
            ("expired", HubError),
            ("network", NetworkError),
            ("stall", NetworkError),
        ],
    )
    def test_the_last_fault_names_the_error(self, kind: str, error: type[RbeeError]) -> None:
        """Being limited, being answered nonsense and not being answered are three errors."""
        patience = self.patience()
        assert type(patience.after(Fault(kind, "x"), 60.0)) is error  # type: ignore[arg-type] - a table


class TestPace:
    """A connection that brings too little is stalled."""

    def test_a_trickle_stalls(self) -> None:
        """Less than 1 KiB in ten seconds is a stall, more is not."""
        for rate, stalled in ((1, True), (200, False)):
            pace = Pace(Limits(), 0.0)
            seen = [pace.stalled(rate * at, float(at), busy=False) for at in range(31)]
            assert any(seen) == stalled

    def test_our_own_slowness_is_not_a_stall(self) -> None:
        """While the disk or the hash is behind, the server is not blamed."""
        pace = Pace(Limits(), 0.0)
        assert not any(pace.stalled(0, float(at), busy=True) for at in range(60))


class TestNames:
    """The name of an arriving file."""

    def test_stable_and_distinct(self) -> None:
        """It stays when the content changes, and differs by model, repository and path."""
        name = part_name("tiny", SOURCE)
        assert name.startswith("tiny.model.gguf.")
        assert name.endswith(".part")
        assert part_name("tiny", msgspec.structs.replace(SOURCE, sha256="b" * 64, revision="d")) == name
        others = [
            part_name("other", SOURCE),
            part_name("tiny", msgspec.structs.replace(SOURCE, repo="owner/other")),
            part_name("tiny", msgspec.structs.replace(SOURCE, path="sub/model.gguf")),
        ]
        assert len({name, *others}) == 4

    @pytest.mark.parametrize("path", ["../../etc/passwd", "a/\x00b", "x" * 500, "\u202egguf", ".", "\ud800"])
    def test_hostile_names(self, path: str) -> None:
        """Whatever the path, the name is one plain component that leaves room for what stands beside it."""
        name = part_name("m" * 300, msgspec.structs.replace(SOURCE, path=path))
        assert name.isascii()
        assert "/" not in name
        assert len(name) < 180
        assert not name.startswith(".")
