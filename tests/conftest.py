"""What every room's tests share: a root of their own, and asyncio."""

from pathlib import Path

import pytest

from rbee_tui.engine.paths import Root


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rounds N` sizes the campaigns of faults, which are small without it; `--draw` draws pictures."""
    parser.addoption("--draw", action="store_true", help="draw the pictures in snapshots/ anew")
    parser.addoption("--rounds", type=int, default=None, help="rounds of each campaign of faults")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The branches that are counted are the engine's: the tests of the screen do not pay for that.

    A campaign takes as long as its rounds do.
    """
    here = Path(__file__).parent
    for item in items:
        if config.getoption("--rounds"):
            item.add_marker(pytest.mark.timeout(0))
        place = item.path.relative_to(here)
        if place.parts[0] in ("ui", "benchmarks") or place.name.startswith("test_screen"):
            item.add_marker("no_cover")


@pytest.fixture
def anyio_backend() -> str:
    """The engine is asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _clean_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No test sees the developer's own root, token, proxies or Hub."""
    if request.node.get_closest_marker("no_cover"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    for name in (
        "HF_TOKEN",
        "HF_ENDPOINT",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RBEE_HOME", str(tmp_path / "rbee"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama.cpp"))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A prepared, empty cache root."""
    return Root(tmp_path / "rbee").prepare()
