"""GGUF files of any shape, written with `struct` alone; their tensors are holes, which take no room."""

import math
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from rbee_tui.engine.gguf_types import TENSOR_TYPES

F32, F16, Q8_0, Q4_K = 0, 1, 8, 12
_ALIGN = 32
_U32, _I32, _FLOAT, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
Tensor = tuple[str, tuple[int, ...], int]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A model, as far as memory is concerned."""

    arch: str = "llama"
    layers: int = 4
    embd: int = 512
    ff: int = 1408
    heads: int = 8
    kv_heads: int = 8
    kv_by_layer: tuple[int, ...] = ()
    head: int = 0
    """Dimensions of a head; 0: the width over the heads."""
    vocab: int = 4096
    merges: int = 0
    """Merges of the tokenizer."""
    trained: int = 131072
    window: int = 0
    experts: int = 0
    used: int = 0
    ff_expert: int = 0
    ff_shared: int = 0
    weight: int = F16
    tied: bool = False
    extra: dict[str, Any] = {}
    """More keys of the architecture."""

    @property
    def dims(self) -> int:
        """Dimensions of a head."""
        return self.head or self.embd // self.heads


def write(path: Path, shape: Shape) -> Path:
    """Write such a model; the file has its full size, and holes where its tensors are."""
    tensors = list(_tensors(shape))
    keys = _keys(shape)
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)))
    head += b"".join(keys)
    offset = 0
    for name, dims, kind in tensors:
        head += _string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        head += struct.pack("<IQ", kind, offset)
        offset += -(-_bytes(dims, kind) // _ALIGN) * _ALIGN
    start = -(-len(head) // _ALIGN) * _ALIGN
    with path.open("wb") as file:
        file.write(head)
        file.truncate(start + offset)
    return path


def _bytes(dims: Sequence[int], kind: int) -> int:
    elements, size = TENSOR_TYPES[kind]
    return math.prod(dims) // elements * size


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(found: Any) -> bytes:
    if isinstance(found, bool):
        return struct.pack("<I?", _BOOL, found)
    if isinstance(found, int):
        return struct.pack("<II", _U32, found)
    if isinstance(found, float):
        return struct.pack("<If", _FLOAT, found)
    if isinstance(found, str):
        return struct.pack("<I", _STRING) + _string(found)
    kind, form = (_BOOL, "?") if isinstance(found[0], bool) else (_I32, "i")
    return struct.pack(f"<IIQ{len(found)}{form}", _ARRAY, kind, len(found), *found)


@cache
def _words(count: int, merges: int) -> tuple[bytes, ...]:
    """The three keys of a vocabulary."""
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    tokens = [chr(byte if byte in letters else next(others)) for byte in range(256)]
    tokens += [f"w{number}" for number in range(count - 256)]
    words = b"".join(_string(token) for token in tokens)
    pairs = b"".join(_string(f"w{number} w{number + 1}") for number in range(merges))
    kinds = struct.pack(f"<{count}i", *[1] * count)
    return (
        _string("tokenizer.ggml.tokens") + struct.pack("<IIQ", _ARRAY, _STRING, count) + words,
        _string("tokenizer.ggml.token_type") + struct.pack("<IIQ", _ARRAY, _I32, count) + kinds,
        _string("tokenizer.ggml.merges") + struct.pack("<IIQ", _ARRAY, _STRING, merges) + pairs,
    )


def _keys(shape: Shape) -> list[bytes]:
    own: dict[str, Any] = {
        "context_length": shape.trained,
        "embedding_length": shape.embd,
        "block_count": shape.layers,
        "feed_forward_length": shape.ff,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.layer_norm_epsilon": 1e-6,
        "vocab_size": shape.vocab,
    }
    if shape.heads:
        own["attention.head_count"] = shape.heads
        own["attention.head_count_kv"] = list(shape.kv_by_layer) or shape.kv_heads
        own["rope.dimension_count"] = shape.dims
    if shape.head:
        own |= {"attention.key_length": shape.head, "attention.value_length": shape.head}
    if shape.window:
        own["attention.sliding_window"] = shape.window
    if shape.experts:
        own |= {"expert_count": shape.experts, "expert_used_count": shape.used}
        if shape.ff_expert:
            own["expert_feed_forward_length"] = shape.ff_expert
        if shape.ff_shared:
            own["expert_shared_feed_forward_length"] = shape.ff_shared
    own |= shape.extra
    named = {
        "general.architecture": shape.arch,
        "general.name": "synthetic",
        "general.file_type": 1,
        **{f"{shape.arch}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }
    return [_string(key) + _value(value) for key, value in named.items()] + list(
        _words(shape.vocab, shape.merges)
    )


def _tensors(shape: Shape) -> Iterator[Tensor]:
    kind, width = shape.weight, shape.embd
    yield "token_embd.weight", (width, shape.vocab), kind
    yield "token_embd_norm.weight" if shape.arch == "lfm2" else "output_norm.weight", (width,), F32
    if not shape.tied:
        yield "output.weight", (width, shape.vocab), kind
    block = _BLOCKS.get(shape.arch, _llama)
    for layer in range(shape.layers):
        for name, dims, own in block(shape, layer):
            yield f"blk.{layer}.{name}", dims, own


def _norms(shape: Shape, *names: str) -> Iterator[Tensor]:
    for name in names:
        yield f"{name}.weight", (shape.embd,), F32


def _attention(shape: Shape, layer: int, *, normed: bool = False, biased: bool = False) -> Iterator[Tensor]:
    kv = (shape.kv_by_layer[layer] if shape.kv_by_layer else shape.kv_heads) * shape.dims
    q, kind = shape.heads * shape.dims, shape.weight
    yield "attn_q.weight", (shape.embd, q), kind
    if kv:
        yield "attn_k.weight", (shape.embd, kv), kind
        yield "attn_v.weight", (shape.embd, kv), kind
    yield "attn_output.weight", (q, shape.embd), kind
    if normed:
        yield "attn_q_norm.weight", (shape.dims,), F32
        yield "attn_k_norm.weight", (shape.dims,), F32
    if biased:
        yield "attn_q.bias", (q,), F32
        yield "attn_k.bias", (kv,), F32
        yield "attn_v.bias", (kv,), F32


def _feed(shape: Shape) -> Iterator[Tensor]:
    yield "ffn_gate.weight", (shape.embd, shape.ff), shape.weight
    yield "ffn_up.weight", (shape.embd, shape.ff), shape.weight
    yield "ffn_down.weight", (shape.ff, shape.embd), shape.weight


def _experts(shape: Shape) -> Iterator[Tensor]:
    ff = shape.ff_expert or shape.ff
    yield "ffn_gate_inp.weight", (shape.embd, shape.experts), F32
    yield "ffn_gate_exps.weight", (shape.embd, ff, shape.experts), shape.weight
    yield "ffn_up_exps.weight", (shape.embd, ff, shape.experts), shape.weight
    yield "ffn_down_exps.weight", (ff, shape.embd, shape.experts), shape.weight


def _llama(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield from _norms(shape, "attn_norm", "ffn_norm")
    yield from _attention(shape, layer)
    yield from _experts(shape) if shape.experts else _feed(shape)


def _qwen2(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield from _norms(shape, "attn_norm", "ffn_norm")
    yield from _attention(shape, layer, biased=True)
    yield from _feed(shape)


def _qwen3(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield from _norms(shape, "attn_norm", "ffn_norm")
    yield from _attention(shape, layer, normed=True)
    yield from _experts(shape) if shape.experts else _feed(shape)


def _qwen2moe(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield from _norms(shape, "attn_norm", "ffn_norm")
    yield from _attention(shape, layer, biased=True)
    yield from _experts(shape)
    shared = shape.ff_shared or shape.ff
    yield "ffn_gate_inp_shexp.weight", (shape.embd,), F32
    yield "ffn_gate_shexp.weight", (shape.embd, shared), shape.weight
    yield "ffn_up_shexp.weight", (shape.embd, shared), shape.weight
    yield "ffn_down_shexp.weight", (shared, shape.embd), shape.weight


def _olmoe(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield from _norms(shape, "attn_norm", "ffn_norm")
    yield from _attention(shape, layer)
    yield "attn_q_norm.weight", (shape.heads * shape.dims,), F32
    yield "attn_k_norm.weight", (shape.kv_heads * shape.dims,), F32
    yield from _experts(shape)


def _gemma2(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield from _norms(shape, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
    yield from _attention(shape, layer)
    yield from _feed(shape)


def _gemma3(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield from _norms(shape, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
    yield from _attention(shape, layer, normed=True)
    yield from _feed(shape)


def _cohere2(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield from _norms(shape, "attn_norm")
    yield from _attention(shape, layer)
    yield from _feed(shape)


def _gpt_oss(shape: Shape, layer: int) -> Iterator[Tensor]:
    ff = shape.ff_expert or shape.ff
    yield from _norms(shape, "attn_norm", "post_attention_norm")
    yield from _attention(shape, layer, biased=True)
    yield "attn_output.bias", (shape.embd,), F32
    yield "attn_sinks.weight", (shape.heads,), F32
    yield from _experts(shape)
    yield "ffn_gate_inp.bias", (shape.experts,), F32
    yield "ffn_gate_exps.bias", (ff, shape.experts), F32
    yield "ffn_up_exps.bias", (ff, shape.experts), F32
    yield "ffn_down_exps.bias", (shape.embd, shape.experts), F32


def _phi3(shape: Shape, layer: int) -> Iterator[Tensor]:
    del layer
    q, kv = shape.heads * shape.dims, shape.kv_heads * shape.dims
    yield from _norms(shape, "attn_norm", "ffn_norm")
    yield "attn_qkv.weight", (shape.embd, q + 2 * kv), shape.weight
    yield "attn_output.weight", (q, shape.embd), shape.weight
    yield "ffn_up.weight", (shape.embd, 2 * shape.ff), shape.weight
    yield "ffn_down.weight", (shape.ff, shape.embd), shape.weight


def _mamba(shape: Shape, layer: int) -> Iterator[Tensor]:
    del layer
    inner, state, rank = (shape.extra[f"ssm.{key}"] for key in ("inner_size", "state_size", "time_step_rank"))
    yield from _norms(shape, "attn_norm")
    yield "ssm_in.weight", (shape.embd, 2 * inner), shape.weight
    yield "ssm_conv1d.weight", (shape.extra["ssm.conv_kernel"], inner), F32
    yield "ssm_conv1d.bias", (inner,), F32
    yield "ssm_x.weight", (inner, rank + 2 * state), shape.weight
    yield "ssm_dt.weight", (rank, inner), shape.weight
    yield "ssm_dt.bias", (inner,), F32
    yield "ssm_a", (state, inner), F32
    yield "ssm_d", (inner,), F32
    yield "ssm_out.weight", (inner, shape.embd), shape.weight


def _deepseek2(shape: Shape, layer: int) -> Iterator[Tensor]:
    del layer
    lora, rope = shape.extra["attention.kv_lora_rank"], shape.extra["rope.dimension_count"]
    key = shape.extra["attention.key_length_mla"]
    value = shape.extra["attention.value_length_mla"]
    yield from _norms(shape, "attn_norm", "ffn_norm")
    rank = shape.extra["attention.q_lora_rank"]
    yield "attn_q_a.weight", (shape.embd, rank), shape.weight
    yield "attn_q_a_norm.weight", (rank,), F32
    yield "attn_q_b.weight", (rank, shape.heads * key), shape.weight
    yield "attn_kv_a_mqa.weight", (shape.embd, lora + rope), shape.weight
    yield "attn_kv_a_norm.weight", (lora,), F32
    yield "attn_k_b.weight", (key - rope, lora, shape.heads), shape.weight
    yield "attn_v_b.weight", (lora, value, shape.heads), shape.weight
    yield "attn_output.weight", (shape.heads * value, shape.embd), shape.weight
    yield from _feed(shape)


def _lfm2(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield from _norms(shape, "attn_norm", "ffn_norm")
    if shape.kv_by_layer[layer]:
        yield from _attention(shape, layer, normed=True)
    else:
        yield "shortconv.conv.weight", (shape.extra["shortconv.l_cache"], shape.embd), F32
        yield "shortconv.in_proj.weight", (shape.embd, 3 * shape.embd), shape.weight
        yield "shortconv.out_proj.weight", (shape.embd, shape.embd), shape.weight
    yield from _feed(shape)


_BLOCKS = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3moe": _qwen3,
    "qwen2moe": _qwen2moe,
    "olmoe": _olmoe,
    "gemma": _llama,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "cohere2": _cohere2,
    "gpt-oss": _gpt_oss,
    "phi3": _phi3,
    "mamba": _mamba,
    "deepseek2": _deepseek2,
    "lfm2": _lfm2,
}
