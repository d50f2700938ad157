"""A house with a tiny model and a worker; nothing is left running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.engine.paths import Root
from tests.engine.workers.support import House, add_fake, add_model, end_all


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file that recites a sentence."""
    return tiny.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf", "A real worker says this.").path


@pytest.fixture
def house(root: Root, tiny_model: Path) -> Iterator[House]:
    """A root with the tiny model and no worker."""
    made = House(root)
    add_model(made, tiny_model)
    yield made
    end_all(root)


@pytest.fixture
def fake(house: House, tmp_path: Path) -> House:
    """The same with a stand-in for llama-server, whose fault is FAKE_MODE."""
    add_fake(house, tmp_path)
    return house
