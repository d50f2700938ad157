"""`rbee start` and `rbee pin`: a worker on a model, and how long it stays."""

from typing import TYPE_CHECKING, Any

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import engine, json_option, run
from rbee_tui.engine.errors import RbeeError, UsageError
from rbee_tui.engine.spans import seconds_of
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine


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
    "--idle", "idle_seconds", type=Span(), metavar="TIME", help="Unload it when nobody asks for so long: 30m."
)
@click.option("--pin/--no-pin", "pinned", default=None, help="Let it stay, however long nobody asks.")
@click.option("--restart/--no-restart", default=None, help="Start it again when it crashes (default).")
@click.option("--explain", is_flag=True, help="Say of every worker why it is taken or not.")
@json_option
def start(*, model: str, explain: bool, as_json: bool, **said: Any) -> None:
    """Start a worker on a model; returns when it is ready, or fails with the end of its log.

    Where one runs on it already, that one is shown. Ctrl-C ends a start.
    """
    from rbee_tui.cli.models import find  # noqa: PLC0415 - stop and ps do not need it

    house = engine("start")
    model_id = find(house.models, model)
    if explain:
        explain_choice(house)
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
        f"context {running.context:,}"
    )


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


def explain_choice(house: "Engine") -> None:
    """Say of every worker, installed or offered, why it fits this machine or not."""
    from rbee_tui.cli.workers import select  # noqa: PLC0415 - only those who ask

    for verdict in select(house.workers.list()).verdicts:
        mark = output.glyph("✓", "+") if verdict.taken else " " if verdict.usable else output.glyph("✗", "-")
        here = "" if verdict.installed else " (not installed)"
        output.note(f"{mark} {clean(verdict.worker_id)}{here}: {verdict.reason}")


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
