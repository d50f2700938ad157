"""`rbee models elsewhere` and `rbee models adopt`: what other programs have here, and taking it up."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import json_option, one_of
from rbee_tui.engine import describe
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean, size

if TYPE_CHECKING:
    from rbee_tui.engine.elsewhere import Found
    from rbee_tui.engine.imports import How

_LISTING = "rbee models elsewhere shows them"

_IN_OPTION = click.option(
    "--in",
    "directories",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Look there, too; may be given several times.",
)


@click.command()
@_IN_OPTION
@json_option
def elsewhere(*, directories: tuple[Path, ...], as_json: bool) -> None:
    """List what other programs have: Hugging Face, Ollama, LM Studio, llama.cpp, GPT4All, Jan."""
    found = find(ModelCatalog(), directories)
    if as_json:
        output.print_json([told(each) for each in found])
        return
    if not found:
        output.note("no other program has models here\n  -> rbee models elsewhere --in DIRECTORY looks there")
        return
    columns = (
        output.Column("SIZE", right=True),
        output.Column("QUANT"),
        output.Column("PROGRAM"),
        output.Column("HERE AS"),
        output.Column("NAME"),
    )
    rows = [
        (size(each.size_bytes), each.quantization or "-", each.program, each.here or "-", each.id)
        for each in found
    ]
    output.print_table(columns, rows)
    if any(each.here is None for each in found):
        output.note("rbee models adopt NAME takes one up, without a copy; its program keeps it")


@click.command()
@click.argument("name")
@click.option("--id", "model_id", metavar="ID", help="The model's id here; made from its name without.")
@_IN_OPTION
@click.option(
    "--in-place", is_flag=True, help="Leave the files where they lie, also where links could be had."
)
@click.option("--copy", is_flag=True, help="Copy the files, so that nothing is shared.")
@json_option
def adopt(
    *,
    name: str,
    model_id: str | None,
    directories: tuple[Path, ...],
    in_place: bool,
    copy: bool,
    as_json: bool,
) -> None:
    """Take up another program's model without a copy: NAME is what `rbee models elsewhere` calls it.

    Hard links are made where the disk is the same, else it stays in place. Either way nothing of the other
    program's is changed, and removing the model here leaves it alone.
    """
    if in_place and copy:
        raise UsageError("--in-place and --copy exclude each other")
    catalog = ModelCatalog()
    known = {each.id: each for each in find(catalog, directories)}
    chosen = known[one_of(name, known, "model elsewhere", _LISTING)]
    how: How = "in place" if in_place else "copy" if copy else "link"
    entry = catalog.adopt(chosen, model_id, how=how)
    if as_json:
        output.print_json(entry)
        return
    output.result(clean(entry.id))
    output.note(f"{size(chosen.size_bytes)} of {chosen.program}'s {describe.held(entry)}, and hashed")


def find(catalog: ModelCatalog, directories: tuple[Path, ...]) -> "list[Found]":
    """What other programs have, and what of it is here."""
    from rbee_tui.engine import elsewhere as engine  # noqa: PLC0415 - a listing of models does not look

    more = [
        engine.Place(program=str(path), path=str(path.absolute()), layout="files") for path in directories
    ]
    found = engine.look([*engine.places(), *more], but=catalog.root.path)
    return engine.mark_here(found, catalog.list())


def told(found: "Found") -> dict[str, object]:
    """A find as JSON has it."""
    return {
        **{name: getattr(found, name) for name in found.__struct_fields__},
        "size_bytes": found.size_bytes,
        "path": found.path,
    }
