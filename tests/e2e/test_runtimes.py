"""Runtimes besides xllamacpp, the real ones: they take minutes to build, so the tests are given them.

RBEE_TEST_LLAMA_CPP_PYTHON=install                   builds and installs it, 10 CPU minutes or more
RBEE_TEST_LLAMA_CPP_PYTHON=.../workers/llm-worker-llama-cpp-python    uses a copy of one that was installed
RBEE_TEST_LLAMA_SERVER=.../llama-server              uses that program; else one on PATH
"""

import base64
import json
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rbee_tui.demo import tiny
from tests import projector
from tests.e2e.support import Rbee

SAY = "A worker that is real says exactly this."
PYTHON, SERVER = "llm-worker-llama-cpp-python", "llama-server"


class Served(NamedTuple):
    """A running worker."""

    rbee: Rbee
    worker: str
    url: str
    key: str

    def ask(
        self, path: str, body: Any = None, key: str | None = None, **headers: str
    ) -> tuple[int, Any, str]:
        """Status, headers and text of an answer."""
        request = urllib.request.Request(
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {
                "Authorization": f"Bearer {self.key if key is None else key}",
                "Content-Type": "application/json",
            }
            | headers,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()


def bring(rbee: Rbee, worker: str) -> None:
    """Put a runtime into the root, or skip with how to get one."""
    if worker == PYTHON:
        given = os.environ.get("RBEE_TEST_LLAMA_CPP_PYTHON", "")
        if not given:
            pytest.skip("RBEE_TEST_LLAMA_CPP_PYTHON=install builds llama-cpp-python, and tests it")
        if given == "install":
            process = rbee.start("workers", "install", PYTHON)
            _, said = process.communicate(timeout=3600)
            assert process.returncode == 0, said
        else:
            shutil.copytree(given, rbee.home / "workers" / PYTHON)
    else:
        given = os.environ.get("RBEE_TEST_LLAMA_SERVER") or shutil.which(SERVER) or ""
        if not given:
            pytest.skip("RBEE_TEST_LLAMA_SERVER=PATH names a llama-server to test; none is on PATH")
        rbee.run("workers", "register", given, "--id", SERVER)


@pytest.fixture(scope="module", params=[PYTHON, SERVER])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A runtime that serves the tiny model."""
    rbee = Rbee(tmp_path_factory.mktemp("runtime") / "rbee")
    model = tiny.write(rbee.home.parent / "tiny.gguf", SAY).path
    rbee.run("models", "import", str(model), "--id", "tiny")
    bring(rbee, request.param)
    started = rbee.json("start", "tiny", "--worker", request.param, "--embeddings")
    yield Served(rbee, request.param, started["url"], started["api_key"])
    rbee.run("stop", "tiny")
    assert rbee.json("ps") == []


@pytest.mark.runtime
@pytest.mark.timeout(3700)
class TestRuntime:
    def test_it_answers_exactly(self, served: Served):
        """Through the command, with the key that it was given."""
        assert served.rbee.run("prompt", "tiny", "anything").strip() == SAY
        (running,) = served.rbee.json("ps")
        assert running["worker"] == served.worker
        assert running["memory_bytes"] > 0

    def test_nothing_without_the_key(self, served: Served):
        """Neither models nor words, and no page that needs none; no web page of others is let in."""
        for path in ("/v1/models", "/v1/completions"):
            assert served.ask(path, {"prompt": "x"} if "compl" in path else None, key="wrong")[0] == 401
        if served.worker == PYTHON:
            assert [served.ask(path, key="")[0] for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3
            _, headers, _ = served.ask("/v1/models", Origin="http://evil.example")
            assert "Access-Control-Allow-Origin" not in headers

    def test_four_streams_at_once_are_whole(self, served: Served):
        """One after the other where the runtime cannot do more; no one is cut."""
        body = {"model": "tiny", "prompt": "x", "stream": True, "max_tokens": 64}
        found: list[str] = []

        def stream() -> None:
            _, _, said = served.ask("/v1/completions", body)
            events = [line[6:] for line in said.splitlines() if line.startswith("data: {")]
            found.append("".join(json.loads(each)["choices"][0]["text"] for each in events))
            assert "data: [DONE]" in said

        threads = [threading.Thread(target=stream) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [each.strip() for each in found] == [SAY] * 4

    def test_embeddings(self, served: Served):
        """Beside words, from the same worker: a vector for the text, not one for each token."""
        status, _, said = served.ask("/v1/embeddings", {"model": "tiny", "input": "x"})
        assert status == 200
        (vector,) = [each["embedding"] for each in json.loads(said)["data"]]
        assert len(vector) == tiny._WIDTH
        assert all(isinstance(number, float) for number in vector)


@pytest.mark.runtime
@pytest.mark.timeout(3700)
@pytest.mark.parametrize("worker", [PYTHON, SERVER])
def test_a_picture(worker: str, tmp_path: Path):
    """With a projector it is shown one; each runtime in its own way."""
    rbee = Rbee(tmp_path / "rbee")
    rbee.run("models", "import", str(tiny.write(tmp_path / "tiny.gguf", SAY).path), "--id", "tiny")
    bring(rbee, worker)
    place = rbee.home / "models" / "tiny"
    eyes = {"path": "mmproj-tiny.gguf", "size_bytes": len(projector.build()), "role": "projector"}
    (place / eyes["path"]).write_bytes(projector.build())
    found = json.loads((place / "metadata.json").read_text())
    found["artifact"]["files"].append(eyes)
    (place / "metadata.json").write_text(json.dumps(found))
    started = rbee.json("start", "tiny", "--worker", worker)
    seeing = Served(rbee, worker, started["url"], started["api_key"])
    address = f"data:image/png;base64,{base64.b64encode(projector.picture()).decode()}"
    content = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": address}}]
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 64}
    status, _, said = seeing.ask("/v1/chat/completions", body)
    rbee.run("stop", "tiny")
    assert status == 200, said
    assert json.loads(said)["choices"][0]["message"]["content"].strip() == SAY
