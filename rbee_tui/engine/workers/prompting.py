"""Asking a running worker, and the figures of its answer."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Literal, TypeAlias

import msgspec

from rbee_tui.engine import http
from rbee_tui.engine.plain import as_dict, as_list
from rbee_tui.engine.text import token_rate


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer took."""

    tokens: int
    tokens_per_second: float
    """Of the generation; of the whole answer where that is too short to measure."""
    first_token_seconds: float
    """From the question to the first word."""
    cut: bool = False
    """Whether it ended where it may not be longer, or the context was full."""
    full: bool = False
    """Whether it was the context that was full."""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer, and what all of it took so far; the last one has no text."""

    text: str
    usage: Usage | None = None


class Turn(msgspec.Struct, frozen=True):
    """What was said once."""

    role: Literal["user", "assistant"]
    content: str


Ask: TypeAlias = Callable[[str, Sequence[Turn]], AsyncGenerator[Chunk]]
"""Asks something after what was said before, and yields the answer."""


class Conversation:
    """Questions and answers in turns: each is asked with all that was said before."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    async def ask(self, ask: Ask, text: str) -> AsyncGenerator[Chunk]:
        """Ask the next question and yield its answer; what came of one that was stopped is remembered."""
        said: list[str] = []
        try:
            async with aclosing(ask(text, tuple(self.turns))) as chunks:
                async for chunk in chunks:
                    said.append(chunk.text)
                    yield chunk
        finally:
            if any(said):
                self.turns += [Turn("user", text), Turn("assistant", "".join(said))]


def figures(usage: Usage) -> str:
    """An answer's figures in words."""
    cut = "the context is full" if usage.full else "so many tokens were asked for at most"
    return (
        f"{usage.tokens:,} tokens, {token_rate(usage.tokens_per_second)} tok/s, "
        f"first after {usage.first_token_seconds:.2f} s" + (f", cut off: {cut}" if usage.cut else "")
    )


async def ask(
    url: str,
    key: str,
    model_id: str,
    text: str,
    *,
    chat: bool,
    max_tokens: int,
    before: Sequence[Turn] = (),
) -> AsyncGenerator[Chunk]:
    """Ask a worker, after what was said `before`, and yield its answer as it comes; raises WorkerError."""
    body: dict[str, Any] = {
        "model": model_id,
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if chat:
        path, body["messages"] = (
            "chat/completions",
            [msgspec.to_builtins(each) for each in (*before, Turn("user", text))],
        )
    else:
        # A model without turns goes on with a text: all of it.
        path, body["prompt"] = "completions", "".join((*(each.content for each in before), text))
    meter = Meter(time.monotonic(), max_tokens)
    async for event in http.stream_events(f"{url}/v1/{path}", body, key=key):
        piece = piece_of(event)
        meter.count(event, time.monotonic(), spoke=bool(piece))
        if piece:
            yield Chunk(text=piece, usage=meter.usage(time.monotonic()))
    yield Chunk(text="", usage=meter.usage(time.monotonic()))


def generation_rate(tokens: int, seconds: float) -> float | None:
    """Tokens that were generated per second of generation; None where nothing was measured.

    The first token comes with the prompt: alone it took no time of its own. Runtimes disagree in whether
    their own rate counts it, so every face divides the two that they do agree on.
    """
    return tokens / seconds if tokens > 1 and seconds > 0 else None


class Meter:
    """Counts an answer: the runtime's own figures where it tells them, else pieces and seconds."""

    def __init__(self, asked: float, most: int) -> None:
        """`asked` is when, in seconds of a monotonic clock; `most` how many tokens may come."""
        self._asked = asked
        self._most = most
        self._first: float | None = None
        self._pieces = 0
        self._told: int | None = None
        self._rate: float | None = None
        self._cut = False

    def count(self, event: Any, at: float, *, spoke: bool) -> None:
        """Take up one event that came `at` this moment, in seconds of a monotonic clock."""
        if spoke:
            self._pieces += 1
            self._first = self._first or at
        for choice in as_list(as_dict(event).get("choices")):
            self._cut = self._cut or as_dict(choice).get("finish_reason") == "length"
        told = as_dict(as_dict(event).get("usage")).get("completion_tokens")
        self._told = told if isinstance(told, int) and told >= 0 else self._told
        timings = as_dict(as_dict(event).get("timings"))
        count, took = timings.get("predicted_n"), timings.get("predicted_ms")
        if isinstance(count, int) and isinstance(took, int | float):
            self._rate = generation_rate(count, took / 1000)

    def usage(self, at: float) -> Usage:
        """The figures of an answer that ended `at` this moment."""
        first = self._first or at
        tokens = self._told if self._told is not None else self._pieces
        rate = self._rate or generation_rate(tokens - 1, at - first) or tokens / max(at - self._asked, 1e-9)
        return Usage(
            tokens=tokens,
            tokens_per_second=round(rate, 1),
            first_token_seconds=round(first - self._asked, 4),
            cut=self._cut,
            full=self._cut and tokens < self._most,
        )


def piece_of(event: Any) -> str:
    """The text in one event of either protocol."""
    first = as_dict(next(iter(as_list(as_dict(event).get("choices"))), None))
    found = first.get("text") or as_dict(first.get("delta")).get("content")
    return found if isinstance(found, str) else ""
