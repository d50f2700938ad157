"""What llama.cpp itself says that a model takes: it plans its memory, without taking any, before it loads."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec

_CODE = """
import sys, xllamacpp
p = xllamacpp.CommonParams()
path, context, parallel, key, value, unified = sys.argv[1:]
p.model.path, p.n_ctx, p.n_parallel = path, int(context), int(parallel)
p.hostnames, p.port, p.cache_ram_mib, p.warmup, p.verbosity = ["127.0.0.1"], 0, 0, False, 5
p.cache_type_k, p.cache_type_v = getattr(xllamacpp.ggml_type, key), getattr(xllamacpp.ggml_type, value)
p.kv_unified = unified == "1"
xllamacpp.Server(p)
"""
_TYPES = {name: f"GGML_TYPE_{name.upper()}" for name in ("f16", "q8_0", "q5_0", "q4_0")}
_MIB = 1 << 20
_CACHE = re.compile(r"(?:kv_cache|memory_recurrent): size = +([\d.]+) MiB")
_COMPUTE = re.compile(r"compute buffer size = +([\d.]+) MiB")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, as the log rounds them: to 0.01 MiB each."""

    kv: int
    compute: int


def measure(
    path: Path, context: int, *, parallel: int = 1, kv_type: str = "f16", unified: bool = False
) -> Measured:
    """Ask llama.cpp; its process ends as soon as it has planned, before it takes the memory."""
    words = [str(path), str(context), str(parallel), _TYPES[kv_type], _TYPES[kv_type], str(int(unified))]
    log: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", _CODE, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")},
    ) as process:
        assert process.stderr
        try:
            for line in process.stderr:
                log.append(line)
                if "projected to use" in line:
                    break
        finally:
            process.kill()
    said = "".join(log)
    compute = _COMPUTE.findall(said)
    if not compute:
        raise AssertionError("llama.cpp did not plan:\n" + said[-4000:])
    return Measured(
        kv=sum(round(float(found) * _MIB) for found in _CACHE.findall(said)),
        compute=sum(round(float(found) * _MIB) for found in compute),
    )
