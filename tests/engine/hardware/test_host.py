"""Processor, memory, disk and the GPUs that only sysfs knows."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from rbee_tui.engine import hardware
from rbee_tui.engine.hardware import host
from rbee_tui.engine.hardware.host import Ticks
from rbee_tui.engine.hardware.reading import OtherGpu
from tests.engine.hardware.support import run_python, unified, write_tree

X86 = """processor\t: 0
model name\t: AMD EPYC 9654 96-Core Processor
flags\t\t: avx2 fma f16c avx2

processor\t: 1
model name\t: another
flags\t\t: none
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd sve
"""


class TestProcessor:
    def test_x86_names_itself_and_its_flags(self) -> None:
        """The first processor's model name and flags, sorted, each once."""
        assert host.parse_cpuinfo(X86) == ("AMD EPYC 9654 96-Core Processor", ("avx2", "f16c", "fma"))

    def test_arm_has_features_and_often_no_name(self, tmp_path: Path) -> None:
        """Where /proc/cpuinfo has no name, the machine's architecture stands for it."""
        tree = write_tree(tmp_path, {"proc/cpuinfo": ARM})
        name, features = host.cpu_identity(tree)
        assert name == os.uname().machine
        assert features == ("asimd", "fp", "sve")

    def test_no_cpuinfo_leaves_features_unknown(self, tmp_path: Path) -> None:
        """Without /proc the system is asked otherwise; what it does not tell stays empty."""
        if sys.platform == "darwin":
            pytest.skip("needs a system without sysctl's machdep")
        name, features = host.cpu_identity(tmp_path)
        assert name
        assert features == ()

    def test_a_hostile_name_is_cleaned(self) -> None:
        """A hypervisor may put anything into the name."""
        assert host.parse_cpuinfo("model name : x\x1b]0;y\n")[0] == "x\\x1b]0;y"

    @pytest.mark.parametrize(
        ("before", "after", "busy"),
        [
            (None, Ticks(100.0, 50.0), None),
            (Ticks(100.0, 50.0), Ticks(100.05, 50.0), None),
            (Ticks(100.0, 50.0), Ticks(102.0, 51.0), 50.0),
            (Ticks(100.0, 50.0), Ticks(102.0, 53.0), 0.0),
            (Ticks(100.0, 50.0), Ticks(102.0, 49.0), 100.0),
        ],
    )
    def test_percent_is_what_was_not_idle(
        self, before: Ticks | None, after: Ticks, busy: float | None
    ) -> None:
        """Too short a time tells nothing, and counters that run back cannot leave 0 to 100."""
        assert host.percent(before, after) == busy


class TestDisk:
    def test_a_root_that_is_not_made_yet_has_its_parents_disk(self, tmp_path: Path) -> None:
        """The nearest parent that exists is asked."""
        found = host.disk(tmp_path / "not" / "yet")
        assert found.path == str(tmp_path)
        assert 0 < found.free <= found.total

    def test_a_nameless_place_is_no_error(self) -> None:
        """A relative path that does not exist ends at the working directory or at nothing."""
        assert host.disk(Path("not-there/at-all")).total >= 0


class TestMetal:
    @pytest.mark.parametrize(
        ("system", "machine", "available", "words"),
        [
            ("Darwin", "arm64", True, ""),
            ("Darwin", "x86_64", False, "no Apple Silicon"),
            ("Linux", "aarch64", False, "this is Linux"),
        ],
    )
    def test_metal_is_told_from_the_platform(
        self, system: str, machine: str, available: bool, words: str
    ) -> None:
        """Every Apple Silicon Mac has Metal, and nothing else does."""
        found = host.metal(system, machine)
        assert found.available is available
        assert words in found.reason


class TestOtherGpus:
    def test_amd_and_intel_are_found_in_sysfs(self, tmp_path: Path) -> None:
        """Cards in order, with their memory where it is told; connectors and NVIDIA's are left out."""
        tree = write_tree(
            tmp_path,
            {
                "sys/class/drm/card10/device/vendor": "0x8086\n",
                "sys/class/drm/card2/device/vendor": "0x1002\n",
                "sys/class/drm/card2/device/mem_info_vram_total": "17163091968\n",
                "sys/class/drm/card2/device/mem_info_vram_used": "1024\n",
                "sys/class/drm/card2-DP-1/device/vendor": "0x1002\n",
                "sys/class/drm/card1/device/vendor": "0x10de\n",
            },
        )
        assert host.other_gpus(tree) == (
            OtherGpu(vendor="AMD", card="card2", memory_total=17163091968, memory_used=1024),
            OtherGpu(vendor="Intel", card="card10"),
        )

    def test_no_sysfs_is_no_gpu(self, tmp_path: Path) -> None:
        """MacOS has no /sys."""
        assert host.other_gpus(tmp_path) == ()


class TestReading:
    def test_this_machine_reads_as_psutil_sees_it(self, tmp_path: Path) -> None:
        """Totals are the machine's, or the limit that is named beside them."""
        with hardware.Probe(tmp_path) as probe:
            reading = probe.read()
        total = psutil.virtual_memory().total
        assert reading.memory.total == total or reading.memory.limited_by
        assert 0 < reading.memory.available <= reading.memory.total
        assert reading.cpu.cores_logical == os.cpu_count()
        assert 0 < reading.cpu.cores_available <= reading.cpu.cores_logical
        assert reading.disk.path == str(tmp_path)
        assert reading.at.endswith("Z")

    def test_the_limits_of_a_fake_machine_reach_the_reading(self, tmp_path: Path) -> None:
        """A probe pointed at another file system applies that one's limits."""
        tree = unified("/app", {"app/memory.max": "1048576\n", "app/cpu.max": "50000 100000\n"})
        write_tree(tmp_path, tree | {"proc/cpuinfo": X86})
        with hardware.Probe(tmp_path, system=tmp_path) as probe:
            reading = probe.read()
        assert reading.memory.total == 1048576
        assert reading.cpu.cores_available == 0.5
        assert reading.cpu.features == ("avx2", "f16c", "fma")

    def test_waiting_tells_how_busy_the_processor_is(self) -> None:
        """With a settle time even a single reading has a percentage."""
        reading = hardware.read(settle=0.2)
        assert reading.cpu.percent is not None
        assert 0 <= reading.cpu.percent <= 100

    def test_importing_the_room_loads_nothing_heavy(self) -> None:
        """Psutil and pynvml are loaded by the first reading, not by the import."""
        output = run_python(
            "import sys, rbee_tui.engine.hardware, rbee_tui.engine.variants; "
            "print(sorted({'psutil', 'pynvml'} & set(sys.modules)))",
            os.environ,
        )
        assert output == b"[]\n"
