"""Every key that a box or a text names works there."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rbee_tui.engine.choices import group
from rbee_tui.engine.errors import WorkerError
from rbee_tui.engine.fitting.choice import fit_of_choice
from rbee_tui.engine.planning import Room
from rbee_tui.ui.app import RbeeApp
from rbee_tui.ui.flows.adding import Ahead
from rbee_tui.ui.screens.question import Answer, Question
from tests.ui import scenes
from tests.ui.support import Cockpit, shown
from tests.ui.test_snapshots import ENDPOINT, MACHINE, PAGE, REPOS, REPOSITORY, plan

pytestmark = pytest.mark.anyio
MISTRAL = "mistral-7b-instruct-v0.3-q5_k_m"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A worker's log."""
    path = tmp_path / "worker.log"
    path.write_text("the last words of a worker\n")
    return path


@asynccontextmanager
async def standing(app: RbeeApp) -> AsyncGenerator[Cockpit]:
    """The screen with its scene on it."""
    async with shown(app, (80, 24)) as here:
        await here.until(lambda: "reading" in app.house.known and app.main.is_whole)
        await here.until(lambda: app.main.situation.line or not app.house.models)
        yield here


class TestEnter:
    """It gives the answer that is shown as its own."""

    @pytest.mark.parametrize(("shown_as", "given"), [("Enter", "change"), ("c", None)])
    async def test_where_there_is_none_the_box_was_read(self, shown_as: str, given: str | None):
        """An answer with a letter of its own waits for that letter."""
        question = Question("It is so", [("said", "")], [Answer("c", shown_as, "Change", "change")])
        async with standing(scenes.screen(scenes.empty())) as here:
            asked = here.app.run_worker(here.app.question(question))
            await here.sees("It is so")
            await here.press("enter")
            assert await asked.wait() == given


class TestCancelling:
    """The box before a download is cancelled."""

    async def test_p_pauses_it_instead(self):
        """A download, and one file of it."""
        async with standing(scenes.screen(scenes.busy())) as here:
            await here.press("3", "ctrl+d")
            await here.sees("Cancel the download", "p Pause it instead")
            await here.press("p")
            await here.hears("pausing qwen3-32b-q4_k_m")
            await here.press("j", "j", "ctrl+d")
            await here.sees("Cancel one file", "p Pause this file instead")
            await here.press("p")
            await here.hears("pausing qwen3-32b-q4_k_m-00002-of-00002.gguf")

    async def test_what_stands_still_is_not_paused(self):
        """Then the box does not offer it."""
        async with standing(scenes.screen(scenes.busy())) as here:
            await here.press("3", "j", "j", "j", "ctrl+d")
            await here.sees("Cancel the download", "gemma-3-4b-it-q4_k_m")
            assert not here.row("p Pause it")


class TestStarting:
    """The boxes of a start that is refused, or that fails."""

    async def test_w_says_why_one_is_refused(self):
        """And leads back to the box."""
        found = scenes.outlook(model=MISTRAL, refusal="it needs 9.1 GiB", hint="stop another worker")
        async with standing(scenes.screen(scenes.busy(), [found, found])) as here:
            await here.press("j", "j", "s")
            await here.sees(f"{MISTRAL} cannot be started", "w Why")
            await here.press("w")
            await here.sees(f"Why: {MISTRAL}", "llm-worker-metal is not taken")
            await here.press("escape")
            await here.sees(f"{MISTRAL} cannot be started", "c Change")

    async def test_l_shows_the_log_of_one_that_failed(self, log: Path):
        """And leads back to the box."""
        error = WorkerError("it ended with exit code 1", hint=f"rbee logs {MISTRAL}", log="no CUDA device")
        answers = [scenes.outlook(model=MISTRAL), error, log]
        async with standing(scenes.screen(scenes.busy(), answers)) as here:
            await here.press("j", "j", "s")
            await here.sees("Start a worker")
            await here.press("enter")
            await here.sees("It did not start", "l Log   Esc Back")
            await here.press("l")
            await here.sees(f"Log of {MISTRAL}", "the last words of a worker")
            await here.press("escape")
            await here.sees("It did not start")

    async def test_without_a_log_none_is_offered(self):
        """What failed before the worker wrote anything."""
        answers = [scenes.outlook(model=MISTRAL), WorkerError("its binary is not there")]
        async with standing(scenes.screen(scenes.busy(), answers)) as here:
            await here.press("j", "j", "s")
            await here.sees("Start a worker")
            await here.press("enter")
            await here.sees("It did not start")
            assert "l Log" not in here.row("Esc Back")


class TestDetails:
    """What can be done about a line can be done about its details."""

    async def test_of_a_worker_that_died(self, log: Path):
        """Its log, and another start."""
        async with standing(scenes.screen(scenes.damaged(), [log, scenes.outlook()])) as here:
            await here.press("2", "j", "enter")
            await here.sees("What became of the worker", "s Start  l Log  y Copy")
            await here.press("l")
            await here.sees("Log of phi-4-mini-q8_0", "the last words of a worker")
            await here.press("escape")
            await here.back()
            await here.press("enter")
            await here.sees("What became of the worker")
            await here.press("s")
            await here.sees("Start a worker")

    async def test_y_copies_the_key_of_a_worker(self):
        """As its line about the key says; what does not apply is not offered."""
        async with standing(scenes.screen(scenes.busy())) as here:
            await here.press("2", "enter")
            await here.sees("y copies it", "l Log  y Copy")
            assert not here.row("s Start")
            await here.press("y")
            await here.sees("API key", "ssh line")

    async def test_in_the_field_a_key_is_a_letter(self):
        """Looking for words with those letters in them leaves nothing."""
        async with standing(scenes.screen(scenes.busy())) as here:
            await here.press("2", "enter")
            await here.sees("y Copy")
            await here.press("slash", "y", "l")
            assert here.row("Worker on llama-3-8b-q4_k_m")


class TestNoRoom:
    """The box of a download that does not fit on the disk."""

    async def test_d_gives_some_back(self):
        """And leads back to the box, which looks again."""
        fit = fit_of_choice(group(REPOSITORY.files)[0], MACHINE)
        ahead = [
            Ahead(plan(), Room(needed=plan().total, free=free * 10**9, promised=0), scenes.HOME, fit)
            for free in (1, 5)
        ]
        answers = [ENDPOINT, REPOS, PAGE, ahead[0], scenes.usage(), ahead[1]]
        async with standing(scenes.screen(scenes.empty(), answers)) as here:
            await here.press("a")
            await here.sees(REPOS[0].id)
            await here.press("enter")
            await here.sees("licence")
            await here.press("enter")
            await here.sees("too little", "D What takes room")
            await here.press("D")
            await here.sees("Disk: ", "FREED")
            await here.press("escape")
            await here.sees("Enter Download", "5.0 GB free")
