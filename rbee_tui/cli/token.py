"""`rbee token`: which of the Hub's tokens is used; entering one, forgetting it. It is never shown."""

import sys

import click

from rbee_tui.cli import output
from rbee_tui.cli.groups import ListingGroup
from rbee_tui.cli.options import json_option
from rbee_tui.engine import tokens
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean


@click.group(cls=ListingGroup)
def token() -> None:
    """The Hub's token; alone it says which one is used."""


@token.command(name="list")
@json_option
def show(*, as_json: bool) -> None:
    """Say where the token in use comes from: HF_TOKEN, one entered here, or the Hub's own file."""
    hub = Hub(root=Root.find())
    told = tokens.told(hub.named_token, hub.endpoint)
    if as_json:
        output.print_json(told)
    elif told.source is None:
        output.note(f"no token for {clean(told.endpoint)}\n  -> rbee token set enters one")
    else:
        output.result(clean(told.source))
        output.note(f"used for {clean(told.endpoint)}")


@token.command(name="set")
@json_option
def set_token(*, as_json: bool) -> None:
    """Enter a token for the Hub in use, on the terminal or at standard input; kept readable by you alone."""
    root, hub = Root.find().prepare(), Hub()
    text = click.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    tokens.enter(root, hub.endpoint, text)
    used = Hub(root=root).named_token
    if as_json:
        output.print_json(tokens.told(used, hub.endpoint))
        return
    output.note(f"kept for {clean(hub.endpoint)}")
    if used is not None and used.source != "entered":
        output.note(f"{clean(used.source)} goes before it as long as it is set")


@token.command()
@json_option
def forget(*, as_json: bool) -> None:
    """Forget the token that was entered here."""
    there = tokens.forget(Root.find().prepare())
    if as_json:
        output.print_json({"forgotten": there})
    else:
        output.note("forgotten" if there else "none was entered here")
