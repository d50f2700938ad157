"""`rbee hive`: the background runner, an engine without a screen."""

import asyncio
import os
import signal

import click

from rbee_tui.cli import output
from rbee_tui.engine.errors import UsageError


@click.command()
@click.option("--no-listen", is_flag=True, help="Open no port: run downloads only.")
@click.option("--until-idle", is_flag=True, help="End when no download is wanted any more.")
def hive(*, no_listen: bool, until_idle: bool) -> None:
    """Run the downloads that are wanted and that nobody runs, without a screen.

    Ctrl-C ends it; the downloads stay wanted, and go on where they are when somebody takes them up.
    """
    if not no_listen:
        raise UsageError(
            "the HTTP interface of the hive is not part of this version",
            hint="rbee hive --no-listen runs downloads in the background",
        )
    asyncio.run(_hive(until_idle=until_idle))


async def _hive(*, until_idle: bool) -> None:
    from rbee_tui.engine import runner  # noqa: PLC0415 - a wrong option is answered without it
    from rbee_tui.engine.engine import Engine  # noqa: PLC0415 - as above

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    async with Engine(verb=runner.VERB) as engine:

        def ready() -> None:
            output.note(f"the background runner is ready (pid {os.getpid()}, {engine.root.path})")

        await runner.run(engine, until_idle=until_idle, stop=stop, say=output.note, ready=ready)
    output.note("asked to end: downloads stay wanted" if stop.is_set() else "nothing is wanted any more")
