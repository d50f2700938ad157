"""Conversations: each question is asked with what was said before."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from rbee_tui.engine.workers import prompting
from rbee_tui.engine.workers.prompting import Chunk, Conversation, Turn
from tests.engine.workers.support import MODEL, House

pytestmark = pytest.mark.anyio


async def test_each_question_comes_after_the_turns_before():
    """Questions and answers, in order."""
    asked: list[tuple[str, tuple[Turn, ...]]] = []

    async def ask(text: str, before: Sequence[Turn]) -> AsyncGenerator[Chunk]:
        asked.append((text, tuple(before)))
        for piece in ("an ", "answer"):
            yield Chunk(text=piece)

    conversation = Conversation()
    for text in ("first", "second"):
        assert [chunk.text async for chunk in conversation.ask(ask, text)] == ["an ", "answer"]
    assert asked == [("first", ()), ("second", (Turn("user", "first"), Turn("assistant", "an answer")))]


async def test_one_that_is_stopped_is_remembered_as_far_as_it_came():
    """And one that failed at once is not."""

    async def ask(text: str, before: Sequence[Turn]) -> AsyncGenerator[Chunk]:
        if text == "bad":
            raise LookupError("gone")
        yield Chunk(text="half")
        yield Chunk(text=" of it")

    conversation = Conversation()
    answer = conversation.ask(ask, "first")
    assert (await anext(answer)).text == "half"
    await answer.aclose()
    with pytest.raises(LookupError):
        [chunk async for chunk in conversation.ask(ask, "bad")]
    assert conversation.turns == [Turn("user", "first"), Turn("assistant", "half")]


async def test_a_worker_is_sent_all_of_it(fake: House, monkeypatch):
    """As messages; a model without turns gets one text to go on with."""
    sent: list[object] = []

    async def stream(url: str, body: dict[str, object], *, key: str) -> AsyncGenerator[object]:
        sent.append(body.get("messages") or body["prompt"])
        for each in ():
            yield each

    monkeypatch.setattr("rbee_tui.engine.workers.prompting.http.stream_events", stream)
    await fake.supervisor.start(MODEL)
    before = (Turn("user", "a"), Turn("assistant", "b"))
    [chunk async for chunk in fake.supervisor.prompt(MODEL, "c", before=before)]
    for chat in (True, False):
        [chunk async for chunk in prompting.ask("u", "k", MODEL, "c", chat=chat, max_tokens=5, before=before)]
    assert sent[1] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert sent[2] == "abc"


@pytest.mark.parametrize(("reason", "cut"), [("stop", False), ("length", True), (None, False)])
async def test_one_that_is_cut_off_says_so(monkeypatch: pytest.MonkeyPatch, reason: str | None, cut: bool):
    """As the runtime tells it; the figures have it in words."""

    async def stream(url: str, body: dict[str, object], *, key: str) -> AsyncGenerator[object]:
        yield {"choices": [{"delta": {"content": "half"}, "finish_reason": None}]}
        yield {"choices": [{"delta": {}, "finish_reason": reason}], "usage": None}
        yield {"choices": [], "usage": {"completion_tokens": 1}}

    monkeypatch.setattr("rbee_tui.engine.workers.prompting.http.stream_events", stream)
    *_, last = [chunk async for chunk in prompting.ask("u", "k", MODEL, "q", chat=True, max_tokens=1)]
    assert last.usage is not None
    assert last.usage.cut is cut
    assert ("cut off" in prompting.figures(last.usage)) is cut


@pytest.mark.parametrize(
    ("most", "words"), [(1, "so many tokens were asked for"), (9, "the context is full")]
)
async def test_why_it_was_cut_off(monkeypatch: pytest.MonkeyPatch, most: int, words: str):
    """Runtimes call both the same: with fewer tokens than it might have, the context was full."""

    async def stream(url: str, body: dict[str, object], *, key: str) -> AsyncGenerator[object]:
        yield {"choices": [{"delta": {"content": "half"}, "finish_reason": "length"}]}

    monkeypatch.setattr("rbee_tui.engine.workers.prompting.http.stream_events", stream)
    *_, last = [chunk async for chunk in prompting.ask("u", "k", MODEL, "q", chat=True, max_tokens=most)]
    assert last.usage is not None
    assert words in prompting.figures(last.usage)


async def test_what_it_took_so_far_comes_with_each_piece(monkeypatch: pytest.MonkeyPatch):
    """So that an answer that is stopped has its figures."""

    async def stream(url: str, body: dict[str, object], *, key: str) -> AsyncGenerator[object]:
        for _ in range(3):
            yield {"choices": [{"delta": {"content": "word "}}]}

    monkeypatch.setattr("rbee_tui.engine.workers.prompting.http.stream_events", stream)
    answer = prompting.ask("u", "k", MODEL, "q", chat=True, max_tokens=5)
    taken = [(await anext(answer)).usage for _ in range(3)]
    await answer.aclose()
    assert [each.tokens for each in taken if each is not None] == [1, 2, 3]
