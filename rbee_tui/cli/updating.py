"""`rbee models outdated` and `rbee models update`: what the Hub has newer than is here, and bringing it."""

from typing import TYPE_CHECKING

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import engine, json_option, one_of, run
from rbee_tui.engine.errors import NotFoundError, RbeeError, UsageError
from rbee_tui.engine.text import clean, size

if TYPE_CHECKING:
    from rbee_tui.engine.artifacts import Entry, Model
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.updates import Update


@click.command()
@json_option
def outdated(*, as_json: bool) -> None:
    """Ask the Hub which models have newer files there, and say what brings them."""
    from rbee_tui.engine import updates  # noqa: PLC0415 - a listing asks nobody

    house = engine("models outdated")
    found = updates.look(house.models.list(), house.hub)
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            size(each.size_bytes) if each.size_bytes else "",
            each.state,
            each.revision,
            each.newest[:12],
            each.id,
        )
        for each in found
        if each.state != "current"
    ]
    if rows:
        titles = ("STATE", "REVISION", "NEWEST COMMIT", "ID")
        output.print_table((output.Column("SIZE", right=True), *map(output.Column, titles)), rows)
    else:
        output.note(f"{len(found)} compared: all are the newest")
    for each in found:
        if each.was:
            output.note(f"{clean(each.id)}: {each.renamed}; an update follows it")
        if each.state == "newer":
            output.note(f"rbee models update {clean(each.id)}")
        elif each.state == "gone":
            output.note(f"{clean(each.id)}: {clean(each.reason)}")


@click.command()
@click.argument("model", required=False)
@click.option("--all", "everything", is_flag=True, help="Every model that has newer files at the Hub.")
@click.option("--detach", is_flag=True, help="Leave it to a background runner and return at once.")
@json_option
def update(*, model: str | None, everything: bool, detach: bool, as_json: bool) -> None:
    """Bring the newer files of a model, of the branch that it was asked for by.

    The old ones stay, and can be used, until every new one is verified; then all change places at once. A
    worker that runs keeps the old ones until it is started again.
    """
    if (model is None) is not everything:
        raise UsageError("name one model, or --all")
    run(_update(model, detach=detach, as_json=as_json))


async def _update(name: str | None, *, detach: bool, as_json: bool) -> None:
    from rbee_tui.cli.hub import hand_over_all, see_through  # noqa: PLC0415 - as above
    from rbee_tui.engine import updates  # noqa: PLC0415 - as above

    async with engine("models update") as house:
        entries = house.models.list()
        found = updates.look(entries if name is None else _one(house, entries, name), house.hub)
        _say_others(found, alone=name is not None)
        updates.take_names(house.models, found)
        jobs = [await house.provisioner.update(each) for each in found if each.state == "newer"]
        if detach and jobs:
            await hand_over_all(house.provisioner, jobs)
        elif jobs:
            await see_through(house.provisioner, jobs)
        told = [house.provisioner.get_progress(job) for job in jobs]
    if as_json:
        output.print_json(told)
    for each in () if as_json else told:
        output.result(each.id if detach else clean(each.model_id))


def _one(house: "Engine", entries: "list[Entry[Model]]", name: str) -> "list[Entry[Model]]":
    model_id = one_of(name, (entry.id for entry in entries), "model", "rbee models list shows them")
    entry = house.models.get(model_id)
    if entry.artifact is None or not entry.artifact.repo:
        raise NotFoundError(
            f"nothing says which repository {clean(model_id)} comes from",
            hint="rbee pull REPO:FILE brings one that can be updated",
        )
    return [entry]


def _say_others(found: "list[Update]", *, alone: bool) -> None:
    for each in found:
        if each.was:
            output.note(f"{clean(each.id)}: {each.renamed}")
        if each.state == "gone" and alone:
            raise NotFoundError(f"{clean(each.id)} cannot be updated: {clean(each.reason)}")
        if each.state == "gone":
            output.note(f"{clean(each.id)}: {clean(each.reason)}")
        elif each.state == "pinned" and alone:
            raise RbeeError(
                f"{clean(each.id)} was asked for by its commit, {each.commit[:12]}: that never changes",
                hint=f"rbee pull {clean(each.repo)} follows a branch",
            )
    if all(each.state == "current" for each in found):
        output.note(f"{len(found)} compared: all are the newest")
