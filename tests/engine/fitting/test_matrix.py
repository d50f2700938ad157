"""The matrix: every choice at every context on every device, the largest context, the one to take."""

import pytest

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.fit import estimate
from rbee_tui.engine.fitting.machine import machine_of
from rbee_tui.engine.fitting.matrix import Candidate, Matrix, Question, matrix, usual
from rbee_tui.engine.gguf import Header
from tests.engine.fitting.support import GIB, reading

HEADER = Header(
    architecture="llama",
    name="8B",
    quantization="Q4_K_M",
    context_length=131072,
    license=None,
    chat_template=True,
    n_layers=32,
    n_embd=4096,
    n_ff=14336,
    n_head=32,
    n_head_kv=8,
    head_k=128,
    head_v=128,
    n_vocab=128256,
)


def candidate(quantization: str, gib: float) -> Candidate:
    size = int(gib * GIB)
    header = Header(
        **{name: getattr(HEADER, name) for name in HEADER.__struct_fields__} | {"tensor_bytes": size}
    )
    return Candidate(name=quantization, file=None, quantization=quantization, size_bytes=size, header=header)


ALL = (candidate("Q8_0", 8), candidate("Q4_K_M", 4.5), candidate("F16", 15))


def fit(ram: float, *gpus: float, question: Question | None = None) -> Matrix:
    return matrix("8B", ALL, machine_of(reading(ram, *gpus)), question or Question())


def words(found: Matrix, device: str, context: int) -> list[str]:
    return [
        cell.word
        for row in found.rows
        for cell in row.cells
        if (cell.device, cell.context) == (device, context)
    ]


class TestCells:
    """Fits, fits in part, does not."""

    def test_every_place_is_told(self):
        """The smallest choice first."""
        found = fit(12, 8)
        assert [row.quantization for row in found.rows] == ["Q4_K_M", "Q8_0", "F16"]
        assert words(found, "GPU0", 4096) == ["fits", "part", "part"]
        assert words(found, "CPU", 4096) == ["fits", "fits", "no"]
        assert words(found, "CPU", 131072) == ["no", "no", "no"]

    def test_the_figures_add_up(self):
        """Weights, cache, compute and output in bytes, and what is left."""
        cell = fit(64).rows[0].cells[0]
        assert cell.needed == cell.weights + cell.kv + cell.compute + cell.output
        assert cell.left == cell.room - cell.needed
        assert cell.kv == 32 * 4096 * 8 * 256 * 2

    def test_a_part_tells_its_layers(self):
        """As many as there is room for, and the rest must fit beside."""
        found = fit(12, 8)
        (part,) = [cell for cell in found.rows[1].cells if (cell.device, cell.context) == ("GPU0", 4096)]
        assert 0 < part.layers < part.of_layers == 32
        assert words(fit(1, 8), "GPU0", 4096)[1] == "no"

    def test_several_gpus_hold_whole_layers(self):
        """Each computes for itself, so two halves are not a whole."""
        need = estimate(ALL[0].header, 4096).total / GIB
        assert words(fit(64, need / 2 + 1, need / 2 + 1), "all GPUs", 4096)[1] == "part"
        assert words(fit(64, need / 2 + 2, need / 2 + 2), "all GPUs", 4096)[1] == "fits"

    def test_a_smaller_cache(self):
        """Takes half of it."""
        half = fit(64, question=Question(kv_type="q8_0")).rows[0].cells[0]
        assert half.kv < 0.6 * fit(64).rows[0].cells[0].kv


class TestContexts:
    """The usual ones, those that were asked for, the largest."""

    def test_the_usual_ones_end_where_training_did(self):
        """A model for 2,048 tokens has that one."""
        assert usual(131072) == (4096, 8192, 32768, 131072)
        assert usual(40960) == (4096, 8192, 32768)
        assert usual(2048) == (2048,)
        assert usual(None) == (4096, 8192)

    def test_the_largest_fits_and_the_next_does_not(self):
        """On its device."""
        found = fit(12)
        largest = found.rows[0].largest["CPU"]
        assert largest
        assert words(fit(12, question=Question(contexts=(largest,))), "CPU", largest)[0] == "fits"
        more = largest + 256
        assert words(fit(12, question=Question(contexts=(more,))), "CPU", more)[0] == "no"

    def test_none_fits(self):
        """Then there is no largest."""
        assert fit(1).rows[0].largest == {"CPU": None}

    def test_impossible_ones(self):
        """Are said."""
        with pytest.raises(UsageError):
            fit(8, question=Question(contexts=(1 << 40,)))


class TestRecommended:
    """The one to take, and why."""

    @pytest.mark.parametrize(
        ("ram", "gpus", "taken", "why"),
        [
            (64, (24,), "Q8_0", "the largest that fits on GPU0 at 8,192 tokens"),
            (64, (8,), "Q4_K_M", "the largest that fits on GPU0 at 8,192 tokens"),
            (64, (), "Q8_0", "the largest that fits on CPU at 8,192 tokens"),
            (4, (4,), "Q4_K_M", "none fits whole"),
            (1, (), None, ""),
        ],
    )
    def test_the_row(self, ram: float, gpus: tuple[float, ...], taken: str | None, why: str):
        """On the best place; up to eight bits, as nobody tells the difference above."""
        found = fit(ram, *gpus)
        assert found.recommended == taken
        assert found.reason.startswith(why)
