"""`rbee workers`: runtimes that serve models; installed, offered, registered, removed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbee_tui.cli import catalogs, output, serving, versions
from rbee_tui.cli.catalogs import trust_asking
from rbee_tui.cli.groups import ListingGroup
from rbee_tui.cli.options import confirm, engine, json_option, one_of, run, yes_option
from rbee_tui.engine.artifacts import Entry, Offer, Worker
from rbee_tui.engine.catalog import WorkerCatalog
from rbee_tui.engine.errors import RefusedError, WorkerError
from rbee_tui.engine.listing.catalogs import normal
from rbee_tui.engine.text import clean, size
from rbee_tui.engine.variants import Selection, Verdict, choose
from rbee_tui.engine.workers.offers import BUNDLED
from rbee_tui.engine.workers.versions import directory_in_use

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine

_LISTING = "rbee workers list shows them"


@click.group(cls=ListingGroup)
def workers() -> None:
    """Workers of this machine; alone it lists them, and those that may be installed."""


@workers.command(name="list")
@json_option
def list_workers(*, as_json: bool) -> None:
    """List the installed workers and the offers, with why each fits this machine or not."""
    entries = WorkerCatalog().list()
    offered = _offers()
    offers = _still_open(entries, offered)
    newer = _newer(entries, offered)
    verdicts = {(each.worker_id, each.installed): each for each in select(entries, offers).verdicts}
    if as_json:
        found = [
            _with_verdict(msgspec_dict(entry), verdicts.get((entry.id, True)))
            | ({"offered_version": newer[entry.id]} if entry.id in newer else {})
            for entry in entries
        ]
        found += [_with_verdict(_as_entry(offer), verdicts.get((offer.id, False))) for offer in offers]
        output.print_json(found)
        return
    rows = [_entry_row(entry, verdicts.get((entry.id, True)), newer.get(entry.id)) for entry in entries]
    rows += [_offer_row(offer, verdicts.get((offer.id, False))) for offer in offers]
    columns = (
        output.Column("HERE", paint=output.health),
        output.Column("TYPE"),
        output.Column("VERSION"),
        output.Column("FITS", paint=output.health),
        output.Column("ID"),
        output.Column("WHY"),
    )
    output.print_table(columns, rows)


def select(entries: Sequence[Entry[Worker]], offers: Sequence[Offer]) -> Selection:
    """Which of the installed and the offered workers fits this machine best, with a verdict for each."""
    from rbee_tui.engine import hardware  # noqa: PLC0415 - removing needs no look at it

    return choose(hardware.read(), [*entries, *offers])


def _newer(entries: Sequence[Entry[Worker]], offered: Sequence[Offer]) -> dict[str, str]:
    """The version that is offered of each installed worker where it is another one."""
    found = {offer.id: offer.version for offer in offered}
    here = {
        entry.id: entry.artifact.version
        for entry in entries
        if entry.artifact and directory_in_use(entry.artifact)
    }
    return {
        worker_id: found[worker_id]
        for worker_id in here
        if found.get(worker_id, "") not in ("", here[worker_id])
    }


def _offers() -> list[Offer]:
    from rbee_tui.engine.listing.catalogs import Catalogs  # noqa: PLC0415 - only listings and installs read it
    from rbee_tui.engine.paths import Root  # noqa: PLC0415 - as above
    from rbee_tui.engine.workers import offers  # noqa: PLC0415 - as above

    return offers.offered(Catalogs(Root.find()))


def _still_open(entries: Sequence[Entry[Worker]], offered: Sequence[Offer]) -> list[Offer]:
    from rbee_tui.engine.workers import offers  # noqa: PLC0415 - as above

    return offers.still_open(entries, offered)


def msgspec_dict(entry: Entry[Worker]) -> dict[str, Any]:
    """An entry as plain data."""
    import msgspec  # noqa: PLC0415 - loaded already; named where it is used

    return msgspec.to_builtins(entry)


def _as_entry(offer: Offer) -> dict[str, Any]:
    """An offer in the form of a catalog's entry: nothing of it is here yet."""
    import msgspec  # noqa: PLC0415 - as above

    return {"id": offer.id, "artifact": None, "health": "offered", "offer": msgspec.to_builtins(offer)}


def _with_verdict(entry: dict[str, Any], verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return entry
    return entry | {
        "installed": verdict.installed,
        "usable": verdict.usable,
        "taken": verdict.taken,
        "reason": verdict.reason if entry.get("reason") in (None, "") else entry["reason"],
    }


def _entry_row(entry: Entry[Worker], verdict: Verdict | None, newer: str | None) -> tuple[str, ...]:
    worker = entry.artifact
    fits, why = _fits(verdict)
    if newer is not None:
        why = f"{newer} is offered: rbee workers update {entry.id}"
    return (
        str(entry.health),
        worker.worker_type[:8] if worker else "-",
        worker.version[:16] if worker else "-",
        fits,
        entry.id,
        clean(entry.reason) or why,
    )


def _offer_row(offer: Offer, verdict: Verdict | None) -> tuple[str, ...]:
    return ("offered", offer.worker_type, offer.version, *_fits(verdict)[:1], offer.id, _fits(verdict)[1])


def _fits(verdict: Verdict | None) -> tuple[str, str]:
    if verdict is None:
        return "-", ""
    return ("best" if verdict.taken else "yes" if verdict.usable else "no"), verdict.reason


@workers.command()
@click.argument("worker", required=False)
@click.option(
    "--from",
    "source",
    default="",
    metavar="URL",
    help="A worker catalog, whose key is asked about once; bundled: the listing that came with rbee.",
)
@click.option("--key", default="", help="The key that the catalog must have.")
@yes_option
@json_option
def install(*, worker: str | None, source: str, key: str, yes: bool, as_json: bool) -> None:
    """Install an offered worker; without a name, the one that fits this machine best.

    Worker catalogs that are trusted go before the bundled listing.
    """

    async def main() -> Entry[Worker]:
        house = engine("workers install")
        if source and source != BUNDLED:
            await _introduce(house, source, key, yes=yes)
        worker_id = choose_offer(house.workers.list()) if worker is None else worker
        output.note(f"installing {clean(worker_id)}")
        return await install_shown(house, worker_id, source)

    entry = run(main())
    if as_json:
        output.print_json(entry)
        return
    output.result(clean(entry.id))
    found = entry.artifact.devices if entry.artifact else []
    output.note(f"{clean(entry.id)} is installed" + (f"; it sees {clean(', '.join(found))}" if found else ""))


async def _introduce(house: "Engine", url: str, key: str, *, yes: bool) -> None:
    """Trust a catalog that is not trusted yet, after a question; a key that was given is pinned."""
    trusted = {known.pin.url for known in house.installer.catalogs.trusted()}
    if key or normal(url) not in trusted:
        await trust_asking(house.installer.catalogs, url, key, yes=yes)


async def install_shown(house: "Engine", worker_id: str, source: str = "") -> Entry[Worker]:
    """Install with its lines shown as they come; an error then has no need to repeat them."""
    shown: list[str] = []

    def show(line: str) -> None:
        shown.append(clean(line))
        say_line(line)

    try:
        return await house.installer.install(worker_id, on_line=show, source=source)
    except WorkerError as error:
        if error.log and error.log.splitlines()[-1:] == shown[-1:]:
            error.log = ""
        raise


def say_line(line: str) -> None:
    """Show a line of an install as it comes; it is not ours, so it is cleaned."""
    output.note(f"  | {clean(line)}")


def choose_offer(entries: Sequence[Entry[Worker]]) -> str:
    """The id of the worker that fits this machine best; raises RefusedError with the reasons against each."""
    selection = select(entries, _still_open(entries, _offers()))
    if selection.worker_id is None:
        reasons = "; ".join(f"{each.worker_id}: {each.reason}" for each in selection.verdicts)
        raise RefusedError(f"no worker fits this machine: {reasons}")
    return selection.worker_id


@workers.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--id", "worker_id", metavar="ID", help="Its id here; made from the file's name without.")
@json_option
def register(*, path: Path, worker_id: str | None, as_json: bool) -> None:
    """Register a llama-server that is on this machine; it stays where it is."""
    house = engine("workers register")
    entry = house.installer.register(path.absolute(), worker_id=worker_id)
    if as_json:
        output.print_json(entry)
    else:
        output.result(clean(entry.id))


@workers.command()
@click.argument("worker")
@yes_option
@json_option
def remove(*, worker: str, yes: bool, as_json: bool) -> None:
    """Remove a worker and its files, or one version as WORKER@VERSION; a registered program itself stays."""
    house = engine("workers remove")
    known = [entry.id for entry in house.workers.list()]
    name, at, version = worker.partition("@") if worker not in known else (worker, "", "")
    worker_id = one_of(name, known, "worker", _LISTING) + at + version
    confirm(f"Remove {clean(worker_id)} and its files?", yes=yes)
    removed = house.remove_worker(worker_id)
    if as_json:
        output.print_json(removed)
    else:
        output.result(clean(worker_id))
        output.note(f"removed: {size(removed.freed_bytes)} are free again")


for _verb in (catalogs.catalogs, catalogs.trust, catalogs.distrust):
    workers.add_command(_verb)
for _verb in (versions.update, versions.versions, versions.rollback):
    workers.add_command(_verb)
for _verb in (serving.serve, serving.publish, serving.unpublish, serving.key):
    workers.add_command(_verb)
