"""How people name what they want from the Hub."""

import pytest

from rbee_tui.engine.naming import Named, parse


class TestNames:
    """A name, a page, or only words."""

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("acme/tiny", Named(repo="acme/tiny")),
            (" acme/tiny:Q4_K_M ", Named(repo="acme/tiny", file="Q4_K_M")),
            ("acme/tiny@v1.0:a b.gguf", Named(repo="acme/tiny", file="a b.gguf", revision="v1.0")),
            ("https://huggingface.co/acme/tiny", Named(repo="acme/tiny")),
            ("https://hub.test/acme/tiny/tree/dev", Named(repo="acme/tiny", revision="dev")),
            (
                "https://hub.test/acme/tiny/resolve/main/q/t.gguf?download=true",
                Named(repo="acme/tiny", file="q/t.gguf", revision="main"),
            ),
            ("hf.co/acme/tiny:Q8_0", Named(repo="acme/tiny", file="Q8_0")),
        ],
    )
    def test_what_is_named(self, text: str, found: Named):
        """With its file and its revision."""
        assert parse(text) == found

    @pytest.mark.parametrize(
        "text",
        ["", "tiny", "two words", "a/b/c", "../x", "https://hub.test/tiny", "https://hub.test/datasets/x"],
    )
    def test_words(self, text: str):
        """Name nothing."""
        assert parse(text) is None
