"""`rbee search` and `rbee pull`: what the Hub has, and bringing it here."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from rbee_tui.cli import output
from rbee_tui.cli.options import downloads, engine, json_option, run
from rbee_tui.engine import naming
from rbee_tui.engine.errors import PausedError, RbeeError, RefusedError, UsageError
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.repository import MAIN
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    from rbee_tui.engine.provisioner import ModelProvisioner


@click.command()
@click.argument("words", nargs=-1)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option(
    "--sort",
    type=click.Choice(["downloads", "trending", "likes", "recent"]),
    default="downloads",
    show_default=True,
    help="What comes first.",
)
@click.option("--gguf", is_flag=True, help="Only what has GGUF files.")
@click.option("--task", metavar="TASK", help="As the Hub names it: text-generation.")
@click.option("--license", "licence", metavar="NAME", help="As the Hub names it: apache-2.0.")
@click.option("--author", metavar="NAME", help="Of this user or organisation.")
@click.option(
    "--fits", is_flag=True, help="Only what fits this machine at four bits, estimated by parameters."
)
@json_option
def search(
    *, words: tuple[str, ...], limit: int, licence: str | None, fits: bool, as_json: bool, **wanted: Any
) -> None:
    """Find repositories on the Hub whose names match WORDS; a filter or an order may stand alone."""
    if not (words or licence or fits or any(wanted[each] for each in ("gguf", "task", "author"))):
        raise UsageError("search needs words or a filter", hint="rbee search --gguf --sort trending")
    from rbee_tui.engine.hub import Hub  # noqa: PLC0415 - pull does not pay for it twice
    from rbee_tui.engine.paths import Root  # noqa: PLC0415 - as above
    from rbee_tui.engine.repository import Filters  # noqa: PLC0415 - as above

    filters = Filters(license=licence, billions=_most_billions() if fits else None, **wanted)
    found = Hub(root=Root.find()).search(" ".join(words), limit, filters)
    if as_json:
        output.print_json(found)
        return
    if not found:
        output.note("the Hub has nothing that matches")
        return
    columns = (
        output.Column("DOWNLOADS", right=True),
        output.Column("LIKES", right=True),
        output.Column("UPDATED"),
        output.Column("ACCESS"),
        output.Column("REPOSITORY"),
    )
    rows = [
        (
            f"{repo.downloads or 0:,}",
            f"{repo.likes or 0:,}",
            str(repo.updated_at or "-")[:10],
            "gated" if repo.gated else "open",
            repo.id,
        )
        for repo in found
    ]
    output.print_table(columns, rows)


def _most_billions() -> int:
    """What fits this machine now, by parameters."""
    from rbee_tui.engine.fitting.machine import most_billions  # noqa: PLC0415 - only a search that asks

    most = most_billions(engine("search").fitter.machine())
    output.note(f"at most {most} billion parameters, which fit here at four bits")
    return most


@click.command()
@click.argument("what", metavar="REPO[@REVISION][:FILE]")
@click.option(
    "--id", "model_id", metavar="ID", help="The model's id here; made from its file's name without."
)
@click.option("--revision", help="A branch, a tag or a commit; main without.")
@click.option("--gentle", is_flag=True, help="Yield to whatever else uses the line.")
@click.option("--detach", is_flag=True, help="Leave it to a background runner and return at once.")
@json_option
def pull(
    *, what: str, model_id: str | None, revision: str | None, gentle: bool, detach: bool, as_json: bool
) -> None:
    """Download a model: FILE is a path, a file's name or a quantisation; a page's address will do as well.

    Without FILE the repository's only choice is taken, else its Q4_K_M. What an earlier run had brought is
    kept. Ctrl-C pauses the download.
    """
    named = naming.require(what)
    wanted = Wanted(named.repo, named.file, model_id, revision or named.revision or MAIN, gentle)
    run(_pull(wanted, detach=detach, as_json=as_json))


class Wanted(NamedTuple):
    """What a pull is asked for."""

    repo: str
    file: str | None
    model_id: str | None
    revision: str
    gentle: bool


async def _pull(wanted: Wanted, *, detach: bool, as_json: bool) -> None:
    async with downloads("pull") as provisioner:
        job_id = await provisioner.download_model(
            wanted.repo, wanted.file, id=wanted.model_id, revision=wanted.revision, gentle=wanted.gentle
        )
        if said := await asyncio.to_thread(provisioner.headroom):
            output.note(f"warning: {said}\n  -> rbee disk shows what takes room")
        if detach:
            await hand_over(provisioner, job_id, as_json=as_json)
        else:
            await bring(provisioner, job_id, as_json=as_json)


async def hand_over(provisioner: "ModelProvisioner", job_id: str, *, as_json: bool) -> None:
    """Leave a job to the background runner, which is started where there is none, and print the job."""
    await hand_over_all(provisioner, [job_id])
    if as_json:
        output.print_json(provisioner.get_progress(job_id))
    else:
        output.result(job_id)


async def hand_over_all(provisioner: "ModelProvisioner", job_ids: Sequence[str]) -> None:
    """Leave jobs to the background runner, which is started where there is none, and say who has them."""
    from rbee_tui.engine import runner  # noqa: PLC0415 - only this verb starts one

    unfinished = [each for each in job_ids if provisioner.get_progress(each).state != "done"]
    if not unfinished:
        return
    try:
        holder = await asyncio.to_thread(runner.start_background, provisioner.root)
    except RbeeError:
        if all(provisioner.get_progress(each).state == "done" for each in unfinished):
            return  # meanwhile all was brought here, and a runner had nothing to do
        raise
    await provisioner.leave()
    who = f"pid {holder.pid} ({clean(holder.verb)})"
    for job_id in unfinished:
        taken = await provisioner.taken(job_id)
        if taken is None or taken.who.pid == holder.pid:
            output.note(f"{who} goes on with it: rbee jobs shows how far it is")
        else:
            other = f"pid {taken.who.pid} ({clean(taken.verb)})"
            output.note(f"{other} is at it already; {who} goes on with it should that end")


async def bring(provisioner: "ModelProvisioner", job_id: str, *, as_json: bool) -> None:
    """Run, take up or follow a job with its progress shown, and print the model; Ctrl-C pauses the job."""
    (ended,) = await see_through(provisioner, [job_id])
    _print_model(provisioner, ended, as_json=as_json)


async def see_through(provisioner: "ModelProvisioner", job_ids: Sequence[str]) -> list[JobProgress]:
    """Run, take up or follow jobs to their ends, one's progress shown after the other's; Ctrl-C pauses all.

    What fails does not stop the others; the first error is raised when all have ended.
    """
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if interrupted.is_set():  # the second Ctrl-C is from somebody who has waited long enough
            os._exit(130)
        interrupted.set()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    pausing = asyncio.create_task(_pause_when(interrupted, provisioner, job_ids))
    try:
        ended, errors = await _follow_all(provisioner, job_ids)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        pausing.cancel()
    paused = bool(errors) and all(isinstance(error, PausedError) for error in errors)
    for error in errors if interrupted.is_set() and paused else errors[1:]:
        output.note(f"{error}\n  -> {error.hint}")
    if interrupted.is_set() and paused:
        raise click.exceptions.Exit(130)
    if errors:
        raise errors[0]
    return ended


async def _follow_all(
    provisioner: "ModelProvisioner", job_ids: Sequence[str]
) -> tuple[list[JobProgress], list[RbeeError]]:
    from rbee_tui.cli import progress  # noqa: PLC0415 - a search does not pay for it

    ended: list[JobProgress] = []
    errors: list[RbeeError] = []
    for job_id in job_ids:
        try:
            ended.append(await progress.follow(provisioner, job_id))
        except RbeeError as error:
            errors.append(error)
    return ended, errors


async def _pause_when(
    interrupted: asyncio.Event, provisioner: "ModelProvisioner", job_ids: Sequence[str]
) -> None:
    await interrupted.wait()
    for job_id in job_ids:
        with suppress(RefusedError):  # it has ended
            await provisioner.pause(job_id)


def _print_model(provisioner: "ModelProvisioner", ended: JobProgress, *, as_json: bool) -> None:
    entry = provisioner.models.get(ended.model_id)
    if as_json:
        output.print_json({**msgspec.to_builtins(entry), "job": ended})
    else:
        output.result(clean(entry.id))
