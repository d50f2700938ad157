"""Installing workers: from wheels that are made here, by the real package installer, without a network."""

import asyncio
import hashlib
import socket
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from rbee_tui.engine.artifacts import Health, Offer, Requirement, this_platform
from rbee_tui.engine.errors import NoSpaceError, NotFoundError, RefusedError, UsageError, WorkerError
from rbee_tui.engine.workers import filling, install, offers
from tests.engine.workers.support import FAKE, House, wait_for

ID = "llm-worker-cpu"
RUNTIME = """
def get_device_info():
    return [{"name": "CPU", "description": "a fake"}]
"""


def make_wheel(place: Path, version: str, code: str = RUNTIME) -> str:
    """A wheel of `xllamacpp` with this module; its hash as an offer has it."""
    path = place / f"xllamacpp-{version}-py3-none-any.whl"
    information = f"xllamacpp-{version}.dist-info"
    files = {
        "xllamacpp.py": code,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: xllamacpp\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{information}/RECORD"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(record, "".join(f"{name},,\n" for name in (*files, record)))
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def an_offer(*digests: str, version: str = "9.9.1", **changes: Any) -> Offer:
    """An offer of one package for this machine."""
    wanted = (Requirement(name="xllamacpp", version=version, hashes=digests),) if digests else ()
    offer = Offer(
        id=ID,
        name="A worker",
        version=version,
        worker_type="cpu",
        runtime="xllamacpp",
        platforms=(this_platform(),),
        requirements=wanted,
    )
    return msgspec.structs.replace(offer, **changes)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch) -> Path:
    """The folder of wheels that pip was told of, and that is all there is."""
    place = tmp_path / "wheels"
    place.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return place


@pytest.fixture
def offered(monkeypatch) -> Callable[[Offer], None]:
    """Puts an offer in the listing's place."""
    return lambda offer: monkeypatch.setattr(offers, "bundled", lambda: (offer,))


def unfinished(house: House) -> list[str]:
    """What is in the workers' directory and is no worker."""
    return [path.name for path in house.root.workers.iterdir() if path.name.startswith(".")]


@pytest.mark.anyio
class TestInstall:
    """Whole, or not at all."""

    async def test_it_is_listed_with_what_it_says_of_itself(self, house: House, wheels: Path, offered):
        """The installer's lines come live, and stay in a log that is the owner's."""
        offered(an_offer(make_wheel(wheels, "9.9.1")))
        lines: list[str] = []
        house.facts.read_new()
        entry = await house.installer.install(ID, lines.append)
        worker = entry.artifact
        assert worker
        assert (entry.health, worker.version, worker.devices) == (Health.OK, "9.9.1", ["CPU: a fake"])
        assert (worker.runtime, worker.platforms) == ("xllamacpp", [this_platform()])
        assert worker.binary_path == f"9.9.1/{ID}"
        assert " + xllamacpp==9.9.1" in lines
        log = house.installer.log_path(ID)
        assert log.read_text().splitlines() == lines
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        place = house.root.workers / ID
        assert {path.name for path in place.iterdir()} == {"9.9.1", "metadata.json"}
        assert {path.name for path in (place / "9.9.1").iterdir()} == {ID, "site", "metadata.json"}
        assert unfinished(house) == []
        assert "worker.installed" in [fact.kind for fact in house.facts.read_new()]

    async def test_a_newer_one_takes_its_place(self, house: House, wheels: Path, offered):
        """The old one stays beside it, whole."""
        offered(an_offer(make_wheel(wheels, "9.9.1", f"{RUNTIME}\nold = 1\n")))
        await house.installer.install(ID)
        offered(an_offer(make_wheel(wheels, "9.9.2"), version="9.9.2"))
        entry = await house.installer.install(ID)
        assert entry.artifact
        assert entry.artifact.version == "9.9.2"
        place = house.root.workers / ID
        assert [path.name for path in place.glob("9.9.2/site/*.dist-info")] == ["xllamacpp-9.9.2.dist-info"]
        assert "old" not in (place / "9.9.2" / "site" / "xllamacpp.py").read_text()
        assert "old" in (place / "9.9.1" / "site" / "xllamacpp.py").read_text()

    async def test_a_wheel_that_is_not_the_pinned_one(self, house: House, wheels: Path, offered):
        """It is refused with the installer's words, and what was there stays."""
        offered(an_offer(make_wheel(wheels, "9.9.1")))
        await house.installer.install(ID)
        make_wheel(wheels, "9.9.2", f"{RUNTIME}\nimport os  # another one\n")
        offered(an_offer("sha256:" + "0" * 64, version="9.9.2"))
        with pytest.raises(
            WorkerError, match="A worker could not be installed: the package installer"
        ) as caught:
            await house.installer.install(ID)
        assert "Hash mismatch" in caught.value.log
        assert "nothing was changed here" in caught.value.hint
        entry = house.workers.get(ID)
        assert (entry.health, entry.artifact and entry.artifact.version) == (Health.OK, "9.9.1")
        assert unfinished(house) == []

    async def test_a_package_that_cannot_be_had(self, house: House, wheels: Path, offered):
        """As without a network."""
        offered(an_offer("sha256:" + "0" * 64))
        with pytest.raises(WorkerError) as caught:
            await house.installer.install(ID)
        assert "xllamacpp" in caught.value.log
        assert list(house.root.workers.iterdir()) == []

    @pytest.mark.parametrize(
        ("code", "why"),
        [
            ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "it was ended by SIGILL"),
            ("raise ImportError('no libgomp')", "it ended with exit code 1"),
            ("get_device_info = list", "it lists no device"),
        ],
    )
    async def test_one_that_does_not_run_here(self, house: House, wheels: Path, offered, code, why):
        """It is asked before it is listed."""
        offered(an_offer(make_wheel(wheels, "9.9.1", code)))
        with pytest.raises(WorkerError, match=f"A worker does not run here: {why}"):
            await house.installer.install(ID)
        assert list(house.root.workers.iterdir()) == []

    async def test_one_for_a_gpu_that_sees_none(self, house: House, wheels: Path, offered):
        """It would quietly run on the processor."""
        offered(an_offer(make_wheel(wheels, "9.9.1"), worker_type="cuda"))
        with pytest.raises(WorkerError, match="A worker sees no CUDA device here, only CPU: a fake"):
            await house.installer.install(ID)
        assert list(house.root.workers.iterdir()) == []

    async def test_an_unknown_one(self, house: House):
        """Those that there are, are named."""
        with pytest.raises(NotFoundError, match="there is no worker 'gone'"):
            await house.installer.install("gone")


@pytest.mark.anyio
class TestCancel:
    """Given up half way."""

    @pytest.fixture
    def silent(self, monkeypatch, tmp_path: Path) -> Iterator[socket.socket]:
        """A package index that takes connections and never answers."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{listener.getsockname()[1]}/simple")
            monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
            yield listener

    async def test_nothing_of_it_stays(self, house: House, offered, silent: socket.socket):
        """Neither the package installer nor a file of it; the next install can begin."""
        offered(an_offer("sha256:" + "0" * 64))
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        task = asyncio.create_task(house.installer.install(ID))
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
        assert list(house.root.workers.iterdir()) == []
        assert house.workers.lock(ID, "test").try_acquire()

    async def test_a_listener_that_fails_ends_it(self, house: House, wheels: Path, offered):
        """As when what it is shown in goes away."""

        def fail(line: str) -> None:
            raise BrokenPipeError(32, line)

        offered(an_offer(make_wheel(wheels, "9.9.1")))
        with pytest.raises(BrokenPipeError):
            await house.installer.install(ID, fail)
        assert list(house.root.workers.iterdir()) == []


class TestFitting:
    """What cannot run here is not brought here."""

    def test_another_platform_s(self):
        """Both are named."""
        with pytest.raises(RefusedError, match=f"A worker is for plan9-68k; this is {this_platform()}"):
            filling.require_fitting(an_offer("sha256:00", platforms=("plan9-68k",)))

    @pytest.mark.parametrize(
        ("changes", "why"),
        [({"unavailable": "its build is not public"}, "its build is not public"), ({}, "names no package")],
    )
    def test_one_that_nobody_brings(self, changes, why):
        """With the other way to a worker."""
        with pytest.raises(RefusedError, match=why) as caught:
            filling.require_fitting(an_offer(**changes))
        assert "rbee workers register" in caught.value.hint

    def test_an_old_processor(self, monkeypatch):
        """What it lacks is named; it would die of an illegal instruction."""
        monkeypatch.setattr(filling, "this_platform", lambda: "linux-x86_64")
        monkeypatch.setattr(filling, "_cpu_features", lambda: frozenset({"fma"}))
        offer = an_offer("sha256:00", platforms=("linux-x86_64",), cpu_features=("avx2", "fma", "f16c"))
        with pytest.raises(RefusedError, match="a processor with AVX2, F16C, and this one has not"):
            filling.require_fitting(offer)

    @pytest.mark.parametrize(
        ("platform", "features", "lacking"),
        [
            ("linux-x86_64", {"avx2", "sse2"}, []),
            ("linux-x86_64", {"sse2"}, ["avx2"]),
            ("linux-x86_64", set(), []),
            ("linux-aarch64", {"neon"}, []),
        ],
    )
    def test_features(self, monkeypatch, platform, features, lacking):
        """Only x86 processors are asked, and only those that tell."""
        monkeypatch.setattr(filling, "this_platform", lambda: platform)
        offer = an_offer("sha256:00", cpu_features=("avx2",))
        assert filling.lacking_features(offer, frozenset(features)) == lacking


class TestRegister:
    """A llama-server that is on this machine already."""

    def a_program(self, place: Path, code: str, name: str = "llama-server") -> Path:
        """An executable Python program."""
        path = place / name
        path.write_text(f"#!{sys.executable} -I\n{code}")
        path.chmod(0o755)
        return path

    def test_it_is_listed_by_its_name(self, house: House, tmp_path: Path):
        """With its version and its devices."""
        path = tmp_path / "llama-server"
        path.write_text(FAKE.replace("PYTHON", sys.executable))
        path.chmod(0o755)
        entry = house.installer.register(path)
        assert entry.artifact
        assert (entry.id, entry.health, entry.artifact.version) == ("llama-server", Health.OK, "4404")
        assert entry.artifact.devices == ["CPU: a fake (1 MiB, 1 MiB free)"]
        assert entry.artifact.binary_path == str(path)
        assert house.installer.register(path, "mine").id == "mine"

    def test_a_folder_or_a_text_is_no_program(self, house: House, tmp_path: Path):
        """Nothing is started."""
        (tmp_path / "text").write_text("")
        for path in (tmp_path, tmp_path / "text", tmp_path / "gone"):
            with pytest.raises(UsageError, match="is not a program"):
                house.installer.register(path)

    @pytest.mark.parametrize(
        ("code", "ending"),
        [("print('GNU ls 9.1')", r"knows$"), ("raise SystemExit(2)", r"\(it ended with exit code 2\)$")],
    )
    def test_another_program(self, house: House, tmp_path: Path, code, ending):
        """It is asked first, and how it ended is told."""
        with pytest.raises(UsageError, match="is no llama-server: its --version says nothing.*" + ending):
            house.installer.register(self.a_program(tmp_path, code))
        assert house.workers.list() == []


STAND_IN = '''#!{python} -I
"""An interpreter whose runtime has the fault that a file beside it names."""
import pathlib, sys
fault = pathlib.Path(__file__).with_name("fault")
fault = fault.read_text() if fault.exists() else ""
if fault == "broken":
    sys.exit("it is not here any more")
if "--version" in sys.argv:
    print("warning: slow", file=sys.stderr)
    sys.exit("xllamacpp is not here; bring one" if fault == "no version" else print("xllamacpp 9.9.1"))
if fault != "no devices":
    print("CPU: a fake")
'''


class TestEnvironment:
    """Runtimes that rbee's own Python can import."""

    @pytest.fixture
    def python(self, tmp_path: Path, monkeypatch) -> Path:
        """An interpreter that has one."""
        path = tmp_path / "own" / "python"
        path.parent.mkdir()
        path.write_text(STAND_IN.format(python=sys.executable))
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        own = (("json", "xllamacpp", "llm-worker-xllamacpp"), ("no_such_runtime", "none", "none"))
        monkeypatch.setattr(install, "_OWN", own)
        return path

    def test_each_is_listed_once(self, house: House, python: Path):
        """Looked for at every start, they cost no more than a look."""
        (entry,) = house.installer.register_environment()
        worker = entry.artifact
        assert worker
        assert (entry.id, entry.health) == ("llm-worker-xllamacpp", Health.OK)
        assert (worker.version, worker.devices, worker.python) == ("9.9.1", ["CPU: a fake"], str(python))
        assert worker.name == "xllamacpp of rbee's own environment"
        assert house.installer.register_environment() == []
        assert unfinished(house) == []

    def test_one_that_is_broken_is_made_again(self, house: House, python: Path):
        """Its folder is rbee's to fill."""
        house.installer.register_environment()
        (house.root.workers / "llm-worker-xllamacpp" / "9.9.1" / "llm-worker-xllamacpp").unlink()
        assert house.workers.get("llm-worker-xllamacpp").health is not Health.OK
        (entry,) = house.installer.register_environment()
        assert entry.health is Health.OK
        assert len(list(Path(entry.directory).iterdir())) == 2  # its metadata, and no copy of what it was

    @pytest.mark.parametrize("fault", ["broken", "no devices"])
    def test_one_that_does_not_run_is_not_listed(self, house: House, python: Path, fault):
        """And nothing of it stays."""
        python.with_name("fault").write_text(fault)
        assert house.installer.register_environment() == []
        assert list(house.root.workers.iterdir()) == []

    def test_a_version_that_is_not_told_is_none(self, house: House, python: Path):
        """An error's last word is no version."""
        python.with_name("fault").write_text("no version")
        (entry,) = house.installer.register_environment()
        assert entry.artifact
        assert entry.artifact.version == ""

    @pytest.mark.anyio
    async def test_a_real_one_serves(self, house: House):
        """From the environment that these tests run in."""
        if find_spec("xllamacpp") is None:
            pytest.skip("needs xllamacpp")
        house.installer.register_environment()
        started = await house.supervisor.start("tiny", worker_id="llm-worker-xllamacpp")
        said = [chunk.text async for chunk in house.supervisor.prompt("tiny", "anything")]
        assert "".join(said).strip() == "A real worker says this."
        await house.supervisor.stop("tiny")
        wait_for(lambda: not psutil.pid_exists(started.pid))


class TestNoRoom:
    """The package installer's own words tell that the disk is full."""

    def test_it_is_said_as_such(self, tmp_path: Path):
        """Not as a trouble of the network."""
        offer = offers.find("llm-worker-cpu", offers.bundled())
        full = filling.not_installed(offer, 2, ["error: x", "cause: No space left on device (os error 28)"])
        assert isinstance(full, NoSpaceError)
        assert "it takes 107.0 MB" in str(full)
        other = filling.not_installed(offer, 2, ["error: no route"])
        assert isinstance(other, WorkerError)
        assert other.log == "error: no route"
