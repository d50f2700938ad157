"""Worker processes: one for a model, found again, asked, stopped; on a stand-in with faults on demand."""

import asyncio
import os
import re
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from rbee_tui.engine import process
from rbee_tui.engine.artifacts import Worker
from rbee_tui.engine.errors import BusyError, NotFoundError, RefusedError, WorkerError
from rbee_tui.engine.process import Machine
from rbee_tui.engine.workers import ending, ready, record, starting, supervise
from tests.engine.workers.support import (
    MODEL,
    House,
    add_model,
    arguments_of_all,
    get,
    little_memory,
    of_root,
    start_elsewhere,
    wait_for,
)

pytestmark = pytest.mark.anyio


class TestStart:
    """Ready when it returns, once per model."""

    async def test_it_is_ready_and_listed(self, fake: House):
        """With all that a script needs to talk to it."""
        started = await fake.supervisor.start(MODEL)
        assert started.state == "ready"
        assert started.url == f"http://127.0.0.1:{started.port}"
        assert get(f"{started.url}/health") == {}
        (listed,) = fake.supervisor.list()
        assert (listed.pid, listed.worker, listed.variant) == (started.pid, "fake", "cpu")
        assert listed.memory_bytes
        assert fake.told() == ["worker.starting", "worker.ready"]

    async def test_one_that_runs_is_followed(self, fake: House):
        """A second start gives the same process."""
        first = await fake.supervisor.start(MODEL)
        assert (await fake.supervisor.start(MODEL)).pid == first.pid

    async def test_two_at_once_are_one(self, fake: House):
        """Two engines on one root start one process."""
        other = House(fake.root)
        both = await asyncio.gather(fake.supervisor.start(MODEL), other.supervisor.start(MODEL))
        assert both[0].pid == both[1].pid
        assert len(fake.supervisor.list()) == 1

    async def test_a_starter_without_the_lock_starts_two(self, fake: House, monkeypatch):
        """The mutant that the test before catches."""
        monkeypatch.setattr(record.Records, "start_lock", lambda self, _: _NoLock(self._root.locks / "no"))
        monkeypatch.setattr(supervise, "living", lambda _: None)
        other = House(fake.root)
        both = await asyncio.gather(
            fake.supervisor.start(MODEL), other.supervisor.start(MODEL), return_exceptions=True
        )
        assert len({getattr(each, "pid", None) for each in both}) == 2

    async def test_the_traps_are_set(self, fake: House):
        """Loopback, one slot, no host memory for prompts, a core left to others."""
        started = await fake.supervisor.start(MODEL)
        words = next(line for line in arguments_of_all() if b"/llama-server\0--model" in line).decode()
        assert "--host\x00127.0.0.1\x00" in words
        assert "--cache-ram\x000\x00" in words
        assert "--parallel\x001\x00" in words
        threads = int(re.search(r"--threads\0(\d+)", words).group(1))
        assert 1 <= threads < max(2, os.cpu_count() or 2)
        assert started.context == 4096

    async def test_the_loading_one_promises_its_memory(
        self, fake: House, tiny_model: Path, monkeypatch, tmp_path
    ):
        """Another start counts it as taken; once it is ready the system tells of a part of it."""
        monkeypatch.setenv("FAKE_MODE", "slow")
        monkeypatch.setenv("FAKE_CONTROL", str(tmp_path / "go"))
        add_model(fake, tiny_model, "other")
        start = asyncio.create_task(fake.supervisor.start(MODEL))
        loading = await _until(fake.supervisor.list)
        starter = starting.Starter(fake.root, fake.models, fake.workers, fake.facts)
        assert starter.promised("other")["host"] == loading[0].estimate_bytes > 0
        (tmp_path / "go").touch()
        await start
        assert starter.promised("other")["host"] < loading[0].estimate_bytes


class TestRefusals:
    """What cannot be started is said, and leaves nothing."""

    async def test_an_unknown_model(self, fake: House):
        """There is none of that name."""
        with pytest.raises(NotFoundError):
            await fake.supervisor.start("nobody")

    async def test_a_model_whose_file_is_gone(self, fake: House):
        """It is missing, and says how to bring it again."""
        old = time.time() - 60
        (fake.root.models / MODEL / "tiny.gguf").unlink()
        for path in (fake.root.models / MODEL / "metadata.json", fake.root.models / MODEL):
            os.utime(path, (old, old))
        with pytest.raises(RefusedError, match="missing"):
            await fake.supervisor.start(MODEL)
        assert of_root(fake.root) == []

    async def test_a_model_that_is_cut_short(self, fake: House, tiny_model: Path):
        """It is damaged: no worker is started on it."""
        path = fake.root.models / MODEL / "tiny.gguf"
        path.unlink()
        path.write_bytes(tiny_model.read_bytes()[:-1])  # noqa: ASYNC240 - nothing else runs
        with pytest.raises(RefusedError, match=r"damaged|arriving"):
            await fake.supervisor.start(MODEL)

    async def test_a_model_without_gguf(self, fake: House):
        """Safetensors alone are served by none of these workers."""
        path = fake.root.models / MODEL / "tiny.gguf"
        path.rename(path.with_suffix(".safetensors"))
        entry = fake.models.get(MODEL).artifact
        entry.files[0].path = "tiny.safetensors"
        fake.models.update(MODEL, files=entry.files)
        with pytest.raises(RefusedError, match="no GGUF file"):
            await fake.supervisor.start(MODEL)

    async def test_no_worker(self, house: House, monkeypatch):
        """Nothing is installed, and rbee's own environment brings nothing."""
        monkeypatch.setattr("rbee_tui.engine.workers.install._OWN", ())
        with pytest.raises(NotFoundError, match="no worker is installed") as refused:
            await house.supervisor.start(MODEL)
        assert "rbee workers install" in refused.value.hint

    async def test_a_worker_that_is_no_server(self, house: House):
        """One in the specification's own format is asked what it is; /bin/true does not say."""
        house.workers.register_worker(
            Worker(id="plain", name="Plain", version="0.1.0", binary_path="/bin/true", worker_type="cpu")
        )
        with pytest.raises(RefusedError, match="plain cannot be started"):
            await house.supervisor.start(MODEL, worker_id="plain")

    async def test_a_worker_without_a_runtime_that_is_a_server(self, fake: House):
        """In the specification's own format too: its --version tells."""
        program = fake.workers.get("fake").artifact.binary_path
        fake.workers.remove("fake")
        fake.workers.register_worker(
            Worker(id="plain", name="Plain", version="0.1.0", binary_path=program, worker_type="cpu")
        )
        assert (await fake.supervisor.start(MODEL)).worker == "plain"

    async def test_a_model_that_does_not_fit(self, fake: House, monkeypatch):
        """With the figures, before anything is started."""
        little_memory(monkeypatch)
        with pytest.raises(RefusedError, match=r"needs [\d.]+ \w+ at a context of .* are available"):
            await fake.supervisor.start(MODEL)
        assert of_root(fake.root) == []


class TestFailures:
    """A worker that does not come up says why, with the end of its log."""

    async def test_an_exit_shows_code_and_log(self, fake: House, monkeypatch):
        """What would drive the terminal is made visible."""
        monkeypatch.setenv("FAKE_MODE", "exit")
        with pytest.raises(WorkerError, match="exit code 1") as failed:
            await fake.supervisor.start(MODEL)
        assert "token_embd" in failed.value.log
        assert "\x1b" not in failed.value.log
        assert fake.supervisor.list() == []
        assert of_root(fake.root) == []
        assert fake.told() == ["worker.starting", "worker.failed"]

    async def test_the_log_is_of_this_start(self, fake: House, monkeypatch):
        """What an earlier start wrote is in the file, not in the error."""
        fake.supervisor.log_path(MODEL).write_text("an old sorrow\n")
        monkeypatch.setenv("FAKE_MODE", "exit")
        with pytest.raises(WorkerError) as failed:
            await fake.supervisor.start(MODEL)
        assert "old sorrow" not in failed.value.log
        assert "old sorrow" in fake.supervisor.log_path(MODEL).read_text()

    async def test_a_signal_is_named(self, fake: House, monkeypatch):
        """The keeper saw what ended the runtime."""
        monkeypatch.setenv("FAKE_MODE", "segv")
        with pytest.raises(WorkerError, match="SIGSEGV"):
            await fake.supervisor.start(MODEL)

    async def test_one_that_hangs_is_ended(self, fake: House, monkeypatch):
        """No new byte in its log for the time of a load."""
        monkeypatch.setenv("FAKE_MODE", "never")
        monkeypatch.setattr(supervise, "LOAD_SECONDS", 0.5)
        with pytest.raises(WorkerError, match="said nothing"):
            await fake.supervisor.start(MODEL)
        assert of_root(fake.root) == []

    async def test_a_program_that_cannot_be_run(self, fake: House):
        """It is there and may be executed, and is no program for this machine."""
        program = Path(fake.workers.get("fake").artifact.binary_path)
        program.write_bytes(b"\x7fELF of another world")  # noqa: ASYNC240 - nothing else runs
        with pytest.raises(WorkerError, match="cannot be started"):
            await fake.supervisor.start(MODEL, worker_id="fake")
        assert of_root(fake.root) == []

    async def test_one_that_dies_later_is_told(self, fake: House):
        """Once, as a fact; the next question says how it ended."""
        started = await fake.supervisor.start(MODEL, restart=False)
        with pytest.raises(ConnectionError):
            get(f"{started.url}/crash")
        wait_for(lambda: process.identify(started.pid) is None)
        with pytest.raises(NotFoundError, match="exit code 3"):
            fake.supervisor.get(MODEL)
        assert fake.supervisor.list() == []
        assert fake.told().count("worker.failed") == 1

    async def test_one_that_does_not_answer_is_unhealthy(self, fake: House, monkeypatch, tmp_path: Path):
        """It lives, and is not called ready."""
        monkeypatch.setenv("FAKE_MODE", "sick")
        monkeypatch.setenv("FAKE_CONTROL", str(tmp_path / "sick"))
        await fake.supervisor.start(MODEL)
        (tmp_path / "sick").touch()
        assert [each.state for each in fake.supervisor.list()] == ["unhealthy"]


class TestPort:
    """Clients are configured with it."""

    async def test_it_stays(self, fake: House):
        """Between starts, and with it the key."""
        first = await fake.supervisor.start(MODEL)
        await fake.supervisor.stop(MODEL)
        second = await fake.supervisor.start(MODEL)
        assert (first.port, first.api_key) == (second.port, second.api_key)
        assert first.pid != second.pid

    async def test_one_that_is_taken_is_said(self, fake: House):
        """Never changed silently; nothing is started."""
        port = (await fake.supervisor.start(MODEL)).port
        await fake.supervisor.stop(MODEL)
        with socket.create_server(("127.0.0.1", port)):
            with pytest.raises(BusyError, match=str(port)):
                await fake.supervisor.start(MODEL)
            assert of_root(fake.root) == []
        assert (await fake.supervisor.start(MODEL)).port == port

    async def test_one_may_be_asked_for(self, fake: House):
        """And is kept from then on."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert (await fake.supervisor.start(MODEL, port=port)).port == port
        await fake.supervisor.stop(MODEL)
        assert (await fake.supervisor.start(MODEL)).port == port

    async def test_a_log_cannot_send_the_key_elsewhere(self, fake: House, monkeypatch):
        """A model's own strings stand in the log: a port counts only where the worker itself listens."""
        asked = await self._lied_to(fake, monkeypatch)
        assert asked == []

    async def test_a_supervisor_that_believes_the_log_does(self, fake: House, monkeypatch):
        """The mutant that the test before catches."""
        monkeypatch.setattr(ready, "_listening", lambda _: None)
        asked = await self._lied_to(fake, monkeypatch)
        assert any(fake.records.path(MODEL, "key").read_text() in each for each in asked)

    async def _lied_to(self, fake: House, monkeypatch) -> list[str]:
        """What reaches a foreign port that the log names."""
        asked: list[str] = []

        async def foreign(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append((await reader.read(4000)).decode())
            writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(foreign, "127.0.0.1", 0) as server:
            monkeypatch.setenv("FAKE_MODE", "liar")
            monkeypatch.setenv("FAKE_CONTROL", str(server.sockets[0].getsockname()[1]))
            monkeypatch.setattr(supervise, "LOAD_SECONDS", 0.5)
            with pytest.raises(WorkerError):
                await fake.supervisor.start(MODEL)
        return asked


class TestKey:
    """The worker's API key."""

    async def test_it_is_in_no_argument(self, fake: House):
        """Everybody can read arguments; the file is for its owner."""
        started = await fake.supervisor.start(MODEL)
        assert len(started.api_key) > 24
        assert not any(started.api_key.encode() in words for words in arguments_of_all())
        mode = stat.S_IMODE(fake.records.path(MODEL, "key").stat().st_mode)
        assert mode == 0o600

    async def test_all_that_is_written_is_the_owners(self, fake: House):
        """Records, ports and logs as well."""
        await fake.supervisor.start(MODEL)
        for path in (*fake.root.running.iterdir(), *fake.root.logs.iterdir()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    async def test_tokens_do_not_reach_the_worker(self, fake: House, monkeypatch):
        """The Hub's token is no business of a runtime."""
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        started = await fake.supervisor.start(MODEL)
        assert process.environment_value(started.pid, "HF_TOKEN") is None


class TestAdoption:
    """A worker does not need the process that started it."""

    async def test_it_survives_the_starter(self, fake: House):
        """kill -9 of the command: another process lists and stops it."""
        starter = start_elsewhere(fake.root)
        pid = int(starter.stdout.readline())
        starter.kill()
        starter.communicate()
        assert [each.pid for each in fake.supervisor.list()] == [pid]
        await fake.supervisor.stop(MODEL)
        assert of_root(fake.root) == []

    async def test_one_that_was_loading_becomes_ready(self, fake: House, monkeypatch, tmp_path: Path):
        """Its starter killed while it loaded: whoever looks next completes the record."""
        monkeypatch.setenv("FAKE_MODE", "slow")
        monkeypatch.setenv("FAKE_CONTROL", str(tmp_path / "go"))
        starter = start_elsewhere(fake.root)
        (loading,) = wait_for(fake.supervisor.list)
        assert loading.state == "loading"
        with pytest.raises(BusyError, match="loading"):
            [chunk async for chunk in fake.supervisor.prompt(MODEL, "hello")]
        starter.kill()
        starter.communicate()
        (tmp_path / "go").touch()
        (found,) = wait_for(lambda: [each for each in fake.supervisor.list() if each.state == "ready"])
        assert found.pid == loading.pid
        assert found.port == fake.records.kept_port(MODEL)
        assert (await fake.supervisor.start(MODEL)).pid == loading.pid

    async def test_one_without_a_finished_record_is_found_by_its_cookie(self, fake: House):
        """The starter died between the start and the record of it."""
        started = await fake.supervisor.start(MODEL)
        found = fake.records.read(MODEL)
        fake.records.write(record.msgspec.structs.replace(found, who=None, ready_at=None, port=0))
        other = House(fake.root)
        (listed,) = wait_for(lambda: [each for each in other.supervisor.list() if each.state == "ready"])
        assert (listed.pid, listed.port) == (started.pid, started.port)
        await other.supervisor.stop(MODEL)
        assert of_root(fake.root) == []

    async def test_one_that_was_never_started_is_cleared_away(self, fake: House):
        """The starter died between the record and the start."""
        await fake.supervisor.start(MODEL)
        found = fake.records.read(MODEL)
        await fake.supervisor.stop(MODEL)
        fake.records.write(record.msgspec.structs.replace(found, who=None, cookie="f" * 32))
        assert fake.supervisor.list() == []
        assert not fake.records.path(MODEL, "json").exists()

    async def test_a_starter_that_does_not_wait_for_its_child_holds_nothing_up(self, fake: House):
        """A screen that started it, and is busy, leaves a zombie: the group counts as gone."""
        starter = start_elsewhere(fake.root)
        starter.stdout.readline()
        begun = time.monotonic()
        await fake.supervisor.stop(MODEL)
        took = time.monotonic() - begun
        starter.communicate("")
        assert took < ending.STOP_SECONDS / 2

    async def test_a_stopper_that_counts_zombies_waits_in_vain(self, fake: House, monkeypatch):
        """The mutant that the test before catches."""

        def naive(group: int) -> bool:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return False
            return True

        monkeypatch.setattr(ending, "group_lives", naive)
        monkeypatch.setattr(ending, "STOP_SECONDS", 0.5)
        starter = start_elsewhere(fake.root)
        starter.stdout.readline()
        begun = time.monotonic()
        await fake.supervisor.stop(MODEL)
        took = time.monotonic() - begun
        starter.communicate("")
        assert took >= 0.5


class TestStop:
    """The whole group, and nothing else."""

    async def test_it_is_gone(self, fake: House):
        """Process, record and note; the port is free again."""
        started = await fake.supervisor.start(MODEL)
        stopped = await fake.supervisor.stop(MODEL)
        assert stopped.state == "stopping"
        assert process.identify(started.pid) is None
        assert {path.suffix for path in fake.root.running.iterdir()} == {".key", ".port"}
        with pytest.raises(NotFoundError):
            await fake.supervisor.stop(MODEL)
        assert fake.told()[-1] == "worker.stopped"

    async def test_what_killed_writers_left_goes_with_it(self, fake: House):
        """Half-written records of starters that were killed, at the next start and at the stop."""
        for left in (".tiny.json.0123456789ab.tmp", ".tiny.port.0123456789ab.tmp", "tiny.exit.tmp"):
            (fake.root.running / left).write_text("half")
        await fake.supervisor.start(MODEL)
        assert {path.suffix for path in fake.root.running.iterdir()} == {".json", ".key", ".port"}
        (fake.root.running / ".tiny.json.0123456789ab.tmp").write_text("half")
        await fake.supervisor.stop(MODEL)
        assert {path.suffix for path in fake.root.running.iterdir()} == {".key", ".port"}

    async def test_a_stubborn_one_is_made_to(self, fake: House, monkeypatch):
        """SIGKILL after the time to end by itself."""
        monkeypatch.setenv("FAKE_MODE", "stubborn")
        monkeypatch.setattr(ending, "STOP_SECONDS", 0.5)
        await fake.supervisor.start(MODEL)
        await fake.supervisor.stop(MODEL)
        assert of_root(fake.root) == []

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    async def test_no_orphan(self, fake: House, monkeypatch, number):
        """The keeper killed from outside: runtime and children go too, at the latest at the next look."""
        monkeypatch.setenv("FAKE_MODE", "fork")
        started = await fake.supervisor.start(MODEL)
        assert len(of_root(fake.root)) == 3
        os.kill(started.pid, number)
        wait_for(lambda: process.identify(started.pid) is None)
        assert fake.supervisor.list() == []
        assert of_root(fake.root) == []

    async def test_children_that_ignore_the_signal_go_too(self, fake: House, monkeypatch):
        """Stopped in order, a runtime takes its children with it."""
        monkeypatch.setenv("FAKE_MODE", "fork")
        await fake.supervisor.start(MODEL)
        await fake.supervisor.stop(MODEL)
        assert of_root(fake.root) == []

    async def test_one_that_loads_can_be_stopped(self, fake: House, monkeypatch):
        """Its start ends with that sentence."""
        monkeypatch.setenv("FAKE_MODE", "never")
        start = asyncio.create_task(fake.supervisor.start(MODEL))
        await _until(House(fake.root).supervisor.list)
        await House(fake.root).supervisor.stop(MODEL)
        with pytest.raises(WorkerError, match="stopped while"):
            await start
        assert of_root(fake.root) == []

    async def test_all(self, fake: House, tiny_model: Path):
        """Every worker, at once."""
        add_model(fake, tiny_model, "other")
        await fake.supervisor.start(MODEL)
        await fake.supervisor.start("other")
        assert [each.model for each in await fake.supervisor.stop_all()] == ["other", MODEL]
        assert fake.supervisor.list() == []


class TestForeign:
    """What rbee did not start is never signalled."""

    @pytest.fixture
    async def stranger(self, fake: House):
        """A process of somebody else under the pid that the record names, as after a pid was used again."""
        await fake.supervisor.start(MODEL)
        found = fake.records.read(MODEL)
        await fake.supervisor.stop(MODEL)
        other = subprocess.Popen(["sleep", "600"], start_new_session=True)  # noqa: ASYNC220 - it is not awaited
        wait_for(lambda: process.environment_value(other.pid, "PATH"))
        fake.records.write(record.msgspec.structs.replace(found, who=process.identify(other.pid)))
        yield other
        other.kill()
        other.wait()

    async def test_a_foreign_cookie_is_left_alone(self, fake: House, stranger):
        """It is not listed and not stopped, and the record is cleared away."""
        with pytest.raises(NotFoundError):
            await fake.supervisor.stop(MODEL)
        assert fake.supervisor.list() == []
        assert stranger.poll() is None
        assert not fake.records.path(MODEL, "json").exists()

    async def test_a_stopper_that_trusts_the_pid_kills_it(self, fake: House, stranger, monkeypatch):
        """The mutant that the test before catches."""
        for module in (record, ending, supervise):
            monkeypatch.setattr(module, "is_ours", lambda *_: True)
        monkeypatch.setattr(ending, "sweep", lambda _: True)
        monkeypatch.setattr(ready, "answers", lambda *_: True)
        await fake.supervisor.stop(MODEL)
        assert stranger.wait(10) == -signal.SIGTERM

    async def test_another_machine_s_record_is_not_touched(self, fake: House):
        """On a shared disk it may live there: it is neither shown nor cleaned nor signalled."""
        await fake.supervisor.start(MODEL)
        found = fake.records.read(MODEL)
        await fake.supervisor.stop(MODEL)
        there = Machine("another", "boot", "pid:[1]")
        who = record.msgspec.structs.replace(found.who, machine=there)
        fake.records.write(record.msgspec.structs.replace(found, who=who, machine=there))
        assert fake.supervisor.list() == []
        assert fake.records.path(MODEL, "json").exists()


class TestPrompt:
    """The answer streams; the figures come last."""

    async def test_it_streams(self, fake: House):
        """Pieces as they come, then the usage."""
        await fake.supervisor.start(MODEL)
        chunks = [chunk async for chunk in fake.supervisor.prompt(MODEL, "hello", max_tokens=5)]
        assert [chunk.text for chunk in chunks] == ["one ", "two", ""]
        assert chunks[-1].usage.tokens == 7
        assert chunks[-1].usage.first_token_seconds > 0

    async def test_a_wrong_key_is_the_worker_s_word(self, fake: House):
        """Its own message comes through."""
        await fake.supervisor.start(MODEL)
        fake.records.path(MODEL, "key").write_text("wrong")
        with pytest.raises(WorkerError, match="Invalid API Key"):
            [chunk async for chunk in fake.supervisor.prompt(MODEL, "hello")]

    async def test_nobody_runs(self, fake: House):
        """That is said."""
        with pytest.raises(NotFoundError):
            [chunk async for chunk in fake.supervisor.prompt(MODEL, "hello")]


class TestLog:
    """It is one file for a model."""

    async def test_a_long_one_is_set_aside(self, fake: House, monkeypatch):
        """At the next start, and one such is kept."""
        monkeypatch.setattr(starting, "LOG_BYTES", 10)
        log = fake.supervisor.log_path(MODEL)
        log.write_text("a long story\n")
        await fake.supervisor.start(MODEL)
        assert log.with_suffix(".1.log").read_text() == "a long story\n"
        assert "listening" in log.read_text()


class _NoLock(supervise.Lock):
    """A lock that is always free."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "none")

    def try_acquire(self) -> bool:
        return True


async def _until(condition):
    """The first true value of `condition`, while the loop runs on."""
    until = time.monotonic() + 20
    while not (value := await asyncio.to_thread(condition)):
        assert time.monotonic() < until, "it did not come to pass"
        await asyncio.sleep(0.01)
    return value
