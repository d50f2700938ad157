"""The Hub's token: which one is used, where an entered one lies, and that it never shows."""

import stat
from pathlib import Path

import pytest

from rbee_tui.engine import tokens
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from tests.cli.support import Command

HUB = "https://hub.test"


class TestWhichOne:
    """The environment, then what was entered for this Hub, then the Hub's own file."""

    def test_in_this_order(self, root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Each goes before those after it."""
        assert tokens.find(root, HUB) is None
        own = tmp_path / "huggingface" / "token"
        own.parent.mkdir()
        own.write_text("hf_own\n")
        assert tokens.find(root, HUB) == tokens.Token(text="hf_own", source=str(own))
        tokens.enter(root, HUB, " hf_entered\n")
        assert tokens.find(root, HUB) == tokens.Token(text="hf_entered", source="entered")
        monkeypatch.setenv("HF_TOKEN", "hf_set")
        assert tokens.find(root, HUB) == tokens.Token(text="hf_set", source="HF_TOKEN")

    def test_an_entered_one_is_for_its_hub_alone(self, root: Root):
        """Another endpoint does not get it."""
        tokens.enter(root, HUB, "hf_entered")
        assert Hub("https://other.test", root=root).token is None
        assert Hub(HUB, root=root).token == "hf_entered"

    def test_it_is_kept_for_its_owner_alone(self, root: Root):
        """Mode 600, in a directory of mode 700; forgotten without a trace."""
        tokens.enter(root, HUB, "hf_entered")
        (file,) = root.state.glob("hub-token*")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert tokens.forget(root)
        assert not tokens.forget(root)
        assert tokens.find(root, HUB) is None

    @pytest.mark.parametrize("text", ["", "two words", "line\nbreak", "\x1b[31m", "x" * 2000])
    def test_what_could_stand_in_no_header(self, root: Root, text: str):
        """Is refused, and nothing is written."""
        with pytest.raises(UsageError, match="not a token"):
            tokens.enter(root, HUB, text)
        assert tokens.find(root, HUB) is None

    def test_it_does_not_show_itself(self):
        """In a log or a traceback."""
        assert "hf_secret" not in repr(tokens.Token(text="hf_secret", source="entered"))


class TestVerb:
    """rbee token."""

    def test_set_show_forget(self, tmp_path: Path):
        """The token is in none of the outputs."""
        rbee = Command(tmp_path / "home", HUB, HF_HOME=str(tmp_path / "hf"), HF_TOKEN="")
        assert rbee.json("token")["source"] is None
        code, out, err = rbee.ended("token", "set", text="hf_canary\n")
        assert code == 0
        assert "kept for https://hub.test" in err
        assert rbee.json("token") == {"source": "entered", "endpoint": HUB}
        assert "hf_canary" not in out + err + rbee.run("token")
        rbee.run("token", "forget")
        assert rbee.json("token")["source"] is None
