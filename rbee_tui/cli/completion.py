"""`rbee completion`: the script that teaches a shell rbee's verbs."""

import click

from rbee_tui.cli import output


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Print the completion script of a shell; for bash: eval "$(rbee completion bash)"."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only this verb needs it

    from rbee_tui.cli.command import rbee  # noqa: PLC0415 - the command imports this module

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - for the type checker: the choices are click's own
    output.result(kind(rbee, {}, "rbee", "_RBEE_COMPLETE").source())
