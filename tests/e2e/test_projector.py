"""A model with a projector: the real worker is shown a picture, or serves text only."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from rbee_tui.demo import tiny
from tests import projector
from tests.e2e.support import Rbee

SAY = "It is red."
NAME = "mmproj-eyes.gguf"


@pytest.fixture(scope="module")
def rbee(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rbee]:
    """A root with such a model, as it is copied from another machine."""
    found = Rbee(tmp_path_factory.mktemp("sees") / "rbee")
    for model, other in (("eyes", projector.build()), ("blind", b"GGUF" + bytes(1000))):
        place = found.home / "models" / model
        place.mkdir(parents=True)
        size = tiny.write(place / "eyes-F16.gguf", SAY).size
        (place / NAME).write_bytes(other)
        artifact = {"id": model, "name": "Eyes", "version": "F16", "size_bytes": size + len(other)}
        artifact |= {"source_url": "file:", "status": "Available"}
        time = {"created_at": "2026-11-01T00:00:00Z", "updated_at": "2026-11-01T00:00:00Z"}
        (place / "metadata.json").write_text(json.dumps({"artifact": artifact, **time}))
    yield found
    found.run("stop", "--all")


def ask(started: dict[str, Any]) -> str:
    """What the model says to a picture."""
    address = f"data:image/png;base64,{base64.b64encode(projector.picture()).decode()}"
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": address}}]
    request = urllib.request.Request(
        f"{started['url']}/v1/chat/completions",
        json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 20}).encode(),
        {"Authorization": f"Bearer {started['api_key']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


class TestProjector:
    def test_it_sees(self, rbee: Rbee):
        """It answers to a picture; its projector is told, and counted in what was foreseen."""
        explained = rbee.run("start", "eyes", "--explain")
        assert NAME in explained
        started = rbee.json("start", "eyes")
        assert started["projector"] == NAME
        assert ask(started) == SAY
        rbee.run("stop", "eyes")
        text_only = rbee.json("start", "eyes", "--explain", "--no-projector")
        assert started["estimate_bytes"] - text_only["needed_bytes"] > len(projector.build())

    def test_without_it(self, rbee: Rbee):
        """Text only, as was wished: a picture is refused by the runtime itself."""
        started = rbee.json("start", "eyes", "--no-projector")
        assert started["projector"] == ""
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(started)
        with refused.value:
            assert "image input is not supported" in refused.value.read().decode()
        assert rbee.run("prompt", "eyes", "anything").strip() == SAY
        rbee.run("stop", "eyes")

    def test_one_that_cannot_be_loaded(self, rbee: Rbee):
        """The start fails, with the runtime's words in the log."""
        started = rbee.start("start", "blind")
        _, said = started.communicate(timeout=100)
        assert started.returncode == 9, said
        assert "its projector cannot be loaded" in said
        assert "rbee start blind --no-projector serves text only" in said
        assert NAME in rbee.run("logs", "blind")
