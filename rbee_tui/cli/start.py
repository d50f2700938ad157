"""`rbee start`, `pin`, `presets`: a worker on a model, how long it stays, and what is saved for it."""

from typing import TYPE_CHECKING, Any

import click
import msgspec

from rbee_tui.cli import output
from rbee_tui.cli.groups import ListingGroup
from rbee_tui.cli.options import engine, json_option, one_of, run
from rbee_tui.engine.errors import RbeeError, UsageError
from rbee_tui.engine.spans import seconds_of
from rbee_tui.engine.text import clean, memory
from rbee_tui.engine.workers import wishes

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.workers.outlook import Outlook


class Span(click.ParamType[int]):
    """A time span as `30m`, in whole seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        try:
            return value if isinstance(value, int) else seconds_of(str(value))
        except UsageError as error:
            self.fail(f"{error}; {error.hint}", param, ctx)


@click.command()
@click.argument("model")
@click.option("--worker", "worker_id", metavar="ID", help="This worker, instead of the one that fits best.")
@click.option("--context", type=click.IntRange(min=1), help="Tokens of context.")
@click.option("--port", type=click.IntRange(1, 65535), help="A port; a model keeps its port otherwise.")
@click.option(
    "--host", metavar="ADDRESS", help="Listen there; this machine alone without. 0.0.0.0 is every interface."
)
@click.option(
    "--key/--no-key",
    default=None,
    help="Need a key of whoever asks (default); or none, on loopback alone.",
)
@click.option("--device", metavar="NAME", help="GPU0, all (GPUs) or CPU; the best without.")
@click.option("--gpu-layers", type=click.IntRange(min=0), help="Layers on the GPU; as many as fit without.")
@click.option("--threads", type=click.IntRange(min=1), help="All cores but one without.")
@click.option("--slots", type=click.IntRange(min=1), help="Requests at once; they share the context.")
@click.option("--embeddings/--no-embeddings", default=None, help="Answer with embeddings, too.")
@click.option(
    "--projector/--no-projector",
    default=None,
    help="See and hear, where the model can (default); or text only.",
)
@click.option(
    "--idle", "idle_seconds", type=Span(), metavar="TIME", help="Unload it when nobody asks for so long: 30m."
)
@click.option("--pin/--no-pin", "pinned", default=None, help="Let it stay, however long nobody asks.")
@click.option("--restart/--no-restart", default=None, help="Start it again when it crashes (default).")
@click.option("--save", is_flag=True, help="Save these options for the model's next starts.")
@click.option("--explain", is_flag=True, help="Say what would be started and why, and start nothing.")
@json_option
def start(*, model: str, save: bool, explain: bool, as_json: bool, **said: Any) -> None:
    """Start a worker on a model; returns when it is ready, or fails with the end of its log.

    Worker, device, layers, context and threads are chosen by what this machine has free, as far as they are
    not said here or saved for the model. One that runs on it already is shown as it is. Ctrl-C ends a start.
    """
    from rbee_tui.cli.models import find  # noqa: PLC0415 - stop and ps do not need it

    house = engine("start")
    model_id = find(house.models, model)
    if explain:
        explain_start(house.processes.outlook(model_id, **said), as_json=as_json)
        return
    if save:
        house.processes.save(model_id, **said)
    while True:
        try:
            start_one(house, model_id, said, as_json=as_json)
        except RbeeError as error:
            context = error.details.get("retry_context") or error.details.get("death", {}).get(
                "retry_context"
            )
            if as_json or context is None or not _wants_retry(error, context):
                raise
            said["context"] = context
        else:
            return


def start_one(house: "Engine", model_id: str, said: dict[str, Any], *, as_json: bool) -> None:
    """Start a worker and print it; one that is still loading at Ctrl-C is ended."""
    from rbee_tui.engine.workers import listening  # noqa: PLC0415 - with sockets, which help does not need

    before = {each.id for each in house.processes.list()}
    try:
        running = run(house.processes.start(model_id, **said))
    except KeyboardInterrupt:
        if model_id not in before:
            run(_end(house, model_id))
        raise
    if model_id in before and any(value is not None for value in said.values()):
        output.note(f"it runs already, as it was started: rbee stop {clean(model_id)} first to change that")
    if as_json:
        output.print_json(running)
        return
    output.result(running.url)
    output.note(
        f"{clean(running.model)} is {running.state} on {clean(running.worker)} (pid {running.pid}), "
        f"context {running.context:,}{_sight(running.projector)}{'' if running.needs_key else ', no key'}"
    )
    if warning := listening.warning(running.host):
        output.note(warning)


def _sight(projector: str) -> str:
    return f", with projector {clean(projector)}" if projector else ""


async def _end(house: "Engine", model_id: str) -> None:
    """End what is loading."""
    output.note(f"ending the start of {clean(model_id)}")
    if any(each.model == model_id for each in house.processes.list()):
        await house.processes.stop(model_id)


def _wants_retry(error: RbeeError, context: int) -> bool:
    """Ask, where there is somebody to ask, whether to start with what would fit."""
    import sys  # noqa: PLC0415 - only a failure asks

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    output.note(f"rbee: {error}")
    return click.confirm(f"Start it with a context of {context:,} tokens, which would fit?", err=True)


def explain_start(outlook: "Outlook", *, as_json: bool) -> None:
    """Say of every worker, installed or offered, what was looked at, and what would be started."""
    from rbee_tui.engine.workers.listening import NO_KEY  # noqa: PLC0415 - with sockets, as above

    if as_json:
        output.print_json(outlook)
        return
    good, bad = output.glyph("✓", "+"), output.glyph("✗", "-")
    for verdict in outlook.verdicts:
        mark = good if verdict.taken else " " if verdict.usable else bad
        here = "" if verdict.installed else " (not installed)"
        output.result(f"{mark} {clean(verdict.worker_id)}{here}: {verdict.reason}")
        width = max((len(each.name) for each in verdict.probes), default=0)
        for each in verdict.probes:
            output.result(f"    {good if each.ok else bad} {each.name.ljust(width)}  {each.text}")
    output.result("")
    output.print_fields(
        {
            "worker": outlook.worker_id or "none",
            "where": outlook.where,
            "layers on the GPU": f"{outlook.gpu_layers} of {outlook.of_layers}" if outlook.gpu_layers else "",
            "context": f"{outlook.context:,} tokens" if outlook.context else "",
            "projector": clean(outlook.projector),
            "slots": str(outlook.slots) if outlook.context else "",
            "threads": str(outlook.threads) if outlook.context else "",
            "address": outlook.host,
            "key": "" if outlook.needs_key else NO_KEY,
            "memory": f"{memory(outlook.needed_bytes)} of {memory(outlook.free_bytes)} that it may take",
            "refused": outlook.refusal,
            "what to do": outlook.hint,
        }
    )


@click.group(cls=ListingGroup)
def presets() -> None:
    """Options that are saved for a model's starts; alone it lists them."""


@presets.command(name="list")
@json_option
def list_presets(*, as_json: bool) -> None:
    """List the models with saved options."""
    found = engine("presets").processes.presets.all()
    if as_json:
        output.print_json([{"id": model, **msgspec.to_builtins(each)} for model, each in found.items()])
        return
    columns = (output.Column("MODEL"), output.Column("OPTIONS"))
    output.print_table(columns, [(model, wishes.told(each)) for model, each in sorted(found.items())])


@presets.command()
@click.argument("model")
@json_option
def forget(*, model: str, as_json: bool) -> None:
    """Forget what is saved for a model."""
    house = engine("presets forget")
    model_id = one_of(model, house.processes.presets.all(), "model with presets", "rbee presets lists them")
    house.processes.presets.save(model_id, wishes.NOTHING)
    if as_json:
        output.print_json({"id": model_id})
    else:
        output.result(clean(model_id))


@click.command()
@click.argument("model")
@click.option("--off", is_flag=True, help="It may be unloaded again.")
@json_option
def pin(*, model: str, off: bool, as_json: bool) -> None:
    """Let a running worker stay, however long nobody asks it anything."""
    from rbee_tui.cli.processes import running_id  # noqa: PLC0415 - start does not need it

    house = engine("pin")
    running = house.processes.pin(running_id(house, model), pinned=not off)
    if as_json:
        output.print_json(running)
    else:
        output.result(clean(running.model))
        output.note(f"{clean(running.model)} {'may be unloaded' if off else 'stays'}")
