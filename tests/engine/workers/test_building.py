"""Building from source: by the real pip, from a source that needs no compiler, with the log live."""

import asyncio
import hashlib
import importlib.util
import io
import os
import shutil
import stat
import sys
import tarfile
from pathlib import Path

import msgspec
import psutil
import pytest

from rbee_tui.engine.artifacts import Health, Requirement, this_platform
from rbee_tui.engine.errors import NoSpaceError, RefusedError, WorkerError
from rbee_tui.engine.listing import publishing
from rbee_tui.engine.listing.store import Store
from rbee_tui.engine.workers import building, filling, offers
from tests.engine.workers.support import House
from tests.engine.workers.test_install import an_offer, wheels

__all__ = ["wheels"]

ID = "llm-worker-llama-cpp-python"
BACKEND = """
import os, sys, zipfile

WHEEL = "llama_cpp_python-9.9.1-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: 9.9.1\\n"


def prepare_metadata_for_build_wheel(place, settings=None):
    name = "llama_cpp_python-9.9.1.dist-info"
    os.mkdir(os.path.join(place, name))
    with open(os.path.join(place, name, "METADATA"), "w") as file:
        file.write(METADATA)
    return name


def build_wheel(place, settings=None, metadata=None):
    print("[1/2] Building CXX object", flush=True)
    print("arguments", os.environ.get("CMAKE_ARGS", "none"), flush=True)
    BODY
    with zipfile.ZipFile(os.path.join(place, WHEEL), "w") as wheel:
        wheel.writestr("llama_cpp/__init__.py", "llama_supports_gpu_offload = lambda: False\\n")
        for name in ("__init__", "app", "settings"):
            wheel.writestr(f"llama_cpp/server/{name}.py", "")
        wheel.writestr("uvicorn.py", "")
        information = "llama_cpp_python-9.9.1.dist-info"
        wheel.writestr(f"{information}/METADATA", METADATA)
        tag = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr(f"{information}/WHEEL", tag)
        wheel.writestr(f"{information}/RECORD", "")
    return WHEEL
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "llama-cpp-python"
version = "9.9.1"
"""


def make_source(place: Path, body: str = "") -> str:
    """A source distribution whose build does this; its hash."""
    files = {"backend.py": BACKEND.replace("BODY", body or "pass"), "pyproject.toml": PROJECT, "PKG-INFO": ""}
    path = place / "llama_cpp_python-9.9.1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"llama_cpp_python-9.9.1/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def built(wheels: Path, monkeypatch) -> Path:
    """The folder of sources; the pinned tools are this environment's pip, which needs no index."""
    pip = importlib.util.find_spec("pip")
    assert pip
    assert pip.submodule_search_locations
    (source,) = pip.submodule_search_locations
    code = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2] + '/pip')"
    monkeypatch.setattr(
        building,
        "install_command",
        lambda tools, wanted, *more: [sys.executable, "-c", code, source, str(tools)],
    )
    monkeypatch.setattr(building, "require_compiler", lambda offer: None)
    return wheels


def offer(digest: str):
    """An offer of one package that has to be built."""
    wanted = Requirement(name="llama-cpp-python", version="9.9.1", hashes=(digest,))
    made = an_offer(id=ID, name="Built", runtime="llama-cpp-python", requirements=(wanted,))
    return msgspec.structs.replace(made, build=("llama-cpp-python",))


@pytest.mark.anyio
class TestBuild:
    async def test_it_is_built_installed_and_asked(self, house: House, built: Path, monkeypatch):
        """What the build says comes as it says it; of the build nothing stays."""
        monkeypatch.setattr(offers, "bundled", lambda: (offer(make_source(built)),))
        monkeypatch.setattr(filling, "_cpu_features", lambda: frozenset({"avx2", "avx512f", "sse2"}))
        lines: list[str] = []
        entry = await house.installer.install(ID, lines.append)
        worker = entry.artifact
        assert worker
        assert (entry.health, worker.runtime, worker.version) == (Health.OK, "llama-cpp-python", "9.9.1")
        assert worker.devices == ["CPU: as llama-cpp-python was built"]
        assert worker.cpu_features == ["avx2", "avx512f"]
        assert any("[1/2] Building CXX object" in line for line in lines)
        assert any("arguments none" in line for line in lines)
        there = await asyncio.to_thread(lambda: {path.name for path in Path(entry.directory).rglob("*")})
        assert not there & {"build", "pip", "tmp"}

    async def test_a_source_that_is_not_the_pinned_one(self, house: House, built: Path, monkeypatch):
        """It is not even unpacked."""
        make_source(built)
        monkeypatch.setattr(offers, "bundled", lambda: (offer("sha256:" + "0" * 64),))
        with pytest.raises(WorkerError, match="Built could not be built: its build ended with 1") as caught:
            await house.installer.install(ID)
        assert "DO NOT MATCH THE HASHES" in caught.value.log
        assert list(house.root.workers.iterdir()) == []

    @pytest.mark.parametrize(
        ("words", "kind"),
        [("No space left on device", NoSpaceError), ("undefined reference", WorkerError)],
    )
    async def test_a_build_that_fails(self, house: House, built: Path, monkeypatch, words, kind):
        """With its last words, and the disk's when that is full."""
        digest = make_source(built, f"sys.exit('{words}')")
        monkeypatch.setattr(offers, "bundled", lambda: (offer(digest),))
        with pytest.raises(kind, match="Built could not be built") as caught:
            await house.installer.install(ID)
        assert "llm-worker-cpu" in caught.value.hint or "rbee models list" in caught.value.hint
        assert list(house.root.workers.iterdir()) == []

    async def test_giving_up_takes_the_compilers_along(
        self, house: House, built: Path, monkeypatch, tmp_path
    ):
        """Also those in process groups of their own, as ninja makes them; and every file of the build."""
        note = tmp_path / "compiler"
        body = (
            "import subprocess, time; sleep = [sys.executable, '-c', 'import time; time.sleep(600)']; "
            f"note = {str(note)!r}; p = subprocess.Popen(sleep, process_group=0); "
            "open(note + '~', 'w').write(str(p.pid)); os.rename(note + '~', note); time.sleep(600)"
        )
        digest = make_source(built, body)
        monkeypatch.setattr(offers, "bundled", lambda: (offer(digest),))
        task = asyncio.create_task(house.installer.install(ID))
        async with asyncio.timeout(60):
            while not note.exists():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pid = int(note.read_text())
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        assert list(house.root.workers.iterdir()) == []

    async def test_published_it_is_built_for_other_machines(self, built: Path, tmp_path: Path):
        """It asks for what the ready-made wheels ask for, and not for this processor."""
        store = Store(tmp_path / "store").prepare()
        lines: list[str] = []
        entry = await publishing.publish_recipe(store, offer(make_source(built)), (), lines.append)
        assert entry.cpu_features == building.PORTABLE
        assert any("-DGGML_NATIVE=OFF" in line for line in lines)
        other = msgspec.structs.replace(offer("sha256:00"), platforms=("plan9-68k", this_platform()))
        with pytest.raises(RefusedError, match=f"built from its source, so here only for {this_platform()}"):
            await publishing.publish_recipe(store, other, ("plan9-68k",), lines.append)


class TestCompiler:
    def program(self, place: Path, *names: str) -> dict[str, str]:
        """An environment whose PATH has these programs."""
        for name in names:
            (place / name).touch()
            (place / name).chmod(stat.S_IRWXU)
        return {"PATH": str(place)}

    def test_it_is_looked_for_before_anything_is_fetched(self, tmp_path: Path):
        """What is missing is named, with how to get it."""
        with pytest.raises(RefusedError, match=r"needs a C compiler, and none is on PATH") as caught:
            building.require_compiler(an_offer(), self.program(tmp_path))
        assert "install" in caught.value.hint
        with pytest.raises(RefusedError, match=r"needs a C\+\+ compiler, and none"):
            building.require_compiler(an_offer(), self.program(tmp_path, "clang"))
        building.require_compiler(an_offer(), self.program(tmp_path, "clang", "g++"))

    def test_one_that_is_named_goes_first(self, tmp_path: Path):
        """As CC and CXX do everywhere; with their arguments."""
        environment = self.program(tmp_path, "gcc", "g++", "ccache")
        building.require_compiler(an_offer(), environment | {"CC": "ccache gcc", "CXX": "g++"})
        with pytest.raises(RefusedError, match="CXX names icpx, which is not here"):
            building.require_compiler(an_offer(), environment | {"CXX": "icpx"})

    def test_the_build_s_environment(self, tmp_path: Path):
        """The user's own settings stay; a portable build adds to them."""
        user = {"PATH": "/bin", "CMAKE_ARGS": "-DGGML_CUDA=on", "CMAKE_BUILD_PARALLEL_LEVEL": "3"}
        native = building.build_environment(user, tmp_path / "tools", tmp_path, portable=False)
        assert native["CMAKE_ARGS"] == "-DGGML_CUDA=on"
        assert native["CMAKE_BUILD_PARALLEL_LEVEL"] == "3"
        assert native["PATH"] == f"{tmp_path}/tools/bin{os.pathsep}/bin"
        portable = building.build_environment(user, tmp_path / "tools", tmp_path, portable=True)
        assert portable["CMAKE_ARGS"].startswith("-DGGML_NATIVE=OFF")
        assert portable["CMAKE_ARGS"].endswith(" -DGGML_CUDA=on")


def test_the_sources_are_pinned_like_the_wheels():
    """And so is all that builds them."""
    found = offers.find(ID, offers.bundled())
    assert set(found.build) <= {each.name for each in found.requirements}
    assert {"pip", "scikit-build-core", "cmake", "ninja"} <= {each.name for each in found.build_requirements}
    assert all(each.hashes for each in (*found.requirements, *found.build_requirements))
    assert shutil.which("cc") is None or not building.require_compiler(found)
