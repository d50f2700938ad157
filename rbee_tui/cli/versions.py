"""`rbee workers update`, `versions`, `rollback`: newer workers, and the way back."""

from typing import TYPE_CHECKING

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import engine, json_option, one_of, run
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.workers.install import Update

_LISTING = "rbee workers list shows them"


def _worker(house: "Engine", worker: str) -> str:
    return one_of(worker, (entry.id for entry in house.workers.list()), "worker", _LISTING)


@click.command()
@click.argument("worker", required=False)
@json_option
def update(*, worker: str | None, as_json: bool) -> None:
    """Bring a worker, or all that came from a listing, to the version that is offered where it came from.

    The version before stays: rbee workers rollback takes it back into use. Running workers go on as they are.
    """
    house = engine("workers update")
    wanted = house.installer.updatable() if worker is None else [_worker(house, worker)]

    async def main() -> "list[Update]":
        def say(line: str) -> None:
            output.note(f"  | {clean(line)}")

        return [await house.installer.update(each, say) for each in wanted]

    found = run(main())
    if as_json:
        output.print_json(found)
        return
    for each in found:
        name = clean(each.id)
        if each.changed:
            output.result(name)
            output.note(f"{name}: {clean(each.before) or 'none'} -> {clean(each.after)}")
        else:
            output.note(f"{name} is up to date ({clean(each.after)})")
    if not found:
        output.note("no worker here came from a listing")


@click.command()
@click.argument("worker")
@json_option
def versions(*, worker: str, as_json: bool) -> None:
    """List the versions of a worker that are here; rbee start --worker WORKER@VERSION starts one of them."""
    from rbee_tui.engine.workers import versions as kept  # noqa: PLC0415 - help does not pay for it

    house = engine("workers versions")
    found = kept.listed(house.workers.get(_worker(house, worker)))
    if as_json:
        output.print_json(found)
        return
    columns = (
        output.Column("USED", paint=output.health),
        output.Column("INSTALLED"),
        output.Column("VERSION"),
    )
    rows = [("yes" if each.in_use else "-", each.installed_at, each.version) for each in found]
    output.print_table(columns, rows)


@click.command()
@click.argument("worker")
@click.argument("version", required=False, default="")
@json_option
def rollback(*, worker: str, version: str, as_json: bool) -> None:
    """Take the version before into use again, or the one that is named; nothing is removed."""
    from rbee_tui.engine.workers import versions as kept  # noqa: PLC0415 - help does not pay for it

    house = engine("workers rollback")
    entry = kept.use(house.workers, _worker(house, worker), version)
    if as_json:
        output.print_json(entry)
        return
    output.result(clean(entry.id))
    output.note(f"{clean(entry.id)} is at {clean(entry.artifact.version if entry.artifact else '')}")
