"""A projector is counted, and alike by everybody: before the download, once it is here, at its start."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine import ModelProvisioner, choices
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import DoesNotFitError
from rbee_tui.engine.fit import PROJECTOR_COMPUTE, estimate
from rbee_tui.engine.fitting.choice import fit_of_choice
from rbee_tui.engine.fitting.machine import machine_of
from rbee_tui.engine.fitting.placing import place
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.engine.planning import Plan
from rbee_tui.engine.workers.choosing import choose_context
from tests import projector
from tests.engine.fitting.support import GIB, reading
from tests.engine.fitting.test_matrix import HEADER

REPO = "owner/eyes-gguf"
MODEL, PROJECTOR = tiny.build("It is red."), projector.build()
SEEING = msgspec.structs.replace(HEADER, tensor_bytes=4 * GIB, projector_bytes=GIB)


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """A Hub with a model and its projector."""
    with DemoHub([DemoRepo(REPO, {"eyes-F16.gguf": MODEL, "mmproj-eyes-F16.gguf": PROJECTOR})]) as found:
        yield found


async def download(root: Root, hub: DemoHub) -> Plan:
    """Bring all of it; what was planned."""
    async with ModelProvisioner(root, hub=Hub(hub.url, token="")) as provisioner:
        plan = provisioner.plan(REPO)
        await provisioner.run(await provisioner.download_model(REPO))
    return plan


def test_all_count_the_same(root: Root, hub: DemoHub):
    """The repository's matrix, the question before the download, the matrix of what came, and the start."""
    engine = Engine(root, Hub(hub.url, token=""))
    (there,) = engine.fitter.of_repository(REPO).rows[0].cells
    plan = asyncio.run(download(root, hub))
    asked = engine.fitter.of_plan(plan)
    repository = engine.hub.repository(REPO)
    shown = fit_of_choice(
        choices.group(repository.files)[0], engine.fitter.machine(), engine.fitter.known(repository)
    )
    (here,) = engine.fitter.of_model(plan.model.id).rows[0].cells
    start = engine.processes.outlook(plan.model.id)
    needed = {there.needed, asked.needed, shown.needed, here.needed, start.needed_bytes}
    assert needed == {here.weights + here.kv + here.compute + here.output + len(PROJECTOR)}
    assert (there.projector, here.projector, start.projector) == (len(PROJECTOR),) * 2 + (
        "mmproj-eyes-F16.gguf",
    )
    assert engine.processes.outlook(plan.model.id, projector=False).needed_bytes < here.needed


class TestEstimate:
    def test_an_interval(self):
        """Its file at least; what a picture takes is not told beforehand."""
        blind = estimate(msgspec.structs.replace(SEEING, projector_bytes=0), 8192)
        found = estimate(SEEING, 8192)
        assert not found.covered
        assert (found.low, found.high) == (blind.low + GIB, blind.total + 2 * GIB + PROJECTOR_COMPUTE)
        assert found.total == found.weights + found.kv + found.compute + found.output + found.projector

    def test_it_is_whole_on_the_gpu(self):
        """Of a model that is there in part, its layers are parted, and the projector is not."""
        machine = machine_of(reading(64, 6))
        layers = [
            place(estimate(header, 8192), 32, machine.devices[0], machine).layers
            for header in (SEEING, msgspec.structs.replace(SEEING, tensor_bytes=5 * GIB, projector_bytes=0))
        ]
        assert 0 < layers[0] < layers[1]

    def test_what_does_not_fit_may_fit_without(self):
        """The refusal says how it is left out."""
        with pytest.raises(DoesNotFitError) as refused:
            choose_context("m", SEEING, None, 4 * GIB)
        assert "--no-projector" in refused.value.hint

    def test_it_is_learnt_apart(self):
        """What such a model took says nothing of one without."""
        assert SEEING.learnt_as != HEADER.learnt_as == "llama"
