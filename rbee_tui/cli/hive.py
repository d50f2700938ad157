"""`rbee hive`: the engine without a screen, behind HTTP or as the mere background runner."""

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from rbee_tui.cli import output
from rbee_tui.cli.options import engine, json_option, stopping
from rbee_tui.engine import allocator
from rbee_tui.engine.errors import NotFoundError, RefusedError, UsageError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import age, clean, duration

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
    allocator.share_arenas()
    asyncio.run(_run(until_idle=until_idle) if no_listen else _serve(listening))


async def _serve(listening: dict[str, Any]) -> None:
    from rbee_tui.hive import options, serve  # noqa: PLC0415 - a wrong option is answered without it

    chosen = options.checked(**listening)
    await serve.serve(Root.find().prepare(), chosen, stop=stopping(), say=_say, warn=output.note)
    output.note("the hive has ended: workers go on, downloads stay wanted")


def _say(emoji: str, text: str) -> None:
    """Print a line of the start, at once, for whoever waits for it."""
    shown = output.glyph(emoji, "")
    sys.stdout.write(f"{shown} {text}\n" if shown else f"{text}\n")
    sys.stdout.flush()


async def _run(*, until_idle: bool) -> None:
    from rbee_tui.engine import runner  # noqa: PLC0415 - a wrong option is answered without it
    from rbee_tui.engine.engine import Engine  # noqa: PLC0415 - as above

    stop = stopping()
    async with Engine(verb=runner.VERB) as engine:

        def ready() -> None:
            output.note(f"the background runner is ready (pid {os.getpid()}, {engine.root.path})")

        await runner.run(engine, until_idle=until_idle, stop=stop, say=output.note, ready=ready)
    output.note("asked to end: downloads stay wanted" if stop.is_set() else "nothing is wanted any more")


@hive.command()
@click.option(
    "--new", "anew", is_flag=True, help="Make another one; the old one is worth nothing from then on."
)
@click.option("--header", is_flag=True, help="As the line of a header: curl -H @<(rbee hive token --header)")
@json_option
def token(*, anew: bool, header: bool, as_json: bool) -> None:
    """Print the hive's token, which every request but /health needs: Authorization: Bearer TOKEN.

    Keep it out of a command's words: other users of this machine can read those.
    """
    from rbee_tui.hive.token import ensure  # noqa: PLC0415 - one verb of several

    found = ensure(Root.find().prepare(), anew=anew)
    if as_json:
        output.print_json({"token": found})
    else:
        output.result(f"Authorization: Bearer {found}" if header else found)


@hive.command()
@json_option
def status(*, as_json: bool) -> None:
    """Say which hive runs here and since when, what it has to do, and whether it starts by itself."""
    from rbee_tui.engine import autostart  # noqa: PLC0415 - one verb of several
    from rbee_tui.hive import presence, unit  # noqa: PLC0415 - as above

    house = engine("hive status")
    found = presence.find(house.root)
    if found is None:
        raise NotFoundError(
            f"no hive runs on {clean(str(house.root.path))}",
            hint="rbee hive starts one; rbee hive install has one started with this machine",
        )
    workers = [each.model for each in house.processes.list()]
    unfinished = [each for each in house.provisioner.jobs() if not each.is_over]
    marked = autostart.marked(house.root)
    at = unit.path()
    if as_json:
        told = {"workers": workers, "jobs": [each.id for each in unfinished], "autostart": marked}
        import msgspec  # noqa: PLC0415 - as above

        output.print_json({**msgspec.structs.asdict(found), **told, "unit": str(at) if at.exists() else None})
        return
    output.print_fields(
        {
            "hive": found.hive_id,
            "url": found.url,
            "pid": str(found.pid),
            "since": f"{found.started_at} ({duration(age(found.started_at))})",
            "version": found.version,
            "queen": found.queen_url,
            "workers": ", ".join(workers),
            "downloads": ", ".join(f"{each.model_id} ({each.state})" for each in unfinished),
            "autostart": ", ".join(marked),
            "unit": str(at) if at.exists() else "",
        }
    )


@hive.command()
@click.argument("model", required=False)
@click.option("--off", is_flag=True, help="Take the mark away.")
@json_option
def autostart(*, model: str | None, off: bool, as_json: bool) -> None:
    """Mark a model: a starting hive starts a worker on it, as after a reboot. Without MODEL, list those."""
    from rbee_tui.cli.models import find  # noqa: PLC0415 - one verb of several
    from rbee_tui.engine import autostart as marks  # noqa: PLC0415 - as above

    house = engine("hive autostart")
    marked = marks.marked(house.root)
    if model is not None:
        # A mark may outlive its model.
        model_id = model if off and model in marked else find(house.models, model)
        marked = marks.mark(house.root, model_id, on=not off)
    if as_json:
        output.print_json(marked)
        return
    for each in marked:
        output.result(clean(each))
    if not marked:
        output.note("no model is marked\n  -> rbee hive autostart MODEL marks one")


@hive.command()
@listening_options
@json_option
@click.pass_context
def install(context: click.Context, *, as_json: bool, **listening: Any) -> None:
    """Have systemd start this hive with your login, and again after a crash: a user unit, started now.

    What is given here, or in the environment, is what it is started with. The same again replaces it.
    """
    from rbee_tui.hive import options, presence, unit  # noqa: PLC0415 - one verb of several

    options.checked(**listening)
    running = presence.find(Root.find().prepare())
    if running is not None and running.pid != unit.main_pid():
        raise RefusedError(
            f"a hive runs here already (pid {running.pid}), and systemd did not start it",
            hint="end that one first: workers go on, downloads stay wanted",
        )
    done = unit.install(_as_words(context))
    if as_json:
        output.print_json(done)
        return
    output.result(clean(done.path))
    output.note("the hive runs: rbee hive status" if done.started else "the hive was not started")
    for remark in done.remarks:
        output.note(f"  -> {remark}")


def _as_words(context: click.Context) -> list[str]:
    """The options that were given, by word or by environment, as words again."""
    words: list[str] = []
    for option in context.command.params:
        name = option.name or ""
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and name != "as_json":
            value: Any = context.params[name]
            several = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
            words += [word for each in several for word in (option.opts[0], str(each))]
    return words


@hive.command()
@json_option
def uninstall(*, as_json: bool) -> None:
    """Stop the hive that systemd started, and remove its unit; workers go on, downloads stay wanted."""
    from rbee_tui.hive import unit  # noqa: PLC0415 - one verb of several

    at = unit.uninstall()
    if as_json:
        output.print_json({"path": str(at)})
    else:
        output.result(clean(str(at)))
        output.note("removed")
