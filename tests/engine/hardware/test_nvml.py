"""NVML through a fake driver that is loaded as the real one is: by its name, in a process of its own."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.engine.hardware.support import build_nvml, nvml_environment, read_machine, run_python

GIB = 1024**3

Read = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def read(driver: Path) -> Read:
    return lambda **fake: read_machine(nvml_environment(driver, **fake))


class TestCount:
    @pytest.mark.parametrize("count", [0, 1, 2, 8])
    def test_every_gpu_is_listed_in_order(self, read: Read, count: int) -> None:
        """As many GPUs as the driver counts, each with its index."""
        reading = read(gpus=count)
        assert reading["nvml"] == {"available": True, "reason": "", "driver": "550.54.15", "cuda": [12, 4]}
        assert [gpu["index"] for gpu in reading["gpus"]] == list(range(count))

    def test_a_gpu_tells_everything(self, read: Read) -> None:
        """Each field is what the driver says, in bytes, percent, degrees and watts."""
        (gpu,) = read(gpus=1)["gpus"]
        assert gpu == {
            "index": 0,
            "instance": None,
            "uuid": "GPU-00000000-0000-0000-0000-000000000000",
            "name": "NVIDIA Fake 80GB",
            "memory_total": 80 * GIB,
            "memory_used": GIB,
            "memory_free": 79 * GIB,
            "shares_host_memory": False,
            "utilization": 37,
            "temperature": 62,
            "power": 123.456,
            "driver": "550.54.15",
            "compute_capability": [9, 0],
            "error": "",
        }

    def test_a_name_cannot_drive_the_terminal(self, read: Read) -> None:
        """Names come from outside: controls in them are made visible."""
        assert read(gpus=1, name="NVIDIA\x1b[2J")["gpus"][0]["name"] == "NVIDIA\\x1b[2J"


class TestAbsence:
    def test_no_library_is_a_value(self, tmp_path: Path) -> None:
        """Without libnvidia-ml.so.1 there is a reading, and in it a reason."""
        (tmp_path / "libnvidia-ml.so.1").write_bytes(
            b""
        )  # hides a real driver: what it names cannot be loaded
        reading = read_machine(nvml_environment(tmp_path))
        assert not reading["nvml"]["available"]
        assert "libnvidia-ml.so.1 was not found" in reading["nvml"]["reason"]
        assert reading["gpus"] == []

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            (9, "kernel module is not loaded"),
            (18, "reboot"),
            (4, "may not talk to the NVIDIA driver"),
            (999, "NVML answers: Unknown Error"),
            (77, "NVML answers: an error that only this fake knows"),
        ],
    )
    def test_each_failure_of_init_has_its_words(self, read: Read, code: int, words: str) -> None:
        """An init that fails is a value with a reason, known code or not."""
        nvml = read(init=code)["nvml"]
        assert not nvml["available"]
        assert words in nvml["reason"]


class TestNotSupported:
    @pytest.mark.parametrize(
        ("field", "key", "value"),
        [
            ("utilization", "utilization", None),
            ("temperature", "temperature", None),
            ("power", "power", None),
            ("capability", "compute_capability", None),
            ("name", "name", ""),
            ("uuid", "uuid", ""),
            ("driver", "driver", ""),
        ],
    )
    def test_a_field_may_be_missing_alone(self, read: Read, field: str, key: str, value: object) -> None:
        """One field that is not supported is unknown; the GPU and its other fields are there."""
        (gpu,) = read(gpus=1, unsupported=field)["gpus"]
        assert gpu[key] == value
        assert gpu["error"] == ""
        assert gpu["memory_total"] == 80 * GIB

    def test_a_gpu_without_memory_of_its_own_has_the_hosts(self, read: Read) -> None:
        """GB10 answers NotSupported for memory: its figures are the host's, and it says so."""
        reading = read(gpus=1, unsupported="memory")
        (gpu,) = reading["gpus"]
        assert gpu["shares_host_memory"]
        assert gpu["memory_total"] == reading["memory"]["total"]
        assert gpu["memory_free"] == reading["memory"]["available"]
        assert gpu["memory_used"] + gpu["memory_free"] == gpu["memory_total"]

    def test_an_unknown_cuda_is_none(self, read: Read) -> None:
        """A driver that does not tell its CUDA is still a driver."""
        nvml = read(unsupported="cuda")["nvml"]
        assert nvml["available"]
        assert nvml["cuda"] is None


class TestLost:
    def test_one_lost_gpu_leaves_the_others(self, read: Read) -> None:
        """A GPU that fell off the bus is listed with its error; its neighbours are read."""
        gpus = read(gpus=3, lost="1")["gpus"]
        assert ["lost" in gpu["error"] for gpu in gpus] == [False, True, False]
        assert gpus[2]["memory_total"] == 80 * GIB
        assert not gpus[1]["shares_host_memory"]

    def test_a_gpu_may_be_lost_between_two_readings(self, driver: Path, tmp_path: Path) -> None:
        """The same probe reads it well, then lost, then well again."""
        flag = tmp_path / "lost"
        environment = nvml_environment(driver, gpus=2, lost_file=flag)
        output = run_python(
            f"""
import pathlib
from rbee_tui.engine.hardware import Probe
flag = pathlib.Path({str(flag)!r})
with Probe() as probe:
    for change in (flag.touch, flag.unlink, lambda: None):
        print(["lost" in gpu.error for gpu in probe.read().gpus])
        change()
""",
            environment,
        )
        assert output.decode().splitlines() == ["[False, False]", "[True, False]", "[False, False]"]


class TestMig:
    def test_instances_stand_in_for_their_gpu(self, read: Read) -> None:
        """Where MIG is on, the instances are listed, gaps and all, and what they do not tell is the GPU's."""
        gpus = read(gpus=2, mig=2)["gpus"]
        assert [(gpu["index"], gpu["instance"]) for gpu in gpus] == [(0, 0), (0, 2), (1, None)]
        assert gpus[0]["uuid"].startswith("MIG-")
        assert gpus[0]["memory_total"] == 10 * GIB
        assert gpus[0]["utilization"] is None
        assert gpus[0]["compute_capability"] == [9, 0]

    def test_a_gpu_without_instances_cannot_be_used(self, read: Read) -> None:
        """MIG mode with no instance: nothing can run there, and the reading says why."""
        gpus = read(gpus=2, mig=0)["gpus"]
        assert "no instance" in gpus[0]["error"]
        assert gpus[1]["error"] == ""


class TestProcesses:
    """What each process has on the GPUs."""

    CODE = "from rbee_tui.engine.hardware.nvml import Library\nprint(Library().processes())"

    @pytest.mark.parametrize(
        ("fake", "told"),
        [
            ({"gpus": 0, "pid": 42}, {}),
            ({"gpus": 1}, {}),
            ({"gpus": 1, "pid": 42, "pid_mib": 3}, {42: 3 << 20}),
            ({"gpus": 8, "pid": 42, "pid_mib": 3}, {42: 24 << 20}),
            ({"gpus": 2, "pid": 42, "pid_mib": 3, "lost": "0"}, {42: 3 << 20}),
            ({"gpus": 1, "pid": 42, "unsupported": "processes"}, {}),
            ({"gpus": 1, "pid": 42, "init": 9}, {}),
        ],
    )
    def test_it_is_summed_over_the_gpus(
        self, driver: Path, fake: dict[str, Any], told: dict[int, int]
    ) -> None:
        """A lost GPU, one that does not tell and an absent driver hold nothing."""
        assert run_python(self.CODE, nvml_environment(driver, **fake)) == f"{told}\n".encode()


class TestOneInit:
    def test_many_threads_share_one_init(self, driver: Path, tmp_path: Path) -> None:
        """32 readings from 8 threads initialise the library once, and closing shuts it down once."""
        calls = tmp_path / "calls"
        output = run_python(
            """
from concurrent.futures import ThreadPoolExecutor
from rbee_tui.engine.hardware import Probe
with Probe() as probe, ThreadPoolExecutor(8) as pool:
    readings = list(pool.map(lambda _: probe.read(), range(32)))
print({len(reading.gpus) for reading in readings})
""",
            nvml_environment(driver, calls=calls),
        )
        assert output == b"{2}\n"
        assert calls.read_text().split() == ["init", "shutdown"]

    def test_a_failed_init_is_not_repeated_at_each_poll(self, driver: Path, tmp_path: Path) -> None:
        """Ten readings without a driver ask the loader once: it takes 50 ms each time."""
        calls = tmp_path / "calls"
        run_python(
            """
from rbee_tui.engine.hardware import Probe
with Probe() as probe:
    for _ in range(10):
        assert not probe.read().nvml.available
""",
            nvml_environment(driver, calls=calls, init=9),
        )
        assert calls.read_text().split() == ["init"]

    def test_a_library_that_went_stale_is_initialised_again(self, driver: Path, tmp_path: Path) -> None:
        """One reading says that NVML lost its state, the next has the GPUs back."""
        flag = tmp_path / "stale"
        output = run_python(
            f"""
import pathlib
from rbee_tui.engine.hardware import Probe
with Probe() as probe:
    print(len(probe.read().gpus))
    pathlib.Path({str(flag)!r}).touch()
    print(probe.read().nvml.available)
    print(len(probe.read().gpus))
""",
            nvml_environment(driver, stale_file=flag),
        )
        assert output.split() == [b"2", b"False", b"2"]


class TestMutants:
    def test_a_reader_without_the_guard_fails_the_missing_field(self, driver: Path) -> None:
        """Asked without the guard, a missing field ends the reading: the check above would see that."""
        output = run_python(
            """
from rbee_tui.engine import hardware
from rbee_tui.engine.hardware import nvml
nvml._optional = lambda pynvml, ask: ask()
print(hardware.read().gpus[0].error)
""",
            nvml_environment(driver, gpus=1, unsupported="power"),
        )
        assert b"Not Supported" in output


def test_a_reading_is_frozen_plain_data(driver: Path) -> None:
    """A reading comes back the same from JSON, and cannot be changed."""
    from rbee_tui.engine.hardware import Reading  # noqa: PLC0415 - what is under test

    reading = msgspec.convert(read_machine(nvml_environment(driver)), Reading)
    assert msgspec.json.decode(msgspec.json.encode(reading), type=Reading) == reading
    assert [gpu.label for gpu in reading.usable_gpus] == ["GPU0", "GPU1"]
    with contextlib.suppress(AttributeError):
        reading.at = ""  # type: ignore[misc] - that it fails is the point
    assert reading.at
