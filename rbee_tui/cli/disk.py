"""`rbee disk`: what takes room, what removing it gives back, and whether the disk is about to be full."""

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import engine, json_option
from rbee_tui.engine.disk import Share, Usage, usage
from rbee_tui.engine.text import clean, size


@click.command()
@json_option
def disk(*, as_json: bool) -> None:
    """Show what takes room, what removing it frees (hard links counted), and warn before the disk is full."""
    found = usage(engine("disk"))
    if as_json:
        output.print_json(found)
        return
    columns = (
        output.Column("SIZE", right=True),
        output.Column("FREED", right=True),
        output.Column("KIND"),
        output.Column("NAME"),
    )
    rows = [_row(each) for each in found.shares if each.size_bytes or each.elsewhere_bytes]
    if rows:
        output.print_table(columns, rows)
    for line in said(found):
        output.note(line)


def _row(share: Share) -> tuple[str, ...]:
    kind = f"{share.kind}, in place" if share.elsewhere_bytes else share.kind
    return size(share.size_bytes or share.elsewhere_bytes), size(share.freed_bytes), kind, share.id


def said(found: Usage) -> list[str]:
    """The figures of all together, and what to do where the disk is nearly full."""
    promised = f", {size(found.promised_bytes)} promised to downloads" if found.promised_bytes else ""
    free = f"{size(found.free_bytes)} of {size(found.total_bytes)} free{promised}"
    lines = [f"{size(found.held_bytes)} in {clean(found.path)}; {free}"]
    if found.purgeable_bytes:
        lines.append(f"rbee jobs purge --all frees {size(found.purgeable_bytes)} of partial files")
    if found.warning:
        lines.append(f"warning: {found.warning}\n  -> rbee models remove MODEL frees what FREED says")
    return lines
