"""The `rbee demo` flow: search, pull, verify, install, choose, start, prompt, stop, all of it for real."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from rbee_tui.demo import repos
from rbee_tui.demo.hub import DemoHub
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import IntegrityError, RefusedError, WorkerError
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner
from rbee_tui.engine.text import clean, size
from rbee_tui.engine.variants import Selection
from rbee_tui.engine.workers.prompting import Usage

QUESTION = "Say your sentence."


class Show(Protocol):
    """Where the demo tells what it does; the command brings one with bars."""

    def step(self, title: str, command: str) -> None:
        """A step begins; `command` is what a user would type for it."""
        ...

    def detail(self, text: str) -> None:
        """Something that the step found out."""
        ...

    def line(self, text: str) -> None:
        """A line of a program that the step runs."""
        ...

    def answer(self, text: str) -> None:
        """The model's sentence: the result."""
        ...

    async def follow(self, provisioner: ModelProvisioner, job_id: str) -> JobProgress:
        """Run a job to its end, with its progress shown."""
        ...


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo measured."""

    sentence: str
    bytes: int
    bytes_per_second: float
    load_seconds: float
    tokens: int
    tokens_per_second: float
    worker: str
    root: str


async def run(show: Show, *, say: str | None, keep: Path | None, rate: int | None) -> Figures:
    """Do the main job once and return what was measured; nothing is left running, whatever happens.

    `say` is what the model recites, `keep` a directory that serves as root and stays, `rate` the Hub's speed
    in bytes per second. Raises the engine's errors.
    """
    with stage(say=say, keep=keep, rate=rate) as (root, hub):
        async with _engine(root, hub) as engine:
            return await _flow(engine, show, say=say, rate=rate)


@contextmanager
def stage(*, say: str | None, keep: Path | None, rate: int | None) -> Generator[tuple[Root, Hub]]:
    """A root and a Hub of the demo's own, as `run` describes them, for as long as the context lasts."""
    with _root(keep) as root, DemoHub(repos.demo_repos(say), rate=rate) as served:
        yield root, Hub(endpoint=served.url, token="")


async def strike(root: Root, hub: Hub, before: set[str]) -> None:
    """Stop the workers of a root that were not among `before`: the demo leaves nothing running."""
    processes = Engine(root, hub, verb="rbee demo").processes
    for running in processes.list():
        if running.model not in before:
            await processes.stop(running.model)


@contextmanager
def _root(keep: Path | None) -> Generator[Root]:
    """The directory that `keep` names, or a temporary one that goes away with the demo."""
    if keep is not None:
        yield Root(keep.absolute()).prepare()
        return
    place = Path(tempfile.mkdtemp(prefix="rbee-demo-"))
    try:
        yield Root(place / "rbee").prepare()
    finally:
        shutil.rmtree(place, ignore_errors=True)


@asynccontextmanager
async def _engine(root: Root, hub: Hub) -> AsyncGenerator[Engine]:
    """An engine whose workers are stopped on the way out, those too that were still loading."""
    async with Engine(root, hub, verb="rbee demo") as engine:
        before = {running.model for running in engine.processes.list()}
        try:
            yield engine
        finally:
            await strike(root, hub, before)


async def _flow(engine: Engine, show: Show, *, say: str | None, rate: int | None) -> Figures:
    repo = await _search(engine, show, rate)
    model_id, moved, seconds = await _pull(engine, show, repo)
    await _verify(engine, show, model_id)
    await _install(engine, show)
    choice = await _choose(engine, show)
    loading = time.monotonic()
    worker = await _start(engine, show, model_id, choice)
    loading = time.monotonic() - loading
    sentence, usage = await _prompt(engine, show, model_id, say)
    figures = Figures(
        sentence=sentence,
        bytes=moved,
        bytes_per_second=moved / seconds if seconds > 0 else 0.0,
        load_seconds=loading,
        tokens=usage.tokens,
        tokens_per_second=usage.tokens_per_second,
        worker=worker,
        root=str(engine.root.path),
    )
    show.step("stop", f"rbee stop {model_id}")
    await engine.processes.stop(model_id)
    show.detail("nothing is left running")
    return figures


async def _search(engine: Engine, show: Show, rate: int | None) -> str:
    show.step("search", "rbee search recital")
    speed = f"at most {size(rate)}/s" if rate else "as fast as it goes"
    show.detail(f"a small Hub of its own on {engine.hub.endpoint}, {speed}")
    found = await asyncio.to_thread(engine.hub.search, "recital", 20)
    show.detail(f"it has {', '.join(clean(each.id) for each in found)}")
    return repos.REPO if any(each.id == repos.REPO for each in found) else found[0].id


async def _pull(engine: Engine, show: Show, repo: str) -> tuple[str, int, float]:
    """Download the model; its id, the bytes that came and the seconds that they took."""
    show.step("pull", f"rbee pull {repo}")
    began = time.monotonic()
    job_id = await engine.provisioner.download_model(repo)
    first = engine.provisioner.get_progress(job_id)
    ended = await show.follow(engine.provisioner, job_id)
    moved = 0 if first.state == "done" else ended.total - ended.kept
    return ended.model_id, moved, time.monotonic() - began


async def _verify(engine: Engine, show: Show, model_id: str) -> None:
    show.step("verify", f"rbee models verify {model_id}")
    verification = await asyncio.to_thread(engine.models.verify, model_id)
    if not verification.ok:
        raise IntegrityError(f"{clean(model_id)} is not what the Hub has")
    entry = engine.models.get(model_id)
    files = entry.artifact.files if entry.artifact else ()
    for file in files:
        show.detail(f"sha256 {(file.sha256 or '')[:16]}...  {size(file.size_bytes)}  {clean(file.path)}")


async def _install(engine: Engine, show: Show) -> None:
    show.step("install", "rbee workers install")
    selection = await asyncio.to_thread(engine.selection)
    taken = next((each for each in selection.verdicts if each.taken), None)
    if taken is None:
        reasons = "; ".join(f"{each.worker_id}: {each.reason}" for each in selection.verdicts)
        raise RefusedError(f"no worker fits this machine: {reasons}")
    if taken.installed:
        show.detail(f"{taken.worker_id} is installed already")
        return
    entry = await engine.installer.install(taken.worker_id, on_line=show.line)
    seen = entry.artifact.devices if entry.artifact else []
    show.detail(f"{taken.worker_id} sees {clean(', '.join(seen)) or 'no device'}")


async def _choose(engine: Engine, show: Show) -> Selection:
    show.step("choose", "rbee workers list")
    selection = await asyncio.to_thread(engine.selection)
    for verdict in selection.verdicts:
        word = "takes" if verdict.taken else "could take" if verdict.usable else "refuses"
        show.detail(f"{word} {verdict.worker_id}: {verdict.reason}")
    return selection


async def _start(engine: Engine, show: Show, model_id: str, choice: Selection) -> str:
    show.step("start", f"rbee start {model_id}")
    running = await engine.processes.start(model_id, worker_id=choice.worker_id)
    show.detail(f"{running.worker} is {running.state}: pid {running.pid}, {running.url}")
    return running.worker


async def _prompt(engine: Engine, show: Show, model_id: str, say: str | None) -> tuple[str, Usage]:
    """Ask once; the sentence and its figures."""
    show.step("prompt", f'rbee prompt {model_id} "{QUESTION}"')
    chunks = [chunk async for chunk in engine.processes.prompt(model_id, QUESTION)]
    sentence = "".join(chunk.text for chunk in chunks).strip()
    wanted = repos.sentence(say)
    if sentence != wanted:
        raise WorkerError(f"the model says {clean(sentence)!r}, and its file holds {clean(wanted)!r}")
    show.answer(sentence)
    usage = chunks[-1].usage
    assert usage is not None  # noqa: S101 - for the type checker: the last one has it
    return sentence, usage
