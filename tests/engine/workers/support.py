"""A house with a tiny model, a stand-in for llama-server with faults on demand, and what lives in it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from rbee_tui.engine import hardware, process
from rbee_tui.engine.artifacts import Model, ModelFile, Worker, this_platform
from rbee_tui.engine.catalog import ModelCatalog, WorkerCatalog
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.paths import Root
from rbee_tui.engine.workers import starting
from rbee_tui.engine.workers.install import Installer
from rbee_tui.engine.workers.record import COOKIE, Records
from rbee_tui.engine.workers.supervise import Supervisor

HERE = Path(__file__).parents[3]
MODEL = "tiny"

FAKE = r'''#!PYTHON -I
"""Speaks as llama-server does; FAKE_MODE says which fault it has."""
import argparse, http.server, json, mmap, os, signal, socket, subprocess, sys, threading, time

if "--version" in sys.argv:
    print("version: 4404 (b6a2c8f)", file=sys.stderr)
    raise SystemExit
if "--list-devices" in sys.argv:
    print("Available devices:\n  CPU: a fake (1 MiB, 1 MiB free)")
    raise SystemExit
parser = argparse.ArgumentParser()
for name in ("model", "alias", "host", "ctx-size", "parallel", "cache-ram", "threads", "api-key-file",
        "n-gpu-layers", "pooling"):
    parser.add_argument("--" + name)
parser.add_argument("--port", type=int)
parser.add_argument("--metrics", action="store_true")
parser.add_argument("--embeddings", action="store_true")
arguments = parser.parse_args()
authorization = "Bearer " + open(arguments.api_key_file).read().strip() if arguments.api_key_file else None
mode, control = os.environ.get("FAKE_MODE", ""), os.environ.get("FAKE_CONTROL", "")
print("llama_model_loader: loaded meta data", flush=True)
if mode == "exit":
    print("error: tensor 'token_embd' has wrong shape\x1b[31m", flush=True)
    raise SystemExit(1)
if mode in ("segv", "ill"):
    os.kill(os.getpid(), signal.SIGSEGV if mode == "segv" else signal.SIGILL)
if mode == "gpu":
    print("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: "
        "cudaMalloc failed: out of memory\nerror loading model: unable to allocate CUDA0 buffer", flush=True)
    raise SystemExit(1)
if mode == "again" and os.path.exists(control):
    raise SystemExit(4)
posts = 0
if mode == "liar":
    print("general.name = listening on http://127.0.0.1:" + control, flush=True)
    time.sleep(600)
if mode == "slow":
    mapped = mmap.mmap(os.open(arguments.model, os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_READ)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "eat":
    open("/proc/self/oom_score_adj", "w").write("1000")  # rather than its keeper

    def eat():
        while not os.path.exists(control):
            time.sleep(0.05)
        held = []
        while True:
            held.append(b"x" * (1 << 20))

    threading.Thread(target=eat, daemon=True).start()
if mode == "fork":
    subprocess.Popen([sys.executable, "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, code, body=b"{}"):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/crash":
            print("out of memory", flush=True)
            os._exit(3)
        if self.path == "/metrics":
            told = {"prompt_tokens_total": posts, "tokens_predicted_total": 2 * posts}
            told["requests_processing"] = 0
            return self.answer(200, "".join("llamacpp:%s %d\n" % each for each in told.items()).encode())
        if self.path == "/slots":
            return self.answer(200, b'[{"id": 0, "is_processing": false}]')
        loading = mode == "never" or (mode == "slow" and not os.path.exists(control))
        self.answer(503 if loading or mode == "sick" and os.path.exists(control) else 200)

    def do_POST(self):
        global posts
        posts += 1
        if authorization and self.headers["Authorization"] != authorization:
            return self.answer(401, b'{"error": {"message": "Invalid API Key"}}')
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = "messages" in asked
        self.send_response(200)
        self.end_headers()
        for word in ("one ", "two"):
            choice = {"delta": {"content": word}} if chat else {"text": word}
            self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        self.wfile.write(b'data: {"choices": [], "usage": {"completion_tokens": 7}}\n\ndata: [DONE]\n\n')


http.server.ThreadingHTTPServer.address_family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
server = http.server.ThreadingHTTPServer((arguments.host, arguments.port), Handler)
host = "[%s]" % arguments.host if ":" in arguments.host else arguments.host
print("main: server is listening on http://%s:%d - starting" % (host, server.server_address[1]), flush=True)
server.serve_forever()
'''

START = """
import asyncio, sys
from pathlib import Path
from tests.engine.workers.support import House
from rbee_tui.engine.paths import Root
house = House(Root(Path(sys.argv[1])))
print(asyncio.run(house.supervisor.start("tiny")).pid, flush=True)
sys.stdin.read()
"""


class House:
    """One root's catalogs and supervisor, as a process of its own would have them."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.models = ModelCatalog(root)
        self.workers = WorkerCatalog(root)
        self.facts = Facts(root.facts)
        self.supervisor = Supervisor(root, self.models, self.workers, self.facts)
        self.installer = Installer(root, self.workers, self.facts)
        self.records = Records(root)

    def told(self) -> list[str]:
        """The kinds of the facts about worker processes that were told since the last look."""
        kinds = [fact.kind for fact in self.facts.read_new()]
        return [kind for kind in kinds if kind.startswith("worker.") and kind != "worker.added"]


def add_model(house: House, source: Path, model_id: str = MODEL) -> None:
    """Put a model into the catalog, as a link to a file that all tests share."""
    directory = house.root.models / model_id
    directory.mkdir()
    os.link(source, directory / "tiny.gguf")
    size = source.stat().st_size
    house.models.add_model(
        Model(
            id=model_id,
            name="Tiny",
            version="F16",
            size_bytes=size,
            source_url="file:",
            files=(ModelFile(path="tiny.gguf", size_bytes=size),),
        )
    )


def add_fake(house: House, place: Path) -> Path:
    """Register the stand-in as a worker by path."""
    program = place / "llama-server"
    program.write_text(FAKE.replace("PYTHON", sys.executable))
    program.chmod(0o755)
    house.workers.register_worker(
        Worker(
            id="fake",
            name="Fake",
            version="4404",
            binary_path=str(program),
            worker_type="cpu",
            capabilities=["text-generation"],
            runtime="llama-server",
            platforms=[this_platform()],
        )
    )
    return program


def start_elsewhere(root: Root) -> "subprocess.Popen[str]":
    """Another process that starts the model's worker, says the pid, and lives until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", START, str(root.path)],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def little_memory(monkeypatch: pytest.MonkeyPatch, available: int = 1 << 20) -> None:
    """Let every start find so many bytes of main memory, and no GPU."""
    found = hardware.read()
    memory = msgspec.structs.replace(found.memory, total=64 << 30, available=available)
    reading = msgspec.structs.replace(found, memory=memory, gpus=())
    monkeypatch.setattr(starting.hardware, "read", lambda *_: reading)


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true value of `condition`; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)
    return value


def of_root(root: Root) -> list[int]:
    """The living processes that were started for workers of this root."""
    found = [
        pid for pid in psutil.pids() if process.environment_value(pid, "RBEE_STATE_DIR") == str(root.state)
    ]
    return [pid for pid in found if process.environment_value(pid, COOKIE) and process.identify(pid)]


def end_all(root: Root) -> None:
    """End what a failed test left."""
    for pid in of_root(root):
        psutil.Process(pid).kill()


def arguments_of_all() -> Iterator[bytes]:
    """The command line of every process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


def get(url: str, key: str = "") -> Any:
    """What a page answers, decoded; for the stand-in's own pages."""
    import urllib.request  # noqa: PLC0415 - few tests ask

    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
