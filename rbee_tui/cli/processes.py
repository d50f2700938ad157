"""`rbee start`, `ps`, `prompt`, `logs`, `stop`: workers that run, one for a model."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import engine, json_option, one_of, run
from rbee_tui.engine.errors import NotFoundError, UsageError
from rbee_tui.engine.text import clean, duration, memory

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.variants import Selection
    from rbee_tui.engine.workers.supervise import RunningWorker

_LISTING = "rbee ps lists those that run"
_FOLLOW_SECONDS = 0.2


@click.command()
@click.argument("model")
@click.option("--worker", "worker_id", metavar="ID", help="This worker, instead of the one that fits best.")
@click.option("--context", type=click.IntRange(min=1), help="Tokens of context.")
@click.option("--port", type=click.IntRange(1, 65535), help="A port; a model keeps its port otherwise.")
@click.option("--explain", is_flag=True, help="Say of every worker why it is taken or not.")
@json_option
def start(
    *,
    model: str,
    worker_id: str | None,
    context: int | None,
    port: int | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Start a worker on a model; returns when it is ready, or fails with the end of its log.

    Where one runs on it already, that one is shown.
    """

    async def main() -> None:
        from rbee_tui.cli.models import find  # noqa: PLC0415 - stop and ps do not need it

        house = engine("start")
        model_id = find(house.models, model)
        if explain:
            explain_choice(house)
        running = await house.processes.start(model_id, worker_id=worker_id, context=context, port=port)
        if as_json:
            output.print_json(running)
            return
        output.result(running.url)
        output.note(
            f"{clean(running.model)} is {running.state} on {clean(running.worker)} (pid {running.pid}), "
            f"context {running.context:,}"
        )

    run(main())
