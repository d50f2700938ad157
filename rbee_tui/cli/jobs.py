"""`rbee jobs`, and the verbs that steer a download: whoever runs it, in this process or another."""

import sys
from typing import TYPE_CHECKING

import click

from rbee_tui.cli import output
from rbee_tui.cli.groups import ListingGroup
from rbee_tui.cli.options import confirm, downloads, json_option, run, yes_option
from rbee_tui.engine.errors import NotFoundError, UsageError
from rbee_tui.engine.jobs import JobProgress, Where, what_stays
from rbee_tui.engine.rates import rate_of
from rbee_tui.engine.text import clean, counted, duration, size

if TYPE_CHECKING:
    from rbee_tui.engine.partials import Partial
    from rbee_tui.engine.provisioner import ModelProvisioner

_JOB_HELP = "JOB is a job's id, the beginning of one, or the id of the model that it brings."


@click.group(cls=ListingGroup)
def jobs() -> None:
    """Downloads of this machine, whoever runs them; alone it lists them."""


@jobs.command(name="list")
@json_option
def list_jobs(*, as_json: bool) -> None:
    """List the downloads, the unfinished and the last that ended."""
    from rbee_tui.engine.paths import Root  # noqa: PLC0415 - one verb of many
    from rbee_tui.engine.records import JobStore  # noqa: PLC0415 - a listing needs no Hub and no threads

    store = JobStore(Root.find().prepare())
    found = [store.progress(record) for record in store.list()]
    if as_json:
        output.print_json(found)
    elif found:
        print_jobs(found)
    else:
        output.note("no downloads\n  -> rbee pull REPO[:FILE] begins one")


def print_jobs(found: list[JobProgress]) -> None:
    """Print jobs as a table, and why the failed ones failed."""
    columns = (
        output.Column("JOB"),
        output.Column("STATE", paint=output.health),
        output.Column("DONE", right=True),
        output.Column("SIZE", right=True),
        output.Column("RATE", right=True),
        output.Column("LEFT", right=True),
        output.Column("BY", right=True),
        output.Column("MODEL"),
    )
    output.print_table(columns, [_row(job) for job in found])
    for job in found:
        if job.error:
            output.note(f"{job.id} failed: {clean(job.error)}\n  -> rbee retry {job.id}")
        elif job.state == "not responding":
            output.note(f"{job.id}: pid {job.holder} does not answer\n  -> rbee jobs take {job.id}")
        elif job.state == "interrupted":
            output.note(f"{job.id} was interrupted\n  -> rbee resume {job.id}")
        elif job.waiting_for:
            output.note(f"{job.id}: {clean(job.waiting_for)}")


def _row(job: JobProgress) -> tuple[str, ...]:
    share = 100 * job.downloaded // job.total if job.total else 100
    return (
        job.id,
        job.state,
        f"{share} %",
        size(job.total),
        f"{size(int(job.rate))}/s" if job.rate > 0 else "",
        duration(job.seconds_left) if job.seconds_left is not None else "",
        f"pid {job.holder}" if job.holder else "",
        job.model_id,
    )


@jobs.command(help=f"End the process that holds a download, and go on with it here.\n\n{_JOB_HELP}")
@click.argument("job")
@json_option
def take(*, job: str, as_json: bool) -> None:
    """End the process that holds a download, and go on with it here."""

    async def main() -> None:
        async with downloads("jobs take") as provisioner:
            job_id = resolve(provisioner, job)
            await provisioner.take(job_id)
            await _go_on(provisioner, job_id, as_json=as_json)

    run(main())


@jobs.command(help=f"Show how far each file of a download is.\n\n{_JOB_HELP}")
@click.argument("job")
@json_option
def show(*, job: str, as_json: bool) -> None:
    """Show how far each file of a download is."""
    provisioner = downloads("jobs show")
    found = provisioner.get_progress(resolve(provisioner, job))
    if as_json:
        output.print_json(found)
        return
    from rbee_tui.cli.progress import line  # noqa: PLC0415 - a listing does not pay for it

    left = duration(found.seconds_left) if found.seconds_left is not None else ""
    output.print_fields(
        {
            "job": found.id,
            "model": clean(found.model_id),
            "state": found.state,
            "done": f"{size(found.downloaded)} of {size(found.total)}",
            "kept": f"{size(found.kept)} of {size(found.total)}" if found.kept else "",
            "rate": f"{size(int(found.rate))}/s" if found.rate > 0 else "",
            "left": left,
            "connections": str(found.connections or ""),
            "waiting for": clean(found.waiting_for),
            "error": clean(found.error),
        }
    )
    for file in found.files:
        output.result(f"  {line(file)}")


def _mover(where: Where, text: str) -> None:
    """Add the verb that moves a download in the queue."""

    @jobs.command(name=where, help=f"{text}\n\n{_JOB_HELP}")
    @click.argument("job")
    @json_option
    def move(*, job: str, as_json: bool) -> None:
        provisioner = downloads(f"jobs {where}")
        _print_state(provisioner.move(resolve(provisioner, job), where), as_json=as_json)

    _ = move


_mover("up", "Move a download one place up in the queue.")
_mover("down", "Move a download one place down in the queue.")
_mover("top", "Move a download to the top of the queue: its turn comes at once.")
_mover("bottom", "Move a download to the end of the queue.")


@jobs.command()
@click.argument("rate", required=False)
@json_option
def cap(*, rate: str | None, as_json: bool) -> None:
    """Show or set the bandwidth cap of all downloads: RATE is as 20MB/s, 500kB/s or off.

    Downloads that run follow within a second, whichever process they are in.
    """
    provisioner = downloads("jobs cap")
    if rate is not None:
        provisioner.set_cap(rate_of(rate))
    found = provisioner.cap()
    if as_json:
        output.print_json({"cap": found})
    else:
        output.result(f"{size(found)}/s" if found is not None else "off")


@jobs.command()
@json_option
def partials(*, as_json: bool) -> None:
    """List the files that have partly arrived, with the room that they take."""
    found = downloads("jobs partials").partials()
    if as_json:
        output.print_json(found)
    elif found:
        _print_partials(found)
    else:
        output.note("no partial files")


def _print_partials(found: "list[Partial]") -> None:
    columns = (
        output.Column("ROOM", right=True),
        output.Column("KEPT", right=True),
        output.Column("SIZE", right=True),
        output.Column("FOR"),
        output.Column("NAME"),
    )
    output.print_table(
        columns,
        [
            (
                size(each.held_bytes),
                size(each.kept_bytes),
                size(each.size_bytes),
                f"job {each.job_id}" if each.job_id else "purgeable" if each.purgeable else "in use",
                each.name,
            )
            for each in found
        ],
    )


@jobs.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every one that no download wants.")
@yes_option
@json_option
def purge(*, names: tuple[str, ...], everything: bool, yes: bool, as_json: bool) -> None:
    """Remove partial files that no download wants: those NAMEs of `rbee jobs partials`, or all."""
    if bool(names) is everything:
        raise UsageError("name partial files, or --all", hint="rbee jobs partials lists them")
    provisioner = downloads("jobs purge")
    chosen = [
        each for each in provisioner.partials() if each.purgeable and (everything or each.name in names)
    ]
    held = size(sum(each.held_bytes for each in chosen))
    if chosen:
        confirm(f"Remove {counted(len(chosen), 'partial file')} ({held})?", yes=yes)
    purged = provisioner.purge(None if everything else list(names))
    if as_json:
        output.print_json(purged)
    else:
        output.note(f"{len(purged.names)} removed: {size(purged.freed_bytes)} are free again")


_FILE_OPTION = click.option("--file", metavar="PATH", help="Only this file of it, by its path at the Hub.")


@click.command(help=f"Pause a download, or one file of it; what it brought is kept.\n\n{_JOB_HELP}")
@click.argument("job")
@_FILE_OPTION
@json_option
def pause(*, job: str, file: str | None, as_json: bool) -> None:
    """Pause a download."""

    async def main() -> JobProgress:
        async with downloads("pause") as provisioner:
            return await provisioner.pause(resolve(provisioner, job), file)

    _print_state(run(main()), as_json=as_json)


@click.command(
    help="End a download, or one file of it, and remove what it brought, or keep that for a later one.\n\n"
    "On a terminal it asks which; elsewhere it is removed unless --keep is given. The model does without a "
    f"file that is cancelled.\n\n{_JOB_HELP}"
)
@click.argument("job")
@_FILE_OPTION
@click.option("--keep/--purge", "keep", default=None, help="Keep the partial files, or remove them.")
@json_option
def cancel(*, job: str, file: str | None, keep: bool | None, as_json: bool) -> None:
    """End a download."""

    async def main() -> JobProgress:
        async with downloads("cancel") as provisioner:
            job_id = resolve(provisioner, job)
            chosen = _ask_keep(provisioner.get_progress(job_id), file) if keep is None else keep
            return await provisioner.cancel(job_id, file, keep=chosen)

    ended = run(main())
    if file is None or as_json:
        _print_state(ended, as_json=as_json)
    else:
        output.result(ended.id)
        output.note(f"{clean(file)} is cancelled: {clean(ended.model_id)} does without it")


def _ask_keep(found: JobProgress, path: str | None) -> bool:
    """Whether to keep what has arrived: asked where there is somebody and something."""
    arrived = sum(each.downloaded for each in found.files if path in (None, each.path))
    if not arrived or found.repairs or found.state in ("done", "cancelled"):
        return False
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return click.confirm(f"Keep the {size(arrived)} that have arrived?", default=False, err=True)


@click.command(
    help=f"Go on with a download: here, unless a screen or a background runner takes it.\n\n{_JOB_HELP}"
)
@click.argument("job")
@_FILE_OPTION
@json_option
def resume(*, job: str, file: str | None, as_json: bool) -> None:
    """Go on with a download."""
    run(_again("resume", job, file, as_json=as_json))


@click.command(
    help="Try a failed download again, or one file of it that failed or was cancelled; what came is kept.\n\n"
    f"{_JOB_HELP}"
)
@click.argument("job")
@_FILE_OPTION
@json_option
def retry(*, job: str, file: str | None, as_json: bool) -> None:
    """Try a failed download again."""
    run(_again("retry", job, file, as_json=as_json))


async def _again(verb: str, job: str, file: str | None, *, as_json: bool) -> None:
    async with downloads(verb) as provisioner:
        job_id = resolve(provisioner, job)
        taken = await (provisioner.resume if verb == "resume" else provisioner.retry)(job_id, file)
        if taken is None:
            output.note("no screen and no background runner is there: it goes on here")
            await _go_on(provisioner, job_id, as_json=as_json)
            return
        output.note(f"pid {taken.who.pid} ({clean(taken.verb)}) has taken it: rbee jobs shows how far it is")
        _print_state(provisioner.get_progress(job_id), as_json=as_json)


async def _go_on(provisioner: "ModelProvisioner", job_id: str, *, as_json: bool) -> None:
    from rbee_tui.cli.hub import bring  # noqa: PLC0415 - only the verbs that run a download

    await bring(provisioner, job_id, as_json=as_json)


def _print_state(job: JobProgress, *, as_json: bool) -> None:
    if as_json:
        output.print_json(job)
        return
    output.result(job.id)
    what = "the repair of " if job.repairs else ""
    said = f"at {size(job.downloaded)} of {size(job.total)}" if job.state != "cancelled" else what_stays(job)
    output.note(f"{what}{clean(job.model_id)} is {job.state}, {said}")


def resolve(provisioner: "ModelProvisioner", name: str) -> str:
    """The id of the job that `name` means; raises NotFoundError or UsageError."""
    try:
        return provisioner.store.resolve(name)
    except NotFoundError:
        of_model = [job for job in provisioner.jobs() if job.model_id == name]
        if not of_model:
            raise
        unfinished = [job for job in of_model if job.state not in ("done", "cancelled")]
        return (unfinished or of_model)[-1].id
