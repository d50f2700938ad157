"""The choice of a worker variant: a verdict with a reason for each candidate, whatever the machine."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbee_tui.engine.artifacts import Entry, Health, Offer, Requirement, Worker
from rbee_tui.engine.hardware import Cpu, Disk, Gpu, Memory, Metal, Nvml, OtherGpu, Reading
from rbee_tui.engine.probing import Fit
from rbee_tui.engine.variants import Candidate, Selection, Verdict, choose, cuda_runtime

GIB = 1024**3
LINUX = "linux-x86_64"
MAC = "macos-aarch64"

CPU = Offer(
    id="llm-worker-cpu",
    name="CPU",
    version="1",
    worker_type="cpu",
    runtime="xllamacpp",
    platforms=(LINUX, MAC),
    cpu_features=("avx2", "fma", "f16c"),
)
CUDA = Offer(
    id="llm-worker-cuda",
    name="CUDA",
    version="1",
    worker_type="cuda",
    runtime="xllamacpp",
    platforms=(LINUX,),
    cpu_features=("avx2", "fma", "f16c"),
    index_url="https://example.invalid/whl/cu124/",
)
METAL = Offer(
    id="llm-worker-metal",
    name="Metal",
    version="1",
    worker_type="metal",
    runtime="xllamacpp",
    platforms=("macos-arm64",),
)
OFFERS = (CPU, CUDA, METAL)


def gpu(index: int = 0, *, free: int = 70 * GIB, total: int = 80 * GIB, **more: Any) -> Gpu:
    return Gpu(
        index=index, name="Fake", memory_total=total, memory_free=free, memory_used=total - free, **more
    )


def machine(**changes: Any) -> Reading:
    """A Linux machine with AVX2, 32 GiB and one idle GPU, but for `changes`."""
    reading = Reading(
        at="2026-01-01T00:00:00Z",
        platform=LINUX,
        cpu=Cpu(name="A CPU", cores_logical=8, cores_available=8.0, features=("avx2", "f16c", "fma")),
        memory=Memory(total=32 * GIB, available=30 * GIB),
        disk=Disk(path="/", total=1, free=1),
        nvml=Nvml(available=True, driver="550.54.15", cuda=(12, 4)),
        metal=Metal(available=False, reason="Metal is Apple's; this is Linux"),
        gpus=(gpu(),),
    )
    return msgspec.structs.replace(reading, **changes)


NO_DRIVER = Nvml(available=False, reason="no NVIDIA driver is installed (libnvidia-ml.so.1 was not found)")
NO_GPU = machine(nvml=NO_DRIVER, gpus=())
APPLE = machine(platform=MAC, nvml=NO_DRIVER, gpus=(), metal=Metal(available=True))


def installed(offer: Offer, health: Health = Health.OK, reason: str = "", **changes: Any) -> Entry[Worker]:
    worker = Worker(
        id=offer.id,
        name=offer.name,
        version=offer.version,
        binary_path="run",
        worker_type=offer.worker_type,
        platforms=[LINUX, "macos-arm64"],
    )
    return Entry(
        id=offer.id, artifact=msgspec.structs.replace(worker, **changes), health=health, reason=reason
    )


def verdict(selection: Selection, worker_id: str) -> Verdict:
    (found,) = (each for each in selection.verdicts if each.worker_id == worker_id)
    return found


class TestPreference:
    @pytest.mark.parametrize(
        ("reading", "taken"),
        [(machine(), "cuda"), (NO_GPU, "cpu"), (APPLE, "metal")],
        ids=["with a GPU", "without", "a Mac"],
    )
    def test_each_machine_gets_its_fastest(self, reading: Reading, taken: str) -> None:
        """CUDA before Metal before the CPU, where they can run."""
        selection = choose(reading, OFFERS)
        assert selection.variant == taken
        assert selection.worker_id == f"llm-worker-{taken}"

    def test_the_one_behind_says_who_goes_first_and_why(self) -> None:
        """A usable candidate that is not taken names the one that is."""
        second = verdict(choose(machine(), OFFERS), "llm-worker-cpu")
        assert second.usable
        assert not second.taken
        assert second.reason == "it would run, but llm-worker-cuda goes first: CUDA is faster than the CPU"

    def test_an_installed_worker_goes_before_an_offer_of_its_kind(self) -> None:
        """What is here already needs no download; the same offer says so."""
        selection = choose(NO_GPU, [CPU, installed(CPU)])
        assert [(each.installed, each.taken) for each in selection.verdicts] == [(True, True), (False, False)]
        assert selection.verdicts[1].reason == "it is installed already"

    def test_a_faster_offer_goes_before_an_installed_slower_one(self) -> None:
        """A GPU is worth an install."""
        assert choose(machine(), [installed(CPU), CUDA]).worker_id == "llm-worker-cuda"

    def test_nothing_offered_is_nothing_taken(self) -> None:
        """An empty list has an empty answer."""
        assert choose(machine(), []) == Selection(worker_id=None, variant=None, verdicts=())

    def test_the_platform_can_be_another(self) -> None:
        """A choice for a machine that is not this one."""
        assert (
            "linux-x86_64" in verdict(choose(APPLE, OFFERS, platform="macos-arm64"), "llm-worker-cuda").reason
        )


class TestRefusal:
    """Each reason for which a candidate is refused, in its words."""

    @pytest.mark.parametrize(
        ("reading", "candidate", "words"),
        [
            (
                machine(platform="linux-riscv64"),
                CPU,
                "it is for linux-x86_64, macos-aarch64, and this machine is",
            ),
            (NO_GPU, CUDA, "no NVIDIA GPU can be used: no NVIDIA driver is installed"),
            (
                msgspec.structs.replace(NO_GPU, other_gpus=(OtherGpu(vendor="AMD", card="card0"),)),
                CUDA,
                "this machine's AMD GPU cannot run CUDA",
            ),
            (machine(gpus=()), CUDA, "lists no GPU"),
            (machine(gpus=(Gpu(index=0, error="the GPU is lost"),)), CUDA, "GPU0: the GPU is lost"),
            (
                machine(nvml=Nvml(available=True, driver="470.1", cuda=(11, 4))),
                CUDA,
                "it needs CUDA 12.4, and the driver 470.1 runs up to CUDA 11.4: update the driver",
            ),
            (machine(gpus=(gpu(total=0, free=0),)), CUDA, "no memory is known of any GPU"),
            (
                machine(cpu=Cpu(name="old", cores_logical=1, cores_available=1.0, features=("sse2", "fma"))),
                CPU,
                "this CPU has no AVX2, F16C",
            ),
            (NO_GPU, msgspec.structs.replace(METAL, platforms=(LINUX,)), "Metal is Apple's"),
            (machine(), installed(CPU, Health.MISSING), "its binary is missing; install it again"),
            (
                machine(),
                installed(CPU, Health.DAMAGED, "bad hash"),
                "it is damaged (bad hash); install it again",
            ),
            (machine(), installed(CPU, Health.ARRIVING), "still being copied"),
            (
                machine(),
                Entry(id="x", artifact=None, health=Health.BROKEN, reason="not JSON"),
                "broken (not JSON)",
            ),
            (machine(), installed(CPU, platforms=["macos-arm64"]), "install it again on this machine"),
            (machine(), installed(CPU, worker_type="vulkan"), "vulkan is not chosen by itself"),
            (machine(), installed(CUDA, devices=["CPU"]), "after its install it saw no GPU, only CPU"),
        ],
    )
    def test_a_refusal_has_its_reason(self, reading: Reading, candidate: Candidate, words: str) -> None:
        """The one candidate is refused, and the sentence says why."""
        selection = choose(reading, [candidate])
        (found,) = selection.verdicts
        assert selection.worker_id is None
        assert not found.usable
        assert words in found.reason

    def test_a_driver_of_the_same_major_version_is_new_enough(self) -> None:
        """Within one major version of CUDA an older driver runs a newer runtime."""
        reading = machine(nvml=Nvml(available=True, driver="525.60.13", cuda=(12, 0)))
        assert choose(reading, [CUDA]).variant == "cuda"

    def test_one_lost_gpu_does_not_refuse_the_other(self) -> None:
        """What still works is used."""
        reading = machine(gpus=(Gpu(index=0, error="lost"), gpu(1)))
        assert "GPU1" in choose(reading, [CUDA]).verdicts[0].reason

    def test_an_unread_cpu_is_not_refused_and_says_so(self) -> None:
        """Where the system does not tell the features, nothing is claimed about them."""
        reading = machine(cpu=Cpu(name="?", cores_logical=1, cores_available=1.0))
        assert "was not checked" in choose(reading, [CPU]).verdicts[0].reason

    def test_a_plain_worker_without_platforms_is_believed(self) -> None:
        """A registered binary says nothing about platforms."""
        worker = installed(CPU).artifact
        assert worker is not None
        assert (
            choose(machine(), [msgspec.structs.replace(worker, platforms=[])]).worker_id == "llm-worker-cpu"
        )


class TestMemory:
    def test_a_model_that_does_not_fit_the_gpu_goes_to_the_cpu_with_figures(self) -> None:
        """The refusal is that of the fit."""
        fits = {"cuda": Fit(refusal="tiny needs 12.0 GiB"), "cpu": Fit(where="12.0 GiB of 64.0 GiB")}
        selection = choose(machine(), OFFERS, fits=fits)
        assert selection.variant == "cpu"
        assert verdict(selection, "llm-worker-cuda").reason == "tiny needs 12.0 GiB"

    def test_where_it_lies_is_told(self) -> None:
        """Also where a part of it lies on the CPU."""
        (found,) = choose(machine(), [CUDA], fits={"cuda": Fit(where="9 of 33 layers on GPU0")}).verdicts
        assert found.taken
        assert found.reason.endswith("; 9 of 33 layers on GPU0")

    def test_the_cpu_is_never_refused_for_memory_but_warns(self) -> None:
        """It is the last resort: the file is mapped, so it may still run."""
        (found,) = choose(NO_GPU, [CPU], fits={"cpu": Fit(refusal="the model needs 64.0 GiB")}).verdicts
        assert found.taken
        assert "but the model needs 64.0 GiB" in found.reason


class TestProbes:
    """What was looked at, each with what was found."""

    def test_those_of_a_cuda_offer(self) -> None:
        """In order, all of them well."""
        (found,) = choose(machine(), [CUDA], fits={"cuda": Fit(where="all 33 layers on GPU0")}).verdicts
        names = [each.name for each in found.probes]
        assert names == ["kind", "platform", "CPU features", "driver", "GPUs", "CUDA", "memory", "offer"]
        assert all(each.ok and each.text for each in found.probes)

    def test_the_first_that_fails_is_the_reason(self) -> None:
        """And what depends on it is not asked."""
        (found,) = choose(NO_GPU, [CUDA]).verdicts
        assert [each.name for each in found.probes if not each.ok] == ["driver"]
        assert found.probes[-1].text == found.reason

    def test_others_are_looked_at_after_one_that_fails(self) -> None:
        """A person sees all that is missing at once."""
        old = msgspec.structs.replace(machine().cpu, features=("sse2",))
        reading = msgspec.structs.replace(machine(), cpu=old)
        (found,) = choose(reading, [CPU], fits={"cpu": Fit(where="here")}).verdicts
        assert [(each.name, each.ok) for each in found.probes][-3:] == [
            ("CPU features", False),
            ("memory", True),
            ("offer", True),
        ]
        assert not found.usable

    def test_an_installed_wheel_needs_what_it_was_built_for(self) -> None:
        """It would die of an illegal instruction."""
        worker = Worker(
            id="w",
            name="W",
            version="1",
            binary_path="w",
            worker_type="cpu",
            runtime="xllamacpp",
            platforms=["linux-x86_64"],
            cpu_features=["avx2", "fma", "f16c"],
        )
        old = msgspec.structs.replace(machine().cpu, features=("avx2", "fma"))
        (found,) = choose(msgspec.structs.replace(machine(), cpu=old), [worker]).verdicts
        assert found.reason.startswith("this CPU has no F16C, without which")


class TestCudaRuntime:
    @pytest.mark.parametrize(
        ("changes", "runtime"),
        [
            ({"index_url": "https://x.invalid/whl/cu128"}, (12, 8)),
            ({"index_url": "https://x.invalid/cuda-12.4/simple"}, (12, 4)),
            ({"index_url": None}, None),
            ({"index_url": None, "requirements": (("x", "1.2+cu118"),)}, (11, 8)),
            ({"requirements": (("nvidia-cuda-runtime-cu12", "12.6.77"),)}, (12, 6)),
            ({"requirements": (("nvidia-cuda-runtime", "odd"),)}, None),
            ({"index_url": "https://cu12.invalid/simple"}, None),
        ],
    )
    def test_the_runtime_is_told_by_package_version_or_index(
        self, changes: dict[str, Any], runtime: tuple[int, int] | None
    ) -> None:
        """The runtime's own package knows best, then a version's tag, then the index."""
        named = changes.get("requirements", ())
        changes = changes | {
            "requirements": tuple(Requirement(name=n, version=v, hashes=()) for n, v in named)
        }
        assert cuda_runtime(msgspec.structs.replace(CUDA, **changes)) == runtime


texts = st.text(max_size=12)
sizes = st.integers(0, 1 << 40)
versions = st.none() | st.tuples(st.integers(0, 20), st.integers(0, 9))
gpus = st.builds(
    Gpu,
    index=st.integers(0, 9),
    memory_total=sizes,
    memory_free=sizes,
    shares_host_memory=st.booleans(),
    error=st.sampled_from(["", "the GPU is lost"]),
)
readings = st.builds(
    Reading,
    at=st.just("2026-01-01T00:00:00Z"),
    platform=st.sampled_from([LINUX, MAC, "linux-aarch64", ""]),
    cpu=st.builds(
        Cpu,
        name=texts,
        cores_logical=st.integers(1, 512),
        cores_available=st.floats(0.01, 512),
        features=st.lists(st.sampled_from(["avx2", "fma", "f16c"])).map(tuple),
    ),
    memory=st.builds(Memory, total=sizes, available=sizes),
    disk=st.just(Disk(path="/", total=1, free=1)),
    nvml=st.builds(Nvml, available=st.booleans(), reason=texts, driver=st.none() | texts, cuda=versions),
    metal=st.builds(Metal, available=st.booleans(), reason=texts),
    gpus=st.lists(gpus, max_size=3).map(tuple),
)
platforms = st.lists(st.sampled_from([LINUX, MAC, "macos-arm64", "linux-aarch64"]), max_size=3)
offers = st.builds(
    Offer,
    id=texts,
    name=texts,
    version=texts,
    worker_type=st.sampled_from(["cpu", "cuda", "metal"]),
    runtime=texts,
    platforms=platforms.map(tuple),
    cpu_features=st.lists(st.sampled_from(["avx2", "AVX512F"])).map(tuple),
    index_url=st.none() | st.sampled_from(["https://x.invalid/cu124/", "https://x.invalid/cu130/"]) | texts,
)
workers = st.builds(
    Worker,
    id=texts,
    name=texts,
    version=texts,
    binary_path=texts,
    worker_type=st.sampled_from(["cpu", "cuda", "metal", "rocm", ""]) | texts,
    platforms=platforms,
    devices=st.lists(st.sampled_from(["CPU", "CUDA0"]), max_size=2),
)
entries = st.builds(
    Entry, id=texts, artifact=st.none() | workers, health=st.sampled_from(list(Health)), reason=texts
)
candidates = st.lists(offers | workers | entries, max_size=6)
fits = st.builds(Fit, where=texts, refusal=st.just("") | st.just("it is too large"))
needs = st.none() | st.dictionaries(st.sampled_from(["cuda", "metal", "cpu"]), fits)


# A busy machine is no bug.
patient = settings(deadline=None)


class TestAlways:
    @patient
    @given(readings, candidates, needs)
    def test_there_is_a_verdict_for_each_and_at_most_one_is_taken(
        self, reading: Reading, listed: list[Candidate], needed: dict[str, Fit] | None
    ) -> None:
        """As many verdicts as candidates, each with a reason, and one choice at most."""
        selection = choose(reading, listed, fits=needed)
        taken = [each for each in selection.verdicts if each.taken]
        assert len(selection.verdicts) == len(listed)
        assert all(each.reason.strip() for each in selection.verdicts)
        assert len(taken) == (1 if any(each.usable for each in selection.verdicts) else 0)
        assert selection.worker_id == (taken[0].worker_id if taken else None)
        assert all(each.usable for each in taken)

    @patient
    @given(readings, candidates, needs, st.randoms(use_true_random=False))
    def test_the_order_of_the_candidates_does_not_matter(
        self, reading: Reading, listed: list[Candidate], needed: dict[str, Fit] | None, chance: random.Random
    ) -> None:
        """The same machine and the same candidates give the same answer, however they are listed."""
        mixed = list(listed)
        chance.shuffle(mixed)
        assert choose(reading, mixed, fits=needed) == choose(reading, listed, fits=needed)

    @patient
    @given(readings, candidates, needs)
    def test_the_taken_one_is_the_best_of_the_usable(
        self, reading: Reading, listed: list[Candidate], needed: dict[str, Fit] | None
    ) -> None:
        """No usable candidate is of a faster kind than the one that is taken."""
        rank = {"cuda": 0, "metal": 1, "cpu": 2}
        selection = choose(reading, listed, fits=needed)
        usable = [rank[each.variant] for each in selection.verdicts if each.usable]
        assert not usable or rank[selection.variant or ""] == min(usable)

    @patient
    @given(readings, candidates, needs)
    def test_no_reason_can_drive_the_terminal(
        self, reading: Reading, listed: list[Candidate], needed: dict[str, Fit] | None
    ) -> None:
        """Names from outside are cleaned in every sentence."""
        listed = [msgspec.structs.replace(each, id="\x1b[2J") for each in listed]
        selection = choose(reading, listed, fits=needed)
        assert not any("\x1b" in each.reason for each in selection.verdicts)


def test_a_chooser_that_takes_the_first_usable_one_depends_on_the_order() -> None:
    """The naive choice, first come first served, would fail the check of order."""

    def naive(listed: tuple[Offer, ...]) -> str | None:
        return next((each.id for each in listed if choose(machine(), [each]).worker_id), None)

    assert naive((CPU, CUDA)) != naive((CUDA, CPU))


def test_an_arm_processor_needs_none_of_an_x86_wheel_s_features() -> None:
    """Its own are called otherwise, and the wheel for it needs none of them."""
    arm = machine(
        platform="linux-aarch64",
        cpu=Cpu(name="Arm", cores_logical=4, cores_available=4.0, features=("neon",)),
    )
    offer = msgspec.structs.replace(CPU, platforms=("linux-aarch64",))
    assert choose(arm, [offer]).worker_id == CPU.id
