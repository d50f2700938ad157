"""OpenAI's own Python client against a real worker, started by the command."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from rbee_tui.demo import tiny
from tests.e2e.support import Rbee

SAY = "A worker that is real says exactly this."


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A worker of the tests' own environment with four slots, on a model that recites for ever and embeds."""
    pytest.importorskip("xllamacpp", reason="needs xllamacpp")
    rbee = Rbee(tmp_path_factory.mktemp("openai") / "rbee")
    model = tiny.write(Path(rbee.home.parent) / "tiny.gguf", f"{SAY} ", loop=True, context_length=4096).path
    rbee.run("models", "import", str(model), "--id", "tiny")
    options = ("--slots", "4", "--context", "4096", "--embeddings", "--worker", "llm-worker-xllamacpp")
    yield rbee.json("start", "tiny", *options)
    rbee.run("stop", "--all")


@pytest.fixture
def client(running: dict[str, Any]) -> Iterator[openai.OpenAI]:
    """A client as a person configures it: the URL with /v1, and the key."""
    with openai.OpenAI(base_url=f"{running['url']}/v1", api_key=running["api_key"], max_retries=0) as made:
        yield made


def test_models(client: openai.OpenAI):
    """The model by the name that rbee has for it."""
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_completion(client: openai.OpenAI):
    """The model's own words, and its count of them."""
    answer = client.completions.create(model="tiny", prompt="A", max_tokens=8)
    assert answer.choices[0].text.startswith("A worker") or SAY.endswith(answer.choices[0].text[-5:])
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


def test_chat(client: openai.OpenAI):
    """By messages, too."""
    answer = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hello"}], max_tokens=8
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"


def test_four_streams_at_once(client: openai.OpenAI):
    """None ends before all have begun: a worker that answers one after the other never gets there."""
    together = threading.Barrier(4, timeout=60)
    counts: list[int] = []

    def ask() -> None:
        count = 0
        with client.completions.create(model="tiny", prompt="A", max_tokens=200, stream=True) as stream:
            for chunk in stream:
                if count == 0:
                    together.wait()
                count += bool(chunk.choices and chunk.choices[0].text)
        counts.append(count)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counts) == 4
    assert min(counts) > 100


def test_embeddings(client: openai.OpenAI):
    """One vector for each text, the same for the same text."""
    found = client.embeddings.create(model="tiny", input=["A worker", "A worker"])
    one, same = [each.embedding for each in found.data]
    assert len(one) == 256
    assert sum(number * number for number in one) == pytest.approx(1, abs=1e-3)
    assert one == pytest.approx(same, abs=1e-4)


def test_without_a_key_whoever_asks_is_answered(tmp_path: Path):
    """By choice, whatever the client sends."""
    pytest.importorskip("xllamacpp", reason="needs xllamacpp")
    rbee = Rbee(tmp_path / "rbee")
    model = tiny.write(tmp_path / "tiny.gguf", f"{SAY} ", loop=True, context_length=4096).path
    rbee.run("models", "import", str(model), "--id", "tiny")
    try:
        started = rbee.json(
            "start", "tiny", "--no-key", "--context", "512", "--worker", "llm-worker-xllamacpp"
        )
        with openai.OpenAI(base_url=f"{started['url']}/v1", api_key="none", max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["tiny"]
            assert client.completions.create(model="tiny", prompt="A", max_tokens=8).choices[0].text
    finally:
        rbee.run("stop", "--all")


@pytest.mark.parametrize("key", ["rbee-of-somebody-else", ""])
def test_without_the_key_it_is_refused(running: dict[str, Any], key: str):
    """Whatever is asked."""
    with openai.OpenAI(base_url=f"{running['url']}/v1", api_key=key or "none", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.completions.create(model="tiny", prompt="A")
        with pytest.raises(openai.AuthenticationError):
            client.embeddings.create(model="tiny", input="A")
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
