"""Runtimes as small descriptions, and the offers: what is known before anything is started."""

from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.artifacts import Worker, this_platform
from rbee_tui.engine.errors import NotFoundError, RefusedError
from rbee_tui.engine.workers import offers, profiles
from rbee_tui.engine.workers.profiles import Launch


def worker(runtime: str | None) -> Worker:
    """A worker on a runtime."""
    return Worker(id="w", name="W", version="1", binary_path="w", worker_type="cpu", runtime=runtime)


LAUNCH = Launch(
    model=Path("/m/tiny.gguf"), alias="tiny", port=4711, context=512, threads=3, key_file=Path("/s/tiny.key")
)


class TestCommand:
    """What a runtime is started with."""

    def test_a_server_of_its_own(self):
        """The key goes by file; one slot; no memory for prompts; loopback alone."""
        words = profiles.command(worker("llama-server"), Path("/bin/llama-server"), Path("/python"), LAUNCH)
        assert words[0] == "/bin/llama-server"
        assert words.pop() == "--metrics"
        assert dict(zip(words[1::2], words[2::2], strict=True)) == {
            "--model": "/m/tiny.gguf",
            "--alias": "tiny",
            "--host": "127.0.0.1",
            "--port": "4711",
            "--ctx-size": "512",
            "--parallel": "1",
            "--cache-ram": "0",
            "--threads": "3",
            "--api-key-file": "/s/tiny.key",
        }

    def test_layers_slots_and_embeddings(self):
        """As they were chosen."""
        launch = msgspec.structs.replace(LAUNCH, slots=4, gpu_layers=20, embeddings=True)
        words = " ".join(profiles.command(worker("llama-server"), Path("/l"), Path("/python"), launch))
        assert "--parallel 4 " in words
        assert "--n-gpu-layers 20 --embeddings --pooling mean --metrics" in words
        quiet = profiles.command(worker("llama-cpp-python"), Path("/l"), Path("/python"), launch)
        assert "--metrics" not in quiet

    @pytest.mark.parametrize(("layers", "off"), [(None, False), (0, True), (20, False)])
    def test_a_projector(self, layers: int | None, off: bool):
        """It goes where the model goes: with no layer on the GPU no room is counted there."""
        launch = msgspec.structs.replace(LAUNCH, gpu_layers=layers, projector=Path("/m/mmproj.gguf"))
        for runtime in ("llama-server", "xllamacpp", "llama-cpp-python"):
            words = profiles.command(worker(runtime), Path("/l"), Path("/python"), launch)
            assert words[words.index("--mmproj") + 1] == "/m/mmproj.gguf"
            assert ("--no-mmproj-offload" in words) == off

    @pytest.mark.parametrize("runtime", ["xllamacpp", "llama-cpp-python", "llama-server"])
    def test_no_key(self, runtime: str):
        """None is asked for where none is given."""
        launch = msgspec.structs.replace(LAUNCH, key_file=None)
        words = profiles.command(worker(runtime), Path("/l"), Path("/python"), launch)
        assert not any("key" in word for word in words)

    @pytest.mark.parametrize("runtime", ["xllamacpp", "llama-cpp-python", "llama-server"])
    def test_another_address(self, runtime: str):
        """As it stands, without brackets: it is no URL."""
        launch = msgspec.structs.replace(LAUNCH, host="fd00::2")
        words = profiles.command(worker(runtime), Path("/l"), Path("/python"), launch)
        assert words[words.index("--host") + 1] == "fd00::2"

    @pytest.mark.parametrize("runtime", ["xllamacpp", "llama-cpp-python"])
    def test_one_with_a_launcher(self, runtime):
        """Under its Python, which sees nothing of this environment."""
        words = profiles.command(worker(runtime), Path("/w/launch"), Path("/python"), LAUNCH)
        assert words[:5] == ["/python", "-I", "/w/launch", "--runtime", runtime]

    @pytest.mark.parametrize(("runtime", "why"), [("vl\x1blm", "its runtime is"), (None, "names no runtime")])
    def test_an_unknown_one_is_refused(self, runtime, why):
        """With what may be done."""
        with pytest.raises(RefusedError, match=why) as caught:
            profiles.of(worker(runtime))
        assert "\x1b" not in str(caught.value)
        assert "rbee workers register" in caught.value.hint

    def test_where_it_says_that_it_is_ready(self):
        """One that was made elsewhere is asked as most are."""
        assert profiles.health("llama-cpp-python") == "/v1/models"
        assert profiles.health("llama-server") == profiles.health("another") == "/health"

    @pytest.mark.parametrize(("cores", "threads"), [(0.5, 1), (1.0, 1), (2.0, 1), (8.0, 7), (7.5, 6)])
    def test_one_core_is_left_for_the_rest(self, cores, threads):
        """Where there is one."""
        assert profiles.threads(cores) == threads


class TestWhatItSays:
    """Told by programs, so that any text may come."""

    @pytest.mark.parametrize(
        ("said", "version"),
        [
            ("version: 4404 (b6a2c8f)\nbuilt with cc", "4404"),
            ("loading\nversion: b4404", "b4404"),
            ("llama-server version: 1", None),
            ("version: none", None),
            ("", None),
        ],
    )
    def test_a_llama_server_is_recognised(self, said, version):
        """By the line that it alone writes."""
        assert profiles.recognise(said) == version

    @pytest.mark.parametrize(
        ("log", "port"),
        [
            ("main: server is listening on http://127.0.0.1:38991 - starting", 38991),
            ("listening on http://127.0.0.1:1\nlistening on http://127.0.0.1:2", 2),
            ("srv init: listening on http://[::1]:38991", 38991),
            ("listening on http://[::]:38991 - starting", 38991),
            ("listening on http://[2001:db8::1:22]:38991/", 38991),
            ("listening on http://127.0.0.1:99999", None),
            ("listening on http://127.0.0.1:0", None),
            ("listening on http://127.0.0.1:123456", None),
            ("loading", None),
        ],
    )
    def test_a_port(self, log, port):
        """The last one that can be one."""
        assert profiles.port_in(log) == port

    def test_devices(self):
        """Each in its line, with nothing that a terminal obeys; there are never more than sixteen."""
        said = "Available devices:\n  CUDA0: NVIDIA H100 (80 GiB)\nCPU: a\x1b[31m fake\nwarning: no\n"
        assert profiles.devices_in(said) == ["CUDA0: NVIDIA H100 (80 GiB)", "CPU: a\\x1b[31m fake"]
        assert len(profiles.devices_in("CPU: one\n" * 100)) == 16

    @pytest.mark.parametrize(
        ("devices", "kind"),
        [
            (["CPU: a", "CUDA0: b"], "cuda"),
            (["Metal: a"], "metal"),
            (["MTL0: a", "CPU: b"], "metal"),
            (["Vulkan0: a"], "cpu"),
            ([], "cpu"),
        ],
    )
    def test_the_type_of_a_worker(self, devices, kind):
        """From what it sees."""
        assert profiles.worker_type_of(devices) == kind


class TestOffers:
    """The bundled listing."""

    def test_every_package_is_pinned_by_hash(self):
        """One without any says why it cannot be installed."""
        for offer in offers.bundled():
            assert offer.unavailable or offer.requirements
            for each in offer.requirements:
                assert all(len(digest) == len("sha256:") + 64 for digest in each.hashes)
                assert each.hashes

    def test_every_runtime_is_known(self):
        """So that what is installed can be started."""
        for offer in offers.bundled():
            profiles.of(worker(offer.runtime))

    def test_there_is_one_for_this_machine(self):
        """On the platforms that rbee names."""
        assert any(this_platform() in offer.platforms for offer in offers.bundled())

    def test_by_id(self):
        """An unknown one names those that there are."""
        assert offers.find("llm-worker-cpu", offers.bundled()).worker_type == "cpu"
        with pytest.raises(NotFoundError, match="there is no worker 'llm-worker-rocm' to install") as caught:
            offers.find("llm-worker-rocm", offers.bundled())
        assert "llm-worker-cpu, llm-worker-metal" in caught.value.hint
