"""Whatever happens, the user reads a sentence and a script reads an exit code; nobody reads a traceback."""

import json
import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from typing import TYPE_CHECKING, Any, TypeGuard

from rbee_tui.engine.errors import NoSpaceError, RbeeError
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    import click

FAILED = 1
USAGE = 2
INTERRUPTED = 130
NO_READER = 141  # 128 + SIGPIPE, as a shell says it
_COMPLETING = "_RBEE_COMPLETE"
"""Set where a shell asks what could come next."""


def run(words: list[str]) -> int:
    """Run the command line and return its exit code; what went wrong has been said on standard error."""
    _prepare_streams()
    as_json = "--json" in words[: words.index("--")] if "--" in words else "--json" in words
    try:
        code = _run(words, as_json=as_json)
    except BrokenPipeError:
        code = NO_READER
    _let_go_of_streams()
    return code


def _run(words: list[str], *, as_json: bool) -> int:
    try:
        if words or _COMPLETING in os.environ:
            return _invoke(words, as_json=as_json)
        return _alone()
    except RbeeError as error:
        hint = error.hint or ("rbee --help lists what can be asked" if error.exit_code == USAGE else "")
        return _say(
            str(error),
            hint,
            error.code,
            error.exit_code,
            log=_log(error),
            as_json=as_json,
            more=error.details,
        )
    except KeyboardInterrupt:
        return _interrupted(as_json=as_json)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last guard: whatever it is, no traceback on the screen
        if _is_full(error):
            said, hint = f"cannot write the output: {error.strerror}", "make room where it goes, then again"
            return _say(said, hint, NoSpaceError.code, NoSpaceError.exit_code, as_json=as_json)
        return _unexpected(error, as_json=as_json)


def _alone() -> int:
    """What is done without a word; the screen has no use for click, which would take a megabyte there."""
    from rbee_tui.cli.alone import alone  # noqa: PLC0415 - an error in it is answered with a sentence as well

    code = alone()
    sys.stdout.flush()
    return code


def _invoke(words: list[str], *, as_json: bool) -> int:
    """Run the verb and write out what it printed; not by click's `main`, which has answers of its own."""
    import click  # noqa: PLC0415 - the screen alone does not pay for it

    from rbee_tui.cli.command import rbee  # noqa: PLC0415 - as above

    if _COMPLETING in os.environ:
        rbee.main(words, prog_name="rbee")
    code = 0
    try:
        with rbee.make_context("rbee", list(words)) as context:
            rbee.invoke(context)
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "rbee"
        return _say(_sentence(error), f"{where} --help says how", "usage", USAGE, as_json=as_json)
    except click.ClickException as error:
        return _say(_sentence(error), "", "failed", FAILED, as_json=as_json)
    except click.Abort:
        return _interrupted(as_json=as_json)
    sys.stdout.flush()
    return code


def _interrupted(*, as_json: bool) -> int:
    return _say("interrupted", "", "interrupted", INTERRUPTED, as_json=as_json)


def _let_go_of_streams() -> None:
    """What cannot be written now would fail again, with a traceback, when the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _prepare_streams() -> None:
    """A character that the terminal cannot show, or a library's warning, must not end a verb or blur it."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _sentence(error: "click.ClickException") -> str:
    """Click's message as a sentence of ours."""
    text = clean(error.format_message().replace("\n", " ")).strip().removesuffix(".")
    return text[:1].lower() + text[1:]


def _log(error: RbeeError) -> str:
    log = getattr(error, "log", "")
    return log if isinstance(log, str) else ""


def _say(
    message: str,
    hint: str,
    code: str,
    exit_code: int,
    *,
    log: str = "",
    as_json: bool,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Say what was wrong on standard error, as text or as one JSON object; returns the exit code."""
    if as_json:
        said = {"error": code, "message": message, "hint": hint, **(more or {})} | (
            {"log": log} if log else {}
        )
        sys.stderr.write(json.dumps(said) + "\n")
        return exit_code
    lines = [f"  | {clean(line)}" for line in log.splitlines()]
    lines.append(f"rbee: {message}")
    if hint:
        lines.append(f"  -> {hint}")
    sys.stderr.write("\n".join(lines) + "\n")
    return exit_code


def _is_full(error: Exception) -> TypeGuard[OSError]:
    """Whether what the output goes to is full: the engine says of each of its own files which one is."""
    return isinstance(error, OSError) and error.filename is None and error.errno in (ENOSPC, EDQUOT)


def _unexpected(error: Exception, *, as_json: bool) -> int:
    from rbee_tui.engine import traces  # noqa: PLC0415 - only a fault pays

    return _say(traces.sentence(error), traces.keep(error), "unexpected", FAILED, as_json=as_json)
