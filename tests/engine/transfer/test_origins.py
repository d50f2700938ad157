"""What the environment says of the way to an origin."""

import subprocess
import sys

import pytest

from rbee_tui.engine.transfer.origins import Origin, proxy_of

HERE = Origin("https", "hub.example", 443)


class TestProxies:
    """By the variables that every program honours; beside them, on macOS alone, the system's settings."""

    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
    def test_for_its_scheme_or_for_all(self, name: str, monkeypatch: pytest.MonkeyPatch):
        """In capitals or not."""
        monkeypatch.setenv(name, "proxy.example:3128")
        assert proxy_of(HERE) == "http://proxy.example:3128"
        monkeypatch.setenv("NO_PROXY", "hub.example")
        assert proxy_of(HERE) is None

    def test_for_another_scheme(self, monkeypatch: pytest.MonkeyPatch):
        """Of no use here."""
        monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
        assert proxy_of(HERE) is None

    @pytest.mark.skipif(sys.platform == "darwin", reason="the system's settings have to be asked")
    def test_where_none_is_named_nothing_is_loaded_to_read_them(self, monkeypatch: pytest.MonkeyPatch):
        """NO_PROXY alone names none."""
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        code = (
            "import sys; from rbee_tui.engine.transfer.origins import Origin, proxy_of;"
            "print(proxy_of(Origin('https', 'hub.example', 443)), 'urllib.request' in sys.modules)"
        )
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
        )
        assert said.stdout.split() == ["None", "False"]
