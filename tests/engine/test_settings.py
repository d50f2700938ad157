"""What a user settled stays settled; what cannot be read settles nothing."""

import stat

import pytest

from rbee_tui.engine import settings
from rbee_tui.engine.paths import Root
from rbee_tui.engine.settings import Settings


class TestSettings:
    """`state/settings.json`."""

    def test_nothing_is_settled_at_first(self, root: Root):
        """One is asked."""
        assert settings.read(root) == Settings(on_quit="ask")

    @pytest.mark.parametrize("answer", ["ask", "background", "pause"])
    def test_an_answer_is_kept(self, root: Root, answer):
        """For whoever reads it next, and for this user alone."""
        assert settings.change(root, on_quit=answer) == Settings(on_quit=answer)
        assert settings.read(root).on_quit == answer
        assert stat.S_IMODE((root.state / "settings.json").stat().st_mode) == 0o600

    @pytest.mark.parametrize(
        "text", [b"", b"{", b"[]", b'{"on_quit": "cancel"}', b'{"on_quit": null}', b"\xff\xfe", b"null"]
    )
    def test_what_cannot_be_read_settles_nothing(self, root: Root, text):
        """No answer is made up: above all none that throws anything away."""
        (root.state / "settings.json").write_bytes(text)
        assert settings.read(root).on_quit == "ask"

    def test_a_newer_rbee_s_settings_are_no_obstacle(self, root: Root):
        """What is not known here is passed over."""
        (root.state / "settings.json").write_bytes(b'{"on_quit": "pause", "theme": "light"}')
        assert settings.read(root).on_quit == "pause"

    def test_one_answer_leaves_the_others(self, root: Root):
        """The cap of downloads is another's affair."""
        settings.change(root, cap=1_000_000)
        settings.change(root, on_quit="pause")
        assert settings.read(root) == Settings(on_quit="pause", cap=1_000_000)
