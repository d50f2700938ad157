"""Whatever a string from outside holds, on the screen it is text: nothing obeys it, nothing is styled."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.filter import LineFilter

from rbee_tui.engine.artifacts import Health, ModelFile, failed
from rbee_tui.engine.board import Changes
from rbee_tui.engine.errors import HubError, WorkerError
from rbee_tui.engine.facts import Fact
from rbee_tui.engine.hub import RepoSummary
from rbee_tui.engine.jobs import Outcome
from rbee_tui.engine.paths import Root
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.removal import Tree
from rbee_tui.engine.workers.prompting import Chunk
from rbee_tui.ui.app import RbeeApp
from rbee_tui.ui.screens.text import LogScreen
from tests.cli.support import model_entry
from tests.engine.support_jobs import a_file as a_planned_file
from tests.engine.support_jobs import a_record
from tests.ui import scenes
from tests.ui.payloads import CLICK, PAYLOADS, RAW, RED, UNBALANCED
from tests.ui.support import Cockpit, cockpit, shown
from tests.ui.things import a_file, a_job, a_model, a_running, a_worker

pytestmark = pytest.mark.anyio
TREE = Tree(1, 1000, 0, {})
ALL = " ".join(each[:40] for each in PAYLOADS)
"""The beginning of each in one line."""
DRIVES = "\x1b]52;c;cHduZWQ=\x07\x9b31m\u202e\u200b\n\t"
LONG = PAYLOADS[-1]


def house(*payloads: str) -> list[dict[str, Any]]:
    """A house in which every string that could come from outside is one of these."""
    models, workers, running, jobs = [], [], [], []
    for number, each in enumerate(payloads):
        files = (ModelFile(path=each, size_bytes=1, role=each, sha256=each),)
        models += [
            a_model(
                each, name=each, version=each, source_url=each, quantization=each, files=files, license=each,
                repo=each, architecture=each, directory=each, updated_at=each,
            ),
            a_model(f"a{each}", Health.DAMAGED, status=failed(each), reason=each),
        ]  # fmt: skip
        workers += [a_worker(each, version=each), a_worker(f"w{each}", Health.MISSING)]
        running.append(a_running(each, worker=each, reason=each, devices=(each,), log=each))
        ended = a_job(f"a{number}", model_id=each, repo=each, state="failed", error=each, hint=each)
        moving = a_job(f"b{number}", model_id=each, holder=1, holder_verb=each, rate=0.0, seconds_left=None)
        waiting = [a_file(each, waiting_for=each), a_file(f"b{each}", state=each)]
        jobs += [ended, msgspec.structs.replace(moving, files=waiting)]
    return scenes.told(models=models, workers=workers, running=running, jobs=jobs)


def effects(here: Cockpit) -> list[str]:
    """What on the screen is not mere text: controls, actions, the colours that a payload asks for."""
    found = []
    for strip in here.app.screen._compositor.render_strips():
        for text, style, _ in strip:
            if RAW.search(text):
                found.append(f"raw {text!r}")
            if style and any("click" in str(key) for key in style.meta):
                found.append(f"action {text!r}")
            if style and style.bgcolor and style.bgcolor.name in ("blue", "#000080", "#0000ff"):
                found.append(f"colour {text!r}")
    return found


class Open(LineFilter):
    """A gate that lets everything pass."""

    def __init__(self, *, ascii_only: bool) -> None:
        del ascii_only
        super().__init__()

    def apply(self, segments: list[Any], background: Any) -> list[Any]:
        """As they are."""
        del background
        return segments


async def tour(app: RbeeApp, payload: str) -> list[str]:
    """Every screen that shows something from outside, by its key; what was not inert on any of them."""
    found: list[str] = []
    async with shown(app, (140, 40)) as here:
        await here.until(lambda: here.app.house.models)
        app._take(Changes({}, [Fact(kind="job.failed", id=payload, at="", pid=1, text=payload)]))
        await here.pilot.pause()
        found += effects(here)
        for keys in (
            ("enter",), ("y",), ("e",), ("colon",), ("1", "x"), ("2", "enter"), ("2", "G", "ctrl+d"),
            ("3", "enter"), ("3", "G", "ctrl+d"), ("3", "space", "ctrl+d"), ("2", "g", "t"),
        ):  # fmt: skip
            await here.press(*keys)
            await here.until(lambda: here.app.screen is not here.app.main)
            await here.pilot.pause()
            found += effects(here)
            await here.press("escape")
            await here.back()
        assert not app._exit, "an action was run"
        assert here.row("1 Models")
    return found


class TestEverywhere:
    """By `clean` alone: the gate is open, and still nothing passes."""

    @pytest.fixture(autouse=True)
    def _open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rbee_tui.ui.app.Gate", Open)

    async def test_on_the_main_screen(self):
        """Every payload in every cell of every pane, and in the narration."""
        async with shown(scenes.screen(house(*PAYLOADS)), (200, 260)) as here:
            await here.until(lambda: len(here.app.house.models) == 2 * len(PAYLOADS))
            await here.sees("1 Models", CLICK, RED, UNBALANCED)
            assert effects(here) == []
            for payload in PAYLOADS:
                fact = Fact(kind="job.failed", id=payload, at="", pid=1, text=payload)
                here.app._take(Changes({}, [fact]))
                await here.pilot.pause()
                assert effects(here) == []
            await here.press("e")
            await here.sees("Events", CLICK, RED, UNBALANCED)
            assert effects(here) == []

    @pytest.mark.parametrize("payload", [CLICK, RED, UNBALANCED, DRIVES, LONG])
    async def test_on_every_screen_above_it(self, payload: str):
        """Details, copying, events, palette, questions, the prompt; titles and all."""
        assert await tour(scenes.screen(house(payload), [scenes.ABOUT, TREE, TREE]), payload) == []


class TestMutants:
    """What these tests would find."""

    async def test_without_clean_the_gate_holds(self, monkeypatch):
        """The second layer alone is enough."""
        self.unclean(monkeypatch)
        app = scenes.screen(house(ALL), [scenes.ABOUT, TREE, TREE])
        assert [each for each in await tour(app, ALL) if each.startswith("raw")] == []

    async def test_without_both_it_goes_through(self, monkeypatch):
        """Control characters reach what is written to the terminal."""
        self.unclean(monkeypatch)
        monkeypatch.setattr("rbee_tui.ui.app.Gate", Open)
        app = scenes.screen(house(ALL), [scenes.ABOUT, TREE, TREE])
        assert [each for each in await tour(app, ALL) if each.startswith("raw")]

    async def test_a_title_as_a_plain_string_is_markup(self, monkeypatch):
        """Textual would make an action of it."""
        monkeypatch.setattr("rbee_tui.ui.screens.base.Content", str)
        app = scenes.screen(house(CLICK), [scenes.ABOUT, TREE, TREE])
        assert [each for each in await tour(app, CLICK) if each.startswith("action")]

    @staticmethod
    def unclean(monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (
            "lines",
            "details",
            "telling",
            "flows.batch",
            "flows.keeping",
            "flows.working",
            "screens.prompt",
        ):
            monkeypatch.setattr(f"rbee_tui.ui.{module}.clean", str)


class TestAnswers:
    """What a Hub, a worker and a model say."""

    async def test_a_repository_of_the_hub(self, monkeypatch):
        """In the search's list, below it, and in the error of the one that is taken."""
        monkeypatch.setattr("rbee_tui.ui.app.Gate", Open)
        repo = RepoSummary(id=ALL, downloads=1, likes=1, updated_at=ALL, gated=True)
        answers = [f"http://{ALL}", [repo], HubError(_cleaned(ALL), hint=_cleaned(ALL))]
        async with shown(scenes.screen(scenes.empty(), answers)) as here:
            await here.press("a")
            await here.sees("gated")
            assert effects(here) == []
            await here.press("enter")
            await here.sees("That did not work")
            assert effects(here) == []
            assert not here.app._exit

    async def test_a_model_s_answer(self, monkeypatch):
        """As it comes, its line breaks kept, split between pieces too."""
        monkeypatch.setattr("rbee_tui.ui.app.Gate", Open)
        halves = [half for each in PAYLOADS for half in (each[: len(each) // 2], each[len(each) // 2 :])]
        pieces = [*(Chunk(text=half) for half in halves), Chunk(text=" the end")]
        async with shown(scenes.screen(house("tiny"), [pieces])) as here:
            await here.press("2", "t")
            await here.sees("Try tiny")
            await here.type("hi")
            await here.press("enter")
            await here.sees("the end")
            assert effects(here) == []

    async def test_a_log(self, tmp_path: Path, monkeypatch):
        """Each of its lines; / and n find words in it all the same."""
        monkeypatch.setattr("rbee_tui.ui.app.Gate", Open)
        log = tmp_path / "worker.log"
        log.write_text("\n".join([*PAYLOADS, "the last line"]))
        with log.open("ab") as file:
            file.write(b"\xff\xfe\x9b31m\n")
        async with shown(scenes.screen(scenes.empty())) as here:
            await here.app.push_screen(LogScreen("Log", log, here.app.glyphs))
            await here.sees("the last line", CLICK, RED, UNBALANCED)
            assert effects(here) == []
            await here.press("w")
            await here.press("slash")
            await here.type("[red")
            await here.press("enter")
            await here.sees(RED)
            assert effects(here) == []

    async def test_an_error_with_its_log(self, monkeypatch):
        """Of a worker that did not come up: among the events."""
        monkeypatch.setattr("rbee_tui.ui.app.Gate", Open)
        async with shown(scenes.screen(scenes.empty())) as here:
            here.app.fail(WorkerError(_cleaned(ALL), hint=_cleaned(ALL)), log="\n".join(PAYLOADS))
            await here.press("e")
            await here.sees("Events", CLICK)
            assert effects(here) == []


def _cleaned(text: str) -> str:
    """As the engine hands its errors out."""
    from rbee_tui.engine.text import clean  # noqa: PLC0415 - the mutants replace others' names for it

    return clean(text)


class TestOnDisk:
    """The same by the files of a root, through a real engine."""

    async def test_hostile_metadata_jobs_and_facts(self, root: Root, monkeypatch):
        """As somebody could copy them here; the screen lists them, and goes on."""
        monkeypatch.setattr("rbee_tui.ui.app.Gate", Open)
        for number, payload in enumerate(PAYLOADS):
            place = root.models / f"m{number}"
            place.mkdir()
            entry = model_entry(payload, quantization=payload, license=payload, status=failed(payload))
            (place / "metadata.json").write_text(json.dumps(entry))
        store = JobStore(root)
        outcome = Outcome(state="failed", at="", error=ALL, hint=ALL)
        model = msgspec.structs.replace(a_record().model, id=ALL)
        store.put(a_record("00000001", repo=ALL, model=model, outcome=outcome, files=[a_planned_file(ALL)]))
        async with cockpit(root, "http://127.0.0.1:9", (140, 60)) as here:
            await here.until(lambda: len(here.app.house.models) >= len(PAYLOADS) - 4 and here.app.house.jobs)
            await here.pilot.pause()
            assert effects(here) == []
            for _ in range(5):
                await here.press("enter")
                await here.until(lambda: here.app.screen is not here.app.main)
                assert effects(here) == []
                await here.press("escape", "j")
            assert not here.app._exit


class TestQuestions:
    """Boxes with names and reasons in them, and what stands in their frames."""

    @pytest.mark.parametrize("payload", [CLICK, RED, UNBALANCED, DRIVES, LONG])
    async def test_a_start_that_is_refused(self, payload: str, monkeypatch):
        """The model's name is in the title."""
        monkeypatch.setattr("rbee_tui.ui.app.Gate", Open)
        refused = scenes.outlook(model=payload, worker_id=None, refusal=_cleaned(payload), hint="do this")
        told = scenes.told(models=[a_model(payload)])
        async with shown(scenes.screen(told, [refused, refused])) as here:
            await here.until(lambda: here.app.house.models)
            await here.press("s")
            await here.sees("do this")
            assert effects(here) == []
            await here.press("escape")
            await here.back()
            await here.press("w")
            await here.sees("llm-worker-metal")
            assert effects(here) == []
            assert not here.app._exit
