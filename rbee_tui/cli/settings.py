"""`rbee settings`: what is settled for all of rbee on one root."""

import click
import msgspec

from rbee_tui.cli import output
from rbee_tui.cli.groups import ListingGroup
from rbee_tui.cli.options import json_option
from rbee_tui.engine import choosable
from rbee_tui.engine import settings as settled
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.paths import Root


@click.group(name="settings", cls=ListingGroup)
def settings() -> None:
    """What is settled; alone it lists it."""


@settings.command(name="list")
@json_option
def list_settings(*, as_json: bool) -> None:
    """List each setting with its value and what it may be."""
    found = settled.read(Root.find())
    if as_json:
        output.print_json([{"id": each.name, "value": each.value(found)} for each in choosable.ALL])
        return
    columns = (output.Column("SETTING"), output.Column("VALUE"), output.Column("WHAT IT IS"))
    output.print_table(columns, [(each.name, each.shown(found), each.about) for each in choosable.ALL])


@settings.command(name="set")
@click.argument("name")
@click.argument("value")
@json_option
def set_setting(*, name: str, value: str, as_json: bool) -> None:
    """Settle one anew, for every rbee on this root."""
    root = Root.find().prepare()
    each = choosable.find(name)
    changed = settled.change(root, **each.read(value))
    Facts(root.facts).tell("setting.changed", each.name, f"{each.name} is {each.shown(changed)} now")
    if as_json:
        output.print_json(msgspec.to_builtins(changed))
    else:
        output.result(each.shown(changed))
