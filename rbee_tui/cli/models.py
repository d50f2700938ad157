"""`rbee models`: what is here, whether it is whole, taking up what lies on this disk, and removing."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from rbee_tui.cli import elsewhere, output, updating
from rbee_tui.cli.groups import ListingGroup
from rbee_tui.cli.options import confirm, engine, json_option, one_of, run, yes_option
from rbee_tui.engine import describe
from rbee_tui.engine.artifacts import Entry, Health, Model
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.describe import pull_command
from rbee_tui.engine.errors import IntegrityError, UsageError
from rbee_tui.engine.plain import as_dict
from rbee_tui.engine.repository import MAIN
from rbee_tui.engine.text import clean, size

if TYPE_CHECKING:
    from rbee_tui.engine.imports import How
    from rbee_tui.engine.verify import Verification

LISTING = "rbee models list shows them"


@click.group(cls=ListingGroup)
def models() -> None:
    """Models of this machine; alone it lists them."""


@models.command(name="list")
@json_option
def list_models(*, as_json: bool) -> None:
    """List the models, the broken ones too."""
    entries = ModelCatalog().list()
    if as_json:
        output.print_json(entries)
    elif entries:
        print_models(entries)
    else:
        output.note("no models yet\n  -> rbee search WORDS finds some, rbee pull REPO[:FILE] brings one")


def print_models(entries: list[Entry[Model]]) -> None:
    """Print models as a table, and why some are not well."""
    columns = (
        output.Column("SIZE", right=True),
        output.Column("QUANT"),
        output.Column("CONTEXT", right=True),
        output.Column("HEALTH", paint=output.health),
        output.Column("STATUS"),
        output.Column("ID"),
    )
    output.print_table(columns, [_row(entry) for entry in entries])
    for entry in entries:
        if entry.reason:
            output.note(f"{clean(entry.id)}: {clean(entry.reason)}")


def _row(entry: Entry[Model]) -> tuple[str, ...]:
    model = entry.artifact
    if model is None:
        return ("", "", "", str(entry.health), "", entry.id)
    return (
        size(model.size_bytes),
        (model.quantization or "-")[:12],
        f"{model.context_length:,}" if model.context_length else "-",
        str(entry.health),
        status_word(model.status),
        entry.id,
    )


def status_word(status: object) -> str:
    """A stored status as a word or two; one that is not the specification's is shown as it is, cut short."""
    if isinstance(status, str):
        return status.lower()[:16]
    return "failed" if "Failed" in as_dict(status) else "unknown"


@models.command()
@click.argument("model")
@json_option
def show(*, model: str, as_json: bool) -> None:
    """Show all that is known of a model: entry, header, files, licence, source, fit, workers."""
    from rbee_tui.engine.about import about  # noqa: PLC0415 - only this verb looks so closely

    house = engine("models show")
    entry = house.models.get(find(house.models, model))
    more = about(house, entry)
    if as_json:
        output.print_json({**msgspec.to_builtins(entry), "about": more})
        return
    fields = {"id": entry.id, "health": str(entry.health), "reason": entry.reason}
    if entry.artifact is not None:
        fields |= _fields(entry.artifact)
    fields |= {
        "created": entry.created_at or "",
        "updated": entry.updated_at or "",
        "directory": entry.directory,
        "bytes": more.held,
        **more.header,
        **{f"on {name}": said for name, said in more.fit.items()},
        "projector": clean(more.projector),
        "served by": ", ".join(more.workers),
    }
    output.print_fields(fields)
    for file in entry.artifact.files if entry.artifact else ():
        proof = file.sha256 or file.blob_id or "no hash"
        output.result(
            f"  {size(file.size_bytes):>9}  {file.role:9}  {clean(proof):64}  "
            f"{clean(file.outside or file.path)}"
        )


def _fields(model: Model) -> dict[str, str]:
    return {
        "name": model.name,
        "version": model.version,
        "status": status_sentence(model.status),
        "size": f"{size(model.size_bytes)} ({model.size_bytes:,} bytes)",
        "repository": model.repo or "",
        "revision": model.revision or "",
        "follows": (model.requested_revision or MAIN) if model.repo else "",
        "source": model.source_url,
        "format": model.format or "",
        "architecture": model.architecture or "",
        "quantisation": model.quantization or "",
        "context": f"{model.context_length:,} tokens" if model.context_length else "",
        "licence": model.license or "",
        "verified": model.verified_at or "",
    }


def status_sentence(status: object) -> str:
    """A stored status with its error."""
    failed = as_dict(as_dict(status).get("Failed"))
    return f"failed: {failed.get('error', '')}" if failed else str(status)


@models.command()
@click.argument("model", required=False)
@click.option("--all", "everything", is_flag=True, help="Verify every model, the longest unverified first.")
@click.option("--idle", is_flag=True, help="At the lowest priority for processor and disk.")
@json_option
def verify(*, model: str | None, everything: bool, idle: bool, as_json: bool) -> None:
    """Read a model's files again and compare them with their hashes."""
    if (model is None) is not everything:
        raise UsageError("name one model, or --all")
    catalog = ModelCatalog()
    if idle:
        from rbee_tui.engine.verify import yield_to_others  # noqa: PLC0415 - a listing verifies nothing

        yield_to_others()
    before = {entry.id: (entry.artifact and entry.artifact.verified_at) or "" for entry in catalog.list()}
    ids = sorted(before, key=lambda each: before[each]) if model is None else [find(catalog, model)]
    results = [catalog.verify(each) for each in ids]
    if as_json:
        output.print_json(results)
    for found in () if as_json else results:
        for file in found.files:
            output.result(f"{file.result:7}  {size(file.size_bytes):>9}  {clean(file.path)}")
        last = f" (last verified {before[found.id]})" if before.get(found.id) else ""
        output.note(verified(found) + last)
    wrong = [clean(found.id) for found in results if not found.ok]
    if wrong:
        raise IntegrityError(f"not whole: {', '.join(wrong)}", hint=_again(catalog, wrong))


def verified(found: "Verification") -> str:
    """What a verification found, in a sentence."""
    said = "is whole" if found.ok else "is not whole"
    return f"{clean(found.id)} {said}" + (f": {clean(found.reason)}" if found.reason else "")


def _again(catalog: ModelCatalog, ids: list[str]) -> str:
    """How to get what is not whole again: its bad blocks where it is here, all of it where it is not."""
    if len(ids) > 1:
        return "rbee models repair MODEL brings the bad blocks again"
    entry = catalog.get(ids[0])
    command = pull_command(entry.artifact) if entry.artifact else ""
    if entry.health is Health.MISSING and command:
        return f"{command} brings it again"
    return f"rbee models repair {clean(ids[0])} brings the bad blocks again"


@models.command()
@click.argument("model")
@json_option
def repair(*, model: str, as_json: bool) -> None:
    """Fetch the bad blocks of a model's files again, and those alone where its block digests are there."""
    run(_repair(model, as_json=as_json))


async def _repair(name: str, *, as_json: bool) -> None:
    from rbee_tui.cli.hub import bring  # noqa: PLC0415 - only the verbs that run a download

    async with engine("models repair") as house:
        found = await house.provisioner.repair(find(house.models, name))
        for file in found.files:
            why = f": {file.note}" if file.note else ""
            output.note(
                f"{clean(file.path)}: {file.bad_blocks} of {file.blocks} blocks are to be fetched, "
                f"{size(file.fetch_bytes)}{why}"
            )
        if found.job_id is not None:
            await bring(house.provisioner, found.job_id, as_json=as_json)
        elif as_json:
            output.print_json(found)
        else:
            output.note(f"{clean(found.id)} is whole: nothing to repair")


models.add_command(updating.outdated)
models.add_command(updating.update)
models.add_command(elsewhere.elsewhere)
models.add_command(elsewhere.adopt)


@models.command(name="import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--id", "model_id", metavar="ID", help="The model's id here; made from its file's name without."
)
@click.option(
    "--link", is_flag=True, help="A hard link instead of a copy: it takes no room, but is the same file."
)
@click.option(
    "--in-place", is_flag=True, help="Leave it where it lies: it takes no room, on any disk, and stays yours."
)
@json_option
def import_model(*, path: Path, model_id: str | None, link: bool, in_place: bool, as_json: bool) -> None:
    """Take up a GGUF file that lies on this disk: a copy, a hard link, or in place."""
    if link and in_place:
        raise UsageError("--link and --in-place exclude each other")
    how: How = "link" if link else "in place" if in_place else "copy"
    entry = ModelCatalog().import_gguf(path.absolute(), id=model_id, how=how)
    if as_json:
        output.print_json(entry)
        return
    output.result(clean(entry.id))
    if entry.artifact is not None:
        output.note(f"{size(entry.artifact.size_bytes)} {describe.held(entry)}, and hashed")


@models.command()
@click.argument("model")
@yes_option
@json_option
def remove(*, model: str, yes: bool, as_json: bool) -> None:
    """Remove a model and its files; says the bytes that became free."""
    house = engine("models remove")
    model_id = find(house.models, model)
    entry = house.models.get(model_id)
    held = size(entry.artifact.size_bytes) if entry.artifact else "an unknown size"
    outside = describe.outside(entry)
    theirs = f"; {len(outside)} in place stay" if outside else ""
    confirm(f"Remove {clean(model_id)} and its files ({held}{theirs})?", yes=yes)
    removed = house.remove_model(model_id)
    if as_json:
        output.print_json(removed)
    else:
        output.result(clean(model_id))
        output.note(f"removed: {size(removed.freed_bytes)} are free again")
        for path in outside:
            output.note(f"{clean(path)} stays where it is")


def find(catalog: ModelCatalog, name: str) -> str:
    """The id of the model that `name` is, or begins alone; raises NotFoundError, UsageError."""
    if catalog.contains(name):
        return name
    return one_of(name, (entry.id for entry in catalog.list()), "model", LISTING)
