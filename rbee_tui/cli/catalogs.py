"""`rbee workers catalogs`, `trust`, `distrust`: the worker catalogs of other machines."""

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import confirm, json_option, run, yes_option
from rbee_tui.engine.errors import NetworkError
from rbee_tui.engine.listing.catalogs import Catalogs, Known, normal
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean


@click.command()
@click.option("--refresh", is_flag=True, help="Ask each of them first.")
@json_option
def catalogs(*, refresh: bool, as_json: bool) -> None:
    """List the worker catalogs that are trusted here, with what they offer."""
    trusted = Catalogs(Root.find().prepare())
    if refresh:
        run(trusted.refresh_all(output.note))
    found = trusted.trusted()
    if as_json:
        output.print_json(found)
        return
    columns = (
        output.Column("VERSION", right=True),
        output.Column("EXPIRES"),
        output.Column("URL"),
        output.Column("OFFERS"),
    )
    output.print_table(columns, [_row(known) for known in found])


def _row(known: Known) -> tuple[str, ...]:
    if known.listing is None:
        return "-", "-", known.pin.url, "not asked yet"
    offers = ", ".join(f"{each.id} {each.version}" for each in known.listing.workers)
    return str(known.listing.version), known.listing.expires_at, known.pin.url, offers


@click.command()
@click.argument("url")
@click.option("--key", default="", help="The key that it must have; shown and asked for without.")
@yes_option
@json_option
def trust(*, url: str, key: str, yes: bool, as_json: bool) -> None:
    """Trust a worker catalog from now on: only what its key signed is taken from it."""
    known = run(trust_asking(Catalogs(Root.find().prepare()), url, key, yes=yes))
    if as_json:
        output.print_json(known)
    else:
        output.result(clean(known.pin.url))
        output.note(f"trusted by the key {known.pin.key}")


async def trust_asking(trusted: Catalogs, url: str, key: str, *, yes: bool) -> Known:
    """Pin a catalog's key, as given or after a question that shows it, and fetch its listing."""
    if not key:
        key = await trusted.key_of(url)
        before = next((known.pin.key for known in trusted.trusted() if known.pin.url == normal(url)), key)
        if before != key:
            output.note(f"{clean(url)} was trusted by another key until now:\n  {before}")
        output.note(
            f"{clean(url)} has the key\n  {key}\nOn the server rbee workers key says which one it is."
        )
        confirm("Is it the same?", yes=yes)
    known = trusted.trust(url, key)
    try:
        return await trusted.refresh(known.pin.url)
    except NetworkError as error:
        output.note(f"{error}; its listing is fetched when it answers")
        return known


@click.command()
@click.argument("url")
@json_option
def distrust(*, url: str, as_json: bool) -> None:
    """Forget a worker catalog; what was installed from it stays."""
    gone = Catalogs(Root.find().prepare()).distrust(url)
    if as_json:
        output.print_json(gone)
    else:
        output.result(clean(gone.pin.url))
