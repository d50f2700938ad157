"""An install is shown once: line by line as it goes, and not again with its error."""

from collections.abc import Callable

import pytest

from rbee_tui.cli.workers import install_shown
from rbee_tui.engine.errors import WorkerError


class Installer:
    """Says two lines and fails."""

    def __init__(self, log: str) -> None:
        self.log = log

    async def install(self, worker_id: str, on_line: Callable[[str], None], source: str) -> None:
        """As the package installer does."""
        on_line("resolving")
        on_line("error: no route")
        raise WorkerError("it could not be installed", log=self.log)


class House:
    """An engine with that installer."""

    def __init__(self, log: str) -> None:
        self.installer = Installer(log)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("log", "kept"),
    [("resolving\nerror: no route", ""), ("what the runtime itself said", "what the runtime itself said")],
)
async def test_what_was_shown_is_not_shown_again(log: str, kept: str, capsys: pytest.CaptureFixture[str]):
    """What nobody has seen yet stays in the error."""
    with pytest.raises(WorkerError) as caught:
        await install_shown(House(log), "llm-worker-cpu")
    assert caught.value.log == kept
    assert capsys.readouterr().err == "  | resolving\n  | error: no route\n"
