"""A house to look at: fixed models, workers, downloads and hardware, and a screen that shows them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any

from rbee_tui.engine.artifacts import DOWNLOADING, Entry, Health, Model, ModelFile, Worker, failed
from rbee_tui.engine.board import Changes
from rbee_tui.engine.disk import Kind, Share, Usage
from rbee_tui.engine.elsewhere import Found, FoundFile
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.headroom import warning
from rbee_tui.engine.jobs import FileProgress, JobProgress
from rbee_tui.engine.transfer import part_name
from rbee_tui.engine.transfer.source import Source
from rbee_tui.engine.variants import Verdict, choose
from rbee_tui.engine.workers import offers
from rbee_tui.engine.workers.deaths import Death, certify, with_retry
from rbee_tui.engine.workers.outlook import Outlook
from rbee_tui.engine.workers.record import Exit, Load
from rbee_tui.engine.workers.supervise import RunningWorker
from rbee_tui.ui.app import Options, RbeeApp
from tests.ui import figures
from tests.ui.figures import GIB, HOME

STAMP = "2026-11-24T09:30:00Z"
VERSION = "2026.10.11549"
LLAMA, MISTRAL, QWEN = "llama-3-8b-q4_k_m", "mistral-7b-instruct-v0.3-q5_k_m", "qwen2-vl-7b-instruct-q4_k_m"


class StillBridge:
    """An engine that tells what it was given, and answers calls with what was laid out for them, in order."""

    def __init__(self, told: list[dict[str, Any]], answers: list[Any]) -> None:
        self._told = told
        self._answers = answers

    def start(self, on_changes: Callable[[Changes], None], on_failure: Callable[[Exception], None]) -> None:
        del on_failure
        for latest in self._told:
            on_changes(Changes(latest, []))

    async def call(self, do: Callable[[Any], Any]) -> Any:
        del do
        if not self._answers:
            return await asyncio.Future()
        answer = self._answers.pop(0)
        if isinstance(answer, RbeeError):
            raise answer
        return answer

    async def ask(self, do: Callable[[Any], Any]) -> Any:
        return await self.call(do)

    async def stream(self, do: Callable[[Any], AsyncGenerator[Any]]) -> AsyncGenerator[Any]:
        for piece in await self.call(do):
            yield piece

    async def leave(self, *, hand_over: bool) -> None:
        del hand_over


def screen(
    told: list[dict[str, Any]],
    answers: list[Any] | None = None,
    *,
    ascii_only: bool = False,
    sixteen_colours: bool = False,
    greeting: str = "",
) -> RbeeApp:
    """The application on a still engine."""
    options = Options(
        host="bee@gpu1",
        ascii_only=ascii_only,
        sixteen_colours=sixteen_colours,
        greeting=greeting,
        clock=lambda: "09:41",
    )
    return RbeeApp(lambda: StillBridge(told, list(answers or [])), options)


# Things


ABOUT = figures.about(LLAMA, figures.reading(), "llm-worker-cuda is ready on port 41877")


def share(name: str, kind: Kind, gigabytes: float, *, shared: bool = False, **more: Any) -> Share:
    """What takes so much room; where it is `shared`, another name holds all of it as well."""
    held = int(gigabytes * 1e9)
    kept = held if shared else 0
    return Share(id=name, kind=kind, size_bytes=held, freed_bytes=held - kept, shared_bytes=kept, **more)


def part(model_id: str, path: str, gigabytes: float, job: str | None) -> Share:
    """A file that has come so far, and the download that wants it."""
    source = Source("https://huggingface.co", f"acme/{model_id}-GGUF", "main", path, 0)
    return share(part_name(model_id, source), "partial", gigabytes, wanted_by=job)


def usage(free: int = 11_200_000_000) -> Usage:
    """The disk of the machine at work, nearly full: with so many bytes free."""
    shares = [
        part("qwen3-32b-q4_k_m", "qwen3-32b-q4_k_m-00001-of-00002.gguf", 9.9, "5f0c1a2b"),
        share(MISTRAL, "model", 5.1),
        share(LLAMA, "model", 4.9),
        part("qwen3-32b-q4_k_m", "qwen3-32b-q4_k_m-00002-of-00002.gguf", 2.2, "5f0c1a2b"),
        part("gemma-3-4b-it-q4_k_m", "gemma-3-4b-it-Q4_K_M.gguf", 1.3, "6a1b2c3d"),
        part("tinyllama-1.1b-q8_0", "tinyllama-1.1b.Q8_0.gguf", 0.8, None),
        share("llm-worker-cuda", "worker", 0.6),
        share("smollm2-360m-instruct-q8_0", "model", 0.386),
        share("llm-worker-cpu", "worker", 0.014),
        share("phi-4-mini-q8_0", "model", 4.1, shared=True),
        share(QWEN, "model", 0.0, elsewhere_bytes=4_700_000_000),
    ]
    coming = figures.promised([each for key, each in busy()[-1].items() if key.startswith("job:")])
    return Usage(
        path=HOME,
        total_bytes=10**12,
        free_bytes=free,
        promised_bytes=coming,
        held_bytes=sum(each.size_bytes for each in shares),
        purgeable_bytes=sum(e.size_bytes for e in shares if e.kind == "partial" and not e.wanted_by),
        shares=shares,
        warning=warning(free, 10**12, coming),
    )


def elsewhere() -> list[Found]:
    """Models of other programs."""

    def found(program: str, name: str, path: str, gigabytes: float, **more: Any) -> Found:
        file = FoundFile(path=path, name="x.gguf", size_bytes=int(gigabytes * 1e9))
        return Found(id=name, program=program, files=[file], **more)

    hub = "/home/bee/.cache/huggingface/hub/models--Qwen--Qwen3-4B-GGUF/snapshots/0123/qwen3-4b-q4_k_m.gguf"
    blob = "/home/bee/.ollama/models/blobs/sha256-74701a8c35f6c8d9a4b91f3f3497643001d63e0c"
    lm = "/home/bee/.lmstudio/models/bartowski/gemma/gemma-2-9b-it-Q4_K_M.gguf"
    return [
        found("Hugging Face", "Qwen/Qwen3-4B-GGUF:qwen3-4b-q4_k_m.gguf", hub, 2.5, quantization="Q4_K_M"),
        found("Ollama", "llama3.2:1b", blob, 1.3, here="llama3.2-1b"),
        found("LM Studio", "bartowski/gemma/gemma-2-9b-it-Q4_K_M.gguf", lm, 5.8, quantization="Q4_K_M"),
    ]


def model(
    name: str,
    gigabytes: float,
    quantization: str | None,
    context: int | None,
    health: Health = Health.OK,
    **more: Any,
) -> Entry[Model]:
    """A model of the catalog."""
    reason = more.pop("reason", "")
    size = int(gigabytes * 1e9)
    file = ModelFile(path=f"{name}.gguf", size_bytes=size, sha256=f"{len(name):02x}" * 32, verified_at=STAMP)
    artifact = Model(
        id=name,
        name=name,
        version=quantization or "1",
        size_bytes=size,
        source_url=f"https://huggingface.co/acme/{name}-GGUF/resolve/0123456789ab/{name}.gguf",
        repo=f"acme/{name}-GGUF",
        revision="0123456789abcdef0123456789abcdef01234567",
        files=(file,),
        format="gguf",
        quantization=quantization,
        context_length=context,
        license="apache-2.0",
        **{"verified_at": STAMP, "architecture": "llama"} | more,
    )
    return Entry(
        id=name,
        artifact=artifact,
        health=health,
        reason=reason,
        created_at=STAMP,
        updated_at=STAMP,
        directory=f"{HOME}/models/{name}",
    )


def coming(name: str, gigabytes: float, quantization: str, context: int) -> Entry[Model]:
    """A model whose download has begun."""
    reason = "its download is not finished"
    return model(
        name,
        gigabytes,
        quantization,
        context,
        Health.PARTIAL,
        reason=reason,
        status=DOWNLOADING,
        verified_at=None,
    )


def unreadable(name: str, health: Health, reason: str) -> Entry[Model]:
    """An entry whose metadata says nothing."""
    return Entry(id=name, artifact=None, health=health, reason=reason, directory=f"{HOME}/models/{name}")


def worker(worker_id: str, worker_type: str, version: str = VERSION, **more: Any) -> Entry[Worker]:
    """An installed worker."""
    artifact = Worker(
        id=worker_id,
        name=f"LLM Worker ({worker_type.upper()})",
        version=version,
        binary_path=f"llm-worker-{worker_type}",
        worker_type=worker_type,
        capabilities=["text-generation"],
        runtime="xllamacpp",
        devices=["GPU0"] if worker_type == "cuda" else ["CPU"],
    )
    return Entry(
        id=worker_id,
        artifact=artifact,
        health=more.get("health", Health.OK),
        reason=more.get("reason", ""),
        created_at=STAMP,
        updated_at=STAMP,
        directory=f"{HOME}/workers/{worker_id}",
    )


def load(state: str) -> Load | None:
    """What a ready worker does."""
    if state != "ready":
        return None
    return Load(
        tokens_per_second=83.4,
        mean_tokens_per_second=81.9,
        requests=1,
        waiting=0,
        slots=1,
        busy_slots=1,
        tokens_written=18_204,
        tokens_read=2_310,
    )


def running(
    name: str, state: str, port: int, gib: float, on_gpu: float | None = None, *, free: float = 0.0
) -> RunningWorker:
    """A running worker with so many GiB of main memory, and `on_gpu` of a GPU that had `free` before."""
    variant = "cpu" if on_gpu is None else "cuda"
    there = figures.reading(gpus=0 if on_gpu is None else 1, gpu_free=free)
    taken = figures.outlook(name, there, [worker(f"llm-worker-{variant}", variant)])
    return RunningWorker(
        id=name,
        model=name,
        worker=f"llm-worker-{variant}",
        variant=variant,
        pid=4711,
        port=port,
        url=f"http://127.0.0.1:{port}" if port else "",
        api_key="rbee-0123456789abcdef",
        state=state,
        context=taken.context,
        started_at=STAMP,
        ready_at="2026-11-24T09:30:06Z" if port else None,
        reason=taken.reason,
        devices=("CPU",) if on_gpu is None else ("GPU0",),
        device=taken.device,
        gpu_layers=taken.gpu_layers,
        of_layers=taken.of_layers,
        threads=taken.threads,
        log=f"{HOME}/state/logs/{name}.log",
        load_share=0.46 if state == "loading" else None,
        load=load(state),
        estimate_bytes=taken.needed_bytes,
        memory_bytes=int(gib * GIB),
        gpu_memory_bytes=None if on_gpu is None else int(on_gpu * GIB),
    )


def workers() -> list[Entry[Worker]]:
    """What is installed where both kinds are."""
    return [worker("llm-worker-cpu", "cpu"), worker("llm-worker-cuda", "cuda")]


def offered() -> list[Verdict]:
    """Every worker that may be installed, in the order of their list, without a look at a model."""
    here = workers()
    ids = {entry.id for entry in here}
    still = [offer for offer in offers.bundled() if offer.id not in ids]
    found = choose(figures.reading(), [*here, *still]).verdicts
    return sorted(found, key=lambda each: (not each.taken, not each.usable))


def outlook(name: str = MISTRAL, **changes: Any) -> Outlook:
    """What a start would do at the machine at work, where another worker is loading."""
    return figures.outlook(name, figures.reading(), workers(), loading=QWEN, **changes)


def death() -> Death:
    """A worker that the kernel ended for memory."""
    found = certify(
        "phi-4-mini-q8_0",
        "llm-worker-cpu",
        Exit(signal=9, oom=True, restarts=5, at=1_795_764_600.0),
        "srv    load_model: loading model\nslot launch_slot_: id 0 | task 7 | processing task",
        context=8192,
    )
    return with_retry(found, 4096)


def file(path: str, done: float, total: float, rate: float = 0.0, **more: Any) -> FileProgress:
    """A file of a download; gigabytes, and megabytes per second."""
    return FileProgress(
        path=path,
        downloaded=int(done * 1e9),
        total=int(total * 1e9),
        kept=int(more.get("kept", 0) * 1e9),
        rate=rate * 1e6,
        state=more.get("state", "fetching"),
        waiting_for=more.get("waiting_for", ""),
        connections=8 if rate else 0,
    )


def job(job_id: str, name: str, state: Any, files: list[FileProgress], **more: Any) -> JobProgress:
    """A download."""
    downloaded, total = sum(each.downloaded for each in files), sum(each.total for each in files)
    rate = sum(each.rate for each in files)
    return JobProgress(
        id=job_id,
        repo=f"acme/{name}-GGUF",
        model_id=name,
        state=state,
        downloaded=downloaded,
        total=total,
        kept=sum(each.kept for each in files),
        rate=rate,
        seconds_left=(total - downloaded) / rate if rate else None,
        holder=4712 if state in ("running", "queued", "not responding") else None,
        holder_verb="rbee",
        connections=sum(each.connections for each in files),
        created_at=more.pop("created_at", STAMP),
        files=files,
        **more,
    )


def told(look: Callable[[int], Reading] = figures.reading, **values: Any) -> list[dict[str, Any]]:
    """What the engine tells: four looks at the hardware, the last with everything else."""
    jobs: list[JobProgress] = values.pop("jobs", [])
    latest = {"models": [], "workers": [], "running": [], "promised": figures.promised(jobs), **values}
    latest |= {f"job:{each.id}": each for each in jobs}
    return [*({"reading": look(step)} for step in range(3)), {"reading": look(3), **latest}]


def bare(step: int) -> Reading:
    """One of four looks at a machine without a GPU."""
    return figures.reading(step, gpus=0)


def crowded(step: int) -> Reading:
    """The same, with less main memory than a model needs."""
    return figures.reading(step, gpus=0, available=4.0)


def empty() -> list[dict[str, Any]]:
    """The first run."""
    return told(bare)


def lone(look: Callable[[int], Reading], workers: Sequence[Entry[Worker]] = ()) -> list[dict[str, Any]]:
    """Two models that came just now, and no worker on them."""
    models = [model(MISTRAL, 5.1, "Q5_K_M", 32768), model("smollm2-360m-instruct-q8_0", 0.386, "Q8_0", 8192)]
    return told(look, models=models, workers=list(workers))


def busy(look: Callable[[int], Reading] = figures.reading) -> list[dict[str, Any]]:
    """A machine at work."""
    return told(
        look,
        models=[
            coming("gemma-3-4b-it-q4_k_m", 4.1, "Q4_K_M", 131072),
            model(LLAMA, 4.9, "Q4_K_M", 131072),
            model(MISTRAL, 5.1, "Q5_K_M", 32768),
            model("phi-4-mini-q8_0", 4.1, "Q8_0", 131072),
            model(QWEN, 4.7, "Q4_K_M", 32768),
            coming("qwen3-32b-q4_k_m", 19.8, "Q4_K_M", 32768),
            model("smollm2-360m-instruct-q8_0", 0.386, "Q8_0", 8192),
        ],
        workers=workers(),
        running=[
            running(LLAMA, "ready", 41877, 0.5, 5.5, free=53.0),
            running(QWEN, "loading", 0, 0.5, 2.5, free=47.5),
        ],
        jobs=[
            job(
                "5f0c1a2b",
                "qwen3-32b-q4_k_m",
                "running",
                [
                    file("qwen3-32b-q4_k_m-00001-of-00002.gguf", 9.9, 9.9, state="done"),
                    file("qwen3-32b-q4_k_m-00002-of-00002.gguf", 2.2, 9.9, 84.0, kept=1.2),
                ],
            ),
            job("6a1b2c3d", "gemma-3-4b-it-q4_k_m", "paused", [file("gemma-3-4b-it-Q4_K_M.gguf", 1.3, 4.1)]),
            job(
                "7b2c3d4e", "phi-4-mini-q8_0", "done", [file("phi-4-mini-q8_0.gguf", 4.1, 4.1, state="done")]
            ),
        ],
    )


def desk(free: float = 80) -> list[dict[str, Any]]:
    """A machine with a small GPU and so many gigabytes of free disk, where one download goes on."""
    return told(
        partial(figures.desktop, free=free),
        models=[
            coming("gemma-3-4b-it-q4_k_m", 4.1, "Q4_K_M", 131072),
            model("phi-4-mini-q8_0", 4.1, "Q8_0", 131072),
            model("smollm2-360m-instruct-q8_0", 0.386, "Q8_0", 8192),
        ],
        workers=workers(),
        jobs=[
            job(
                "6a1b2c3d",
                "gemma-3-4b-it-q4_k_m",
                "running",
                [file("gemma-3-4b-it-Q4_K_M.gguf", 1.3, 4.1, 41.0)],
            )
        ],
    )


def damaged() -> list[dict[str, Any]]:
    """Everything that can be wrong."""
    return told(
        models=[
            model("arriving-7b-q4_k_m", 4.4, "Q4_K_M", 32768, Health.ARRIVING, reason="it changed just now"),
            unreadable("broken-7b", Health.BROKEN, "its metadata.json is not JSON: line 3"),
            model(
                "flipped-7b-q4_k_m", 4.4, "Q4_K_M", 32768, Health.DAMAGED, reason="it does not match its hash"
            ),
            model("gone-13b-q5_k_m", 9.2, "Q5_K_M", 4096, Health.MISSING, reason="its file is not there"),
            coming("half-70b-q4_k_m", 42.5, "Q4_K_M", 8192),
            coming("halted-2b-q8_0", 2.0, "Q8_0", 8192),
            unreadable("loose-3b.gguf", Health.IMPORTABLE, "a loose file"),
            coming("lost-3b-q4_k_m", 1.9, "Q4_K_M", 8192),
            model("phi-4-mini-q8_0", 4.1, "Q8_0", 131072),
            model("refused-8b", 8.5, "Q8_0", 8192, Health.MISSING, status=failed("the Hub answered 500")),
            model("sound-1b-q8_0", 1.3, "Q8_0", 131072),
        ],
        workers=[
            worker("llm-worker-cpu", "cpu"),
            worker("llm-worker-cuda", "cuda", health=Health.MISSING, reason="its binary is not there"),
        ],
        running=[running("sound-1b-q8_0", "unhealthy", 41877, 1.6)],
        deaths=[death()],
        jobs=[
            job(
                "8c3d4e5f",
                "refused-8b",
                "failed",
                [file("refused-8b.gguf", 2.1, 8.5)],
                error="the Hub answered 500 for acme/refused-8b-GGUF",
                hint="try again later",
                code="hub",
            ),
            job(
                "9d4e5f60",
                "half-70b-q4_k_m",
                "running",
                [
                    file(
                        "half-70b-q4_k_m-00001-of-00002.gguf",
                        21.0,
                        21.3,
                        waiting_for="rate limited by the Hub, 40 s",
                    ),
                    file("half-70b-q4_k_m-00002-of-00002.gguf", 0.0, 21.2, state="queued"),
                ],
            ),
            job("ae5f6071", "lost-3b-q4_k_m", "not responding", [file("lost-3b-q4_k_m.gguf", 0.9, 1.9)]),
            job("bf607182", "halted-2b-q8_0", "interrupted", [file("halted-2b-q8_0.gguf", 1.2, 2.0)]),
        ],
    )


def many(count: int) -> list[dict[str, Any]]:
    """More models than one can see."""
    return told(models=[model(f"model-{number:05d}-q4_k_m", 4.1, "Q4_K_M", 8192) for number in range(count)])
