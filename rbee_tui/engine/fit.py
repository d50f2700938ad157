"""The memory that a model needs, from its header: weights, KV cache, compute buffer, output."""

import msgspec

from rbee_tui.engine.gguf import Header

MARGIN_BYTES = 1024 << 20
"""Kept free on a GPU, for what nobody counts."""
_STEP = 256
_BATCH = 512
_BYTES = {"f16": 2.0, "q8_0": 1.0625, "q5_0": 0.6875, "q4_0": 0.5625}


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of memory for one worker process; an upper bound where the architecture is not `covered`."""

    context: int
    """Tokens, rounded up to what the runtime allocates."""
    weights: int
    kv: int
    compute: int
    output: int
    total: int
    covered: bool


def estimate(
    header: Header, context: int, *, parallel: int = 1, kv_type: str = "f16", cache_ram: int = 0
) -> Estimate:
    """What a dense, llama-like model takes with flash attention on; `cache_ram` in bytes.

    The formula is llama.cpp's allocation, measured on 18 configurations. Experts, sliding windows,
    state-space layers and latent attention need terms of their own: `covered` is False there.
    """
    n_ctx = -(-context // _STEP) * _STEP
    per = n_ctx // parallel
    width = _BYTES[kv_type]
    kv = round(header.n_layers * per * parallel * header.n_head_kv * (header.head_k + header.head_v) * width)
    batch = min(_BATCH, n_ctx)
    compute = 4 * batch * (5 * header.n_embd + 3 * header.n_ff) + 2 * batch * per
    output = 4 * parallel * header.n_vocab
    return Estimate(
        context=n_ctx,
        weights=header.tensor_bytes,
        kv=kv,
        compute=compute,
        output=output,
        total=header.tensor_bytes + kv + compute + output + cache_ram,
        covered=_covered(header),
    )


def _covered(header: Header) -> bool:
    special = header.n_expert or header.sliding_window or header.latent_attention or header.recurrent
    return bool(header.n_layers and header.n_embd) and not special


def largest_context(header: Header, room: int, wanted: int, least: int = 512) -> int | None:
    """The largest context up to `wanted` that fits into `room` bytes, halving; None when `least` does not."""
    context = max(wanted, least)
    while estimate(header, context).total > room:
        if context <= least:
            return None
        context = max(least, context // 2)
    return context
