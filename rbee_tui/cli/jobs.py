"""`rbee jobs`, and the verbs that steer a download: whoever runs it, in this process or another."""

from typing import TYPE_CHECKING

import click

from rbee_tui.cli import output
from rbee_tui.cli.groups import ListingGroup
from rbee_tui.cli.options import engine, json_option, run
from rbee_tui.engine.errors import NotFoundError
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.text import clean, duration, size

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
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
        async with engine("jobs take") as house:
            job_id = resolve(house.provisioner, job)
            await house.provisioner.take(job_id)
            await _go_on(house, job_id, as_json=as_json)

    run(main())


@click.command(help=f"Pause a download; what it brought is kept.\n\n{_JOB_HELP}")
@click.argument("job")
@json_option
def pause(*, job: str, as_json: bool) -> None:
    """Pause a download."""

    async def main() -> JobProgress:
        async with engine("pause") as house:
            return await house.provisioner.pause(resolve(house.provisioner, job))

    _print_state(run(main()), as_json=as_json)


@click.command(help=f"End a download, and remove what it brought.\n\n{_JOB_HELP}")
@click.argument("job")
@json_option
def cancel(*, job: str, as_json: bool) -> None:
    """End a download."""

    async def main() -> JobProgress:
        async with engine("cancel") as house:
            return await house.provisioner.cancel(resolve(house.provisioner, job))

    _print_state(run(main()), as_json=as_json)


@click.command(
    help=f"Go on with a download: here, unless a screen or a background runner takes it.\n\n{_JOB_HELP}"
)
@click.argument("job")
@json_option
def resume(*, job: str, as_json: bool) -> None:
    """Go on with a download."""
    run(_again("resume", job, as_json=as_json))


@click.command(help=f"Try a failed download again; what it brought is kept.\n\n{_JOB_HELP}")
@click.argument("job")
@json_option
def retry(*, job: str, as_json: bool) -> None:
    """Try a failed download again."""
    run(_again("retry", job, as_json=as_json))


async def _again(verb: str, job: str, *, as_json: bool) -> None:
    async with engine(verb) as house:
        provisioner = house.provisioner
        job_id = resolve(provisioner, job)
        taken = await (provisioner.resume(job_id) if verb == "resume" else provisioner.retry(job_id))
        if taken is None:
            output.note("no screen and no background runner is there: it goes on here")
            await _go_on(house, job_id, as_json=as_json)
            return
        output.note(f"pid {taken.who.pid} ({clean(taken.verb)}) has taken it: rbee jobs shows how far it is")
        _print_state(provisioner.get_progress(job_id), as_json=as_json)


async def _go_on(house: "Engine", job_id: str, *, as_json: bool) -> None:
    from rbee_tui.cli.hub import bring  # noqa: PLC0415 - only the verbs that run a download

    await bring(house, job_id, as_json=as_json)


def _print_state(job: JobProgress, *, as_json: bool) -> None:
    if as_json:
        output.print_json(job)
        return
    output.result(job.id)
    reached = f"{size(job.downloaded)} of {size(job.total)}"
    kept = "what it brought is gone" if job.state == "cancelled" else f"at {reached}"
    output.note(f"{clean(job.model_id)} is {job.state}, {kept}")


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
