"""A hive beside others on its root: it takes up what they leave, each sees and steers what the other does."""

import asyncio
import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine import autostart, runner, settings
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.hive import presence
from tests.e2e.support import Rbee, wait_for
from tests.engine import support_jobs
from tests.engine.workers.support import House, add_fake, add_model, end_all, get
from tests.hive.serving import SECONDS
from tests.hive.support import HiveProcess, hive

until = partial(support_jobs.until, seconds=SECONDS)

BIG = bytes(range(256)) * (12 << 12)
NAME = "acme/big/big.gguf"


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """A Hub with a file of 12 MiB, so slow that it does not come to its end by itself."""
    with DemoHub([DemoRepo("acme/big", {"big.gguf": BIG})], rate=1 << 20) as served:
        yield served


@pytest.fixture
def rbee(tmp_path: Path, hub: DemoHub) -> Rbee:
    """The commands on an empty root."""
    return Rbee(tmp_path / "rbee", hub.url)


@pytest.fixture
def house(rbee: Rbee) -> Iterator[House]:
    """A model and a stand-in for llama-server on that root."""
    made = House(Root(rbee.home).prepare())
    add_model(made, tiny.write(rbee.home.parent / "tiny.gguf", "hello").path)
    add_fake(made, rbee.home.parent)
    yield made
    end_all(made.root)


def job(process: HiveProcess) -> Any:
    """The one download."""
    (found,) = process.jobs().values()
    return found


def beside(process: HiveProcess, hub: DemoHub) -> Engine:
    """An engine of this process on the hive's root, as a screen has one."""
    return Engine(Root(process.rbee.home), Hub(hub.url, token=""), verb="a screen")


class TestLeftBehind:
    """Downloads that somebody else ran."""

    def test_what_a_quitting_screen_leaves(self, rbee: Rbee, hub: DemoHub):
        """The hive is the background runner: it is found, no other is started, and it goes on."""
        with hive(rbee) as process:

            async def screen() -> None:
                async with beside(process, hub) as engine:
                    await engine.provisioner.download_model("acme/big")
                    await asyncio.to_thread(wait_for, lambda: hub.bytes_sent(NAME) > 0)
                    holder = await asyncio.to_thread(runner.start_background, engine.root)
                    assert (holder.pid, holder.verb) == (process.process.pid, presence.VERB)

            asyncio.run(screen())
            wait_for(lambda: job(process).holder == process.process.pid)
            assert job(process).holder_verb == presence.VERB
            hub.rate = None
            wait_for(lambda: job(process).state == "done", 40)
            assert not (rbee.home / "state" / "logs" / "runner.log").exists()

    def test_what_a_killed_hive_leaves(self, rbee: Rbee, hub: DemoHub):
        """The next one goes on where it was."""
        process = HiveProcess(rbee)
        process.submit("model_download", model="acme/big")
        wait_for(lambda: job(process).downloaded > 0)
        process.process.kill()
        process.process.communicate()
        assert job(process).state == "interrupted"
        assert presence.find(Root(rbee.home)) is None
        hub.rate = None
        with hive(rbee) as again:
            wait_for(lambda: job(again).state == "done", 40)
        assert hub.bytes_sent(NAME) < 2 * len(BIG)

    def test_a_runner_that_is_there(self, rbee: Rbee, hub: DemoHub):
        """Goes on with what it has; when it has gone, the hive is in its place."""
        rbee.run("pull", "--detach", "acme/big")
        with hive(rbee) as process:
            other = runner.runner_lock(Root(rbee.home)).holder()
            assert other.verb == runner.VERB
            assert job(process).holder == other.pid
            hub.rate = None
            wait_for(lambda: job(process).state == "done", 40)
            # The file is empty for the moment in which a lock is signed.
            wait_for(
                lambda: (
                    (new := runner.runner_lock(Root(rbee.home)).holder()) and new.pid == process.process.pid
                )
            )
            second = rbee.start("hive", "--no-listen")
            assert "(rbee hive)" in second.communicate(timeout=60)[1]
            assert second.returncode == 4


class TestSideBySide:
    """A screen's engine in this process, and a hive."""

    def test_downloads(self, rbee: Rbee, hub: DemoHub):
        """Begun by the hive, seen and paused here; resumed here, seen there; cancelled there, seen here."""
        with hive(rbee) as process:

            async def screen() -> None:
                async with beside(process, hub) as engine:
                    seen: dict[str, Any] = {}
                    following = asyncio.create_task(follow(engine, seen))
                    job_id = (await asked(process.submit, "model_download", model="acme/big")).json["job_id"]
                    await until(lambda: seen and seen[job_id].downloaded > 0)
                    assert seen[job_id].holder == process.process.pid
                    assert (await engine.provisioner.pause(job_id)).state == "paused"
                    assert await asked(is_told, process, job_id, "paused")
                    taken = await engine.provisioner.resume(job_id)
                    assert taken is not None
                    assert taken.who.pid == process.process.pid
                    await until(lambda: seen[job_id].state == "running")
                    engine.provisioner.set_cap(500_000)
                    assert (await asked(process.curl, f"/v1/jobs/{job_id}", "-X", "DELETE")).status == 200
                    await until(lambda: seen[job_id].state == "cancelled")
                    following.cancel()

            asyncio.run(screen())

    def test_workers(self, rbee: Rbee, hub: DemoHub, house: House):
        """Started by the hive, shown and stopped here, gone there; and the other way round."""
        with hive(rbee) as process:

            async def screen() -> None:
                async with beside(process, hub) as engine:
                    facts: list[str] = []
                    following = asyncio.create_task(follow_facts(engine, facts))
                    spawned = await asked(process.done, "worker_spawn", model="tiny")
                    (shown,) = engine.processes.list()
                    assert (shown.pid, shown.url, shown.memory_bytes) == (
                        spawned["pid"],
                        spawned["url"],
                        shown.memory_bytes,
                    )
                    await until(lambda: "worker.ready" in facts)
                    await engine.processes.stop("tiny")
                    assert await asked(process.done, "worker_process_list") == []
                    started = await engine.processes.start("tiny")
                    (listed,) = await asked(process.done, "worker_process_list")
                    assert listed["pid"] == started.pid
                    await asked(process.done, "worker_process_delete", pid=started.pid)
                    assert engine.processes.list() == []
                    following.cancel()

            asyncio.run(screen())


class TestWithoutAScreen:
    """What goes on while a hive alone is there."""

    def test_a_worker_that_crashes_is_started_again(self, rbee: Rbee, house: House):
        """At the same port, and the hive tells how often."""
        with hive(rbee, RBEE_KEEPER_SCALE="0.05") as process:
            spawned = process.done("worker_spawn", model="tiny")
            with suppress(OSError, http.client.HTTPException):
                get(f"{spawned['url']}/crash")

            def again() -> Any:
                (found,) = process.done("worker_process_list")
                return found["restarts"] == 1 and found["state"] == "ready" and found

            assert wait_for(again)["url"] == spawned["url"]
            process.done("worker_process_delete", pid=spawned["pid"])

    def test_a_worker_that_nobody_asks_goes(self, rbee: Rbee, house: House):
        """After the time that was settled."""
        settings.change(house.root, idle_seconds=1)
        with hive(rbee, RBEE_KEEPER_SCALE="0.05") as process:
            process.done("worker_spawn", model="tiny")
            wait_for(lambda: process.done("worker_process_list") == [])
            assert house.supervisor.death("tiny").cause == "idle"

    def test_the_queue_moves_on(self, tmp_path: Path):
        """Three at a time, by their order, within the cap; another process changes both."""
        repos = [DemoRepo(f"acme/m{n}", {f"m{n}.gguf": BIG[: 1 << 20]}) for n in range(5)]
        with DemoHub(repos) as hub, hive(Rbee(tmp_path / "rbee", hub.url)) as process:
            other = beside(process, hub).provisioner
            other.set_cap(100_000)
            ids = [process.submit("model_download", model=f"acme/m{n}").json["job_id"] for n in range(5)]

            def states() -> list[str]:
                return [process.jobs()[each].state for each in ids]

            wait_for(lambda: states() == ["running"] * 3 + ["queued"] * 2)
            other.move(ids[4], "top")
            wait_for(lambda: states() == ["running", "running", "queued", "queued", "running"])
            other.set_cap(None)
            wait_for(lambda: states() == ["done"] * 5, 40)


class TestAutostart:
    """Models that are marked: a starting hive starts their workers."""

    def test_as_after_a_reboot(self, rbee: Rbee, house: House):
        """Marked by the command, started by the hive; what is not there is said and keeps nothing back."""
        autostart.mark(house.root, "gone", on=True)
        assert rbee.json("hive", "autostart", "tiny") == ["gone", "tiny"]
        with hive(rbee) as process:
            wait_for(lambda: [each.state for each in house.supervisor.list()] == ["ready"])
            (running,) = house.supervisor.list()
            said = wait_for(
                lambda: (
                    (lines := [e["text"] for e in process.log() if e["event"] == "autostart"])[1:] and lines
                )
            )
            assert "gone was not started: there is no model 'gone'" in said[0]
            assert said[1] == "tiny is ready on fake"
            status = rbee.json("hive", "status")
            assert (status["workers"], status["autostart"]) == (["tiny"], ["gone", "tiny"])
        assert [each.pid for each in house.supervisor.list()] == [running.pid], "workers go on"
        with hive(rbee):
            assert [each.pid for each in house.supervisor.list()] == [running.pid], "and are found"
        asyncio.run(house.supervisor.stop("tiny"))

    def test_marks(self, root: Root):
        """In the order in which they were made, each once; taken away one by one."""
        assert autostart.marked(root) == ()
        for model_id in ("b", "a", "b"):
            autostart.mark(root, model_id, on=True)
        assert autostart.marked(root) == ("b", "a")
        assert autostart.mark(root, "b", on=False) == ("a",)
        assert autostart.mark(root, "b", on=False) == ("a",)

    def test_by_the_command(self, rbee: Rbee, house: House):
        """A model that is not here cannot be marked; a mark that outlived its model can be taken away."""
        rbee.run("hive", "autostart", "nope", code=3)
        autostart.mark(house.root, "gone", on=True)
        assert rbee.json("hive", "autostart", "gone", "--off") == []


async def asked(call: Callable[..., Any], *words: Any, **named: Any) -> Any:
    """A blocking call in a thread."""
    return await asyncio.to_thread(call, *words, **named)


async def follow(engine: Engine, seen: dict[str, Any]) -> None:
    """Keep the latest of each download."""
    async for changes in engine.changes(0.1):
        seen |= {
            key.removeprefix("job:"): value for key, value in changes.latest.items() if key.startswith("job:")
        }


async def follow_facts(engine: Engine, facts: list[str]) -> None:
    """Keep the kinds of facts."""
    async for changes in engine.changes(0.1):
        facts += [fact.kind for fact in changes.facts]


def is_told(process: HiveProcess, job_id: str, state: str) -> bool:
    """Whether the hive's stream of a download comes to tell this state."""
    until = time.monotonic() + SECONDS
    for kind, data in process.following(f"/v1/jobs/{job_id}/stream"):
        if kind == "progress" and data["state"] == state:
            return True
        if time.monotonic() > until:
            break
    return False
