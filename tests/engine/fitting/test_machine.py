"""Where a model may be put, and the room that is left there."""

from rbee_tui.engine.fit import MARGIN_BYTES
from rbee_tui.engine.fitting.machine import imagine, machine_of
from tests.engine.fitting.support import GIB, reading


class TestThisMachine:
    """Each GPU, all of them, the CPU."""

    def test_without_a_gpu_there_is_the_cpu(self):
        """With all that is available."""
        machine = machine_of(reading(16))
        assert [(each.name, each.room) for each in machine.devices] == [("CPU", 16 * GIB)]
        assert machine.host.name == "CPU"

    def test_a_gpu_keeps_a_margin(self):
        """1 GiB of each, for what nobody counts."""
        gpu, _ = machine_of(reading(16, 24)).devices
        assert (gpu.name, gpu.kind, gpu.total, gpu.room) == ("GPU0", "gpu", 24 * GIB, 24 * GIB - MARGIN_BYTES)

    def test_several_gpus_are_also_one_place(self):
        """The roomiest first, then all of them, each with its own margin."""
        devices = machine_of(reading(16, 8, 24)).devices
        assert [each.name for each in devices] == ["GPU1", "GPU0", "all GPUs", "CPU"]
        assert devices[2].room == 30 * GIB
        assert devices[2].rooms == (7 * GIB, 23 * GIB)

    def test_shared_memory_is_counted_once(self):
        """A GPU without memory of its own has the host's."""
        gpu, host = machine_of(reading(64, 8, shared=True)).devices
        assert (gpu.shared, gpu.total, gpu.room) == (True, 64 * GIB, 63 * GIB)
        assert host.room == 64 * GIB

    def test_what_is_promised_is_not_there(self):
        """Of each pool; and never less than nothing."""
        gpu0, gpu1, both, host = machine_of(reading(16, 8, 8), {"gpu": 3 * GIB, "host": 20 * GIB}).devices
        assert (gpu0.room, gpu1.room, both.room, host.room) == (4 * GIB, 4 * GIB, 11 * GIB, 0)


class TestAnotherMachine:
    """What if."""

    def test_it_is_as_described(self):
        """All of it free, and the RAM of this machine where none is named."""
        machine = imagine(reading(16), [24 * GIB], None)
        assert machine.imagined
        assert [(each.name, each.room) for each in machine.devices] == [("GPU0", 23 * GIB), ("CPU", 16 * GIB)]
        assert imagine(reading(16), [], 4 * GIB).host.room == 4 * GIB
