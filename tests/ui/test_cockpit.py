"""Everything by keys, on a real engine: add, watch, steer, verify, delete, start, ask, stop, leave."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rbee_tui.demo import repos, tiny
from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo, Fault
from rbee_tui.engine import runner, settings
from rbee_tui.engine.board import Changes
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.facts import Fact
from rbee_tui.engine.paths import Root
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.settings import Settings
from rbee_tui.ui.flows import finding
from rbee_tui.ui.glyphs import UNICODE
from rbee_tui.ui.screens.question import Question, QuestionScreen
from rbee_tui.ui.widgets.field import Field
from rbee_tui.ui.widgets.list_pane import ListPane
from tests.ui.support import Cockpit, cockpit
from tests.ui.things import a_job, a_running

pytestmark = pytest.mark.anyio
SAY = "The cockpit has said this."
SLOW = 200_000
BIG = "acme/big-gguf"
MODEL = "recital-f16"


@pytest.fixture(scope="module")
def served() -> Iterator[DemoHub]:
    """The demo's Hub, and a repository whose file takes a while at the rate SLOW."""
    big = DemoRepo(BIG, {"big-Q4_K_M.gguf": bytes(40 * LARGE)}, downloads=1)
    with DemoHub([*repos.demo_repos(SAY), big]) as hub:
        yield hub


@pytest.fixture
def hub(served: DemoHub) -> Iterator[DemoHub]:
    """As fast as it goes and without faults, whatever the test before did to it."""
    served.rate, served.fault = None, None
    yield served
    served.rate, served.fault = None, None


@pytest.fixture
def model(root: Root, tmp_path: Path) -> str:
    """A tiny model in the root; its id."""
    file = tiny.write(tmp_path / "tiny.gguf", SAY).path
    return ModelCatalog(root).import_gguf(file, id="tiny").id


async def add(here: Cockpit, words: str = "", name: str = "") -> None:
    """Add a model by keys; `words` are typed into the search."""
    await here.press("a")
    await here.sees("Add a model from", "rbee-demo/recital-gguf")
    if words:
        await here.type(words)
    await here.press("enter")
    if name or not words:
        await here.sees("licence", name or "recital-f16.gguf")
        await here.press("enter")
    await here.sees("size ", "left ", "Download")
    await here.press("enter")
    await here.back()


async def adding_big(here: Cockpit, hub: DemoHub) -> None:
    """A download that goes on for a while, once its first bytes are there."""
    hub.rate = SLOW
    await add(here, f"{BIG}:Q4_K_M")
    await here.until(lambda: any(job.downloaded for job in here.app.house.jobs.values()))


async def whole(here: Cockpit) -> None:
    """Wait until the demo's model is listed as whole."""
    await here.until(lambda: (entry := here.app.house.model(MODEL)) and entry.health == "ok")
    await here.sees("✓ verified")


def state(here: Cockpit) -> str:
    """The state of the only download."""
    return next((job.state for job in here.app.house.jobs.values()), "")


class TestFirstRun:
    """Nothing is there, and nothing is asked first."""

    @pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
    async def test_empty_panes_say_what_to_press(self, root: Root, size):
        """All three, with their titles."""
        async with cockpit(root, "http://127.0.0.1:9", size) as here:
            await here.sees("1 Models", "2 Workers", "3 Downloads")
            await here.sees("No models yet.", "it searches the Hugging Face Hub")
            await here.sees("No workers yet.", "No downloads.", "a Add", "? Help", "q Quit")

    async def test_a_demo_says_which_hub(self, root: Root):
        """It is not the world's."""
        async with cockpit(root, "http://127.0.0.1:9", demo=True, greeting="begin with a") as here:
            await here.sees("it searches this demo's small Hub", "begin with a")

    async def test_with_little_room_one_pane_at_a_time(self, root: Root):
        """The others by their numbers."""
        async with cockpit(root, "http://127.0.0.1:9", (50, 14)) as here:
            await here.sees("1 Models")
            assert not here.row("2 Workers")
            await here.press("2")
            await here.sees("2 Workers")
            await here.press("tab")
            await here.sees("3 Downloads")
            await here.press("shift+tab", "shift+tab")
            await here.sees("1 Models")


class TestDownload:
    """From the search to a verified model, and everything that one may want on the way."""

    async def test_four_keys_add_a_model(self, root: Root, hub: DemoHub):
        """a, Enter, Enter, Enter: what is downloaded most, its file, the question, and it comes."""
        async with cockpit(root, hub) as here:
            await add(here)
            await whole(here)
            assert any("recital" in each for each in here.told)

    async def test_progress_is_live(self, root: Root, hub: DemoHub):
        """Percent, rate, time left, both sizes: in the downloads, and its share in the model's status."""
        async with cockpit(root, hub) as here:
            await adding_big(here, hub)
            await here.until(lambda: "/s" in here.row("/4.0 MB") and " %" in here.row("/4.0 MB"))
            first = here.app.house.jobs
            await here.sees("coming", "1 of 1 active")
            before = next(iter(first.values())).downloaded
            await here.until(lambda: next(iter(here.app.house.jobs.values())).downloaded > before)

    async def test_pause_resume_and_cancel(self, root: Root, hub: DemoHub):
        """p, p, Ctrl-D: nothing is lost by the first, everything given back by the last."""
        async with cockpit(root, hub) as here:
            await adding_big(here, hub)
            await here.press("p")
            await here.until(lambda: state(here) == "paused")
            await here.sees("‖ paused", "p Resume")
            await here.press("p")
            await here.until(lambda: state(here) == "running")
            await here.press("ctrl+d")
            await here.sees("Cancel the download", "throw away what came")
            await here.press("enter")
            await here.until(lambda: state(here) == "cancelled")
            await here.sees("No downloads.", "No models yet.")
            assert list(root.part_directory().iterdir()) == []

    async def test_esc_takes_nothing_away(self, root: Root, hub: DemoHub):
        """At the question before a cancel."""
        async with cockpit(root, hub) as here:
            await adding_big(here, hub)
            await here.press("ctrl+d")
            await here.sees("Cancel the download")
            await here.press("escape")
            await here.back()
            assert state(here) == "running"

    async def test_a_failed_one_is_retried(self, root: Root, hub: DemoHub):
        """With its error beside its name, and p says what it does."""
        hub.fault = lambda seen: Fault(status=403) if seen.path.endswith(".gguf") else None
        async with cockpit(root, hub) as here:
            await add(here, f"{BIG}:Q4_K_M")
            await here.until(lambda: state(here) == "failed")
            await here.sees("✗ failed", "p Retry")
            hub.fault = None
            await here.press("p")
            await here.until(lambda: state(here) == "done")
            await here.sees("✓ verified")

    async def test_what_is_here_already_is_not_brought_again(self, root: Root, hub: DemoHub):
        """It is said, and shown."""
        async with cockpit(root, hub) as here:
            await add(here)
            await whole(here)
            await add(here)
            await here.hears("is here already, verified")
            assert here.app.main.situation.pane == "models"

    async def test_backing_out_downloads_nothing(self, root: Root, hub: DemoHub):
        """From the question to the files, from the files to the search, from there to the main screen."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("rbee-demo/recital-gguf")
            await here.press("enter")
            await here.sees("recital-f16.gguf")
            await here.press("enter")
            await here.sees("size ", "left ")
            await here.press("escape")
            await here.sees("recital-f16.gguf")
            await here.press("escape")
            await here.sees("Add a model from")
            await here.press("escape")
            await here.back()
            assert here.app.house.jobs == {}

    async def test_words_are_searched_for_while_one_types(self, root: Root, hub: DemoHub):
        """And what has none of them is not there."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("rbee-demo/recital-gguf", "rbee-demo/endless-gguf", "gated")
            await here.type("endless")
            await here.until(lambda: not here.row("recital-gguf"))
            await here.sees("rbee-demo/endless-gguf", "1 matches 'endless'")
            await here.type("zzz")
            await here.sees("The Hub has nothing that matches.")

    async def test_enter_before_the_results_takes_the_first_of_them(self, root: Root, hub: DemoHub):
        """Not what stood there before, and never nothing."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("rbee-demo/recital-gguf")
            await here.type("endless")
            await here.press("enter")
            await here.sees("licence", "endless-f16.gguf")

    async def test_a_line_that_the_cursor_was_moved_to_goes_before_the_name(self, root: Root, hub: DemoHub):
        """And a page's address is a name, too."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.type("rbee-demo/")
            await here.sees("3 match 'rbee-demo/'")
            await here.press("down", "enter")
            await here.sees("licence", "endless-f16.gguf")
            await here.press("escape")
            await here.sees("Add a model from", "3 match 'rbee-demo/'")
            await here.press("ctrl+o")
            await here.sees("3 match 'rbee-demo/', trending")
            await here.press("ctrl+g")
            await here.sees("trending, GGUF only")
            await here.press("ctrl+u")
            await here.type(f"{hub.url}/rbee-demo/recital-gguf/tree/main")
            await here.press("enter")
            await here.sees("licence", "recital-f16.gguf")


class TestErrors:
    """What goes wrong is explained to whoever waits for it."""

    async def test_a_gated_repository(self, root: Root, hub: DemoHub):
        """Its files can be listed and not had: the download fails, and its details say what to do."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("rbee-demo/recital-gguf")
            await here.type("rbee-demo/gated-gguf:F16")
            await here.press("enter")
            await here.sees("Download", "size ", "left ")
            await here.press("enter")
            await here.until(lambda: state(here) == "failed")
            await here.hears("gated")
            await here.press("3", "enter")
            await here.sees("Download ", "what to do", "is gated", "HF_TOKEN")

    async def test_a_hub_that_is_down(self, root: Root):
        """In the search, where the answer would stand."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("a")
            await here.sees("cannot reach 127.0.0.1:9", "check the network")
            await here.type("acme/tiny")
            await here.press("enter")
            await here.sees("That did not work")
            await here.press("enter")
            await here.sees("Add a model from")

    async def test_a_repository_that_is_not_there(self, root: Root, hub: DemoHub):
        """Named as it was typed."""
        async with cockpit(root, hub) as here:
            await here.press("a")
            await here.sees("rbee-demo/recital-gguf")
            await here.type("acme/nothing")
            await here.press("enter")
            await here.sees("That did not work", "acme/nothing")

    async def test_an_unforeseen_fault_is_narrated_and_kept(self, root: Root, monkeypatch):
        """The screen goes on; the events say where the traceback is."""

        async def fault(*_: object) -> None:
            raise LookupError("[red]odd[/]")

        monkeypatch.setattr(finding, "help_screen", fault)
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("question_mark")
            await here.hears("something went wrong that rbee does not know (LookupError: [red]odd[/])")
            await here.press("e")
            await here.sees("Events", "please report it with")
            (kept,) = root.logs.glob("fault-*.txt")
            assert "LookupError" in kept.read_text()
            await here.press("escape")
            await here.back()

    async def test_a_key_that_does_nothing_here_says_so(self, root: Root):
        """Rather than nothing at all."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("s")
            await here.hears("s (start) does nothing here")


class TestModels:
    """Verified, found damaged, fetched again, deleted."""

    async def test_verify_damage_and_fetch_again(self, root: Root, hub: DemoHub):
        """v says it is well; after a flipped bit it says it is not; f brings what is wrong."""
        async with cockpit(root, hub) as here:
            await add(here)
            await whole(here)
            await here.press("1", "v")
            await here.hears("is as it should be")
            await here.until(lambda: not here.app.house.activities)
            (file,) = (root.models / MODEL).glob("*.gguf")
            data = bytearray(file.read_bytes())
            data[-1] ^= 1
            file.write_bytes(data)
            await here.press("v")
            await here.until(lambda: "damaged" in here.row(MODEL))
            await here.sees("f Fetch again")
            await here.press("f")
            await here.sees("size ", "left ", "Download")
            await here.press("enter")
            await whole(here)
            data[-1] ^= 1
            assert file.read_bytes() == bytes(data)

    async def test_delete_says_what_becomes_free(self, root: Root, model: str):
        """Before and after; n leaves all as it is."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("ctrl+d")
            await here.sees("Delete the model", "1 file in", "become free")
            await here.press("n")
            await here.back()
            assert (root.models / "tiny").is_dir()
            await here.press("ctrl+d")
            await here.sees("Delete the model")
            await here.press("enter")
            await here.hears("are free again")
            await here.sees("No models yet.")
            assert not (root.models / "tiny").exists()

    async def test_a_loose_file_is_taken_up(self, root: Root, tmp_path: Path):
        """u, where somebody copied a bare GGUF into the directory."""
        tiny.write(root.models / "loose.gguf", SAY)
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.sees("importable", "u Take up")
            await here.press("u")
            await here.hears("is a model now")
            await here.until(lambda: [str(each.health) for each in here.app.house.models] == ["ok"])

    async def test_details_and_copying(self, root: Root, model: str):
        """Enter shows all of it; y copies one thing of it, by OSC 52."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("enter")
            await here.sees("Model tiny", "directory", "1 file")
            await here.press("escape")
            await here.press("y")
            await here.sees("OSC 52", "directory")
            await here.press("down", "enter")
            await here.hears("directory is copied")
            assert here.app.clipboard == str(root.models / "tiny")


class TestFinding:
    """Filter, order, palette, help, events."""

    @pytest.fixture
    def several(self, root: Root, tmp_path: Path) -> Root:
        """Three models of different sizes."""
        for name, words in (("alpha", "A."), ("beta", "B " * 30), ("gamma", "C " * 10)):
            ModelCatalog(root).import_gguf(tiny.write(tmp_path / f"{name}.gguf", words).path, id=name)
        return root

    @staticmethod
    def names(here: Cockpit) -> list[str]:
        return [line.key for line in here.app.main.pane("models")._lines]

    async def test_filter(self, several: Root):
        """While one types; Enter keeps it, Esc shows everything again and never quits."""
        async with cockpit(several, "http://127.0.0.1:9") as here:
            await here.press("slash")
            await here.type("mm")
            await here.sees("1 of 3 match 'mm'")
            assert not here.app.main.query_one("#filter", Field).cursor_blink, "it would write for ever"
            assert self.names(here) == ["gamma"]
            await here.press("enter")
            assert self.names(here) == ["gamma"]
            await here.press("escape", "escape")
            assert self.names(here) == ["alpha", "beta", "gamma"]
            await here.press("slash")
            await here.type("zzz")
            await here.sees("Nothing matches.", "clears the filter")
            await here.press("escape")
            assert self.names(here) == ["alpha", "beta", "gamma"]

    async def test_the_field_says_what_it_is_and_what_its_keys_do(self, several: Root):
        """In the row of what just happened, so that no pane loses a line; Tab leaves it as Enter does."""
        async with cockpit(several, "http://127.0.0.1:9", (80, 24)) as here:
            frame = here.rows[-3]
            assert frame.startswith("╰")
            await here.press("slash")
            await here.type("q")
            await here.sees("Enter Keep  Esc Clear", "0 of 3 match 'q'")
            assert not here.row("Quit")
            assert not here.row("x Stop")
            assert here.rows[-2].startswith(" / q")
            assert here.rows[-3] == frame
            await here.press("enter")
            await here.sees("q Quit")
            assert not here.row(" / q")
            await here.press("slash", "tab")
            await here.until(lambda: here.app.main.situation.pane == "workers")
            await here.sees("q Quit")
            assert not here.row(" / q")

    async def test_a_letter_is_painted_with_what_it_finds(self, several: Root, monkeypatch):
        """In one paint, not the letter at once and the pane frames later."""
        async with cockpit(several, "http://127.0.0.1:9") as here:
            await here.press("slash")
            painted: list[str] = []
            for part, name in ((Field, "field"), (ListPane, "pane")):
                draw = part.render_line
                noted = lambda self, y, draw=draw, name=name: (painted.append(name), draw(self, y))[1]  # noqa: E731
                monkeypatch.setattr(part, "render_line", noted)
            display = here.app._display
            monkeypatch.setattr(here.app, "_display", lambda *told: (painted.append("shown"), display(*told)))
            await here.press("m")
            await here.sees("1 of 3 match 'm'")
            await here.until(lambda: "shown" in painted[painted.index("field") :])
            first = painted.index("field")
            shown = painted.index("shown", first)
            before = [at for at, what in enumerate(painted[:first]) if what == "shown"]
            assert "pane" in painted[before[-1] if before else 0 : shown]

    async def test_sort_and_reverse(self, several: Root):
        """The title says by what; the cursor stays on its thing."""
        async with cockpit(several, "http://127.0.0.1:9") as here:
            await here.press("o")
            await here.sees("by size")
            sizes = {entry.id: entry.artifact.size_bytes for entry in here.app.house.models}
            assert self.names(here) == sorted(sizes, key=lambda name: (-sizes[name], name))
            await here.press("O")
            await here.sees("by size reversed")
            assert here.app.main.pane("models").current.key == "alpha"

    async def test_moving(self, several: Root):
        """j k g G as the arrows."""
        async with cockpit(several, "http://127.0.0.1:9") as here:
            pane = here.app.main.pane("models")
            for key, name in (("j", "beta"), ("G", "gamma"), ("k", "beta"), ("g", "alpha"), ("down", "beta")):
                await here.press(key)
                assert pane.current.key == name

    async def test_the_palette_does_what_it_finds(self, several: Root):
        """By its words; only what does something here is there."""
        async with cockpit(several, "http://127.0.0.1:9") as here:
            await here.press("colon")
            await here.sees("Commands", "start a worker on this model")
            assert not here.row("take up this loose")
            await here.type("next column")
            await here.until(lambda: not here.row("start a worker on this model"))
            await here.press("enter")
            await here.sees("by size")

    async def test_help_finds_words(self, several: Root):
        """Every key, and / within it."""
        async with cockpit(several, "http://127.0.0.1:9", (80, 24)) as here:
            await here.press("question_mark")
            await here.sees("Keys", "Moving", "move the cursor")
            await here.press("slash")
            await here.type("suspend")
            await here.press("enter")
            await here.press("slash")
            await here.type("leave; it says")
            await here.press("enter")
            await here.sees("leave; it says what goes on")
            await here.press("escape")
            await here.back()

    async def test_what_is_under_way_is_said_as_long_as_it_is(self, several: Root):
        """A look that was broken off leaves no word of it behind."""
        async with cockpit(several, "http://127.0.0.1:9") as here:
            await here.sees("1 Models")
            here.app.narrate("before", "quiet")
            await here.press("2", "i")
            await here.sees("Install a worker")
            await here.hears("looking at what fits this machine")
            await here.press("escape")
            await here.until(lambda: here.told == ["before"])
            assert not here.row("looking at what fits")

    async def test_what_to_do_is_never_cut_off(self, several: Root):
        """However long the error is."""
        async with cockpit(several, "http://127.0.0.1:9", (80, 24)) as here:
            here.app.fail(UsageError("word " * 40, hint="do that"))
            await here.sees("word word", "(e: what to do)")
            await here.press("e")
            await here.sees("do that")
            assert not here.row("(e: what to do)")

    async def test_events_are_kept(self, several: Root):
        """The latest first."""
        async with cockpit(several, "http://127.0.0.1:9") as here:
            await here.press("x", "f")
            await here.press("e")
            await here.sees("Events", "x (stop) does nothing here")
            seen = "\n".join(here.rows)
            assert seen.index("f (fetch") < seen.index("x (stop")

    async def test_looking_again(self, several: Root):
        """Ctrl-R finds what was removed behind its back, now and not in ten seconds."""
        async with cockpit(several, "http://127.0.0.1:9") as here:
            (several.models / "beta" / "metadata.json").unlink()
            for file in (several.models / "beta").iterdir():
                if file.is_file():
                    file.unlink()
            began = time.monotonic()
            await here.press("ctrl+r")
            await here.until(lambda: here.app.house.model("beta").health != "ok")
            assert time.monotonic() - began < 8


class TestWorker:
    """Started, asked, read, stopped: with the runtime of rbee's own environment."""

    async def test_all_of_it(self, root: Root, model: str):
        """s, t, l, x; the model says exactly its sentence."""
        pytest.importorskip("xllamacpp", reason="needs xllamacpp")
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("s")
            await here.sees("Start a worker", "worker   llm-worker-xllamacpp", "because", "memory")
            await here.press("enter")
            await here.hears("is ready on http://127.0.0.1:")
            try:
                await here.sees("✓ ready", "1 running, 1 installed", "t Try", "x Stop")
                await here.press("2")
                await here.sees("t Try", "x Stop")
                await here.press("1")
                await here.press("w")
                await here.sees("Why: tiny", "llm-worker-xllamacpp is taken", "It needs")
                await here.press("escape", "t")
                await here.sees("Try tiny")
                await here.type("say it")
                await here.press("enter")
                await here.sees("> say it", SAY, "tok/s")
                await here.press("escape", "l")
                await here.sees("Log of tiny", "following")
                await here.until(lambda: here.row("listening") or here.row("llama"))
                await here.press("escape", "2", "g", "y")
                await here.sees("ssh line", "ssh -N -L", "************")
                await here.press("down", "enter")
                await here.hears("URL is copied")
                assert here.app.clipboard == f"{here.app.house.running[0].url}/v1"
                await here.press("x")
                await here.sees("Stop the worker", "The model stays on the disk.")
                await here.press("enter")
                await here.hears("is stopped")
                await here.sees("0 running, 1 installed")
            finally:
                for running in here.app.house.running:
                    if psutil.pid_exists(running.pid):
                        psutil.Process(running.pid).terminate()

    async def test_what_may_be_installed(self, root: Root):
        """i in the workers' pane: each with whether it fits, and why."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("2", "i")
            await here.sees("Install a worker", "llm-worker-cpu", "✓ best", "offered")
            assert "llm-worker-cpu" in here.row("▎")
            await here.press("escape")
            await here.back()

    async def test_one_that_does_not_run_here(self, root: Root):
        """It is said why, and the list is there again with the cursor where it was."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("2", "i")
            await here.sees("Install a worker", "✗ no")
            await here.press("G")
            wanted = next(word for word in here.row("▎").split() if word.startswith("llm-worker"))
            await here.press("enter")
            await here.sees("That did not work", f"{wanted} does not run here:")
            await here.press("escape")
            await here.sees("Install a worker")
            assert wanted in here.row("▎")

    async def test_a_log_that_is_not_there_yet(self, root: Root, model: str):
        """It is said rather than left blank."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("l")
            await here.sees("Log of tiny", "there is no log yet")


class TestLeaving:
    """What becomes of downloads is asked, and done."""

    async def test_with_nothing_under_way_nothing_is_asked(self, root: Root):
        """q."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            assert await here.ends("q") == []

    async def test_pause(self, root: Root, hub: DemoHub):
        """All that came is kept; how to go on is said."""
        async with cockpit(root, hub) as here:
            await adding_big(here, hub)
            await here.press("q")
            await here.sees("Leave while 1 download runs", "Go on in the background")
            said = await here.ends("p")
            assert any("1 download is paused" in line for line in said)
        (record,) = JobStore(root).list()
        assert (record.wanted, JobStore(root).progress(record).state) == ("paused", "paused")
        assert JobStore(root).progress(record).downloaded > 0

    async def test_cancel(self, root: Root, hub: DemoHub):
        """All that came is thrown away."""
        async with cockpit(root, hub) as here:
            await adding_big(here, hub)
            await here.press("q")
            await here.sees("Leave while")
            await here.ends("c")
        (record,) = JobStore(root).list()
        assert JobStore(root).progress(record).state == "cancelled"
        assert list(root.part_directory().iterdir()) == []

    async def test_staying(self, root: Root, hub: DemoHub):
        """Esc; nothing has changed."""
        async with cockpit(root, hub) as here:
            await adding_big(here, hub)
            await here.press("q")
            await here.sees("Leave while")
            await here.press("escape")
            await here.back()
            assert state(here) == "running"

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it outlives its Popen
    async def test_in_the_background(self, root: Root, hub: DemoHub):
        """A runner of its own takes it up where it was, brings it to its end, and ends."""
        async with cockpit(root, hub) as here:
            await adding_big(here, hub)
            await here.press("q")
            await here.sees("Leave while")
            said = await here.ends("enter")
        assert any("downloads go on in the background" in line for line in said)
        holder = runner.runner_lock(root).holder()
        assert holder is not None
        assert holder.pid != os.getpid()
        process = psutil.Process(holder.pid)
        try:
            hub.rate = None
            store = JobStore(root)
            async with asyncio.timeout(30):
                while store.progress(store.list()[0]).state != "done":  # noqa: ASYNC110 - it is in files
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(process.wait, 20)
        finally:
            if process.is_running():
                process.kill()

    async def test_the_question_goes_with_the_download(self, root: Root, hub: DemoHub):
        """Its figures move; once all is here there is nothing to decide."""
        async with cockpit(root, hub) as here:
            hub.rate = 800_000  # five seconds
            await add(here, f"{BIG}:Q4_K_M")
            await here.until(lambda: any(job.downloaded for job in here.app.house.jobs.values()))
            await here.press("q")
            await here.sees("Leave while 1 download runs")
            first = here.row(" of 4.0 MB")
            await here.until(lambda: here.row(" of 4.0 MB") not in ("", first))
            await here.sees("Nothing comes any more", "Enter Leave")
            assert await here.ends("enter") == []

    async def test_a_question_may_change_at_any_time(self, root: Root):
        """Before it is shown, while it is, and after."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            asked = QuestionScreen(Question("One", [("first", "")], []), UNICODE)
            asked.ask(Question("Two", [("second", "")], []))
            here.app.push_screen(asked)
            asked.ask(Question("Three", [("third", "")], []))
            await here.sees("Three", "third")
            asked.ask(Question("Four", [("fourth", "")], []))
            await here.sees("Four", "fourth")
            await here.press("escape")
            await here.back()
            asked.ask(Question("Five", [("fifth", "")], []))
            await here.until(lambda: not here.row("Five"))

    async def test_its_answers_are_read_where_there_is_little_room(self, root: Root, hub: DemoHub):
        """Whole, and before what they are about."""
        async with cockpit(root, hub, (80, 24)) as here:
            await adding_big(here, hub)
            await here.press("q")
            await here.sees("Leave while 1 download runs", "B Background, from now on without asking")
            await here.pilot.resize_terminal(40, 14)
            await here.sees("Enter Go on in the background", "thrown away", "without asking", "Esc Back")
            await here.pilot.resize_terminal(40, 10)
            await here.sees("Enter Go on in the background", "c Cancel: all that came is", "thrown away")
            await here.pilot.resize_terminal(80, 24)
            await here.sees("Leave while 1 download runs", " of 4.0 MB", "Esc Back")

    async def test_what_another_process_downloads_goes_on(self, root: Root, hub: DemoHub):
        """Nothing is asked, and it is said."""
        async with cockpit(root, hub) as here:
            job = a_job("1", model_id="theirs", state="running", holder=4711)
            here.app._take(Changes({"job:1": job}, []))
            said = await here.ends("q")
        assert any("downloads go on in the background: theirs" in line for line in said)

    @pytest.mark.parametrize("demo", [False, True])
    async def test_workers_that_end_with_a_demo_are_not_said_to_run_on(
        self, root: Root, hub: DemoHub, demo: bool
    ):
        """Neither before nor after; those of another screen are."""
        async with cockpit(root, hub, demo=demo) as here:
            await adding_big(here, hub)
            here.app._take(Changes({"running": [a_running("tiny")]}, []))
            await here.press("q")
            await here.sees("Leave while 1 download runs")
            assert bool(here.row("1 worker keeps running")) is not demo
            here.app._take(Changes({"running": [a_running("tiny")]}, []))
            said = await here.ends("p")
        assert any("tiny keeps running on" in line for line in said) is not demo

    async def test_settings_are_gone_through_one_by_one(self, root: Root):
        """After each, and after one that was left as it is, the list is there again where one was."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            await here.press("comma")
            await here.sees("Settings", "SETTING")
            await here.press("G")
            last = here.row("▎")
            await here.press("enter", "escape")
            await here.until(lambda: here.row("▎") == last)
            await here.press("escape")
            await here.back()

    async def test_an_answer_for_good(self, root: Root, hub: DemoHub):
        """P is remembered: the next time nothing is asked."""
        async with cockpit(root, hub) as here:
            await adding_big(here, hub)
            await here.press("q")
            await here.sees("P Pause, from now on")
            await here.ends("P")
        assert settings.read(root) == Settings(on_quit="pause")
        async with cockpit(root, hub) as here:
            await here.press("3", "p")
            await here.until(lambda: state(here) == "running")
            await here.ends("q")
        assert JobStore(root).list()[0].wanted == "paused"


class TestTakenDown:
    """The engine goes on telling while the screen comes and goes."""

    async def test_what_is_told_too_early_or_too_late_is_kept(self, root: Root):
        """No part of the screen is looked for that is not there."""
        async with cockpit(root, "http://127.0.0.1:9") as here:
            app = here.app
            assert app.main.is_whole
        assert not app.main.is_whole
        fact = Fact(kind="job.failed", id="x", at="", pid=1, text="it came late")
        values = {"promised": 7, "models": [], "workers": [], "running": [], "reading": None}
        app._take(Changes(values, [fact]))
        assert (app.house.promised, here.told[-1]) == (7, "it came late")
        assert not app.main.is_whole


class TestRoom:
    """Any size, at any time."""

    async def test_a_storm_of_sizes(self, root: Root, model: str):
        """From one cell to a wall, with a box and a list above the main screen; nothing is raised."""
        async with cockpit(root, "http://127.0.0.1:9", (80, 24)) as here:
            sizes = [(1, 1), (2, 1), (1, 200), (500, 1), (39, 8), (60, 15), (7, 3), (110, 15), (500, 200)]
            for key in ("", "ctrl+d", "question_mark", "colon", "y", "slash"):
                if key:
                    await here.press(key)
                    await here.until(lambda key=key: here.app.screen is not here.app.main or key == "slash")
                for columns, rows in sizes if not key else [(1, 1), (39, 8), (120, 40)]:
                    await here.pilot.resize_terminal(columns, rows)
                    await here.until(lambda rows=rows: len(here.rows) == rows)
                await here.press("escape")
                await here.back()
            await here.pilot.resize_terminal(80, 24)
            await here.sees("1 Models", "2 Workers", "3 Downloads", "tiny")
