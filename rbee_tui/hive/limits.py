"""How much of everything one peer may take, in one place."""

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes; each has a test that passes smaller ones."""

    head_seconds: float = 10.0
    """How long a request's head may take."""
    body_seconds: float = 10.0
    """How long a request's body may take."""
    head_bytes: int = 16 * KIB
    body_bytes: int = 64 * KIB
    connections: int = 256
    """Those beyond are answered 503, and cut at twice as many."""
    stall_seconds: float = 20.0
    """How long a reader of a stream may take nothing."""
    stream_bytes: int = MIB
    """What a stream keeps for readers who are behind or come back; at least its last event."""
    chunk_bytes: int = 64 * KIB
    """What is written to a reader at once: with the transport's own mark, what a stalled one costs."""
    silence_seconds: float = 15.0
    """After how long without an event a comment says that the stream still lives."""
    jobs: int = 256
    """Jobs whose streams are kept; the oldest ended ones are forgotten first."""
    kept_bytes: int = 16 * MIB
    """What the streams of ended jobs may take together; the newest is always kept."""
    goodbye_seconds: float = 2.0
    """How long answers may take that are under way when the hive ends."""
