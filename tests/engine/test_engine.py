"""The engine as a library: its names, what it follows, and what it refuses."""

import subprocess
import sys
from contextlib import aclosing

import pytest

import rbee_tui.engine as library
from rbee_tui.demo.hub import DemoHub
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import NotFoundError, RefusedError
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from tests.engine.support_jobs import a_record


class TestNames:
    """What a script imports."""

    @pytest.mark.parametrize("name", library.__all__)
    def test_each_is_there(self, name):
        """By the name that it has at home."""
        assert getattr(library, name).__name__ == name

    def test_another_is_an_ordinary_error(self):
        """As of any module."""
        with pytest.raises(AttributeError, match=r"module 'rbee_tui\.engine' has no attribute 'Screen'"):
            _ = library.Screen

    def test_importing_it_costs_nothing(self):
        """The Hub is paid for by those who ask it."""
        heavy = ("httpx", "huggingface_hub", "psutil")
        code = f"import sys, rbee_tui.engine as e; e.Root; print([m for m in {heavy} if m in sys.modules])"
        command = [sys.executable, "-c", code]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        assert said.stdout.strip() == "[]"


class TestEngine:
    """One root's whole."""

    @pytest.fixture
    def engine(self, root: Root) -> Engine:
        """On an empty root."""
        return Engine(root, Hub("http://127.0.0.1:9", token=""))

    def test_by_default_it_is_the_user_s_own(self, monkeypatch, tmp_path):
        """Root and Hub come from the environment."""
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        engine = Engine()
        assert engine.root.path == tmp_path / "rbee"
        assert engine.provisioner.hub.endpoint == engine.hub.endpoint == "http://127.0.0.1:9"

    def test_a_model_that_is_being_downloaded_stays(self, engine: Engine):
        """The job would bring it back; how to end that is said."""
        engine.provisioner.store.put(a_record("00000001"))
        with pytest.raises(RefusedError, match="tiny is being downloaded") as caught:
            engine.remove_model("tiny")
        assert "rbee cancel 00000001" in caught.value.hint
        with pytest.raises(NotFoundError):
            engine.remove_model("another")

    @pytest.mark.anyio
    async def test_it_follows_what_others_do(self, engine: Engine):
        """Facts and jobs of any process on the root."""
        other = Engine(engine.root, engine.hub)
        other.provisioner.store.put(a_record("00000001"))
        async with engine, aclosing(engine.changes(every=0.01)) as changes:
            first = await anext(changes)
            assert first.latest["job:00000001"].model_id == "tiny"
            other.provisioner.store.put(a_record("00000002"))
            other.facts.tell("job.queued", "00000002", "another")
            facts, latest = [], {}
            while not facts or "job:00000002" not in latest:
                more = await anext(changes)
                facts += more.facts
                latest |= more.latest
            assert [fact.id for fact in facts] == ["00000002"]
            assert list(latest) == ["job:00000002"], "what did not change is not told again"

    @pytest.mark.anyio
    async def test_leaving_is_always_possible(self, engine: Engine):
        """Also where nothing was entered."""
        await engine.__aexit__(None, None, None)


def test_a_hub_may_be_given(root: Root):
    """As the demo does."""
    with DemoHub([]) as served:
        hub = Hub(served.url, token="")
        assert Engine(root, hub).hub is hub
