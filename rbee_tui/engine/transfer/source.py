"""What a transfer is asked for, how far it is, what came of it, and its limits."""

from typing import Literal

import msgspec

from rbee_tui.engine.text import clean

State = Literal["waiting", "fetching", "hashing", "publishing", "done"]
Proof = Literal["sha256", "git", "size"]


class Stopped(Exception):  # noqa: N818 - nothing went wrong: somebody asked for it
    """The transfer ended because `stop` was set; what has arrived is kept for the next one."""


class Source(msgspec.Struct, frozen=True):
    """One file of a repository at a pinned commit, and what it must be."""

    endpoint: str
    """Scheme, host and port of the Hub or its mirror."""
    repo: str
    revision: str
    path: str
    size_bytes: int
    sha256: str | None = None
    """The Hub's hash of a large file."""
    blob_id: str | None = None
    """The git blob id: the hash of a small file, which has no sha256. A large file's is its pointer's."""
    url: str = ""
    """Where the file is, for one of another server than a Hub; that one may not send us to a third."""

    @property
    def oid(self) -> str:
        """The identity of the content, as `sha256:<hex>` or `git:<hex>`; empty when the Hub gave no hash."""
        if self.sha256:
            return f"sha256:{self.sha256.lower()}"
        return f"git:{self.blob_id.lower()}" if self.blob_id else ""

    @property
    def server(self) -> str:
        """Who has the file, as a sentence names it."""
        return "the server" if self.url else "the Hub"

    @property
    def label(self) -> str:
        """The file as a sentence names it, safe to show."""
        return f"{clean(self.path)} of {clean(self.repo)}"


class Fetched(msgspec.Struct, frozen=True):
    """A file that was published, and what proves it."""

    sha256: str | None
    """What was computed over the published bytes; None when the git blob id was."""
    blob_id: str | None
    fetched_bytes: int
    """Bytes that arrived in this call."""
    kept_bytes: int
    """Bytes of an earlier call that were kept."""
    verified_by: Proof
    """`size` when the Hub gave no hash: nothing but the length could be compared."""
    note: str = ""
    """What a person should know: why it started at zero, that no hash could be compared."""


class Progress:
    """How far a transfer is: plain counters, written by its threads, polled by whoever wants to know."""

    __slots__ = ("connections", "hashed", "kept", "note", "received", "state", "total", "waiting_for")

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self.kept = 0
        """Bytes on disk from before; lowered when some of them turn out bad."""
        self.received = 0
        """Bytes that arrived since; back at zero when bad ones are fetched again."""
        self.hashed = 0
        self.state: State = "waiting"
        self.waiting_for = ""
        """Why nothing arrives just now, as `rate limited by the Hub, trying again in 40 s`; else empty."""
        self.connections = 0
        self.note = ""
        """What was decided about earlier bytes, as `starting at zero: the file changed at the Hub`."""


class Limits(msgspec.Struct, frozen=True):
    """Sizes in bytes and times in seconds that bound a transfer."""

    grid: int = 8 << 20
    """The block size of a new journal."""
    piece: int = 1 << 20
    """An unfinished block is written down each time it grew by this much."""
    read: int = 1 << 20
    """How much all connections to an origin read at once, together: it is held in memory meanwhile."""
    connect: float = 10.0
    stall: float = 10.0
    """A connection that brings less than `trickle` bytes in this time is cut; that spends no retry."""
    trickle: int = 1024
    patience: float = 60.0
    """The longest time without `trickle` new bytes; waits that the server asked for do not count."""
    retries: int = 5
    """Failures in a row; `refresh` new bytes set the count back."""
    refresh: int = 64 << 10
    backoff_first: float = 0.5
    backoff_longest: float = 15.0
    retry_after_longest: float = 300.0
    """A Retry-After up to this is waited for; the Hub's own limits are by five minutes."""
    retry_after_cut: float = 60.0
    """A longer one is believed to be a mistake once, and waited for so long; the second ends the transfer."""
    redirects: int = 8
    segment: int = 32 << 20
    """A connection is given about so much at a time; more where asking takes long."""
    segment_shortest: int = 8 << 20
    """What is left of a file is given out in segments down to this size."""
    segment_longest: int = 512 << 20
    segment_asks: float = 50.0
    """A segment lasts at least so many times as long as asking for it."""
    steal: int = 1 << 20
    """The least that an idle connection takes from the rear of another's segment, or leaves to it."""
    steal_seconds: float = 0.08
    """A connection that will be done as soon as this is not relieved."""
    connections_first: int = 4
    connections_least: int = 1
    connections_most: int = 16
    """Connections to one origin, over all files: how many at first, at least and at most are tried."""
    connection_fast: int = 100_000_000
    """A connection that brings so much a second is not limited by its server: one alone is tried first."""
    connection_ample: int = 500_000_000
    """A connection that brings so much needs no other beside it: they would only want processor time."""
    first_look: float = 0.05
    """How long the first number of connections is tried at least before its rate is judged."""
    window: float = 0.4
    """How long a later number is tried before its rate is judged; half of it where it is clear."""
    slow_seconds: float = 5.0
    """A connection this old that runs under a tenth of the others' median is cut, like a stalled one."""
    backlog: int = 128 << 20
    """Reading waits while more than this has arrived, beside what came out of order, and is not hashed; it is
    far more than the hash lets come together before it begins."""
    checkpoint_bytes: int = 64 << 20
    checkpoint_seconds: float = 2.0
    unsynced: int = 256 << 20
    """Reading waits while more than this is unsynced, and the last checkpoint is older than its time."""
    poll: float = 0.1
    """How often `stop`, stalls and failures of the threads are looked at."""
