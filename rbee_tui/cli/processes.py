"""`rbee ps`, `prompt`, `logs`, `stop`: workers that run, one for a model."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import engine, json_option, one_of, run
from rbee_tui.engine.errors import NotFoundError, UsageError
from rbee_tui.engine.text import clean, memory, token_rate

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.workers.deaths import Death
    from rbee_tui.engine.workers.record import RunningWorker

_LISTING = "rbee ps lists those that run"
_FOLLOW_SECONDS = 0.2
_RATE_SECONDS = 0.3


@click.command()
@click.option("--dead", is_flag=True, help="List those that ended by themselves, and what ended them.")
@json_option
def ps(*, dead: bool, as_json: bool) -> None:
    """List the workers that run, whoever started them."""
    house = engine("ps")
    running = house.processes.list()
    if any(each.load is not None and each.load.tokens_per_second is None for each in running):
        time.sleep(_RATE_SECONDS)  # a rate is what comes between two looks
        running = house.processes.list()
    deaths = house.processes.deaths()
    if as_json:
        output.print_json(deaths if dead else running)
    elif dead:
        print_deaths(deaths)
    elif running:
        print_running(running)
    else:
        output.note("no worker runs\n  -> rbee start MODEL starts one")
    if deaths and not (dead or as_json):
        for death in deaths:
            output.note(f"{clean(death.model)} is gone: {death.sentence}")
        output.note("  -> rbee ps --dead says more")


def print_deaths(deaths: "list[Death]") -> None:
    """Print death certificates, one below the other."""
    for death in deaths:
        output.print_fields(
            {
                "model": death.model,
                "worker": death.worker,
                "ended": death.at,
                "because": death.sentence,
                "exit code": "" if death.code is None else str(death.code),
                "signal": death.signal or "",
                "started again": str(death.restarts) if death.restarts else "",
                "what to do": death.hint,
            }
        )
        for line in death.lines:
            output.result(f"  | {line}")
    if not deaths:
        output.note("no worker ended by itself since it was started last")


def print_running(running: "list[RunningWorker]") -> None:
    """Print running workers as a table."""
    columns = (
        output.Column("STATE", paint=output.health),
        output.Column("PID", right=True),
        output.Column("MEMORY", right=True),
        output.Column("GPU", right=True),
        output.Column("FORESEEN", right=True),
        output.Column("TOK/S", right=True),
        output.Column("SLOTS", right=True),
        output.Column("CONTEXT", right=True),
        output.Column("URL"),
        output.Column("WORKER"),
        output.Column("MODEL"),
    )
    rows = [
        (
            _state(each),
            str(each.pid),
            memory(each.memory_bytes) if each.memory_bytes else "",
            memory(each.gpu_memory_bytes) if each.gpu_memory_bytes else "",
            memory(each.estimate_bytes),
            token_rate(each.load.tokens_per_second) if each.load and each.load.tokens_per_second else "",
            f"{each.load.busy_slots}/{each.load.slots}" if each.load else "",
            f"{each.context:,}" if each.context else "",
            f"{each.url}{'' if each.needs_key else ' (no key)'}" if each.url else "",
            each.worker,
            each.model,
        )
        for each in running
    ]
    output.print_table(columns, rows)


def _state(running: "RunningWorker") -> str:
    share = running.load_share if running.state == "loading" else None
    return running.state if share is None else f"loading ({int(100 * share)} % read)"


@click.command()
@click.argument("model")
@click.argument("text")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), default=256, show_default=True, help="At most so many."
)
@json_option
def prompt(*, model: str, text: str, max_tokens: int, as_json: bool) -> None:
    """Ask a running model to go on with TEXT, and stream its answer; `-` reads TEXT from standard input."""
    asked = sys.stdin.read() if text == "-" else text
    if not asked:
        raise UsageError("there is nothing to ask", hint="TEXT may not be empty")

    async def main() -> None:
        house = engine("prompt")
        model_id = running_id(house, model)
        said: list[str] = []
        async for chunk in house.processes.prompt(model_id, asked, max_tokens=max_tokens):
            said.append(chunk.text)
            if not as_json:
                write_answer(chunk.text, sys.stdout)
        answer = "".join(said)
        if as_json:
            output.print_json({"id": model_id, "text": answer})
            return
        if not answer.endswith("\n"):
            output.result("")

    run(main())


def write_answer(text: str, stream: TextIO) -> None:
    """Write a piece of an answer at once; what would drive a terminal is made visible on one."""
    shown = "\n".join("\t".join(map(clean, each.split("\t"))) for each in text.split("\n"))
    stream.write(shown if stream.isatty() else text)
    stream.flush()


@click.command()
@click.argument("model")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--lines", "-n", type=click.IntRange(min=0), default=50, show_default=True, help="The last so many."
)
@json_option
def logs(*, model: str, follow: bool, lines: int, as_json: bool) -> None:
    """Show the log of a model's worker, the last one's when none runs."""
    if follow and as_json:
        raise UsageError("--follow and --json do not go together")
    house = engine("logs")
    model_id = known_id(house, model)
    path = house.processes.log_path(model_id)
    if not path.is_file():
        raise NotFoundError(f"{clean(model_id)} has no log", hint=f"rbee start {clean(model_id)} begins one")
    last, offset = tail(path, lines)
    if as_json:
        output.print_json({"id": model_id, "path": str(path), "lines": last})
        return
    for line in last:
        output.result(clean(line))
    if follow:
        for line in new_lines(path, offset):
            output.result(clean(line))
            sys.stdout.flush()


def tail(path: Path, count: int) -> tuple[list[str], int]:
    """The last `count` whole or partial lines of a file, and where its end was in bytes."""
    block = 64 * 1024
    with path.open("rb") as file:
        end = at = file.seek(0, 2)
        data = b""
        while at > 0 and data.count(b"\n") <= count:
            at = max(0, at - block)
            file.seek(at)
            data = file.read(end - at)
    lines = data.decode(errors="replace").splitlines()
    return lines[len(lines) - min(count, len(lines)) :], end


def new_lines(path: Path, offset: int) -> Iterator[str]:
    """Whole lines written to a file from `offset` on, for ever; a file that was replaced begins anew."""
    rest = b""
    inode = path.stat().st_ino
    while True:
        try:
            found = path.stat()
        except OSError:
            found = None
        if found is not None and (found.st_ino != inode or found.st_size < offset):
            inode, offset, rest = found.st_ino, 0, b""
        if found is None or found.st_size <= offset:
            sys.stdout.flush()
            time.sleep(_FOLLOW_SECONDS)
            continue
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
        offset += len(data)
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)


@click.command()
@click.argument("model", required=False)
@click.option("--all", "everything", is_flag=True, help="Stop every worker.")
@json_option
def stop(*, model: str | None, everything: bool, as_json: bool) -> None:
    """Stop the worker of a model: it is asked to end, and made to after ten seconds."""
    if (model is None) is not everything:
        raise UsageError("name one model, or --all")

    async def main() -> None:
        house = engine("stop")
        if model is None:
            chosen = [each.model for each in house.processes.list()]
        else:
            chosen = [running_id(house, model)]
        for each in chosen:
            await house.processes.stop(each)
            if not as_json:
                output.result(clean(each))
                output.note(f"{clean(each)} is stopped")
        if as_json:
            output.print_json([{"id": each, "state": "stopped"} for each in chosen])
        elif not chosen:
            output.note("no worker runs")

    run(main())


def running_id(house: "Engine", name: str) -> str:
    """The id of the running model that `name` is, or begins alone; raises NotFoundError, UsageError."""
    running = [each.model for each in house.processes.list()]
    if name not in running and any(name == each.id for each in house.models.list()):
        return house.processes.get(name).model  # it says how the last one ended
    return one_of(name, running, "running model", _LISTING)


def known_id(house: "Engine", name: str) -> str:
    """The id of a model that is here or runs; its log outlives both."""
    if house.processes.log_path(name).is_file():
        return name
    ids = {each.id for each in house.models.list()} | {each.model for each in house.processes.list()}
    return one_of(name, ids, "model", "rbee models list shows them")
