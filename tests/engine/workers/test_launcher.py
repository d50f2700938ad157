"""The launcher: the arguments of llama-server for runtimes that come as Python packages, and their traps."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.engine.workers import launcher

XLLAMACPP = '''
import json, os, signal, sys, types


class CommonParams:
    def __init__(self):
        self.model, self.mmproj = types.SimpleNamespace(), types.SimpleNamespace(path="")
        self.cpuparams, self.cpuparams_batch = types.SimpleNamespace(), types.SimpleNamespace()


class Server:
    """Says what it was given; SIGUSR1 ends it in a way that can be measured."""

    def __init__(self, params):
        if params.model.path == "broken.gguf":
            raise RuntimeError("failed to load model")
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
        told = dict(vars(params), model=params.model.path, mmproj=params.mmproj.path)
        told["threads"] = [told.pop(name).n_threads for name in ("cpuparams", "cpuparams_batch")]
        told["model_alias"] = list(told.get("model_alias", []))
        told["ends"] = [signal.getsignal(n) == signal.SIG_DFL for n in (1, 2, 15)]
        print(json.dumps(told), flush=True)
        self.listening_address = "http://127.0.0.1:38991"


def get_device_info():
    return [{"name": "CPU", "description": "a fake"}, {"name": "CUDA0", "description": "another"}]
'''

LLAMA = """
llama_supports_gpu_offload = lambda: False


class Llama:
    def __init__(self, model_path, *, pooling_type=-1):
        pass
"""

LLAMA_APP = """
import llama_cpp
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route


class Other(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        answer = await call_next(request)
        answer.headers["x-other"] = "kept"
        return answer


def create_app(server_settings, model_settings):
    told = {**vars(server_settings), **vars(model_settings[0]), **llama_cpp.Llama.__init__.__kwdefaults__}

    async def models(request):
        return JSONResponse(told)

    paths = ["/v1/models", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"]
    return Starlette(
        routes=[Route(path, models) for path in paths],
        middleware=[Middleware(CORSMiddleware, allow_origins=["*"]), Middleware(Other)],
    )
"""

LLAMA_SETTINGS = """
from types import SimpleNamespace as ServerSettings
from types import SimpleNamespace as ModelSettings
"""


class Folder:
    """A worker's folder as an install makes it: the launcher, and a runtime in `site`."""

    def __init__(self, path: Path, name: str = "llm-worker-cpu") -> None:
        self.path = path
        self.site = path / "site"
        self.site.mkdir(parents=True)
        self.launcher = path / name
        # A link rather than a copy: it finds its folder by its own name, and is measured as the one it is.
        self.launcher.symlink_to(launcher.__file__)

    def add(self, package: str, version: str, files: dict[str, str]) -> None:
        """Put a package with these files into `site`."""
        for name, code in files.items():
            file = self.site / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(code)
        information = self.site / f"{package.replace('-', '_')}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start the launcher."""
        return subprocess.Popen(
            [sys.executable, str(self.launcher), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, given: str = "") -> tuple[int, str, str]:
        """Start it and wait: exit code, output, errors."""
        with self.start(*words) as started:
            said, errors = started.communicate(given, timeout=30)
        return started.returncode, said, errors

    @contextmanager
    def serving(self, *words: str, given: str = "", end: int = signal.SIGUSR1) -> Iterator[list[str]]:
        """What it says up to `listening on`; ended by a signal afterwards."""
        with self.start(*words) as started:
            assert started.stdin
            started.stdin.write(given)
            started.stdin.flush()
            try:
                yield until_listening(started)
            finally:
                started.send_signal(end)
                started.communicate(timeout=30)


def until_listening(started: "subprocess.Popen[str]") -> list[str]:
    """The lines that it says up to the one that tells its address."""
    said: list[str] = []
    while not said or not said[-1].startswith("listening on "):
        assert started.stdout
        line = started.stdout.readline()
        assert line, started.communicate(timeout=30)
        said.append(line.strip())
    return said


@pytest.fixture
def x(tmp_path: Path) -> Folder:
    """A worker on a stand-in for xllamacpp."""
    folder = Folder(tmp_path / "llm-worker-cpu" / "9.9.1")
    folder.add("xllamacpp", "9.9.1", {"xllamacpp.py": XLLAMACPP})
    return folder


@pytest.fixture
def llama(tmp_path: Path) -> Folder:
    """A worker on a stand-in for llama-cpp-python, whose runtime is told by the launcher's name."""
    folder = Folder(tmp_path / "own", "llm-worker-llama-cpp-python")
    folder.add(
        "llama-cpp-python",
        "0.3.9",
        {
            "llama_cpp/__init__.py": LLAMA,
            "llama_cpp/server/__init__.py": "",
            "llama_cpp/server/app.py": LLAMA_APP,
            "llama_cpp/server/settings.py": LLAMA_SETTINGS,
        },
    )
    return folder


def get(address: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """A page with its headers in small letters."""
    connection = http.client.HTTPConnection(address.rpartition("/")[2], timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


class TestQuestions:
    """What an install asks before it lists a worker."""

    def test_its_version(self, x: Folder):
        """The installed package's."""
        assert x.run("--version")[:2] == (0, "xllamacpp 9.9.1\n")

    def test_its_devices(self, x: Folder):
        """By either name of the option: llama-server's is the longer."""
        expected = (0, "CPU: a fake\nCUDA0: another\n")
        assert x.run("--devices")[:2] == expected
        assert x.run("--list-devices")[:2] == expected

    def test_the_launcher_s_name_tells_the_runtime(self, llama: Folder):
        """So that it is usable by hand without an option; the option is stronger."""
        assert llama.run("--version")[1] == "llama-cpp-python 0.3.9\n"
        llama.add("xllamacpp", "9.9.1", {})
        assert llama.run("--version", "--runtime", "xllamacpp")[1] == "xllamacpp 9.9.1\n"

    def test_llama_cpp_python_tells_what_it_was_built_for(self, llama: Folder):
        """It lists no devices."""
        assert llama.run("--devices")[1] == "CPU: as llama-cpp-python was built\n"
        (llama.site / "llama_cpp" / "__init__.py").write_text("llama_supports_gpu_offload = lambda: True\n")
        assert llama.run("--devices")[1] == "GPU: as llama-cpp-python was built\n"


class TestRefusals:
    """A sentence and what to do, rather than a traceback."""

    def test_no_model(self, x: Folder):
        """As llama-server does."""
        code, _, errors = x.run()
        assert code == 2
        assert "--model is needed" in errors

    @pytest.mark.parametrize("error", ["ImportError", "OSError", "RuntimeError"])
    def test_a_runtime_that_cannot_be_loaded(self, x: Folder, error):
        """As after an update of the system: the folder can be filled again."""
        (x.site / "xllamacpp.py").write_text(f"raise {error}('libcudart.so.12 is missing')")
        code, said, errors = x.run("--devices")
        assert (code, said) == (1, "")
        assert errors.startswith(
            "this worker does not run on this machine: libcudart.so.12 is missing; "
            "reinstall it here: rbee workers install llm-worker-cpu"
        )

    def test_a_projector(self, x: Folder):
        """Beside the model."""
        with x.serving("--model", "m.gguf", "--mmproj", "p.gguf", "--no-mmproj-offload") as said:
            told = json.loads(said[0])
        assert (told["mmproj"], told["mmproj_use_gpu"]) == ("p.gguf", False)

    def test_a_model_that_cannot_be_loaded(self, x: Folder):
        """The runtime's own words."""
        code, _, errors = x.run("--model", "broken.gguf")
        assert (code, errors) == (1, "the model could not be loaded: failed to load model\n")

    def test_a_package_that_is_gone(self, tmp_path: Path):
        """Its folder is there, and empty."""
        folder = Folder(tmp_path / "llm-worker-cpu" / "9.9.1", "llm-worker-llama-cpp-python")
        code, said, errors = folder.run("--version")
        assert (code, said) == (1, "")
        assert (
            "llama-cpp-python is not here; reinstall it here: rbee workers install llm-worker-cpu" in errors
        )

    def test_without_a_folder_the_interpreter_is_named(self, tmp_path: Path):
        """A runtime of rbee's own environment may vanish with the next update of that."""
        alone = tmp_path / "llm-worker-llama-cpp-python"
        alone.symlink_to(launcher.__file__)
        command = [sys.executable, "-S", str(alone), "--devices"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 1
        assert f"{sys.executable} cannot import it (any more)" in done.stderr


class TestOldProcessor:
    """The wheel would die of an illegal instruction, without a word."""

    @pytest.fixture
    def processor(self, tmp_path: Path, monkeypatch) -> Callable[[str | None], None]:
        """Sets what /proc/cpuinfo says; None for a system that does not tell."""
        file = tmp_path / "cpuinfo"
        monkeypatch.setattr(launcher, "SITE", str(tmp_path))
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", self.machine)))
        monkeypatch.setattr(launcher, "open", lambda _: file.open(), raising=False)
        return lambda text: None if text is None else file.write_text(text) and None

    machine = "x86_64"

    def test_it_is_told_what_it_lacks(self, processor):
        """All of it at once."""
        processor("processor\t: 0\nflags\t\t: fpu sse2 fma\nflags\t\t: avx2 f16c fma\n")
        with pytest.raises(SystemExit, match="a processor with avx2, f16c, which this one has not"):
            launcher.refuse_old_processor()

    @pytest.mark.parametrize("text", ["flags\t\t: avx2 f16c fma sse2\n", "processor\t: 0\n", None])
    def test_a_newer_one_and_one_that_does_not_tell_may_try(self, processor, text):
        """No flags, or no such file, as in some containers, is no reason to refuse."""
        processor(text)
        launcher.refuse_old_processor()

    def test_another_architecture_needs_none_of_these(self, processor, monkeypatch):
        """Its wheel is another one."""
        processor("flags\t\t: fpu\n")
        monkeypatch.setattr(TestOldProcessor, "machine", "aarch64")
        launcher.refuse_old_processor()

    def test_a_runtime_that_was_built_here_needs_none_either(self, processor, monkeypatch, tmp_path: Path):
        """Without a `site` folder it is the environment's own, built as its owner wished."""
        processor("flags\t\t: fpu\n")
        monkeypatch.setattr(launcher, "SITE", str(tmp_path / "nowhere"))
        launcher.refuse_old_processor()


class TestXllamacpp:
    """llama.cpp's own server inside a wheel."""

    def test_it_gets_what_rbee_says(self, x: Folder, tmp_path: Path):
        """Every argument, the key out of its file, and signals that end it at once."""
        key = tmp_path / "key"
        key.write_text("rbee-secret\n")
        words = [
            "--model",
            "m.gguf",
            "--alias",
            "tiny",
            "--port",
            "4711",
            "--ctx-size",
            "512",
            "--threads",
            "3",
        ]
        with x.serving(*words, "--parallel", "2", "--cache-ram", "7", "--api-key-file", str(key)) as said:
            told = json.loads(said[0])
            assert said[1] == "listening on http://127.0.0.1:38991"
        assert told == {
            "model": "m.gguf",
            "mmproj": "",
            "model_alias": ["tiny"],
            "hostnames": ["127.0.0.1"],
            "port": 4711,
            "n_ctx": 512,
            "n_parallel": 2,
            "threads": [3, 3],
            "cache_ram_mib": 7,
            "api_keys": ["rbee-secret"],
            "endpoint_metrics": False,
            "ends": [True, True, True],
        }

    def test_layers_metrics_and_embeddings(self, x: Folder):
        """As llama-server takes them; what fits is not tried out a second time."""
        more = ["--n-gpu-layers", "20", "--metrics", "--embeddings", "--pooling", "mean"]
        with x.serving("--model", "m.gguf", *more) as said:
            told = json.loads(said[0])
        assert (told["n_gpu_layers"], told["fit_params"], told["endpoint_metrics"]) == (20, False, True)
        assert (told["embedding"], told["pooling_type"]) == (True, 1)

    def test_by_hand_it_needs_a_model_alone(self, x: Folder):
        """Loopback, a free port, one slot, no memory for prompts, no key; one core is left for the rest."""
        with x.serving("--model", "m.gguf") as said:
            told = json.loads(said[0])
        assert (told["hostnames"], told["port"], told["n_parallel"]) == (["127.0.0.1"], 0, 1)
        assert (told["cache_ram_mib"], told["model_alias"], "api_keys" in told) == (0, [], False)
        assert told["threads"][0] == max(1, (os.cpu_count() or 2) - 1)

    def test_a_key_may_come_by_standard_input(self, x: Folder):
        """So that it is in no argument and in no file."""
        with x.serving("--model", "m.gguf", "--api-key-file", "-", given="rbee-typed\n") as said:
            assert json.loads(said[0])["api_keys"] == ["rbee-typed"]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_a_signal_ends_it_at_once(self, x: Folder, number):
        """By that very signal."""
        with x.start("--model", "m.gguf") as started:
            until_listening(started)
            started.send_signal(number)
            started.communicate(timeout=30)
            assert started.returncode == -number


SEEING = """

class Handler:
    use_gpu = True

    def _init_mtmd_context(self, model):
        if model.metadata["broken"]:
            raise ValueError("Failed to load mtmd context")
        print("seen", self.use_gpu, flush=True)


class _llama_proxy:
    class _current_model:
        chat_handler = Handler()
        metadata = {"tokenizer.chat_template": TEMPLATE, "broken": BROKEN}
"""


class TestProjectorOfLlamaCppPython:
    """Loaded before it listens, or refused with a sentence."""

    WORDS = ("--model", "m.gguf", "--mmproj", "mmproj.gguf", "--no-mmproj-offload")

    def test_it_is_loaded_at_once(self, llama: Folder):
        """By the handler that takes any projector, off the GPU where that was said."""
        with (llama.site / "llama_cpp/server/app.py").open("a") as app:
            app.write(SEEING.replace("TEMPLATE", "'x'").replace("BROKEN", "False"))
        with llama.serving(*self.WORDS, end=signal.SIGINT) as said:
            assert said[0] == "seen False"
            told = json.loads(get(said[-1].removeprefix("listening on "), "/v1/models")[2])
        assert (told["clip_model_path"], told["chat_format"]) == ("mmproj.gguf", "mtmd")

    @pytest.mark.parametrize(
        ("template", "broken", "why"),
        [
            ("''", "False", "shows pictures only to models with a chat template"),
            ("'x'", "True", "could not be loaded: Failed to load mtmd context"),
            ("'x'", None, "this version of llama-cpp-python cannot load a projector"),
        ],
    )
    def test_it_says_that_it_serves_text_only(self, llama: Folder, template, broken, why):
        """Of an older version, a model without a template, and a file that is none."""
        if broken:
            with (llama.site / "llama_cpp/server/app.py").open("a") as app:
                app.write(SEEING.replace("TEMPLATE", template).replace("BROKEN", broken))
        code, _, errors = llama.run(*self.WORDS)
        assert code == 1
        assert why in errors
        assert "text only when it is started with --no-projector" in errors


class TestLlamaCppPython:
    """Its server with its traps taken out."""

    @pytest.fixture
    def address(self, llama: Folder, tmp_path: Path) -> Iterator[str]:
        """Where it listens."""
        key = tmp_path / "key"
        key.write_text("rbee-secret")
        words = ["--model", "m.gguf", "--alias", "tiny", "--ctx-size", "512", "--threads", "3"]
        with llama.serving(*words, "--api-key-file", str(key), end=signal.SIGINT) as said:
            yield said[-1].removeprefix("listening on ")

    def test_it_gets_what_rbee_says_on_a_port_of_its_own(self, address: str):
        """And a second request never cuts a stream that runs."""
        status, _, body = get(address, "/v1/models")
        told: Any = json.loads(body)
        assert status == 200
        assert (told["model"], told["model_alias"], told["n_ctx"]) == ("m.gguf", "tiny", 512)
        assert (told["n_threads"], told["n_threads_batch"], told["api_key"]) == (3, 3, "rbee-secret")
        assert told["interrupt_requests"] is False
        assert int(address.rpartition(":")[2]) > 0

    @pytest.mark.parametrize("host", ["::1", "::"])
    def test_on_six(self, llama: Folder, host: str):
        """Its URL has brackets; the wildcard answers IPv4 as well, as llama.cpp's own does."""
        with llama.serving("--model", "m.gguf", "--host", host, end=signal.SIGINT) as said:
            address = said[-1].removeprefix("listening on ")
            assert address.startswith(f"http://[{host}]:")
            assert get(address.replace("[::]", "127.0.0.1"), "/v1/models")[0] == 200

    def test_a_gpu_is_used_and_embeddings_are_pooled(self, llama: Folder, address: str):
        """By itself the library uses none, and answers with a vector for each token."""
        told: Any = json.loads(get(address, "/v1/models")[2])
        assert (told["n_gpu_layers"], told["embedding"], told["pooling_type"]) == (-1, False, -1)
        words = ["--model", "m.gguf", "--embeddings", "--pooling", "last", "--n-gpu-layers", "3"]
        with llama.serving(*words, end=signal.SIGINT) as said:
            told = json.loads(get(said[-1].removeprefix("listening on "), "/v1/models")[2])
        assert (told["n_gpu_layers"], told["embedding"], told["pooling_type"]) == (3, True, 3)

    def test_no_other_web_page_may_read_its_answers(self, address: str):
        """The library allows every origin; what else it puts before its answers stays."""
        _, headers, _ = get(address, "/v1/models", Origin="http://evil.example")
        assert "access-control-allow-origin" not in headers
        assert headers["x-other"] == "kept"

    @pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"])
    def test_its_documentation_is_not_shown(self, address: str, path):
        """It would be, without the key."""
        assert get(address, path)[0] == 404
