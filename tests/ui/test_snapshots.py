"""Every screen in every state as a picture: it changes only when somebody wants it to.

`pytest tests/ui/test_snapshots.py --draw` draws them anew; look at each before it is committed.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rbee_tui.engine import cards
from rbee_tui.engine.artifacts import Health
from rbee_tui.engine.board import Changes
from rbee_tui.engine.choices import RemoteFile, group
from rbee_tui.engine.errors import NetworkError, WorkerError
from rbee_tui.engine.fitting.choice import fit_of_choice
from rbee_tui.engine.fitting.machine import machine_of, most_billions
from rbee_tui.engine.hub import Repository, RepoSummary
from rbee_tui.engine.jobs import PlannedFile
from rbee_tui.engine.planning import Plan, Room
from rbee_tui.engine.refusals import access_hint
from rbee_tui.engine.removal import Tree
from rbee_tui.engine.repository import Revision
from rbee_tui.engine.settings import Settings
from rbee_tui.engine.text import clean
from rbee_tui.engine.workers import wishes
from rbee_tui.engine.workers.deaths import certify, error_of
from rbee_tui.engine.workers.prompting import Chunk, Usage
from rbee_tui.engine.workers.record import Exit
from rbee_tui.ui.app import RbeeApp
from rbee_tui.ui.flows.adding import Ahead
from rbee_tui.ui.flows.installing import Offered
from rbee_tui.ui.flows.repository import Page
from rbee_tui.ui.house import House
from tests.ui import figures, scenes

SNAPSHOTS = Path(__file__).parents[2] / "snapshots"
SMALL, LARGE = (80, 24), (120, 40)
pytestmark = pytest.mark.anyio


class Album:
    """The pictures on disk: compared, or with --draw drawn anew."""

    def __init__(self, *, draw: bool, tmp_path: Path) -> None:
        self._draw = draw
        self._tmp = tmp_path

    def has(self, name: str, svg: str) -> None:
        """The picture of this name is this one."""
        path = SNAPSHOTS / f"{name}.svg"
        if self._draw:
            path.parent.mkdir(exist_ok=True)
            path.write_text(svg, encoding="utf-8")
        if not path.is_file() or path.read_text(encoding="utf-8") != svg:
            other = self._tmp / path.name
            other.write_text(svg, encoding="utf-8")
            pytest.fail(f"{path.name} is another picture now: look at {other}, and take it with --draw")


@pytest.fixture
def album(request: pytest.FixtureRequest, tmp_path: Path) -> Album:
    """The pictures."""
    return Album(draw=request.config.getoption("--draw"), tmp_path=tmp_path)


@asynccontextmanager
async def shown(app: RbeeApp, size: tuple[int, int]) -> AsyncGenerator[Callable[..., Awaitable[str]]]:
    """A screen of this size, as a function from keys, and words typed last, to what is shown then."""
    async with app.run_test(size=size) as pilot:
        await still(app, pilot.pause)

        async def after(*keys: str, words: str = "") -> str:
            for key in keys:
                await pilot.press(key)
                await still(app, pilot.pause)
            if words:
                await pilot.press(*(WORDS.get(letter, letter) for letter in words))
                await pilot.pause(0.4)
            return normal(await still(app, pilot.pause))

        yield after


async def drawn(app: RbeeApp, size: tuple[int, int], *keys: str, words: str = "") -> str:
    """What the screen shows after these keys, as SVG; `words` are typed last."""
    async with shown(app, size) as after:
        return await after(*keys, words=words)


async def still(app: RbeeApp, pause: Callable[[float], Awaitable[None]]) -> str:
    """The screen as SVG, once it does not change any more."""
    seen: list[str] = []
    for _ in range(100):
        await pause(0.06)
        seen = [*seen, app.export_screenshot(title="rbee", simplify=True)][-_STILL:]
        if len(seen) == _STILL and len(set(seen)) == 1:
            return seen[0]
    pytest.fail("the screen does not come to rest")


_STILL = 4
"""So many looks in a row have to be the same."""
WORDS = {" ": "space", "/": "slash", "-": "minus", ".": "full_stop"}


def normal(svg: str) -> str:
    """The picture without what is another in each process: the ids of its styles, web fonts."""
    svg = re.sub(r"terminal-\d+", "rbee", svg)
    return re.sub(r"\n\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


class TestTheMainScreen:
    """Models, workers, downloads, hardware: empty, busy, damaged; small and large."""

    @pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
    @pytest.mark.parametrize("scene", ["empty", "busy", "damaged"])
    async def test_each_state_at_each_size(self, album: Album, scene: str, size: tuple[int, int]) -> None:
        """The three states that a person meets."""
        app = scenes.screen(getattr(scenes, scene)())
        album.has(f"{scene}-{size[0]}x{size[1]}", await drawn(app, size))

    @pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
    async def test_marked_lines(self, album: Album, size: tuple[int, int]) -> None:
        """A glyph before each, their number in the title; the footer begins with what is done to all."""
        name = f"{size[0]}x{size[1]}"
        # Of the two, one lies here with all its bytes, and one with none.
        app = scenes.screen(scenes.damaged(), [Tree(1, 4_400_000_000, 0, {})])
        async with shown(app, size) as after:
            album.has(f"marked-{name}", await after("j", "j", "space", "space"))
            album.has(f"marked-delete-{name}", await after("ctrl+d"))

    async def test_a_marked_line_under_the_cursor(self, album: Album) -> None:
        """It can be told from the others that are marked."""
        app = scenes.screen(scenes.busy())
        album.has("marked-cursor-80x24", await drawn(app, SMALL, "space", "space", "k"))

    async def test_two_gpus_on_a_wide_screen(self, album: Album) -> None:
        """The hardware line has room for both."""
        told = scenes.busy()
        for step, latest in enumerate(told):
            latest["reading"] = figures.reading(step, gpus=2)
        album.has("busy-160x50", await drawn(scenes.screen(told), (160, 50)))

    async def test_one_pane_at_a_time(self, album: Album) -> None:
        """Below 60x15 the pane with the focus has the screen."""
        album.has("narrow-models-50x14", await drawn(scenes.screen(scenes.busy()), (50, 14)))
        album.has("narrow-downloads-50x14", await drawn(scenes.screen(scenes.busy()), (50, 14), "3"))

    async def test_too_small(self, album: Album) -> None:
        """One sentence says what is needed."""
        album.has("tiny-32x7", await drawn(scenes.screen(scenes.busy()), (32, 7)))

    async def test_plain_ascii(self, album: Album) -> None:
        """A locale without UTF-8 loses no word and no number."""
        app = scenes.screen(scenes.busy(), ascii_only=True)
        album.has("ascii-80x24", await drawn(app, SMALL))

    async def test_sixteen_colours(self, album: Album) -> None:
        """The terminal's own colours on its own background."""
        app = scenes.screen(scenes.busy(), sixteen_colours=True)
        album.has("ansi-80x24", await drawn(app, SMALL))

    async def test_a_question_in_sixteen_colours(self, album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it is about stays in sight."""
        monkeypatch.setattr("os.getpid", lambda: 4712)
        app = scenes.screen(scenes.busy(), ["ask"], sixteen_colours=True)
        album.has("ansi-quit-80x24", await drawn(app, SMALL, "q"))

    async def test_no_colour(self, album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every state is a word and a glyph, so nothing is lost."""
        monkeypatch.setenv("NO_COLOR", "1")
        album.has(
            "no-colour-80x24", await drawn(scenes.screen(scenes.damaged(), sixteen_colours=True), SMALL)
        )

    async def test_a_long_list(self, album: Album) -> None:
        """The frame says which part is seen."""
        app = scenes.screen(scenes.many(10_000))
        album.has("ten-thousand-80x24", await drawn(app, SMALL, "G", "k", "k"))

    async def test_the_filter(self, album: Album) -> None:
        """Words narrow the pane while one types, at last to nothing."""
        async with shown(scenes.screen(scenes.busy()), SMALL) as after:
            album.has("filter-80x24", await after("slash", words="qwen"))
            album.has("filter-nothing-80x24", await after(words=" 14b"))

    async def test_the_workers_pane_has_keys_of_its_own(self, album: Album) -> None:
        """The footer speaks of the line under the cursor."""
        album.has("workers-80x24", await drawn(scenes.screen(scenes.busy()), SMALL, "2"))


REPOS = [
    RepoSummary(id="Qwen/Qwen3-4B-GGUF", downloads=1_204_311, likes=312, updated_at="2026-10-02T00:00:00Z"),
    RepoSummary(id="bartowski/Qwen3-4B-GGUF", downloads=88_012, likes=41, updated_at="2026-09-12T00:00:00Z"),
    RepoSummary(
        id="acme/qwen3-4b-clinic-gguf", downloads=120, likes=0, updated_at="2026-08-01T00:00:00Z", gated=True
    ),
]
FILES = [
    ("Qwen3-4B-Q4_K_M.gguf", 2.5, "a" * 64),
    ("Qwen3-4B-Q5_K_M.gguf", 2.9, "b" * 64),
    ("Qwen3-4B-Q6_K.gguf", 3.3, "c" * 64),
    ("Qwen3-4B-Q8_0.gguf", 4.3, "d" * 64),
]
REPOSITORY = Repository(
    id="Qwen/Qwen3-4B-GGUF",
    commit="0123456789abcdef0123456789abcdef01234567",
    gated=False,
    license="apache-2.0",
    files=[RemoteFile(path=path, size_bytes=int(size * 1e9), sha256=sha) for path, size, sha in FILES],
)
MACHINE = machine_of(figures.desktop())
ENDPOINT = "https://huggingface.co"
CARD = """---
license: apache-2.0
---
# Qwen3-4B-GGUF

Qwen3 is the latest generation of large language models in the Qwen series, with dense and \
mixture-of-experts models that think and answer.

## Sampling

- thinking: `temperature` 0.6, `top_p` 0.95
- answering: `temperature` 0.7, `top_p` 0.8

The license is [Apache 2.0](LICENSE).
"""
PAGE = Page(REPOSITORY, MACHINE, tuple(cards.lines(CARD)), clean(cards.summary(CARD)))
GATED = Page(
    msgspec.structs.replace(REPOSITORY, gated=True, gate="manual", updated_at="2026-11-20T00:00:00Z"),
    MACHINE,
    access=access_hint("Qwen/Qwen3-4B-GGUF", has_token=False),
)
REVISIONS = [
    Revision(name="main", kind="branch", commit="0123456789abcdef0123456789abcdef01234567"),
    Revision(name="imatrix", kind="branch", commit="89abcdef0123456789abcdef0123456789abcdef"),
    Revision(name="v1.0", kind="tag", commit="456789abcdef0123456789abcdef0123456789ab"),
]


def plan() -> Plan:
    """What a download would bring."""
    entry = scenes.model("qwen3-4b-q4_k_m", 2.5, "Q4_K_M", 40960)
    assert entry.artifact
    planned = PlannedFile(path=FILES[0][0], target=FILES[0][0], size_bytes=2_500_000_000, sha256="a" * 64)
    return Plan(
        endpoint=ENDPOINT, repo="Qwen/Qwen3-4B-GGUF", revision="0123", model=entry.artifact, files=[planned]
    )


class TestAddingAModel:
    """Search, files, the question with its figures."""

    async def test_the_search(self, album: Album) -> None:
        """Results with what tells them apart; and what they have to be."""
        app = scenes.screen(scenes.desk(), [ENDPOINT, REPOS, REPOS, most_billions(MACHINE)])
        async with shown(app, SMALL) as after:
            album.has("search-80x24", await after("a", words="qwen3 4b"))
            album.has("filters-80x24", await after("ctrl+f", "down", "down", "down", "enter"))

    async def test_the_hub_cannot_be_reached(self, album: Album) -> None:
        """The reason stands where results would."""
        error = NetworkError("cannot reach huggingface.co: connection refused", hint="check the network")
        app = scenes.screen(scenes.desk(), [ENDPOINT, error])
        album.has("search-no-network-80x24", await drawn(app, SMALL, "a"))

    async def test_the_files(self, album: Album) -> None:
        """Sizes and quantisations; the card, and what else the repository is to be had as."""
        app = scenes.screen(scenes.desk(), [ENDPOINT, REPOS, PAGE, REVISIONS])
        async with shown(app, SMALL) as after:
            album.has("files-80x24", await after("a", "enter"))
            album.has("card-80x24", await after("c"))
            album.has("revisions-80x24", await after("escape", "v"))

    async def test_a_gated_repository(self, album: Album) -> None:
        """With what to do about it, and the key that enters a token."""
        async with shown(scenes.screen(scenes.desk(), [ENDPOINT, REPOS, GATED]), SMALL) as after:
            album.has("gated-80x24", await after("a", "enter"))
            album.has("token-80x24", await after("t"))

    async def test_the_matrix(self, album: Album) -> None:
        """What fits where, for every choice of a repository, and the one to take."""
        found = figures.fit(REPOSITORY, MACHINE)
        app = scenes.screen(scenes.desk(), [ENDPOINT, REPOS, PAGE, (found, None)])
        album.has("fit-80x24", await drawn(app, SMALL, "a", "enter", "m"))

    @pytest.mark.parametrize(("name", "free"), [("question", 80), ("question-no-room", 1)])
    async def test_the_question(self, album: Album, name: str, free: int) -> None:
        """Size, place and free space before a byte is fetched."""
        place = f"{scenes.HOME}/models/qwen3-4b-q4_k_m"
        fit = fit_of_choice(group(REPOSITORY.files)[0], MACHINE)
        told = scenes.desk(free)
        room = Room(needed=plan().total, free=free * 10**9, promised=told[-1]["promised"])
        app = scenes.screen(told, [ENDPOINT, REPOS, PAGE, Ahead(plan(), room, place, fit)])
        album.has(f"{name}-80x24", await drawn(app, SMALL, "a", "enter", "enter"))

    async def test_what_other_programs_have(self, album: Album) -> None:
        """With whose it is, and what of it is here."""
        app = scenes.screen(scenes.busy(), [scenes.elsewhere()])
        album.has("elsewhere-80x24", await drawn(app, SMALL, "u"))

    async def test_what_takes_room(self, album: Album) -> None:
        """The one that gives back most comes first; what lies elsewhere is last, and says so."""
        app = scenes.screen(scenes.busy(partial(figures.reading, free=11.2)), [scenes.usage()])
        album.has("disk-80x24", await drawn(app, SMALL, "D", "G"))


class TestWorkers:
    """Starting, installing, asking, reading."""

    async def test_the_start(self, album: Album) -> None:
        """The worker, its reason, context and memory; and what may be chosen, with what was saved."""
        saved = wishes.of({"idle_seconds": 1800, "restart": False})
        async with shown(scenes.screen(scenes.busy(), [scenes.outlook(), saved]), SMALL) as after:
            album.has("start-80x24", await after("j", "j", "s"))
            album.has("start-options-80x24", await after("c"))

    async def test_the_start_that_installs_first(self, album: Album) -> None:
        """What is missing is said before it is brought."""
        found = figures.outlook(scenes.MISTRAL, scenes.bare(3), [])
        app = scenes.screen(scenes.lone(scenes.bare), [found])
        album.has("start-install-80x24", await drawn(app, SMALL, "s"))

    async def test_the_start_that_is_refused(self, album: Album) -> None:
        """The figures that do not fit."""
        here = scenes.workers()[:1]
        found = figures.outlook(scenes.MISTRAL, scenes.crowded(3), here)
        app = scenes.screen(scenes.lone(scenes.crowded, here), [found])
        album.has("start-refused-80x24", await drawn(app, SMALL, "s"))

    async def test_why(self, album: Album) -> None:
        """Every worker with its reason."""
        app = scenes.screen(scenes.busy(), [scenes.outlook(scenes.LLAMA)])
        album.has("why-80x24", await drawn(app, SMALL, "j", "w"))

    async def test_the_offers(self, album: Album) -> None:
        """What may be installed, and why it fits or not."""
        offered = [
            Offered(each, scenes.VERSION, "2026.11.11702" if each.taken else "", "", "")
            for each in scenes.offered()
        ]
        app = scenes.screen(scenes.busy(), [(offered, [])])
        album.has("install-80x24", await drawn(app, SMALL, "2", "i"))

    async def test_an_answer(self, album: Album) -> None:
        """A question, its answer, its figures."""
        usage = Usage(tokens=24, tokens_per_second=42.1, first_token_seconds=0.12)
        pieces = [
            Chunk(text="Sunlight is scattered by the air, "),
            Chunk(text="blue light most of all,\n"),
        ]
        pieces += [Chunk(text="so blue comes to us from all sides."), Chunk(text="", usage=usage)]
        app = scenes.screen(scenes.busy(), [pieces])
        album.has("prompt-80x24", await drawn(app, SMALL, "j", "t", *"Why?", "enter"))

    async def test_an_answer_that_fails(self, album: Album) -> None:
        """The worker's own words, and what to do."""
        error = WorkerError("the worker answered 500: out of memory", hint="rbee logs llama-3-8b-q4_k_m")
        app = scenes.screen(scenes.busy(), [error])
        album.has("prompt-error-80x24", await drawn(app, SMALL, "j", "t", *"Why?", "enter"))

    async def test_a_log(self, album: Album, tmp_path: Path) -> None:
        """The end of the file, followed."""
        path = tmp_path / "worker.log"
        path.write_text("".join(f"0.00.{n:03d}.455 I srv load_model: layer {n} of 33\n" for n in range(33)))
        app = scenes.screen(scenes.busy(), [path])
        album.has("log-80x24", await drawn(app, SMALL, "j", "l"))

    async def test_stopping(self, album: Album) -> None:
        """It is asked first."""
        album.has("stop-80x24", await drawn(scenes.screen(scenes.busy()), SMALL, "j", "x"))


class TestReading:
    """Details, help, palette, events, copying; deleting and leaving."""

    @pytest.mark.parametrize(
        ("name", "keys"),
        [
            ("details-model", ("j", "enter")),
            ("details-worker", ("2", "enter")),
            ("details-download", ("3", "enter")),
            ("help", ("question_mark",)),
            ("palette", ("colon",)),
            ("settings", ("comma",)),
            ("copy", ("j", "y")),
            ("cancel", ("3", "ctrl+d")),
        ],
    )
    async def test_each(self, album: Album, name: str, keys: tuple[str, ...]) -> None:
        """One picture each."""
        answers = {"details-model": [scenes.ABOUT], "settings": [Settings(idle_seconds=1800)]}.get(name)
        album.has(f"{name}-80x24", await drawn(scenes.screen(scenes.busy(), answers), SMALL, *keys))

    async def test_what_ended_a_worker(self, album: Album) -> None:
        """Its death certificate, with what to do."""
        album.has("death-80x24", await drawn(scenes.screen(scenes.damaged()), SMALL, "2", "j", "enter"))

    async def test_deleting_says_what_becomes_free(self, album: Album) -> None:
        """Files, place and bytes."""
        app = scenes.screen(scenes.busy(), [Tree(1, 5_100_000_000, 0, {})])
        album.has("delete-80x24", await drawn(app, SMALL, "j", "j", "ctrl+d"))

    async def test_what_failed_says_what_to_do(self, album: Album) -> None:
        """An error with its hint and the end of its log: at once, and later among the events."""
        log = (
            "llama_model_load: error loading model: unknown model architecture: 'mistral3'\n"
            "llama_model_load_from_file_impl: failed to load model"
        )
        found = certify(scenes.MISTRAL, "llm-worker-cuda", Exit(code=1), log, context=8192)
        app = scenes.screen(scenes.busy(), [scenes.outlook(), error_of(found)])
        async with shown(app, SMALL) as after:
            album.has("not-started-80x24", await after("j", "j", "s", "enter"))
            album.has("events-80x24", await after("escape", "e"))

    async def test_leaving_asks(self, album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
        """What becomes of the downloads that this screen runs."""
        monkeypatch.setattr("os.getpid", lambda: 4712)
        app = scenes.screen(scenes.busy(), ["ask"])
        album.has("quit-80x24", await drawn(app, SMALL, "q"))


class TestTheAlbum:
    """snapshots/ holds what these tests draw, and nothing else."""

    def test_there_is_no_picture_of_what_is_no_more(self) -> None:
        """Every file is named in this one."""
        text = Path(__file__).read_text(encoding="utf-8")
        for path in SNAPSHOTS.glob("*.svg"):
            name = path.stem
            state, _, size = name.rpartition("-")
            assert f'"{name}"' in text or f'"{state}' in text or f"{{name}}-{size}" in text, path.name


class TestTheHouse:
    """What the pictures show could be: what one pane says of a thing, no other denies."""

    @pytest.mark.parametrize("scene", [scenes.busy, scenes.damaged, scenes.desk])
    def test_what_goes_on_goes_on_with_a_model_that_is_listed(
        self, scene: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """A model that is downloaded is whole where that is done, and not before; its sizes agree."""
        house = House()
        house.take(Changes(scene()[-1], []))
        listed = {entry.id: entry for entry in house.models}
        assert {each.model for each in [*house.running, *house.deaths]} <= listed.keys()
        for job in house.jobs.values():
            entry = listed[job.model_id]
            assert (entry.health is Health.OK) == (job.state == "done"), job.model_id
            assert entry.artifact
            assert entry.artifact.size_bytes == job.total
