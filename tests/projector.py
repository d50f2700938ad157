"""A tiny, real projector: one block of a vision encoder, all zeros, that goes with the tiny model's width."""

import math
import struct
import zlib
from collections.abc import Sequence

from rbee_tui.demo.tiny import _ALIGN, _ARRAY, _BOOL, _F32, _FLOAT, _STRING, _U32, _WIDTH, _string

_SEEN, _FEED, _PATCH, _SIDE = 64, 128, 14, 28


def build() -> bytes:
    """The bytes of its GGUF file, 0.6 MB."""
    keys, tensors = _keys(), _tensors()
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys))
    size = 0
    for name, shape in tensors:
        head += _string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", _F32, size)
        size += -(-4 * math.prod(shape) // _ALIGN) * _ALIGN
    return bytes(head.ljust(-(-len(head) // _ALIGN) * _ALIGN, b"\0") + bytes(size))


def picture() -> bytes:
    """A red PNG of 8 x 8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = (b"\0" + b"\xff\0\0" * 8) * 8
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def _keys() -> list[bytes]:
    def key(name: str, kind: int, value: bytes) -> bytes:
        return _string(name) + struct.pack("<I", kind) + value

    halves = struct.pack("<IQ3f", _FLOAT, 3, *[0.5] * 3)
    numbers = {
        "image_size": _SIDE,
        "patch_size": _PATCH,
        "embedding_length": _SEEN,
        "feed_forward_length": _FEED,
        "projection_dim": _WIDTH,
        "block_count": 1,
        "attention.head_count": 4,
    }
    return [
        key("general.architecture", _STRING, _string("clip")),
        key("clip.has_vision_encoder", _BOOL, b"\1"),
        key("clip.projector_type", _STRING, _string("mlp")),
        key("clip.use_gelu", _BOOL, b"\1"),
        *(key(f"clip.vision.{name}", _U32, struct.pack("<I", value)) for name, value in numbers.items()),
        key("clip.vision.attention.layer_norm_epsilon", _FLOAT, struct.pack("<f", 1e-5)),
        key("clip.vision.image_mean", _ARRAY, halves),
        key("clip.vision.image_std", _ARRAY, halves),
    ]


def _tensors() -> Sequence[tuple[str, tuple[int, ...]]]:
    block = {f"attn_{name}": (_SEEN, _SEEN) for name in ("q", "k", "v", "out")}
    block |= {"ffn_up": (_SEEN, _FEED), "ffn_down": (_FEED, _SEEN), "ln1": (_SEEN,), "ln2": (_SEEN,)}
    layers = {f"v.blk.0.{name}": shape for name, shape in block.items()}
    layers |= {"v.pre_ln": (_SEEN,), "mm.0": (_SEEN, _WIDTH), "mm.2": (_WIDTH, _WIDTH)}
    return [
        ("v.patch_embd.weight", (_PATCH, _PATCH, 3, _SEEN)),
        ("v.class_embd", (_SEEN,)),
        ("v.position_embd.weight", (_SEEN, (_SIDE // _PATCH) ** 2 + 1)),
        *((f"{name}.weight", shape) for name, shape in layers.items()),
        *((f"{name}.bias", shape[-1:]) for name, shape in layers.items()),
    ]
