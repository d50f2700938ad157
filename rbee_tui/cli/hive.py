"""`rbee hive`: the engine without a screen, behind HTTP or as the mere background runner."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import json_option
from rbee_tui.engine.errors import NotFoundError, UsageError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean

Function = TypeVar("Function", bound=Callable[..., Any])

_LISTENING = (
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=7835,
        show_default=True,
        envvar="HIVE_PORT",
        show_envvar=True,
        help="0 takes a free one.",
    ),
    click.option(
        "--bind",
        metavar="ADDRESS",
        default="127.0.0.1",
        show_default=True,
        envvar="HIVE_BIND",
        show_envvar=True,
        help="Another address opens the hive to other machines.",
    ),
    click.option(
        "--name",
        "names",
        metavar="HOST",
        multiple=True,
        help="A further name that it answers to, as a proxy's; may be repeated.",
    ),
    click.option(
        "--queen-url",
        metavar="URL",
        default="http://localhost:7833",
        show_default=True,
        envvar="HIVE_QUEEN_URL",
        show_envvar=True,
        help="Who is told that the hive is there; '' is nobody.",
    ),
    click.option(
        "--hive-id",
        metavar="ID",
        default="",
        envvar="HIVE_ID",
        show_envvar=True,
        help="Its name for the queen; this machine's without.",
    ),
)


def listening_options(function: Function) -> Function:
    """Add where the hive listens and whom it tells."""
    for option in reversed(_LISTENING):
        function = option(function)
    return function


@click.group(invoke_without_command=True)
@listening_options
@click.option("--no-listen", is_flag=True, help="Open no port: run downloads only.")
@click.option("--until-idle", is_flag=True, help="With --no-listen: end when no download is wanted any more.")
@click.pass_context
def hive(context: click.Context, *, no_listen: bool, until_idle: bool, **listening: Any) -> None:
    """Be this machine's hive: downloads and workers without a screen, steered over HTTP.

    Screens and commands beside it see what it does, and steer it, as their own. Ctrl-C ends it; workers go
    on, downloads stay wanted and go on where they are when somebody takes them up.
    """
    if context.invoked_subcommand is not None:
        return
    if until_idle and not no_listen:
        raise UsageError("--until-idle goes with --no-listen", hint="a hive that listens stays")
    asyncio.run(_run(until_idle=until_idle) if no_listen else _serve(listening))


async def _serve(listening: dict[str, Any]) -> None:
    from rbee_tui.hive import options, serve  # noqa: PLC0415 - a wrong option is answered without it

    chosen = options.checked(**listening)
    await serve.serve(Root.find().prepare(), chosen, stop=_stopping(), say=_say, warn=output.note)
    output.note("the hive has ended: workers go on, downloads stay wanted")


def _say(emoji: str, text: str) -> None:
    """Print a line of the start, at once, for whoever waits for it."""
    shown = output.glyph(emoji, "")
    sys.stdout.write(f"{shown} {text}\n" if shown else f"{text}\n")
    sys.stdout.flush()


def _stopping() -> asyncio.Event:
    """An event that is set when this process is asked to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _run(*, until_idle: bool) -> None:
    from rbee_tui.engine import runner  # noqa: PLC0415 - a wrong option is answered without it
    from rbee_tui.engine.engine import Engine  # noqa: PLC0415 - as above

    stop = _stopping()
    async with Engine(verb=runner.VERB) as engine:

        def ready() -> None:
            output.note(f"the background runner is ready (pid {os.getpid()}, {engine.root.path})")

        await runner.run(engine, until_idle=until_idle, stop=stop, say=output.note, ready=ready)
    output.note("asked to end: downloads stay wanted" if stop.is_set() else "nothing is wanted any more")


@hive.command()
@click.option(
    "--new", "anew", is_flag=True, help="Make another one; the old one is worth nothing from then on."
)
@json_option
def token(*, anew: bool, as_json: bool) -> None:
    """Print the hive's token, which every request but /health needs: Authorization: Bearer TOKEN."""
    from rbee_tui.hive.token import ensure  # noqa: PLC0415 - one verb of several

    found = ensure(Root.find().prepare(), anew=anew)
    if as_json:
        output.print_json({"token": found})
    else:
        output.result(found)


@hive.command()
@json_option
def status(*, as_json: bool) -> None:
    """Say which hive runs here, and since when."""
    from rbee_tui.hive import presence  # noqa: PLC0415 - one verb of several

    root = Root.find().prepare()
    found = presence.find(root)
    if found is None:
        raise NotFoundError(
            f"no hive runs on {clean(str(root.path))}",
            hint="rbee hive starts one; rbee hive install has one started with this machine",
        )
    if as_json:
        output.print_json(found)
        return
    output.print_fields(
        {
            "hive": found.hive_id,
            "url": found.url,
            "pid": str(found.pid),
            "since": found.started_at,
            "version": found.version,
            "queen": found.queen_url,
        }
    )
