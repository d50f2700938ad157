"""`rbee workers serve`, `publish`, `unpublish`, `key`: this machine as a worker catalog for others."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import json_option, run, stopping
from rbee_tui.engine import addresses
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean, size

if TYPE_CHECKING:
    from rbee_tui.engine.listing.format import Published
    from rbee_tui.engine.listing.store import Store

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

at_option = click.option(
    "--at",
    "place",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the published workers and the key lie; beside rbee's own state without.",
)


def _store(place: Path | None) -> "Store":
    from rbee_tui.engine.listing.store import Store  # noqa: PLC0415 - help does not pay for it

    return (Store(place.absolute()) if place else Store.of(Root.find().prepare())).prepare()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 takes a free one."
)
@at_option
@json_option
def serve(*, host: str, port: int, place: Path | None, as_json: bool) -> None:
    """Serve the published workers to other machines, until Ctrl-C.

    Who reaches the address may read them; nothing can be changed through it.
    """
    from rbee_tui.server import worker_catalog  # noqa: PLC0415 - starlette, which only a server needs

    store = _store(place)
    listing = store.listing()
    listener = worker_catalog.listen(host, port)
    url = f"http://{addresses.written(host)}:{listener.getsockname()[1]}"

    count = len(listing.workers) if listing else 0

    def ready() -> None:
        if as_json:
            output.print_json({"url": url, "key": store.key(), "workers": count})
        else:
            output.result(url)
        sys.stdout.flush()  # whoever reads it through a pipe waits for it
        published = "1 worker is" if count == 1 else f"{count} workers are"
        output.note(f"{published} published; the key is {store.key()}")
        if host not in _LOOPBACK:
            output.note("every machine that reaches this address may read them")

    async def main() -> None:
        await worker_catalog.serve(store, listener, stop=stopping(), ready=ready, say=output.note)

    asyncio.run(main())


@click.command()
@click.argument("worker")
@click.option("--platform", "platforms", multiple=True, help="Also for another platform, as linux-aarch64.")
@click.option("--id", "worker_id", metavar="ID", help="Its id in the catalog; a program has to be given one.")
@click.option("--name", default="", help="What it is called, for a program.")
@click.option("--release", default="", metavar="VERSION", help="A program's version; asked of it without.")
@click.option(
    "--type", "worker_type", type=click.Choice(["cpu", "cuda", "metal"]), default="cpu", help="Of a program."
)
@click.option("--license", "licence", default="", help="A program's licence.")
@at_option
@json_option
def publish(  # noqa: PLR0913 - what a listing says
    *,
    worker: str,
    platforms: tuple[str, ...],
    worker_id: str | None,
    name: str,
    release: str,
    worker_type: str,
    licence: str,
    place: Path | None,
    as_json: bool,
) -> None:
    """Publish a worker of the bundled listing, its wheels mirrored, or the llama-server at a path."""
    from rbee_tui.engine.listing import publishing  # noqa: PLC0415 - help does not pay for it
    from rbee_tui.engine.workers import offers  # noqa: PLC0415 - as above

    path = Path(worker)
    if "/" in worker or path.is_file():
        if worker_id is None:
            raise UsageError("a program is published under an id", hint="--id llm-worker-NAME gives it one")
        entry = publishing.publish_binary(
            _store(place),
            path,
            worker_id=worker_id,
            name=name,
            version=release,
            worker_type=worker_type,  # pyright: ignore[reportArgumentType] - one of the choices
            license=licence,
        )
    else:
        if worker_id or name or release or licence:
            raise UsageError("--id, --name, --release and --license are for a program", hint="give its path")
        offer = offers.find(worker, offers.bundled())

        def say(line: str) -> None:
            output.note(f"  | {clean(line)}")

        entry = run(publishing.publish_recipe(_store(place), offer, platforms, say))
    _tell(entry, as_json=as_json)


def _tell(entry: "Published", *, as_json: bool) -> None:
    if as_json:
        output.print_json(entry)
        return
    output.result(clean(entry.id))
    output.note(
        f"published: {clean(entry.version)} for {', '.join(entry.platforms)}, {size(entry.size_bytes)}"
    )
    output.note("  -> rbee workers serve shows it to other machines")


@click.command()
@click.argument("worker")
@at_option
@json_option
def unpublish(*, worker: str, place: Path | None, as_json: bool) -> None:
    """Take a worker out of the catalog, and its file away; where it was installed it stays."""
    gone = _store(place).unpublish(worker)
    if as_json:
        output.print_json(gone)
    else:
        output.result(clean(gone.id))


@click.command()
@at_option
@json_option
def key(*, place: Path | None, as_json: bool) -> None:
    """Print the catalog's public key, which other machines trust; made where there is none."""
    store = _store(place)
    if as_json:
        output.print_json({"key": store.key(), "private": str(store.key_path)})
    else:
        output.result(store.key())
        output.note(f"the private one is {clean(str(store.key_path))}: who has it can sign for this catalog")
