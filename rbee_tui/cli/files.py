"""`rbee files`: a repository of the Hub as one would choose from it."""

from typing import Any

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import json_option
from rbee_tui.engine import cards, naming
from rbee_tui.engine.choices import Choice, group
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.engine.refusals import access_hint
from rbee_tui.engine.repository import MAIN, Repository
from rbee_tui.engine.text import clean, size

_UNSERVED = "no worker here serves it"


@click.command()
@click.argument("repo", metavar="REPO")
@click.option("--revision", help="A branch, a tag or a commit; main without.")
@click.option("--card", is_flag=True, help="Print its card as plain text instead.")
@json_option
def files(*, repo: str, revision: str | None, card: bool, as_json: bool) -> None:
    """Show what a repository is and what of it can be downloaded: each quantisation with its shards."""
    named = naming.require(repo)
    hub = Hub(root=Root.find())
    found = hub.repository(named.repo, revision or named.revision or MAIN)
    text = hub.card(found)
    if card and not as_json:
        output.result("\n".join(cards.lines(text)))
        return
    offered = group(found.files)
    revisions = hub.revisions(found.id)
    if as_json:
        told: dict[str, Any] = {
            **{name: getattr(found, name) for name in found.__struct_fields__ if name != "files"},
            "summary": clean(cards.summary(text)),
            "card": cards.lines(text) if card else None,
            "revisions": revisions,
            "choices": [_choice(each) for each in offered],
        }
        output.print_json(told)
        return
    _print_about(found, cards.summary(text), ", ".join(each.name for each in revisions))
    columns = (
        output.Column("SIZE", right=True),
        output.Column("QUANT"),
        output.Column("FILES", right=True),
        output.Column("NAME"),
    )
    output.print_table(columns, [_row(each) for each in offered])
    if found.gated:
        has_token = hub.token is not None
        output.note(f"gated: {access_hint(clean(found.id), has_token=has_token)}")


def _print_about(found: Repository, summary: str, revisions: str) -> None:
    gate = {
        "": "open",
        "auto": "gated: asking is enough",
        "manual": "gated: its owner decides",
    }
    fields = {
        "repository": found.id,
        "what": summary,
        "task": found.task or "",
        "licence": found.license or "none named",
        "access": ("private, " if found.private else "") + gate.get(found.gate, found.gate),
        "updated": (found.updated_at or "")[:10],
        "downloads": f"{found.downloads:,}, {found.likes:,} likes",
        "revision": f"{found.revision}, commit {found.commit[:12]}",
        "revisions": revisions,
    }
    output.print_fields(fields)


def _row(choice: Choice) -> tuple[str, ...]:
    known = all(file.size_bytes is not None for file in choice.files)
    name = choice.file or f"the whole repository ({choice.format}: {_UNSERVED})"
    if choice.projector is not None:
        name += f" with {choice.projector.path}"
    return (
        size(choice.size_bytes) if known else "?",
        choice.quantization or "-",
        str(len(choice.files)),
        name,
    )


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        **{name: getattr(choice, name) for name in choice.__struct_fields__},
        "size_bytes": choice.size_bytes,
        "projector": choice.projector.path if choice.projector else None,
    }
