"""The memory that a model needs, from its header: weights, KV cache, compute buffer, output. Pure.

The terms (`fitting/terms.py`) follow llama.cpp's own allocation with flash attention on, for dense, GQA,
sliding-window and MoE models; other architectures get an interval.
"""

import msgspec

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.fitting.terms import STEP, Load, compute, compute_bounds, is_covered, kv, kv_bounds
from rbee_tui.engine.gguf import Header

MARGIN_BYTES = 1024 << 20
"""Kept free on a GPU, for what nobody counts."""
KV_TYPES = {"f16": 2.0, "q8_0": 1.0625, "q5_0": 0.6875, "q4_0": 0.5625}
"""Bytes of one cached number."""
PROJECTOR_COMPUTE = 256 << 20
"""A projector is thought to compute with so much at most, and as much again as its file."""
MOST_TOKENS = 1 << 27
_FLOAT = 4


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of memory for one worker process."""

    context: int
    """Tokens, rounded up to what the runtime allocates."""
    weights: int
    kv: int
    """At most, where the architecture is not covered; so are `compute` and `output`."""
    compute: int
    output: int
    projector: int = 0
    low: int
    high: int | None
    """Equal to `low` where `covered`; None where the header does not tell enough for a bound."""
    total: int
    """What to reserve: `high`, or `low` where there is no bound."""
    covered: bool
    """Whether this is a figure to rely on; otherwise it lies between `low` and `high`."""

    def plus(self, correction: int) -> "Estimate":
        """The same with so many bytes more, of what was measured on this machine, as part of `compute`."""
        return msgspec.structs.replace(
            self,
            compute=self.compute + correction,
            low=self.low + correction,
            high=None if self.high is None else self.high + correction,
            total=self.total + correction,
        )


def estimate(
    header: Header,
    context: int,
    *,
    parallel: int = 1,
    kv_type: str = "f16",
    cache_ram: int = 0,
    unified: bool = False,
) -> Estimate:
    """What a model takes with `context` tokens for `parallel` sequences; `cache_ram` in bytes.

    Raises UsageError for numbers that no runtime takes.
    """
    load = _load(context, parallel, kv_type, unified=unified)
    covered = is_covered(header)
    kv_low, kv_high = (kv(header, load),) * 2 if covered else kv_bounds(header, load)
    compute_low, compute_high = (compute(header, load),) * 2 if covered else compute_bounds(header, load)
    output = _FLOAT * parallel * header.n_vocab
    fixed = header.tensor_bytes + output + cache_ram
    low, high = fixed + kv_low + compute_low, fixed + kv_high + compute_high
    if header.projector_bytes:
        # What it computes with goes by the size of pictures, and nobody tells that beforehand.
        covered, low, high = False, low + header.projector_bytes, high + 2 * header.projector_bytes
        high += PROJECTOR_COMPUTE
        compute_high += header.projector_bytes + PROJECTOR_COMPUTE
    bounded = bool(header.n_layers and header.n_embd and (header.n_head or header.state_floats))
    return Estimate(
        context=load.context,
        weights=header.tensor_bytes,
        kv=kv_high,
        compute=compute_high,
        output=output,
        projector=header.projector_bytes,
        low=low,
        high=high if bounded else None,
        total=high if bounded else low,
        covered=covered,
    )


def largest_context(
    header: Header,
    room: int,
    wanted: int,
    least: int = 512,
    *,
    parallel: int = 1,
    kv_type: str = "f16",
    cache_ram: int = 0,
) -> int | None:
    """The most tokens up to `wanted` that fit into `room` bytes; None when not even `least` fit."""

    def fits(context: int) -> bool:
        found = estimate(header, context, parallel=parallel, kv_type=kv_type, cache_ram=cache_ram)
        return found.total <= room

    if fits(wanted):
        return wanted
    low, high = least // STEP, wanted // STEP
    if wanted <= least or not fits(least):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * STEP) else (low, middle)
    return max(least, low * STEP)


def _load(context: int, parallel: int, kv_type: str, *, unified: bool) -> Load:
    if not 1 <= context <= MOST_TOKENS:
        raise UsageError(f"a context of {context} tokens makes no sense", hint=f"1 to {MOST_TOKENS}")
    n_ctx = -(-context // STEP) * STEP
    if not 1 <= parallel <= n_ctx:
        raise UsageError(f"{parallel} sequences at once make no sense with a context of {n_ctx} tokens")
    if kv_type not in KV_TYPES:
        raise UsageError(f"the KV cache cannot be of type {kv_type!r}", hint=f"one of {', '.join(KV_TYPES)}")
    per = n_ctx if unified else -(-(n_ctx // parallel) // STEP) * STEP
    cells = n_ctx if unified else per * parallel
    return Load(cells, per, cells, parallel, KV_TYPES[kv_type], unified)
