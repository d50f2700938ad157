"""Options and arguments that many verbs share, and what the words after a verb mean."""

import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rbee_tui.engine.errors import NotFoundError, RefusedError, UsageError
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    import asyncio

    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.provisioner import ModelProvisioner

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])

TERMINATED = 143


def json_option(function: Function) -> Function:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON; sizes are integers in bytes.")(
        function
    )


def yes_option(function: Function) -> Function:
    """Add `--yes`."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(function)


def engine(verb: str) -> "Engine":
    """The engine on the user's root; `verb` is what others read of this process while it holds something."""
    from rbee_tui.engine.engine import Engine  # noqa: PLC0415 - a listing does not pay for it

    return Engine(verb=f"rbee {verb}")


def downloads(verb: str) -> "ModelProvisioner":
    """The downloads of the user's root alone, which start sooner than the whole engine; `verb` as there."""
    from rbee_tui.engine.provisioner import ModelProvisioner  # noqa: PLC0415 - as above

    return ModelProvisioner(verb=f"rbee {verb}")


def stopping() -> "asyncio.Event":
    """An event that is set when this process is asked to end; what `nohup` ignores stays ignored."""
    import asyncio  # noqa: PLC0415 - a listing does not pay for it
    import signal  # noqa: PLC0415 - asyncio loads it anyway

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)
    return stop


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a verb's coroutine to its end; SIGTERM and a hang-up cancel it, so that it leaves in order."""
    import asyncio  # noqa: PLC0415 - a listing does not pay for it
    import logging  # noqa: PLC0415 - asyncio loads it anyway
    import signal  # noqa: PLC0415 - as above

    from rbee_tui.engine import allocator  # noqa: PLC0415 - a verb without threads has no use for it

    allocator.share_arenas()
    logging.lastResort = None  # what asyncio would log is no sentence for a person

    async def guarded() -> Result:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: this is one
        ended = False

        def end() -> None:
            nonlocal ended
            ended = True
            task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, end)
        try:
            return await main
        except asyncio.CancelledError:
            if ended:
                raise click.exceptions.Exit(TERMINATED) from None
            raise

    return asyncio.run(guarded())


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal; raises RefusedError after a no, UsageError where there is nobody to ask."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{question} There is no terminal to ask on", hint="--yes answers it")
    if not click.confirm(question, err=True):
        raise RefusedError("nothing was changed")


def one_of(name: str, ids: Iterable[str], noun: str, listing: str) -> str:
    """The id that `name` is, or begins alone; raises UsageError when it begins several, NotFoundError."""
    known = list(ids)
    if name in known:
        return name
    begun = sorted(each for each in known if name and each.startswith(name))
    if len(begun) > 1:
        shown = ", ".join(map(clean, begun[:5])) + (", ..." if len(begun) > 5 else "")  # noqa: PLR2004 - a line
        raise UsageError(f"{clean(name)!r} begins {len(begun)} {noun}s: {shown}", hint="type more of it")
    if begun:
        return begun[0]
    from difflib import get_close_matches  # noqa: PLC0415 - only a misspelt name pays

    near = get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(map(clean, near))}?" if near else listing
    raise NotFoundError(f"there is no {noun} {clean(name)!r}", hint=hint)
