"""What fits, on the screen: by keys, on a real engine and a small Hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, Fault
from rbee_tui.demo.repos import demo_repos
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.fitting.choice import ChoiceFit
from rbee_tui.engine.paths import Root
from rbee_tui.ui.flows.fitting import column, line, matrix_lines
from rbee_tui.ui.glyphs import ASCII
from tests.ui import figures
from tests.ui.support import cockpit
from tests.ui.test_snapshots import MACHINE, REPOSITORY

pytestmark = pytest.mark.anyio


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """A small Hub."""
    with DemoHub(demo_repos()) as found:
        yield found


class TestMatrix:
    """The key m."""

    async def test_of_a_model_that_is_here(self, root: Root, tmp_path: Path):
        """Each device with its room, and whether it fits there."""
        ModelCatalog(root).import_gguf(tiny.write(tmp_path / "tiny.gguf").path, id="tiny")
        async with cockpit(root, "http://127.0.0.1:9", (80, 24)) as here:
            await here.sees("tiny")
            await here.press("m")
            await here.sees("Fit of tiny", "it fits on CPU at 4,096 tokens", "CPU: room for", "QUANT")
            await here.press("escape")
            await here.back()

    async def test_of_a_repository_before_anything_comes(self, root: Root, hub: DemoHub):
        """From the list of its files, and back to it; the question then has the line."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("Add a model from", "rbee-demo/recital-gguf")
            await here.press("enter")
            await here.sees("FIT", "CPU best", "m Fit")
            await here.press("m")
            await here.sees("Fit of rbee-demo/recital-gguf", "it fits on CPU")
            await here.press("escape")
            await here.sees("CPU best", "fits CPU: 16")
            assert not here.row("estimate")
            await here.press("enter")
            await here.sees("fit     fits CPU: ", "at 4,096 tokens")

    async def test_a_header_that_does_not_come(self, root: Root, hub: DemoHub):
        """Is an error with its sentence; the question is asked all the same, with an estimate."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("Add a model from", "rbee-demo/recital-gguf")
            await here.press("enter")
            await here.sees("CPU best")
            hub.fault = lambda seen: Fault(status=503) if seen.path.endswith("f16.gguf") else None
            await here.press("m")
            await here.sees("That did not work", "503")
            await here.press("escape")
            await here.sees("CPU best")
            await here.press("enter")
            await here.sees("fit     fits CPU: about", "estimate")


class TestText:
    """Cells and lines."""

    @pytest.mark.parametrize(("width", "contexts"), [(80, 2), (66, 2), (51, 1), (200, 3)])
    def test_contexts_give_way(self, width: int, contexts: int):
        """Where there is little room, the largest are shown; no line is wider than the screen."""
        found = figures.fit(REPOSITORY, MACHINE)
        wide = found.__class__(**{n: getattr(found, n) for n in found.__struct_fields__})
        lines = [text for text, _ in matrix_lines(wide, ASCII, width)]
        table = [text for text in lines if text.startswith(("  Q", "> Q"))]
        assert max(map(len, table)) <= width - 4
        assert len(lines[3].split()) - 3 == min(contexts, len(found.contexts))

    @pytest.mark.parametrize(
        ("word", "cell", "said"),
        [
            ("fits", "+ GPU0 best", ""),
            ("part", "* part best", "busy"),
            ("no", "x no", "wrong"),
            ("unknown", "", "quiet"),
        ],
    )
    def test_the_column_and_the_line(self, word, cell: str, said: str):
        """A word beside each colour."""
        fit = ChoiceFit(
            word=word, device="GPU0", context=8192, needed=1, room=2, estimate=True, text="fits GPU0"
        )
        assert column(fit, ASCII, best=True).text == cell
        text, style = line(fit)
        assert style == said
        assert text.startswith("fit     fits GPU0 at 8,192 tokens")
