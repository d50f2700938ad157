"""Where a model is put: devices, layers on the GPU, context and slots, by the figures of `rbee fit`. Pure."""

from collections.abc import Iterator

import msgspec

from rbee_tui.engine.errors import DoesNotFitError, RbeeError, UsageError
from rbee_tui.engine.fit import Estimate, estimate, largest_context
from rbee_tui.engine.fitting.machine import Device, Machine
from rbee_tui.engine.fitting.placing import beside, place
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.probing import PREFERENCE, Fit
from rbee_tui.engine.text import clean, memory
from rbee_tui.engine.workers.choosing import DEFAULT_CONTEXT, LEAST_CONTEXT, choose_context
from rbee_tui.engine.workers.profiles import PARALLEL
from rbee_tui.engine.workers.promises import pool_of
from rbee_tui.engine.workers.wishes import Wishes

COMFORTABLE_CONTEXT = 4096
"""Rather than with less context, a model is put on the GPU in part."""
ALL = "all GPUs"


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is put into this machine; sizes in bytes."""

    device: str
    """`GPU0`, `all GPUs`, `Metal` or `CPU`."""
    need: Estimate
    room: int
    """What it may take on that device."""
    slots: int = PARALLEL
    gpu_layers: int = 0
    of_layers: int = 0
    on_host: int = 0
    """What of it lies in main memory though it runs on a GPU."""

    @property
    def where(self) -> str:
        """In words."""
        if self.device == "CPU":
            return f"{memory(self.need.total)} of {memory(self.room)} of main memory"
        if self.gpu_layers >= self.of_layers:
            figures = f"{memory(self.need.total)} of {memory(self.room)}"
            return f"all {self.of_layers} layers on {self.device}: {figures}"
        rest = f"the rest on the CPU ({memory(self.on_host)})"
        return f"{self.gpu_layers} of {self.of_layers} layers on {self.device}, {rest}"


def put(
    name: str, header: Header, machine: Machine, variant: str, wanted: Wishes, correction: int = 0
) -> Placement:
    """The best place for a model with a worker of this variant, as far as it was not wished otherwise.

    `machine` has what was promised to others taken off; `correction` is what such models took beyond their
    estimates here. Raises DoesNotFitError with figures, UsageError for a device that is not there.
    """
    task = _Task(name, header, wanted, correction)
    devices = _devices(machine, variant, wanted)
    on_cpu = pool_of(variant) == "host" or wanted.gpu_layers == 0 or wanted.device == "CPU"
    if on_cpu or not devices:
        return task.on_cpu(machine.host)
    if wanted.gpu_layers is not None:
        return task.with_layers(devices, machine, wanted.gpu_layers)
    return next(task.on_gpu(devices, machine), None) or task.whole_at_any_price(devices)


def fits(name: str, header: Header, machine: Machine, wanted: Wishes, correction: int = 0) -> dict[str, Fit]:
    """How the model lies in the memory of each variant, for the choice among workers."""
    found: dict[str, Fit] = {}
    for variant in PREFERENCE:
        try:
            found[variant] = Fit(where=put(name, header, machine, variant, wanted, correction).where)
        except RbeeError as error:
            found[variant] = Fit(refusal=str(error))
    return found


def environment(reading: Reading, placement: Placement, variant: str) -> dict[str, str]:
    """What lets CUDA see the chosen GPUs alone, in the order of the driver's own numbers."""
    if variant != "cuda":
        return {}
    chosen = [gpu for gpu in reading.usable_gpus if placement.device in (ALL, "CPU", gpu.label)]
    visible = ",".join(gpu.uuid for gpu in chosen if gpu.uuid)
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return order | ({"CUDA_VISIBLE_DEVICES": visible} if visible else {})


def _devices(machine: Machine, variant: str, wanted: Wishes) -> list[Device]:
    """The GPUs that may be taken, the roomiest first."""
    every = machine.devices[:-1]
    if wanted.device is None:
        return list(every)
    named = {"all": ALL}.get(wanted.device, wanted.device)
    known = [*(device.name for device in every if pool_of(variant) == "gpu"), "CPU"]
    if named not in known:
        raise UsageError(
            f"a {clean(variant)} worker has no device {clean(wanted.device)!r} here",
            hint=f"there are {', '.join(known)}",
        )
    return [device for device in every if device.name == named]


class _Task:
    """One model that is to be put somewhere."""

    def __init__(self, name: str, header: Header, wanted: Wishes, correction: int) -> None:
        self.name, self.header, self.wanted, self.correction = name, header, wanted, correction
        self.slots = wanted.slots or PARALLEL
        self.layers = header.n_layers or 1
        self.most = wanted.context or min(header.context_length or DEFAULT_CONTEXT, DEFAULT_CONTEXT)

    def need(self, context: int) -> Estimate:
        """What it takes at a context."""
        return estimate(self.header, context, parallel=self.slots).plus(self.correction)

    def on_cpu(self, host: Device) -> Placement:
        """All of it in main memory."""
        return Placement(
            device="CPU",
            need=self._chosen(host),
            room=host.room,
            slots=self.slots,
            of_layers=self.layers,
        )

    def on_gpu(self, devices: list[Device], machine: Machine) -> Iterator[Placement]:
        """The ways to put it on a GPU, the best first."""
        least = self.most if self.wanted.context else min(self.most, LEAST_CONTEXT)
        yield from self._whole(devices, machine, self.most)
        yield from self._whole(devices, machine, max(least, min(self.most, COMFORTABLE_CONTEXT)))
        yield from self._part(devices, machine, self.most)
        yield from self._whole(devices, machine, least)
        yield from self._part(devices, machine, least)

    def whole_at_any_price(self, devices: list[Device]) -> Placement:
        """On the roomiest where only a lower bound is known; raises DoesNotFitError."""
        best = max(devices, key=lambda device: device.room)
        return self._all_on(best, self._chosen(best))

    def with_layers(self, devices: list[Device], machine: Machine, layers: int) -> Placement:
        """So many layers on the first GPU that has room for them; raises DoesNotFitError."""
        count = min(layers, self.layers)
        need = self.need(self.most)
        rest = beside(need, self.layers, count)
        best = max(devices, key=lambda device: device.room)
        for device in devices:
            if need.total - rest <= device.room and rest <= machine.host.room:
                return msgspec.structs.replace(self._all_on(device, need), gpu_layers=count, on_host=rest)
        raise DoesNotFitError(
            f"{clean(self.name)} with {count} of {self.layers} layers on the GPU needs "
            f"{memory(need.total - rest)} there and {memory(rest)} of main memory: {best.name} has room "
            f"for {memory(best.room)}, and {memory(machine.host.room)} of main memory are available",
            hint="give fewer --gpu-layers, or a smaller --context",
        )

    def _whole(self, devices: list[Device], machine: Machine, least: int) -> Iterator[Placement]:
        for device in devices:
            room = device.room - self.correction
            context = largest_context(self.header, room, self.most, least, parallel=self.slots)
            if context is None:
                continue
            need = self.need(context)
            if place(need, self.layers, device, machine).word == "fits":
                yield self._all_on(device, need)

    def _part(self, devices: list[Device], machine: Machine, context: int) -> Iterator[Placement]:
        need = self.need(context)
        placings = [place(need, self.layers, device, machine) for device in devices]
        found = [each for each in placings if each.word == "part"]
        for each in sorted(found, key=lambda each: -each.layers):
            yield Placement(
                device=each.device,
                need=need,
                room=each.room,
                slots=self.slots,
                gpu_layers=each.layers,
                of_layers=self.layers,
                on_host=beside(need, self.layers, each.layers),
            )

    def _chosen(self, device: Device) -> Estimate:
        return choose_context(
            self.name,
            self.header,
            self.wanted.context,
            device.room,
            promised=device.promised,
            correction=self.correction,
            parallel=self.slots,
        )

    def _all_on(self, device: Device, need: Estimate) -> Placement:
        return Placement(
            device=device.name,
            need=need,
            room=device.room,
            slots=self.slots,
            gpu_layers=self.layers,
            of_layers=self.layers,
        )
