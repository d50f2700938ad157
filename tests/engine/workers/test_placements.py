"""Where a model is put: whole on a GPU, in part, on the CPU; with the figures of `rbee fit`; and presets."""

from typing import Any

import msgspec
import pytest

from rbee_tui.engine import hardware
from rbee_tui.engine.errors import DoesNotFitError, UsageError
from rbee_tui.engine.fit import estimate
from rbee_tui.engine.fitting.machine import machine_of
from rbee_tui.engine.fitting.matrix import Candidate, Question, matrix
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.hardware.reading import Gpu, Metal, Nvml, Reading
from rbee_tui.engine.paths import Root
from rbee_tui.engine.workers import placements, wishes
from rbee_tui.engine.workers.placements import Placement
from rbee_tui.engine.workers.presets import Presets
from rbee_tui.engine.workers.wishes import NOTHING, Wishes
from tests.engine.fitting.test_matrix import HEADER

GIB = 1 << 30


@pytest.fixture
def header() -> Header:
    """An 8B model in about 4.6 GiB."""
    return msgspec.structs.replace(HEADER, tensor_bytes=int(4.6 * GIB))


def reading(*free: float, ram: float = 32) -> Reading:
    """This machine with GPUs that have so many GiB free, and so much main memory."""
    found = hardware.read()
    gpus = tuple(
        Gpu(index=at, uuid=f"GPU-{at}", memory_total=80 * GIB, memory_free=int(each * GIB))
        for at, each in enumerate(free)
    )
    memory = msgspec.structs.replace(found.memory, total=64 * GIB, available=int(ram * GIB))
    nvml = Nvml(available=bool(free), driver="575.1", cuda=(12, 9))
    return msgspec.structs.replace(found, memory=memory, gpus=gpus, nvml=nvml, metal=Metal(available=False))


def put(header: Header, found: Reading, variant: str = "cuda", **said: Any) -> Placement:
    return placements.put("m", header, machine_of(found), variant, wishes.of(said))


class TestGpu:
    """On a GPU, whole where that goes."""

    def test_whole_on_the_roomiest(self, header: Header):
        """With the context that a start takes."""
        found = put(header, reading(20, 40))
        assert (found.device, found.gpu_layers, found.of_layers) == ("GPU1", 32, 32)
        assert found.need == estimate(header, 8192)
        assert found.on_host == 0
        assert "all 32 layers on GPU1" in found.where

    def test_over_all_where_one_is_too_small(self, header: Header):
        """Rather than with less context."""
        found = put(header, reading(5.5, 5.5))
        assert (found.device, found.need.context) == ("all GPUs", 8192)

    def test_less_context_before_a_part(self, header: Header):
        """Down to what is comfortable."""
        room = estimate(header, 4096).total / GIB + 1.01
        found = put(header, reading(room))
        assert (found.device, found.gpu_layers) == ("GPU0", 32)
        assert 4096 <= found.need.context < 8192

    def test_a_part_before_little_context(self, header: Header):
        """The rest on the CPU, counted there."""
        found = put(header, reading(4.5))
        assert 0 < found.gpu_layers < 32
        assert found.need.context == 8192
        assert 0 < found.on_host < found.need.total
        assert f"{found.gpu_layers} of 32 layers on GPU0, the rest on the CPU" in found.where

    def test_the_figures_are_those_of_rbee_fit(self, header: Header):
        """The same device, word, layers and bytes as its matrix has at that context."""
        for free in (4.5, 7.0, 40.0):
            machine = machine_of(reading(free))
            found = placements.put("m", header, machine, "cuda", wishes.of({"context": 8192}))
            candidate = Candidate(
                name="m", file="m", quantization=None, size_bytes=header.tensor_bytes, header=header
            )
            told = matrix("m", [candidate], machine, Question(contexts=(8192,)))
            cell = next(each for each in told.rows[0].cells if each.device == found.device)
            assert (cell.needed, cell.layers, cell.room) == (found.need.total, found.gpu_layers, found.room)

    def test_too_large_for_everything(self, header: Header):
        """With figures, and what is promised to others."""
        machine = machine_of(reading(2.2, ram=0.5), {"gpu": GIB, "host": 0})
        with pytest.raises(DoesNotFitError, match=r"m needs .* are available beside 1\.0 GiB promised"):
            placements.put("m", header, machine, "cuda", NOTHING)

    def test_a_placer_that_ignores_main_memory_puts_a_part_there(self, header: Header):
        """The rest of a model in part needs room on the CPU: with none there is no such start."""
        assert put(header, reading(4.5)).on_host > GIB
        with pytest.raises(DoesNotFitError):
            put(header, reading(4.5, ram=0.2), context=8192)


class TestWishes:
    """What was asked for goes first."""

    def test_layers(self, header: Header):
        """So many, and the rest on the CPU; more than there are is all of them."""
        found = put(header, reading(40), gpu_layers=10)
        assert (found.gpu_layers, found.device) == (10, "GPU0")
        assert found.on_host == (found.need.weights + found.need.kv) * 22 // 32
        assert put(header, reading(40), gpu_layers=99).gpu_layers == 32
        assert put(header, reading(40), gpu_layers=0).device == "CPU"
        with pytest.raises(DoesNotFitError, match="with 32 of 32 layers on the GPU needs"):
            put(header, reading(3), gpu_layers=32)

    def test_a_device(self, header: Header):
        """One that is there, by its name."""
        assert put(header, reading(40, 60), device="GPU0").device == "GPU0"
        assert put(header, reading(40, 60), device="all").device == "all GPUs"
        assert put(header, reading(40), device="CPU").device == "CPU"
        with pytest.raises(UsageError, match="no device 'GPU7' here") as refused:
            put(header, reading(40), device="GPU7")
        assert refused.value.hint == "there are GPU0, CPU"
        with pytest.raises(UsageError):
            put(header, reading(40), "cpu", device="GPU0")

    def test_slots_share_the_context(self, header: Header):
        """And take what llama.cpp takes for them."""
        found = put(header, reading(40), slots=4, context=8192)
        assert (found.slots, found.need) == (4, estimate(header, 8192, parallel=4))

    @pytest.mark.parametrize(
        "said", [{"context": 0}, {"slots": 0}, {"gpu_layers": -1}, {"colour": "red"}, {"threads": "many"}]
    )
    def test_what_makes_no_sense(self, said):
        """Is said."""
        with pytest.raises(UsageError):
            wishes.of(said)


class TestEnvironment:
    """CUDA sees what was chosen."""

    def test_by_uuid_in_the_driver_s_order(self, header: Header):
        """NVML counts by bus, CUDA by speed: a number alone may name another GPU."""
        found = reading(20, 40)
        assert placements.environment(found, put(header, found), "cuda") == {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": "GPU-1",
        }
        both = placements.environment(found, put(header, found, device="all"), "cuda")
        assert both["CUDA_VISIBLE_DEVICES"] == "GPU-0,GPU-1"
        assert placements.environment(found, put(header, found), "cpu") == {}


class TestFits:
    """For the choice among workers."""

    def test_each_variant(self, header: Header):
        """Where it would lie, or why not."""
        found = placements.fits("m", header, machine_of(reading(4.5)), NOTHING)
        assert "of 32 layers on GPU0" in found["cuda"].where
        assert "of main memory" in found["cpu"].where
        little = placements.fits("m", header, machine_of(reading(ram=1)), NOTHING)
        assert little["cpu"].refusal.startswith("m needs")


class TestPresets:
    """Wishes that are saved."""

    def test_what_is_said_goes_before_what_is_saved(self, root: Root):
        """And what was saved before what is decided."""
        presets = Presets(root)
        presets.save("m", Wishes(context=512, threads=3, ends_with_me=True))
        assert presets.read("m") == Wishes(context=512, threads=3)
        assert wishes.over(Wishes(context=1024, pinned=False), presets.read("m")) == Wishes(
            context=1024, threads=3, pinned=False
        )
        presets.save("m", NOTHING)
        assert (presets.read("m"), presets.all()) == (NOTHING, {})

    @pytest.mark.parametrize("raw", [b"", b"[]", b'{"m": {"context": "x"}}', b'{"m": {"colour": 1}}'])
    def test_a_damaged_file_saves_nothing(self, root: Root, raw):
        """And is replaced by the next one."""
        (root.state / "presets.json").write_bytes(raw)
        presets = Presets(root)
        assert presets.read("m") == NOTHING
        presets.save("m", Wishes(context=512))
        assert presets.read("m").context == 512
