"""Marking lines with Space, and one verb on all of them: asked once, with their number and size."""

import os
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo
from rbee_tui.engine.artifacts import Health, ModelFile
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.paths import Root
from rbee_tui.ui.flows import batch
from rbee_tui.ui.keys import BY_NAME, Situation, in_footer
from rbee_tui.ui.lines import FileLine, JobLine, Line, ModelLine
from tests.ui import scenes
from tests.ui.support import cockpit, shown
from tests.ui.things import a_file, a_job, a_model, a_running

pytestmark = pytest.mark.anyio


def marked(*lines: Line, pane: str = "models") -> Situation:
    """These lines are marked, and the cursor is on the first."""
    return Situation(pane, lines[0], lines)


class TestWhatItIsDoneTo:
    """Pure decisions."""

    def test_only_to_what_it_applies(self):
        """A model that a worker runs on is not deleted; the word has the number."""
        found = marked(
            *map(ModelLine, (a_model("a"), a_model("b"))), ModelLine(a_model("c"), running=a_running())
        )
        assert [line.key for line in BY_NAME["delete"].affected(found)] == ["a", "b"]
        assert BY_NAME["delete"].word(found) == "Delete 2"
        assert BY_NAME["stop"].word(found) == "Stop 1"

    def test_of_two_words_the_more_frequent(self):
        """What stands still is not paused; one question has one meaning."""
        jobs = [
            JobLine(a_job(str(at), state=state)) for at, state in enumerate(("paused", "running", "queued"))
        ]
        found = marked(*jobs, pane="downloads")
        assert BY_NAME["pause"].word(found) == "Pause 2"
        assert BY_NAME["pause"].affected(found) == jobs[1:]

    def test_a_file_goes_with_its_download(self):
        """It is not steered twice."""
        job = a_job(files=2)
        file = FileLine(job, a_file("part-1.gguf"))
        assert BY_NAME["pause"].affected(marked(JobLine(job), file, pane="downloads")) == [JobLine(job)]
        assert BY_NAME["pause"].affected(marked(file, pane="downloads")) == [file]

    def test_the_footer_begins_with_it(self):
        """And offers nothing that does nothing."""
        found = marked(*(ModelLine(a_model(name, Health.DAMAGED)) for name in "ab"))
        offered = [action.word(found) for action in in_footer(found)]
        assert offered[:5] == ["Repair 2", "Fetch again 2", "Verify 2", "Delete 2", "Unmark"]

    def test_every_word_has_its_verb(self):
        """Whatever the footer may say of marked lines can be done; the newer ones are asked for first."""
        words = {"Pause", "Resume", "Retry", "Take over", "Delete", "Remove", "Cancel", "Forget"}
        labels = {action.label for action in BY_NAME.values() if action.many and action.name != "newer"}
        assert words | labels == batch._VERBS.keys()

    def test_what_stays_is_said(self):
        """Files in place, when models are deleted; and the marked that a key does nothing on."""
        file = ModelFile(path="a.gguf", size_bytes=1, outside="/theirs/a.gguf")
        lines = [ModelLine(a_model("a", files=(file,))), ModelLine(a_model("b"))]
        assert batch._notes(batch._VERBS["Delete"], lines, 1) == [
            "1 of their files lies in place elsewhere, and stays.",
            "1 of the marked is left out: this does nothing on it.",
        ]
        assert batch._notes(batch._VERBS["Verify"], lines, 0) == []

    def test_what_is_counted(self):
        """Stopping gives memory back, and all else is about bytes on the disk, also of a model that runs."""
        lines = [ModelLine(a_model(name), running=a_running(name)) for name in "ab"]
        for word, total in (("Stop", "4.0 GiB"), ("Verify", "9.8 GB")):
            said = "\n".join(text for text, _ in batch._question(word, batch._VERBS[word], lines, 0).lines)
            assert f"{total}  together" in said


class TestMarks:
    """The glyph before a line, and the number in the title."""

    async def test_they_stay_with_their_lines(self):
        """Through refreshes; they vanish with their line, and Esc takes all away before the filter."""
        told = scenes.busy()
        app = scenes.screen(told)
        async with shown(app, (80, 24)) as here:
            await here.sees("1 Models", "gemma")
            await here.press("space", "space")
            assert "2 marked · 7 · " in here.row("1 Models")
            assert here.row("gemma-3")[1] == "◆"
            await here.press("k")
            assert here.row("llama-3")[1] == "◈"
            models = app.house.models
            app.house.models = [each for each in models if not each.id.startswith("gemma")]
            app.main.show({"models"})
            assert "1 marked" in here.row("1 Models")
            app.house.models = models
            app.main.show({"models"})
            assert [line.key for line in app.main.situation.marked] == ["llama-3-8b-q4_k_m"]
            await here.press("slash", *"llama", "enter")
            assert "1 marked" in here.row("1 Models")
            await here.press("escape")
            assert "marked" not in here.row("1 Models")
            assert [line.key for line in app.main.pane("models")._lines] == ["llama-3-8b-q4_k_m"]
            await here.press("escape")
            assert len(app.main.pane("models")._lines) == 7

    async def test_plain_ascii(self):
        """A letter's worth of ASCII says the same."""
        app = scenes.screen(scenes.busy(), ascii_only=True)
        async with shown(app, (80, 24)) as here:
            await here.sees("gemma-3", "llama-3")
            await here.press("space", "space", "k")
            assert [here.row(each)[1] for each in ("gemma-3", "llama-3")] == ["#", "&"]


def some_models(root: Root, place: Path) -> None:
    """Three models, of which `a` and `b` are one file with two names."""
    models = ModelCatalog(root)
    for name in ("a", "b", "c"):
        path = tiny.write(place / f"{name}.gguf", f"this is {name}").path
        models.import_gguf(path)
        path.unlink()
    (root.models / "b" / "b.gguf").unlink()
    os.link(root.models / "a" / "a.gguf", root.models / "b" / "b.gguf")


class TestDone:
    """On a real engine."""

    async def test_models_are_deleted_by_one_question(self, root: Root, tmp_path: Path):
        """What becomes free counts the links among them; the third stays."""
        some_models(root, tmp_path)
        held = (root.models / "a" / "a.gguf").stat().st_size
        async with cockpit(root, "http://127.0.0.1:9", (80, 24)) as here:
            await here.sees("1 Models", " a ", " c ")
            await here.press("space", "space", "ctrl+d")
            await here.sees("Delete 2 models", "together", f"{held / 1e6:.1f} MB become free.")
            await here.press("escape")
            await here.back()
            assert len(here.app.main.situation.marked) == 2
            await here.press("ctrl+d")
            await here.sees("Delete 2 models")
            await here.press("enter")
            await here.hears("2 models are deleted")
            await here.until(lambda: [each.id for each in here.app.house.models] == ["c"])
            assert here.app.main.situation.marked == ()

    async def test_what_fails_is_said_and_stays_marked(self, root: Root, tmp_path: Path):
        """The others are done."""
        some_models(root, tmp_path)
        async with cockpit(root, "http://127.0.0.1:9", (80, 24)) as here:
            await here.sees("1 Models", " a ")
            await here.press("space", "space", "ctrl+d")
            await here.sees("Delete 2 models")
            with ModelCatalog(root).lock("a", "a test").acquire():
                await here.press("enter")
                await here.hears("1 of 2 models is deleted")
            assert [line.key for line in here.app.main.situation.marked] == ["a"]

    async def test_downloads_pause_and_go_on(self, root: Root):
        """p on both at once."""
        repos = [DemoRepo(f"acme/{name}", {f"{name}.gguf": bytes(40 * LARGE)}) for name in ("one", "two")]
        with DemoHub(repos, rate=200_000) as hub:
            async with cockpit(root, hub) as here:
                for repo in repos:
                    await here.app.bridge.call(
                        lambda engine, repo=repo: engine.provisioner.download_model(repo.id)
                    )
                jobs = here.app.house.jobs
                await here.until(lambda: [job.state for job in jobs.values()] == ["running"] * 2)
                await here.press("3", "g", "space", "space", "p")
                await here.sees("Pause 2 downloads", "together")
                await here.press("enter")
                await here.until(lambda: {job.state for job in here.app.house.jobs.values()} == {"paused"})
                await here.hears("2 downloads are paused")
                await here.press("g", "space", "space", "ctrl+d")
                await here.sees("Cancel 2 downloads", "Keep what came")
                await here.press("enter")
                await here.until(lambda: {job.state for job in here.app.house.jobs.values()} == {"cancelled"})
                assert not list(root.part_directory().glob("*.part"))
