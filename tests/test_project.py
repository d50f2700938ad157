"""The project itself: who may know whom, what an import costs, what is shipped, what the README promises."""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rbee_tui
from rbee_tui.ui import styles

CHECKOUT = Path(__file__).parents[1]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE = CHECKOUT / "rbee_tui"

FACES = {"textual", "starlette", "uvicorn"}
HEAVY = {"cryptography", "httpx", "httpx2", "huggingface_hub", "psutil", "pynvml", "rich", "urllib3"}
# The one home of each library.
HOMES = {
    "cryptography": "engine/listing/signing.py",
    "httpx": "engine/http.py",
    "huggingface_hub": "engine/hub.py",
    "pynvml": "engine/hardware/nvml.py",
    "urllib3": "engine/transfer/wire.py",
}
# Modules whose work is a heavy library: who imports one of them pays for it.
PAYING = {"rbee_tui.engine.http", "rbee_tui.engine.hub", "rbee_tui.engine.transfer.wire"}


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints, unmeasured by coverage."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"PYTHONPATH": str(CHECKOUT)} | environment,
        cwd="/",  # an interpreter looks where it stands before it looks at PYTHONPATH
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(modules: Iterable[str], of: set[str]) -> set[str]:
    """Which of the top-level packages `of` are loaded once `modules` are imported."""
    names = sorted(modules)
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print(*(name for name in {sorted(of)!r} if name in sys.modules))"
    )
    return set(python(code).split())


def modules_of(package: str) -> set[str]:
    """Every module beneath a package of the checkout, by its dotted name."""
    directory = CHECKOUT / package.replace(".", "/")
    paths = (path.relative_to(CHECKOUT).with_suffix("") for path in directory.rglob("*.py"))
    return {".".join(path.parts).removesuffix(".__init__") for path in paths}


class TestWhoMayKnowWhom:
    def test_the_contracts_are_in_force(self) -> None:
        """Every import contract in pyproject.toml is kept."""
        done = lint_imports(CHECKOUT)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("module", "line"),
        [
            ("engine/intruder.py", "import rich"),
            ("engine/intruder.py", "import rbee_tui.ui"),
            ("demo/intruder.py", "import rbee_tui.ui"),
            ("ui/intruder.py", "import rbee_tui.cli"),
        ],
    )
    def test_a_contract_that_is_broken_is_seen(self, tmp_path: Path, module: str, line: str) -> None:
        """One forbidden import, anywhere, fails the check."""
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, tmp_path / "rbee_tui", ignore=ignored)
        shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
        (tmp_path / "rbee_tui" / module).write_text(f"{line}\n", encoding="utf-8")
        done = lint_imports(tmp_path)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "BROKEN" in done.stdout

    @pytest.mark.parametrize(("library", "home"), HOMES.items())
    def test_each_library_has_one_home(self, library: str, home: str) -> None:
        """Nobody else imports it, early or late; even a `noqa` does not help."""
        importers = {
            str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if library in imports(path)
        }
        assert importers == {home}


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    """Import-linter on the package in a directory."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


class TestWhatAnImportCosts:
    def test_the_engine_loads_nothing_heavy(self) -> None:
        """A script that imports the engine pays for what it uses, when it uses it."""
        assert loaded_by(["rbee_tui.engine"], FACES | HEAVY | {"click"}) == set()

    def test_every_room_of_the_engine_is_free_of_faces(self) -> None:
        """All of the engine's modules together load neither a screen nor a server."""
        assert loaded_by(modules_of("rbee_tui.engine"), FACES) == set()

    def test_only_the_homes_load_their_libraries(self) -> None:
        """All modules of the engine but the libraries' homes load no heavy library."""
        assert loaded_by(modules_of("rbee_tui.engine") - PAYING, FACES | HEAVY | {"click"}) == set()

    def test_the_command_loads_no_heavy_library(self) -> None:
        """`rbee --version` does not wait for the Hub, a screen or a GPU."""
        assert loaded_by(["rbee_tui.cli.command"], FACES | HEAVY) == set()

    def test_the_screen_does_not_carry_the_command(self) -> None:
        """`rbee` alone opens it without click, which would take a megabyte of it as long as it runs."""
        alone = [f"rbee_tui.cli.{name}" for name in ("guard", "alone", "screen")]
        assert loaded_by([*alone, "rbee_tui.ui.app", "rbee_tui.engine.engine"], {"click"}) == set()

    def test_the_command_starts_soon(self) -> None:
        """`import rbee_tui.cli.command` takes less than 150 ms of processor time (best of seven)."""
        took = "import time; a = time.process_time(); import {}; print(time.process_time() - a)"
        code = took.format("rbee_tui.cli.command")
        assert min(float(python(code)) for _ in range(7)) < 0.150

    def test_the_check_sees_a_heavy_import(self) -> None:
        """What is loaded is found: the checks above are not blind."""
        assert loaded_by(["psutil"], HEAVY) == {"psutil"}


class TestWhatIsShipped:
    def test_the_checkout_finds_its_styles(self) -> None:
        """Beside the package, since an editable install has none inside."""
        assert styles.directory() == CHECKOUT / "styles"
        found = {path.name for path in (CHECKOUT / "styles").glob("*.tcss")}
        palettes = {"palette-true.tcss", "palette-ansi.tcss"}
        assert [sheet.name for sheet in styles.sheets()] == sorted(found - palettes)
        assert palettes <= found
        assert styles.sheets()

    def test_the_wheel_has_its_styles_inside(self, built: tuple[Path, Path]) -> None:
        """Unpacked somewhere else, the package finds them in itself."""
        target = built[0].parent / "unpacked"
        with zipfile.ZipFile(built[0]) as wheel:
            wheel.extractall(target)
        code = "from rbee_tui.ui import styles; print(styles.directory(), len(styles.sheets()))"
        found, count = python(code, PYTHONPATH=str(target)).split()
        assert Path(found) == target / "rbee_tui" / "styles"
        assert int(count) == len(styles.sheets())

    def test_a_wheel_from_the_sdist_is_the_same(self, built: tuple[Path, Path], tmp_path: Path) -> None:
        """The sdist holds everything that the wheel is made of, and the wheel nothing else."""
        with tarfile.open(built[1]) as sdist:
            # Pythons before 3.11.4 know no filter.
            sdist.extraction_filter = getattr(tarfile, "data_filter", None)
            sdist.extractall(tmp_path)
        (unpacked,) = tmp_path.iterdir()
        assert {"README.md", "LICENSE", "tests", "styles", ".ci"} <= {
            path.name for path in unpacked.iterdir()
        }
        build(unpacked, tmp_path / "dist", "wheel")
        (again,) = (tmp_path / "dist").glob("*.whl")
        assert contents(again) == contents(built[0])
        assert {name.partition("/")[0].partition("-")[0] for name in contents(again)} == {"rbee_tui"}

    def test_the_commands_are_there(self) -> None:
        """`rbee`, `rbee-tui` and `rbee-hive` lead to functions that exist."""
        assert set(PROJECT["project"]["scripts"]) == {"rbee", "rbee-tui", "rbee-hive"}
        for target in PROJECT["project"]["scripts"].values():
            module, function = target.split(":")
            assert python(f"import {module} as home; print(callable(home.{function}))") == "True"

    def test_the_package_says_its_version(self) -> None:
        """The changelog's first entry is about this version."""
        text = (CHECKOUT / ".github" / "CHANGELOG.md").read_text(encoding="utf-8")
        first = re.search(r"^## (\S+)", text, re.MULTILINE)
        assert first
        assert first[1] == rbee_tui.__version__

    def test_the_top_level_is_as_agreed(self) -> None:
        """What lies at the top of the repository, dot files aside."""
        agreed = {"pyproject.toml", "README.md", "LICENSE", "rbee_tui", "tests", "styles", "snapshots"}
        assert {path.name for path in CHECKOUT.iterdir() if path.name[0] != "."} - {"dist", "build"} <= agreed


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel and an sdist of this checkout."""
    target = tmp_path_factory.mktemp("dist")
    build(CHECKOUT, target, "wheel", "sdist")
    return next(target.glob("*.whl")), next(target.glob("*.tar.gz"))


def build(source: Path, target: Path, *kinds: str) -> None:
    """Build with the back end itself, which needs no network."""
    if find_spec("hatchling") is None:
        pytest.skip("needs hatchling")
    for kind in kinds:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)],
            cwd=source,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )


def contents(wheel: Path) -> dict[str, int]:
    """The files of a wheel with their checksums."""
    with zipfile.ZipFile(wheel) as archive:
        return {item.filename: item.CRC for item in archive.infolist()}


class TestTheTwoCommands:
    def test_the_readme_begins_with_two_lines(self) -> None:
        """The first two sh blocks are a line each: one shows rbee, the other tests it."""
        text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
        run, test = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[:2]
        assert run.count("\n") == test.count("\n") == 1
        assert run.startswith("python3 .ci/prepare && .venv/bin/rbee demo")
        assert test.startswith("python3 .ci/prepare test && .venv/bin/python -m pytest")

    @pytest.mark.parametrize("name", ["run", "prepare", "compile"])
    def test_the_scripts_can_be_run(self, name: str) -> None:
        """They are programs."""
        assert os.access(CHECKOUT / ".ci" / name, os.X_OK)

    def test_prepare_says_how_it_is_used(self) -> None:
        """A word that it does not know is refused with those that it does."""
        done = subprocess.run(
            [sys.executable, CHECKOUT / ".ci" / "prepare", "everything"],
            capture_output=True,
            check=False,
            text=True,
        )
        assert (done.returncode, done.stderr) == (1, "usage: prepare [run|test|check]\n")


class TestPins:
    def test_every_pin_has_hashes_and_no_host(self) -> None:
        """Exact versions with SHA-256 each; where they come from is the user's affair."""
        text = (CHECKOUT / ".ci" / "constraints.txt").read_text(encoding="ascii")
        assert "://" not in text
        assert "index" not in text
        for block in re.split(r"\n(?=\S)", text):
            assert block.startswith("#") or re.match(
                r"[a-z0-9-]+==\S+ (;.*)?\\\n    --hash=sha256:", block
            ), block

    def test_what_the_project_asks_for_is_pinned(self) -> None:
        """Each dependency, and each of the groups', is pinned within its own range, in its part."""
        prepare = script("prepare")
        groups = PROJECT["dependency-groups"]
        for part, wanted in (
            ("run", PROJECT["project"]["dependencies"]),
            ("test", groups["test"]),
            ("check", [*groups["lint"], *(each for each in groups["dev"] if isinstance(each, str))]),
        ):
            pins = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", "\n".join(prepare.parts(part)), re.MULTILINE))
            for requirement in map(Requirement, wanted):
                assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


class Index(BaseHTTPRequestHandler):
    """A package index with one file, which is not what it says it is."""

    wheel = b"not pip"
    name = ""

    def do_GET(self) -> None:
        """The page of links, or the file."""
        page = f'<a href="../files/{self.name}#sha256=0">{self.name}</a>'.encode()
        body = self.wheel if self.path.endswith(".whl") else page
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Index]]:
    """The index above, on loopback, as pip's own setting names it."""
    handler = type("OneIndex", (Index,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        yield handler
        server.shutdown()
        thread.join()


class TestAPythonWithoutPip:
    """Debian keeps pip and ensurepip apart from Python: prepare fetches pip's pinned wheel itself."""

    def test_a_wheel_with_another_hash_is_refused(
        self, index: type[Index], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the index sends is not run unless it is what was pinned."""
        prepare = script("prepare")
        monkeypatch.setattr(prepare, "VENV", str(tmp_path))
        index.name = pip_wheel(prepare)
        with pytest.raises(SystemExit, match="another hash"):
            prepare.fetch_pip()
        assert not list(tmp_path.iterdir())

    def test_the_pinned_wheel_is_taken(
        self, index: type[Index], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file with the pinned hash is written, and the way to run it is the answer."""
        prepare = script("prepare")
        monkeypatch.setattr(prepare, "VENV", str(tmp_path))
        index.name = pip_wheel(prepare)
        pinned = hashlib.sha256(index.wheel).hexdigest()
        monkeypatch.setattr(
            prepare, "parts", lambda _: [f"pip=={index.name[4:-17]}", f"  --hash=sha256:{pinned}"]
        )
        assert prepare.fetch_pip() == str(tmp_path / index.name / "pip")
        assert (tmp_path / index.name).read_bytes() == index.wheel

    def test_no_index_is_one_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a network there is no traceback, and no password in the message."""
        prepare = script("prepare")
        monkeypatch.setattr(prepare, "VENV", str(tmp_path))
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        with pytest.raises(SystemExit, match=r"pip cannot be fetched from http://127\.0\.0\.1:9/"):
            prepare.fetch_pip()

    def test_both_kinds_of_index_pages_are_read(self) -> None:
        """JSON as PyPI sends it, HTML as everybody else does."""
        link = script("prepare").link
        assert (
            link('{"files": [{"filename": "a.whl", "url": "https://x/a.whl"}]}', "a.whl") == "https://x/a.whl"
        )
        assert link("<a href='/a.whl?x=1&amp;y=2#sha256=0'>a</a>", "a.whl") == "/a.whl?x=1&y=2#sha256=0"
        with pytest.raises(ValueError, match=r"it has no b\.whl"):
            link("<a href='/a.whl'>a</a>", "b.whl")


class TestThePinnedPip:
    """The pip that came with a Python may be too old: it brings the pinned one, which does the rest."""

    @pytest.fixture
    def prepare(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        """With an environment whose interpreter notes how it is started, and ends as `code` says."""
        prepare = script("prepare")
        python = tmp_path / "python"
        python.write_text(
            '#!/bin/sh\necho "$@" >> "$0.said"\n[ "$3" = --version ] && exit "$(cat "$0.has-pip")"\n'
            'exit "$(cat "$0.code")"\n',
            encoding="utf-8",
        )
        python.chmod(0o755)
        for name, code in (("has-pip", 0), ("code", 0)):
            (tmp_path / f"python.{name}").write_text(str(code), encoding="utf-8")
        monkeypatch.setattr(prepare, "VENV", str(tmp_path))
        monkeypatch.setattr(prepare, "PYTHON", str(python))
        return prepare

    def test_an_older_pip_brings_it(self, prepare: ModuleType, tmp_path: Path) -> None:
        """By its hash, before anything else is installed; and nothing else with it."""
        assert prepare.pinned_pip() == [prepare.PYTHON, "-m", "pip"]
        pin = tmp_path / "pip.txt"
        said = (tmp_path / "python.said").read_text(encoding="utf-8").splitlines()
        install = f"-m pip {' '.join(prepare.INSTALL)} --require-hashes --requirement {pin}"
        assert said == ["-m pip --version", install]
        text = pin.read_text(encoding="utf-8")
        pinned = re.findall(r"^([^\s=]+)==(\S+)", text, re.MULTILINE)
        assert [f"{name}-{version}-py3-none-any.whl" for name, version in pinned] == [pip_wheel(prepare)]
        assert "--hash=sha256:" in text

    def test_one_that_cannot_be_had_ends_it(self, prepare: ModuleType, tmp_path: Path) -> None:
        """Going on with the old one would fail later, in words that nobody understands."""
        (tmp_path / "python.code").write_text("1", encoding="utf-8")
        with pytest.raises(SystemExit, match="this step failed"):
            prepare.pinned_pip()

    def test_without_any_pip_its_wheel_is_run(
        self, prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on a Debian without python3-venv: nothing is there that could install it."""
        (tmp_path / "python.has-pip").write_text("1", encoding="utf-8")
        monkeypatch.setattr(prepare, "fetch_pip", lambda: "the wheel")
        assert prepare.pinned_pip() == [prepare.PYTHON, "the wheel"]
        assert not (tmp_path / "pip.txt").exists()


def pip_wheel(prepare: ModuleType) -> str:
    """The file name of the pinned pip."""
    version = re.search(r"^pip==(\S+)", "\n".join(prepare.parts("run")), re.MULTILINE)
    assert version
    return f"pip-{version[1]}-py3-none-any.whl"


def script(name: str) -> ModuleType:
    """A script of .ci as a module."""
    loader = SourceFileLoader(f"ci_{name}", str(CHECKOUT / ".ci" / name))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
