"""`rbee run`: from a name to an answer; what is missing on the way is fetched, installed and started."""

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from rbee_tui.cli import options, output
from rbee_tui.cli.processes import write_answer
from rbee_tui.engine import naming
from rbee_tui.engine.artifacts import Health
from rbee_tui.engine.errors import NotFoundError, RbeeError, RefusedError, UsageError
from rbee_tui.engine.repository import MAIN
from rbee_tui.engine.text import clean, memory, size
from rbee_tui.engine.workers.prompting import Conversation, Usage, figures

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.naming import Named

_HELP = "Enter asks, Ctrl-C stops an answer, Ctrl-D leaves; /new begins anew"


@click.command(name="run")
@click.argument("what", metavar="MODEL|REPO[:FILE]")
@click.argument("text", required=False)
@click.option("--context", type=click.IntRange(min=1), help="Tokens of context, where it is started.")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), default=1024, show_default=True, help="At most so many."
)
@click.option("--stop", "stops", is_flag=True, help="Stop the worker afterwards, where this started it.")
@options.yes_option
@options.json_option
def run(
    *,
    what: str,
    text: str | None,
    context: int | None,
    max_tokens: int,
    stops: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Ask a model; without TEXT talk with it, turn by turn.

    A model that is not here is downloaded, a worker that is missing is installed, one that does not run is
    started, each after a question. Where there is no terminal TEXT may come by standard input.
    """
    house = options.engine("run")
    asked = text if text is not None else None if _is_talk() and not as_json else sys.stdin.read()
    if asked is not None and not asked.strip():
        raise UsageError("there is nothing to ask", hint="give TEXT, or run it on a terminal to talk")
    model_id = bring_model(house, what, yes=yes)
    began = bring_worker(house, model_id, {"context": context}, yes=yes)
    try:
        if asked is None:
            talk(house, model_id, max_tokens)
        else:
            ask_once(house, model_id, asked, max_tokens, as_json=as_json)
    finally:
        if began and stops:
            options.run(house.processes.stop(model_id))
            output.note(f"{clean(model_id)} is stopped")
        elif began:
            output.note(f"{clean(model_id)} keeps running: rbee stop {clean(model_id)} ends it")


def _is_talk() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


# What is missing


def bring_model(house: "Engine", what: str, *, yes: bool) -> str:
    """The id of the model that is meant, downloaded first where it is not here."""
    from rbee_tui.cli.models import find  # noqa: PLC0415 - --help does not need it

    named = naming.parse(what) if "/" in what else None
    if named is None:
        try:
            return find(house.models, what)
        except NotFoundError as error:
            raise NotFoundError(
                str(error), hint=f"{error.hint}; rbee run OWNER/NAME:FILE downloads one from the Hub"
            ) from error
    return _already_here(house, named) or _download(house, named, yes=yes)


def _already_here(house: "Engine", named: "Named") -> str | None:
    """A whole model of this repository and choice; None where there is none, or several could be meant."""
    wanted = (named.file or "").casefold()
    found = [
        entry.id
        for entry in house.models.list()
        if entry.artifact is not None
        and entry.health is Health.OK
        and (entry.artifact.repo or "").casefold() == named.repo.casefold()
        and (
            not wanted
            or (entry.artifact.quantization or "").casefold() == wanted
            or any(file.path.casefold().endswith(wanted) for file in entry.artifact.files)
        )
    ]
    return found[0] if len(found) == 1 else None


def _download(house: "Engine", named: "Named", *, yes: bool) -> str:
    from rbee_tui.cli.hub import see_through  # noqa: PLC0415 - only where something is missing

    plan = house.provisioner.plan(named.repo, named.file, revision=named.revision or MAIN)
    fit = house.fitter.of_plan(plan)
    output.note(f"{clean(plan.repo)} {clean(plan.model.quantization or '')}: {size(plan.total)}, {fit.text}")
    options.confirm(f"Download {clean(plan.model.id)} ({size(plan.total)})?", yes=yes)

    async def main() -> str:
        async with options.engine("run") as pulling:
            job_id = await pulling.provisioner.download_model(
                named.repo, named.file, revision=named.revision or MAIN
            )
            (ended,) = await see_through(pulling.provisioner, [job_id])
            return ended.model_id

    return options.run(main())


def bring_worker(house: "Engine", model_id: str, said: dict[str, Any], *, yes: bool) -> bool:
    """Have a worker ready, installed and started where it is missing; whether this started it."""
    if any(each.model == model_id and each.state == "ready" for each in house.processes.list()):
        return False
    outlook = house.processes.outlook(model_id, **said)
    if outlook.worker_id is None or outlook.refusal:
        raise RefusedError(outlook.refusal, hint=outlook.hint)
    worker_id = outlook.worker_id
    if not outlook.installed:
        from rbee_tui.cli.workers import install_shown  # noqa: PLC0415 - only where one is missing

        output.note(f"{clean(worker_id)}: {outlook.reason}")
        options.confirm(f"Install {clean(worker_id)}?", yes=yes)
        options.run(install_shown(house, worker_id))
    output.note(f"starting {clean(worker_id)} on {clean(model_id)}: {_figures_of(outlook)}")
    try:
        options.run(house.processes.start(model_id, **said))
    except KeyboardInterrupt:
        if any(each.model == model_id for each in house.processes.list()):
            options.run(house.processes.stop(model_id))
        raise
    return True


def _figures_of(outlook: Any) -> str:
    return f"{outlook.context:,} tokens of context, {memory(outlook.needed_bytes)}"


# Asking


def ask_once(house: "Engine", model_id: str, text: str, max_tokens: int, *, as_json: bool) -> None:
    """Ask one thing; the answer goes to standard output, its figures to standard error."""
    said, usage = options.run(_answer(house, model_id, Conversation(), text, max_tokens, quiet=as_json))
    if as_json:
        output.print_json({"id": model_id, "text": said, "usage": usage})
        return
    if not said.endswith("\n"):
        output.result("")
    if usage is not None and sys.stderr.isatty():
        output.note(output.paint(figures(usage), "dim", sys.stderr))


def talk(house: "Engine", model_id: str, max_tokens: int) -> None:
    """Ask and answer in turns until the input ends; the model is told what was said before."""
    with suppress(ImportError):  # lines can be edited and brought back then
        import_module("readline")

    output.note(output.paint(f"{clean(model_id)}   {_HELP}", "dim", sys.stderr))
    conversation = Conversation()
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            output.note()
            return
        except KeyboardInterrupt:
            output.note("  (Ctrl-D leaves)")
            continue
        if text == "/new":
            conversation = Conversation()
            output.note("the model has forgotten what was said")
        elif text:
            _one_turn(house, model_id, conversation, text, max_tokens)


def _one_turn(house: "Engine", model_id: str, conversation: Conversation, text: str, max_tokens: int) -> None:
    """One question; what goes wrong with it ends the answer, not the talk."""
    try:
        _, usage = options.run(_answer(house, model_id, conversation, text, max_tokens, quiet=False))
    except KeyboardInterrupt:
        output.note(output.paint("\nstopped", "dim", sys.stderr))
        return
    except RbeeError as error:
        output.note(f"rbee: {error}" + (f"\n  -> {error.hint}" if error.hint else ""))
        return
    output.result("")
    if usage is not None:
        output.note(output.paint(figures(usage), "dim", sys.stderr))


async def _answer(
    house: "Engine",
    model_id: str,
    conversation: Conversation,
    text: str,
    max_tokens: int,
    *,
    quiet: bool,
) -> tuple[str, Usage | None]:
    """Stream one answer; all of it, and its figures."""
    said: list[str] = []
    usage: Usage | None = None
    asking = conversation.ask(
        lambda text, before: house.processes.prompt(model_id, text, max_tokens, before), text
    )
    async for chunk in asking:
        said.append(chunk.text)
        usage = chunk.usage or usage
        if not quiet:
            write_answer(chunk.text, sys.stdout)
    return "".join(said), usage
