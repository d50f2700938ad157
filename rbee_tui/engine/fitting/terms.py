"""KV cache and compute buffer of each family, as llama.cpp allocates them with flash attention on. Pure.

Judged against llama.cpp's own log: `tests/engine/fitting`.
"""

import math

import msgspec

from rbee_tui.engine.gguf import Header

BATCH = 512
STEP = 256
"""Cells of a cache come in steps of so many tokens."""
_FLOAT = 4
_HALF = 2
_DENSE = frozenset({"llama", "mistral3", "qwen2", "qwen2vl", "qwen3", "qwen3vl", "phi3", "gemma"})
_MOE = frozenset({"qwen2moe", "qwen3moe", "qwen3vlmoe", "olmoe", "gpt-oss"})
_WINDOWED = {"gemma2": 2, "gemma3": 6, "cohere2": 4, "gpt-oss": 2}
"""Every so-many-th layer sees the whole context, where the header does not say otherwise."""
_AT_ONCE = frozenset({"cohere2"})
"""Attention and feed-forward are computed from the same input, which is kept for both."""


class Load(msgspec.Struct, frozen=True):
    """What is asked of a model."""

    context: int
    per: int
    """Tokens for each sequence."""
    cells: int
    parallel: int
    width: float
    """Bytes of one cached number."""
    unified: bool = False

    @property
    def batch(self) -> int:
        """Tokens that are computed at once."""
        return min(BATCH, self.context)

    def window_cells(self, window: int) -> int:
        """Cells of one cache of a layer that looks `window` tokens back."""
        seen = window * (self.parallel if self.unified else 1) + self.batch
        return min(self.per, -(-seen // STEP) * STEP)

    @property
    def streams(self) -> int:
        """Caches of their own."""
        return 1 if self.unified else self.parallel


def is_covered(header: Header) -> bool:
    """Whether these terms were judged for such models; others get an interval."""
    known = header.n_layers and header.n_embd and header.n_head and header.head_k and header.head_v
    feeds = header.n_ff or header.n_ff_expert
    named = header.architecture in _DENSE or header.architecture in _MOE or header.architecture in _WINDOWED
    special = header.kv_lora_rank or header.state_floats or header.unusual
    lacks_window = header.architecture in _WINDOWED and not header.sliding_window
    return bool(known and feeds and named) and not (special or lacks_window)


def kv(header: Header, load: Load) -> int:
    """Keys and values; a windowed layer keeps no more than its window and a batch."""
    heads = header.kv_heads or (header.n_head_kv,) * header.n_layers
    whole = windowed = 0
    for layer, count in enumerate(heads):
        if _is_windowed(header, layer):
            windowed += count
        else:
            whole += count
    numbers = header.head_k + header.head_v
    cells = load.window_cells(header.sliding_window) * load.streams if windowed else 0
    return _cached(load, load.cells, whole * numbers) + _cached(load, cells, windowed * numbers)


def _is_windowed(header: Header, layer: int) -> bool:
    if header.architecture not in _WINDOWED or not header.sliding_window:
        return False
    if header.window_layers:
        return layer < len(header.window_layers) and header.window_layers[layer]
    every = header.window_every or _WINDOWED[header.architecture]
    return layer % every < every - 1


def _cached(load: Load, cells: int, numbers: int) -> int:
    return math.ceil(cells * numbers * load.width)


def compute(header: Header, load: Load) -> int:
    """The widest moment of a layer for a batch of tokens, and the masks of who sees whom."""
    return _FLOAT * load.batch * _widest(header) + _masks(header, load) + 40 * load.batch


def _masks(header: Header, load: Load) -> int:
    masks = load.per
    if header.architecture in _WINDOWED and header.sliding_window:
        masks += load.window_cells(header.sliding_window)
    return _HALF * load.batch * masks


def _widest(header: Header) -> int:
    """Numbers for each token: five times the width, and what attention or feed-forward holds beside it."""
    keys = header.n_head_kv * header.head_k
    # Keys and values that are no wider than the model lie where something else has been.
    queries = 2 * header.n_head * header.head_k + (2 * keys if keys > header.n_embd else 0)
    base = (6 if header.architecture in _AT_ONCE else 5) * header.n_embd
    if not header.n_expert:
        return base + max(queries, 3 * header.n_ff)
    inner = header.n_expert_used * (header.n_ff_expert or header.n_ff)
    outer = header.n_expert_used * header.n_embd
    shared = 3 * header.n_ff_shared
    if outer <= 2 * inner or header.architecture == "gpt-oss" or 3 * inner <= queries:
        fits_below = outer <= 2 * inner
        return base + max(queries, shared, 3 * inner, 0 if fits_below else outer)
    # The experts' answers find no gap that is wide enough, and come on top.
    return base + 3 * inner + outer


def kv_bounds(header: Header, load: Load) -> tuple[int, int]:
    """From the least that the header's words can mean to the most."""
    heads = header.kv_heads or (header.n_head_kv,) * header.n_layers
    whole = _cached(load, load.cells, sum(heads) * (header.head_k + header.head_v))
    state = _FLOAT * header.state_floats * header.n_layers * load.parallel
    low = high = whole
    if header.sliding_window:
        seen = load.window_cells(header.sliding_window) * load.streams
        low = whole * seen // load.cells
    if header.kv_lora_rank:
        latent = header.n_layers * (header.kv_lora_rank + header.n_rot)
        # Kept as the latent alone, or spread over every head, by the file's age.
        spread = header.n_layers * header.n_head * (max(header.head_k, header.n_rot) + header.head_v)
        low = min(low, _cached(load, load.cells, header.n_layers * header.kv_lora_rank))
        high = _cached(load, load.cells, latent if header.latent_only else max(latent, spread))
        high = high if header.latent_only else max(high, whole)
    if header.state_floats or header.unusual:
        low = 0
    # A recurrent state may be in some layers only, and its shape is told in many ways.
    return low, high + 2 * state + (load.parallel * _FLOAT * 8 * header.n_embd * header.n_layers)


def compute_bounds(header: Header, load: Load) -> tuple[int, int]:
    """Experts that are at work together, a state's inner width and logits are the most that comes on top."""
    batch = _FLOAT * load.batch
    low = batch * 2 * header.n_embd
    inner = header.n_expert_used * max(header.n_ff_expert, header.n_ff if header.n_expert else 0)
    experts = 3 * inner + header.n_expert_used * header.n_embd + header.n_expert
    feed = max(header.n_ff, header.n_ff_shared)
    heads = header.n_head * max(header.head_k, header.n_rot, header.kv_lora_rank)
    wide = 8 * header.n_embd + 3 * feed + 4 * heads + experts + 10 * header.ssm_inner
    high = batch * (2 * wide + header.n_vocab) + 2 * _masks(header, load)
    return low, high + _HALF * load.batch * load.per
