"""The figures of the house to look at: told by the engine's own arithmetic, so that they can be true."""

from typing import Any

import msgspec

from rbee_tui.engine.about import About, facts
from rbee_tui.engine.artifacts import Entry, Worker
from rbee_tui.engine.choices import group
from rbee_tui.engine.fit import estimate
from rbee_tui.engine.fitting.machine import Machine, Pool, machine_of
from rbee_tui.engine.fitting.matrix import Candidate, Matrix, Question, matrix
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.hardware.reading import Cpu, Disk, Gpu, Memory, Metal, Nvml, Reading
from rbee_tui.engine.hub import Repository
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.workers import offers
from rbee_tui.engine.workers.outlook import Outlook, look

GIB = 1 << 30
HOME = "/home/bee/.cache/rbee"
CONTEXT = 8192
_CPU = (12.0, 31.0, 58.0, 37.0)
_GPU = (40, 77, 93, 81)
_FEATURES = ("avx", "avx2", "bmi2", "f16c", "fma", "sse4_2")


def reading(
    step: int = 3, *, gpus: int = 1, gpu_free: float = 45, available: float = 12.8, free: float = 80
) -> Reading:
    """One of four looks at a server; `gpu_free` and `available` in GiB, `free` of the disk in gigabytes."""
    return Reading(
        at=f"2026-11-24T09:41:0{step}Z",
        platform="linux-x86_64",
        cpu=Cpu(name="EPYC", cores_logical=16, cores_available=16, percent=_CPU[step], features=_FEATURES),
        memory=Memory(total=24 * GIB, available=int(available * GIB)),
        disk=Disk(path=HOME, total=10**12, free=int(free * 1e9)),
        nvml=Nvml(available=True, driver="575.51", cuda=(12, 9))
        if gpus
        else Nvml(available=False, reason="libnvidia-ml.so.1 is not there"),
        metal=Metal(available=False, reason="this is not a Mac"),
        gpus=tuple(
            Gpu(
                index=index,
                name="NVIDIA H200",
                memory_total=139 * GIB,
                memory_used=139 * GIB - int((gpu_free + 60 * index) * GIB),
                memory_free=int((gpu_free + 60 * index) * GIB),
                utilization=_GPU[step] // (index + 1),
                temperature=62 - 10 * index,
            )
            for index in range(gpus)
        ),
    )


def desktop(step: int = 3, *, free: float = 80) -> Reading:
    """One of four looks at a machine with a small GPU that does nothing."""
    there = reading(step, free=free)
    small = Gpu(
        index=0,
        name="NVIDIA GeForce GTX 1060",
        memory_total=6 * GIB,
        memory_used=GIB,
        memory_free=5 * GIB,
        utilization=3,
        temperature=41,
    )
    return msgspec.structs.replace(there, gpus=(small,))


def promised(jobs: list[JobProgress]) -> int:
    """Bytes that downloads will still take, on a file system that reserves no room beforehand."""
    wanted = ("running", "queued", "not responding", "interrupted")
    return sum(job.total - job.downloaded for job in jobs if job.state in wanted)


# Models


def _header(gigabytes: float, trained: int, layers: int, width: int, inner: int, vocabulary: int) -> Header:
    """The header of a model with eight heads for keys and values."""
    return Header(
        architecture="llama",
        name=None,
        quantization=None,
        context_length=trained,
        license=None,
        chat_template=True,
        n_layers=layers,
        n_embd=width,
        n_ff=inner,
        n_head=32,
        n_head_kv=8,
        head_k=128,
        head_v=128,
        n_vocab=vocabulary,
        tensors=9 * layers + 3,
        tensor_bytes=int(gigabytes * 1e9),
    )


HEADERS = {
    "llama-3-8b-q4_k_m": _header(4.9, 131072, 32, 4096, 14336, 128256),
    "mistral-7b-instruct-v0.3-q5_k_m": _header(5.1, 32768, 32, 4096, 14336, 32768),
    "qwen2-vl-7b-instruct-q4_k_m": _header(4.7, 32768, 28, 3584, 18944, 152064),
    "sound-1b-q8_0": _header(1.3, 131072, 16, 2048, 8192, 128256),
}


def needs(name: str) -> int:
    """Bytes of memory that are foreseen for a model."""
    return estimate(HEADERS[name], CONTEXT).total


def outlook(
    name: str, there: Reading, installed: list[Entry[Worker]], *, loading: str = "", **changes: Any
) -> Outlook:
    """What a start would do on a machine, beside a worker that is `loading` there on a GPU."""
    ids = {entry.id for entry in installed}
    others = [offer for offer in offers.bundled() if offer.id not in ids]
    taken: dict[Pool, int] = {"gpu": needs(loading) if loading else 0, "host": 0}
    return msgspec.structs.replace(look(name, HEADERS[name], there, installed, others, taken), **changes)


def about(name: str, there: Reading, serving: str) -> About:
    """What is known of a model that has its bytes for itself, and is served by a worker."""
    header = HEADERS[name]
    machine = machine_of(there)
    row = _matrix(
        name, [Candidate(name=name, file=None, quantization=None, size_bytes=0, header=header)], machine
    )
    return About(
        header=dict(facts(header)),
        fit={device: f"fits up to {most:,} tokens" for device, most in row.rows[0].largest.items()},
        held="its own",
        workers=[serving],
    )


def _matrix(subject: str, candidates: list[Candidate], machine: Machine) -> Matrix:
    return matrix(subject, candidates, machine, Question())


def fit(repository: Repository, machine: Machine) -> Matrix:
    """The matrix of a repository's choices on a machine, for a model of 4B."""
    header = msgspec.structs.replace(
        _header(0, 40960, 36, 2560, 9728, 151936), architecture="qwen3", name="4B", tensors=0
    )
    candidates = [
        Candidate(
            name=each.name,
            file=each.file,
            quantization=each.quantization,
            size_bytes=each.size_bytes,
            header=msgspec.structs.replace(header, tensor_bytes=each.size_bytes),
        )
        for each in group(repository.files)
    ]
    return _matrix(repository.id, candidates, machine)
