"""What the transfer's tests share."""

from pathlib import Path

import pytest

from tests.engine.transfer.server import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty place for one file."""
    return Place(tmp_path / "root").prepare()
