"""What the tests of downloads share; each has a `hub` of its own."""

from collections.abc import Callable

import pytest

from rbee_tui.demo.hub import DemoHub
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner


@pytest.fixture
def make(root: Root, hub: DemoHub) -> Callable[[], ModelProvisioner]:
    """A provisioner, as a process of its own would have it."""
    return lambda: ModelProvisioner(root, Hub(hub.url, token=""))
