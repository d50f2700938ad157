"""One file from a Hub to its place: fetched, resumed, verified, published, stopped, refused."""

import hashlib
import time
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine import durable
from rbee_tui.engine.errors import (
    AccessError,
    BusyError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from rbee_tui.engine.transfer import Progress, Stopped, already_there, blocks_path, discard
from rbee_tui.engine.transfer.journal import load
from tests.engine.transfer.server import (
    FAST,
    TOKEN,
    Behaviour,
    Exchange,
    Hub,
    Place,
    content,
    running,
    wait_until,
)

DATA = content(1)
GRID = FAST.grid


def blob_id(data: bytes) -> str:
    """A git blob id."""
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data)).hexdigest()


def stop_after(hub: Hub, place: Place, count: int) -> None:
    """Fetch at a watchable rate and stop once `count` bytes are there."""
    hub.rate = 600_000
    with running(hub, place) as (stop, progress, results):
        wait_until(lambda: progress.kept + progress.received >= count or bool(results))
        stop.set()
        wait_until(lambda: bool(results))
    hub.rate = None
    assert isinstance(results[0], Stopped)


def flip(path: Path, offset: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


class TestFetching:
    """A file that is not there yet."""

    def test_published_with_its_digests(self, place: Place) -> None:
        """The bytes, the modes, the block digests, and nothing left behind."""
        progress = Progress()
        with Hub(DATA) as hub:
            found = place.fetch(hub.source(), progress=progress)
        assert place.target.read_bytes() == DATA
        assert place.target.stat().st_mode & 0o777 == 0o644
        assert (found.sha256, found.verified_by) == (hashlib.sha256(DATA).hexdigest(), "sha256")
        assert (found.fetched_bytes, found.kept_bytes, found.note) == (len(DATA), 0, "")
        assert place.files() == {"tmp/lock", "models/tiny/model.gguf", "models/tiny/.model.gguf.blocks"}
        digests = load(blocks_path(place.target))
        assert digests.header is not None
        assert digests.header.oid == f"sha256:{found.sha256}"
        assert sorted(digests.unproven) == list(range(0, len(DATA), GRID))
        assert (progress.state, progress.received, progress.hashed) == ("done", len(DATA), len(DATA))

    @pytest.mark.parametrize("size", [0, 1, GRID - 1, GRID, GRID + 1, 3 * GRID])
    def test_sizes(self, place: Place, size: int) -> None:
        """Empty files, single bytes, and every edge of the grid."""
        with Hub(content(2, size)) as hub:
            assert place.fetch(hub.source()).fetched_bytes == size
        assert place.target.read_bytes() == content(2, size)

    def test_git_blob_id(self, place: Place) -> None:
        """A small file without an LFS hash is verified by its git blob id."""
        with Hub(DATA) as hub:
            found = place.fetch(hub.source(sha256=None, blob_id=blob_id(DATA)))
            assert (found.sha256, found.blob_id, found.verified_by) == (None, blob_id(DATA), "git")
            with pytest.raises(IntegrityError, match="git blob id"):
                place.fetch(hub.source(sha256=None, blob_id="0" * 40, path="b.gguf"))

    def test_no_hash_at_all(self, place: Place) -> None:
        """Where the Hub gives no hash only the size is compared, and that is said."""
        with Hub(DATA) as hub:
            found = place.fetch(hub.source(sha256=None))
        assert found.verified_by == "size"
        assert "only its size was compared" in found.note
        assert found.sha256 == hashlib.sha256(DATA).hexdigest()

    def test_a_mirror_that_answers_itself(self, place: Place) -> None:
        """No redirect, no X-Linked headers: taken as it is, and verified."""
        with Hub(DATA, redirect=False) as hub:
            place.fetch(hub.source())
        assert place.target.read_bytes() == DATA

    def test_the_token_goes_to_the_hub_only(self, place: Place) -> None:
        """The storage, on another port of the same host, never sees it."""
        with Hub(DATA) as hub:
            place.fetch(hub.source())
            seen = {(x.at, x.headers.get("authorization")) for x in hub.requests}
        assert seen == {("hub", f"Bearer {TOKEN}"), ("cdn", None)}

    def test_a_relative_redirect_keeps_the_token(self, place: Place) -> None:
        """The cache of small files is at the Hub itself."""

        def to_cache(x: Exchange) -> None:
            x.head(307, Location="/api/resolve-cache/models/x", ETag='"x"', Content_Length=0)

        with Hub(DATA, redirect=False, behaviour=Behaviour(to_cache, at="hub", times=1)) as hub:
            place.fetch(hub.source())
            assert [x.headers.get("authorization") for x in hub.requests] == [f"Bearer {TOKEN}"] * 2

    def test_names_are_quoted(self, place: Place) -> None:
        """A path with a space, a question mark and a percent sign asks for exactly that path."""
        with Hub(DATA) as hub:
            place.fetch(hub.source(path="sub dir/what?%41.gguf", revision="refs/pr/1"))
            path = hub.requests[0].path
        assert path == "/owner/tiny/resolve/refs%2Fpr%2F1/sub%20dir/what%3F%2541.gguf"


class TestResuming:
    """A file that is partly there."""

    def test_goes_on_where_it_stopped(self, place: Place) -> None:
        """A stop keeps every byte that arrived; the next fetch asks for the rest only."""
        with Hub(DATA) as hub:
            stop_after(hub, place, 150_000)
            before = len(hub.requests)
            found = place.fetch(hub.source())
            first, last = hub.requests[-1].span or (0, 0)
        assert found.kept_bytes >= 150_000
        assert found.fetched_bytes == len(DATA) - found.kept_bytes
        assert (first, last) == (found.kept_bytes, len(DATA))
        assert len(hub.requests) == before + 2
        assert place.target.read_bytes() == DATA

    def test_several_streams_left_holes(self, place: Place) -> None:
        """A journal with blocks in any order and pieces of several streams: exactly the holes are fetched."""
        with Hub(DATA) as hub:
            stop_after(hub, place, len(DATA) - 20_000)
            place.part.write_bytes(DATA)
            from rbee_tui.engine.transfer.hashing import block_digest  # noqa: PLC0415 - only here
            from rbee_tui.engine.transfer.journal import Block, encode  # noqa: PLC0415 - only here

            header = load(place.journal).header
            assert header
            spans = [
                (2 * GRID, GRID),
                (0, 1000),
                (3 * GRID + 500, 700),
                (GRID, 5),
                (4 * GRID, len(DATA) - 4 * GRID),
            ]
            with place.part.open("rb") as file:
                lines = [Block(o, n, block_digest(file.fileno(), o, n) or "") for o, n in spans]
            place.journal.write_bytes(b"".join(map(encode, [header, *lines])))
            count = len(hub.requests)
            found = place.fetch(hub.source())
            asked = sorted(x.span or (0, 0) for x in hub.requests[count:] if x.at == "cdn")
        assert asked == [
            (1000, GRID),
            (GRID + 5, 2 * GRID),
            (3 * GRID, 3 * GRID + 500),
            (3 * GRID + 1200, 4 * GRID),
        ]
        assert found.kept_bytes == sum(n for _, n in spans)
        assert place.target.read_bytes() == DATA

    def test_an_unsynced_block_that_changed(self, place: Place) -> None:
        """A flipped bit in a block that no checkpoint covers is found on opening; that block comes again."""
        with Hub(DATA) as hub:
            stop_after(hub, place, 3 * GRID + 1000)
            raw = place.journal.read_bytes().splitlines(keepends=True)
            place.journal.write_bytes(b"".join(line for line in raw if b'"checkpoint"' not in line))
            flip(place.part, GRID + 77)
            count = len(hub.requests)
            found = place.fetch(hub.source())
            spans = [x.span for x in hub.requests[count:] if x.at == "cdn"]
        assert spans[0] == (GRID, 2 * GRID)
        assert found.note == ""
        assert place.target.read_bytes() == DATA

    def test_a_synced_block_that_rotted(self, place: Place) -> None:
        """A flipped bit in a trusted block is found by the whole hash; its digest says where it is."""
        with Hub(DATA) as hub:
            stop_after(hub, place, 4 * GRID)
            # Opening once more compacts the journal: what is there is synced and trusted.
            stop_after(hub, place, 4 * GRID + 1)
            assert GRID in load(place.journal).trusted
            flip(place.part, GRID + 77)
            hub.sent = 0
            count = len(hub.requests)
            found = place.fetch(hub.source())
            spans = [x.span for x in hub.requests[count:] if x.at == "cdn"]
        assert spans[-1] == (GRID, 2 * GRID)
        assert found.note == "1 damaged blocks are fetched again"
        assert place.target.read_bytes() == DATA

    def test_the_file_changed_at_the_hub(self, place: Place) -> None:
        """Another hash starts at zero, and says why."""
        with Hub(DATA) as hub:
            stop_after(hub, place, 100_000)
            hub.data = content(3)
            found = place.fetch(hub.source())
        assert found.note == "starting at zero: the file changed at the Hub"
        assert (found.kept_bytes, found.fetched_bytes) == (0, len(DATA))
        assert place.target.read_bytes() == content(3)

    @pytest.mark.parametrize("rest", [b"", b"\0" * 4096, b"garbage\n" * 99])
    def test_no_readable_journal(self, place: Place, rest: bytes) -> None:
        """Bytes without a journal prove nothing."""
        place.part.write_bytes(DATA)
        place.journal.write_bytes(rest)
        with Hub(DATA) as hub:
            found = place.fetch(hub.source())
        assert found.note.startswith("starting at zero")
        assert found.fetched_bytes == len(DATA)

    def test_what_a_killed_writer_left(self, place: Place) -> None:
        """Half-written journals and digests beside the files go with the next fetch."""
        place.target.parent.mkdir(parents=True)
        for path in (place.journal, blocks_path(place.target)):
            path.with_name(f".{path.name}.0123456789ab.tmp").write_bytes(b"half")
        with Hub(DATA) as hub:
            place.fetch(hub.source())
        assert place.files() == {"tmp/lock", "models/tiny/model.gguf", "models/tiny/.model.gguf.blocks"}

    def test_the_part_is_gone(self, place: Place) -> None:
        """A journal without its part starts at zero."""
        with Hub(DATA) as hub:
            stop_after(hub, place, 100_000)
            place.part.unlink()
            assert place.fetch(hub.source()).fetched_bytes == len(DATA)

    def test_a_new_etag_with_the_same_hash(self, place: Place) -> None:
        """The content's hash is the identity: when If-Range fails, the rest is asked for without it."""

        def cut(x: Exchange) -> None:
            x.head(200, Content_Length=len(DATA), ETag=x.server.etag)
            x.body(DATA[:100_000])
            x.server.etag = '"storage-etag-2"'

        with Hub(DATA, behaviour=Behaviour(cut, times=1)) as hub:
            found = place.fetch(hub.source())
            conditions = [x.headers.get("if-range") for x in hub.requests if x.at == "cdn"]
        assert conditions == [None, '"storage-etag-1"', None]
        assert found.fetched_bytes == len(DATA)
        assert place.target.read_bytes() == DATA

    def test_published_but_not_cleaned_up(self, place: Place) -> None:
        """A death between the rename and the removal of the journal costs no request."""
        with Hub(DATA) as hub:
            stop_after(hub, place, 100_000)
            place.target.parent.mkdir(parents=True)
            place.part.unlink()
            place.target.write_bytes(DATA)
            count = len(hub.requests)
            found = place.fetch(hub.source())
            assert len(hub.requests) == count
        assert (found.fetched_bytes, found.kept_bytes) == (0, len(DATA))
        assert not place.journal.exists()

    def test_complete_but_not_published(self, place: Place) -> None:
        """A death between the last byte and the rename costs no request."""
        with Hub(DATA) as hub:
            place.target.parent.parent.mkdir(parents=True)
            place.target.parent.write_text("a file where the directory should be")
            with pytest.raises(Exception, match="cannot make the directory"):
                place.fetch(hub.source())
            place.target.parent.unlink()
            count = len(hub.requests)
            found = place.fetch(hub.source())
            assert len(hub.requests) == count
        assert (found.fetched_bytes, found.kept_bytes) == (0, len(DATA))
        assert place.target.read_bytes() == DATA


class TestVerifying:
    """No wrong byte is published."""

    def test_a_lie_on_the_wire_once(self, place: Place) -> None:
        """Bytes that the wire changed are fetched once more as a whole, and then right."""

        def lie(x: Exchange) -> None:
            x.head(200, Content_Length=len(DATA))
            x.body(b"?" + DATA[1:])

        with Hub(DATA, behaviour=Behaviour(lie, times=1)) as hub:
            found = place.fetch(hub.source())
            assert hub.sent == 2 * len(DATA)
        assert "once more" in found.note
        assert place.target.read_bytes() == DATA

    def test_a_lie_that_stays(self, place: Place) -> None:
        """The same wrong bytes twice: nothing is published, nothing is kept, and the text says so."""
        with Hub(DATA) as hub:
            source = hub.source(sha256="b" * 64)
            hub.behaviour = Behaviour(
                lambda x: x.head(302, Location=f"{hub.url('cdn')}/blob", Content_Length=0), at="hub"
            )
            with pytest.raises(IntegrityError, match="the Hub sent the same bytes twice"):
                place.fetch(source)
            assert hub.sent == 2 * len(DATA)
        assert place.files() == {"tmp/lock"}

    def test_two_different_lies(self, place: Place) -> None:
        """The text names the ranges in which two downloads differ."""

        def lie(x: Exchange) -> None:
            x.head(200, Content_Length=len(DATA))
            x.body(DATA[:GRID] + bytes([len(x.server.requests)]) * GRID + DATA[2 * GRID :])

        named = r"differ in 1 of 5 blocks \(65.5 kB to 131.1 kB\)"
        with Hub(DATA, behaviour=Behaviour(lie)) as hub, pytest.raises(IntegrityError, match=named):
            place.fetch(hub.source())


class TestStopping:
    """`stop` is heeded within half a second, whatever happens just then."""

    @pytest.mark.parametrize("at", ["hub", "cdn"])
    def test_while_nothing_arrives(self, place: Place, at: str) -> None:
        """A server that never answers does not hold a stop up."""
        patient = msgspec.structs.replace(FAST, stall=60.0, patience=60.0)
        with (
            Hub(DATA, behaviour=Behaviour(Exchange.stall, at=at)) as hub,
            running(hub, place, limits=patient) as (stop, _, results),
        ):
            wait_until(lambda: any(x.at == at for x in hub.requests))
            began = time.monotonic()
            stop.set()
            wait_until(lambda: bool(results))
            assert time.monotonic() - began < 0.5
            assert isinstance(results[0], Stopped)

    def test_during_a_back_off(self, place: Place) -> None:
        """The wait that a rate limit asks for is said, and ends with the stop."""
        patient = msgspec.structs.replace(FAST, retry_after_longest=60.0)

        def limited(x: Exchange) -> None:
            x.head(429, Retry_After=40, Content_Length=0)

        with (
            Hub(DATA, behaviour=Behaviour(limited, at="hub")) as hub,
            running(hub, place, limits=patient) as (stop, progress, results),
        ):
            wait_until(lambda: progress.waiting_for != "")
            text = "rate limited by the Hub, which asks to wait for 0:40, trying again in 40 s"
            assert progress.waiting_for == text
            began = time.monotonic()
            stop.set()
            wait_until(lambda: bool(results))
            assert time.monotonic() - began < 0.5
        assert isinstance(results[0], Stopped)
        assert progress.waiting_for == ""


class TestRefusing:
    """One clear sentence each."""

    @pytest.mark.parametrize(
        ("status", "code", "error", "text"),
        [
            (401, "GatedRepo", AccessError, "is gated"),
            (403, "GatedRepo", AccessError, "is gated"),
            (401, "", AccessError, "does not exist, or is private"),
            (404, "EntryNotFound", NotFoundError, "there is no model.gguf"),
        ],
    )
    def test_by_the_hub(
        self, place: Place, status: int, code: str, error: type[Exception], text: str
    ) -> None:
        """Gated, private, absent: at once, after one request."""

        def refuse(x: Exchange) -> None:
            x.head(status, Content_Length=0, **({"X_Error_Code": code} if code else {}))

        with Hub(DATA, behaviour=Behaviour(refuse, at="hub")) as hub:
            with pytest.raises(error, match=text):
                place.fetch(hub.source(), token=None)
            assert len(hub.requests) == 1
        assert not place.target.exists()

    def test_no_network(self, place: Place) -> None:
        """A port where nobody listens."""
        with Hub(DATA) as hub:
            source = hub.source()
        with pytest.raises(NetworkError, match=r"no connection to 127.0.0.1 \(Connection refused\)"):
            place.fetch(source)

    def test_no_such_host(self, place: Place) -> None:
        """A name without an address."""
        source = Hub.source(_Nowhere(DATA))
        with pytest.raises(NetworkError, match=r"no address for nowhere\.invalid was found"):
            place.fetch(source)

    @pytest.mark.parametrize(
        "endpoint", ["hub.example", "ftp://hub.example", "https://user:pw@hub", "http://[x"]
    )
    def test_no_address_of_a_hub(self, place: Place, endpoint: str) -> None:
        """An endpoint that is no address, or carries a password."""
        with Hub(DATA) as hub, pytest.raises(UsageError, match="is not the address of a Hub"):
            place.fetch(hub.source(endpoint=endpoint))

    def test_a_negative_size(self, place: Place) -> None:
        """A listing that lies about the size."""
        with Hub(DATA) as hub, pytest.raises(UsageError, match="cannot have -1 bytes"):
            place.fetch(hub.source(size_bytes=-1))

    def test_one_writer(self, place: Place) -> None:
        """A second fetch of the same file is refused, and names who is at it."""
        with (
            durable.Lock(place.directory / "tmp" / "lock", "download"),
            Hub(DATA) as hub,
            pytest.raises(BusyError, match=r"pid \d+ \(download\) is at work"),
        ):
            place.fetch(hub.source())

    def test_a_link_in_place_of_the_part(self, place: Place) -> None:
        """A planted link does not lead the bytes elsewhere."""
        victim = place.directory / "victim"
        victim.write_text("precious")
        place.part.symlink_to(victim)
        with Hub(DATA) as hub, pytest.raises(RefusedError, match="is not a file"):
            place.fetch(hub.source())
        assert victim.read_text() == "precious"


class _Nowhere(Hub):
    def url(self, at: str = "hub") -> str:
        return "http://nowhere.invalid"


class TestAlreadyThere:
    """Whether a published file needs no transfer."""

    def ask(self, place: Place, source: object, *, known: bool = False, stopped: bool = False) -> bool:
        import threading  # noqa: PLC0415 - only here

        stop = threading.Event()
        if stopped:
            stop.set()
        return already_there(source, place.target, known=known, stop=stop, progress=Progress())  # type: ignore[arg-type] - a Source

    def test_by_hash_or_by_record(self, place: Place) -> None:
        """The hash decides; a record that knows the file asks only for its size."""
        place.target.parent.mkdir(parents=True)
        with Hub(DATA) as hub:
            source, bare = hub.source(), hub.source(sha256=None)
        assert not self.ask(place, source)
        place.target.write_bytes(DATA)
        assert self.ask(place, source)
        assert not self.ask(place, bare)
        assert self.ask(place, bare, known=True)
        flip(place.target, 5)
        assert not self.ask(place, source)
        place.target.write_bytes(DATA[:-1])
        assert not self.ask(place, source, known=True)

    def test_stopped(self, place: Place) -> None:
        """Hashing heeds a stop."""
        place.target.parent.mkdir(parents=True)
        place.target.write_bytes(content(9, 64 << 20))
        with Hub(place.target.read_bytes()) as hub, pytest.raises(Stopped):
            self.ask(place, hub.source(), stopped=True)


class TestDiscarding:
    """A partial file that nobody wants."""

    def test_removes_part_and_journal(self, place: Place) -> None:
        """Both go; what is not there does no harm."""
        with Hub(DATA) as hub:
            stop_after(hub, place, 50_000)
        discard(place.part)
        discard(place.part)
        assert place.files() == {"tmp/lock"}
