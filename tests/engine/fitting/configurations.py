"""What estimates are judged on, by family; `held_out` ones were not looked at for the terms."""

import random
from typing import NamedTuple

from tests.engine.fitting.synthetic import F16, Q4_K, Q8_0, Shape


class Configuration(NamedTuple):
    """A model, and what is asked of it."""

    family: str
    shape: Shape
    context: int
    parallel: int = 1
    kv_type: str = "f16"
    unified: bool = False
    held_out: bool = False


_SMALL = {"embd": 1024, "ff": 3072, "heads": 16, "kv_heads": 16, "layers": 8, "vocab": 32000}
_EIGHT = {
    "embd": 4096,
    "ff": 14336,
    "heads": 32,
    "kv_heads": 8,
    "layers": 32,
    "vocab": 128256,
    "weight": Q4_K,
}
_GEMMA = {"embd": 2560, "ff": 10240, "heads": 8, "kv_heads": 4, "head": 256, "vocab": 65536, "tied": True}
_OSS = {
    "arch": "gpt-oss",
    "embd": 2880,
    "ff": 2880,
    "ff_expert": 2880,
    "heads": 64,
    "kv_heads": 8,
    "head": 64,
}

COVERED = (
    Configuration("dense", Shape(**_SMALL), 2048),
    Configuration("dense", Shape(arch="phi3", **_SMALL), 8192, 2),
    Configuration("dense", Shape(arch="gemma", tied=True, head=256, **_SMALL), 4096, 1, "q8_0"),
    Configuration("dense", Shape(**_SMALL | {"ff": 2048, "weight": Q8_0}), 32768, 4, "q4_0", True),
    Configuration("dense", Shape(arch="qwen2", **_SMALL | {"layers": 24}), 1000, 3, held_out=True),
    Configuration("GQA", Shape(**_EIGHT), 8192),
    Configuration("GQA", Shape(**_EIGHT), 131072, 1, "q8_0"),
    Configuration("GQA", Shape(arch="qwen3", head=128, **_SMALL | {"kv_heads": 8}), 16384, 2),
    Configuration("GQA", Shape(arch="qwen2", **_SMALL | {"kv_heads": 2}), 4096, 2, "q5_0", True),
    Configuration("GQA", Shape(arch="qwen3", head=128, **_EIGHT | {"layers": 36}), 32768, held_out=True),
    Configuration("window", Shape(arch="gemma2", window=4096, **_GEMMA | {"layers": 26}), 8192),
    Configuration("window", Shape(arch="gemma3", window=1024, **_GEMMA | {"layers": 34}), 8192),
    Configuration("window", Shape(arch="gemma3", window=512, **_GEMMA | {"layers": 26}), 131072, 1, "q8_0"),
    Configuration(
        "window",
        Shape(
            arch="cohere2",
            window=4096,
            tied=True,
            extra={"logit_scale": 0.25},
            **_SMALL | {"layers": 32},
        ),
        32768,
        2,
    ),
    Configuration(
        "window", Shape(arch="gemma3", window=1024, **_GEMMA | {"layers": 48}), 32768, 3, "f16", True
    ),
    Configuration(
        "window", Shape(arch="gemma2", window=2048, **_GEMMA | {"layers": 42}), 16384, 2, held_out=True
    ),
    Configuration("MoE", Shape(experts=8, used=2, **_SMALL), 4096),
    Configuration(
        "MoE",
        Shape(arch="qwen3moe", head=128, experts=128, used=8, ff_expert=768, **_SMALL | {"kv_heads": 4}),
        8192,
    ),
    Configuration(
        "MoE",
        Shape(arch="qwen2moe", experts=60, used=4, ff_expert=1408, ff_shared=5632, **_SMALL | {"embd": 2048}),
        4096,
        2,
    ),
    Configuration("MoE", Shape(arch="olmoe", experts=64, used=8, **_SMALL | {"ff": 1024}), 4096, 1, "q8_0"),
    Configuration("MoE", Shape(experts=32, used=4, layers=24, window=128, **_OSS), 32768),
    Configuration(
        "MoE", Shape(arch="qwen3moe", experts=64, used=8, ff_expert=512, **_SMALL), 16384, 4, "f16", True
    ),
    Configuration("MoE", Shape(experts=16, used=4, **_EIGHT | {"layers": 8}), 16384, 2, "q5_0"),
    Configuration("MoE", Shape(experts=128, used=4, layers=36, window=128, **_OSS), 65536, held_out=True),
)
"""At least four of each family, and one more of each that is held out."""

_MAMBA = {"ssm.inner_size": 2048, "ssm.state_size": 16, "ssm.time_step_rank": 64, "ssm.conv_kernel": 4}
_LATENT = {
    "attention.kv_lora_rank": 512,
    "attention.q_lora_rank": 384,
    "rope.dimension_count": 64,
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.key_length_mla": 192,
    "attention.value_length_mla": 128,
    "leading_dense_block_count": 8,
    "expert_feed_forward_length": 256,
    "expert_shared_count": 1,
    "expert_weights_scale": 1.0,
    "expert_count": 8,
    "expert_used_count": 2,
    "expert_gating_func": 2,
}
_BY_LAYER = (0, 0, 4, 0, 0, 4, 0, 4)

UNCOVERED = tuple(
    Configuration(name, shape, context, parallel)
    for name, shape in (
        ("recurrent", Shape(arch="mamba", extra=_MAMBA, **_SMALL | {"heads": 0, "kv_heads": 0, "ff": 0})),
        ("latent", Shape(arch="deepseek2", extra=_LATENT, **_SMALL | {"kv_heads": 1})),
        (
            "hybrid",
            Shape(arch="lfm2", kv_by_layer=_BY_LAYER, tied=True, extra={"shortconv.l_cache": 3}, **_SMALL),
        ),
    )
    for context, parallel in ((2048, 1), (32768, 1), (8192, 4))
)


def chance(seed: int) -> Configuration:
    """A covered configuration by chance."""
    dice = random.Random(seed)
    base = dice.choice(COVERED)
    width = dice.choice((1024, 2048, 4096))
    shape = base.shape
    changed = {
        "layers": dice.choice((6, 12, 18)),
        "weight": dice.choice((F16, Q8_0))
        if shape.embd % 256 or shape.ff_expert % 256
        else dice.choice((F16, Q8_0, Q4_K)),
        "vocab": dice.choice((32000, 128256)),
        "window": dice.choice((512, 1024, 2048)) if shape.window else 0,
    }
    if shape.arch in ("llama", "qwen3", "qwen3moe", "gemma3") and not shape.experts:
        changed |= {"embd": width, "ff": dice.choice((2, 3, 4)) * width, "head": 128}
    fields = {name: getattr(shape, name) for name in shape.__struct_fields__} | changed
    return Configuration(
        base.family,
        Shape(**fields),
        dice.choice((1000, 4096, 16384, 65536)),
        dice.choice((1, 2, 3)),
        dice.choice(("f16", "q8_0", "q5_0", "q4_0")),
        dice.random() < 0.3,
    )
