"""Groups whose verbs are imported when they are typed, so that no verb pays for another."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import click

from rbee_tui.engine.text import clean


class LazyGroup(click.Group):
    """A group that knows its verbs' names, modules and one-line helps; `home` is the modules' package."""

    def __init__(self, *args: Any, home: str, verbs: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self.home = home
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order in which one needs them."""
        return [*self.verbs, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb: the function of its name in its module."""
        found = self.verbs.get(cmd_name)
        if found is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(f"{self.home}.{found[0]}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker; a test loads every verb
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.verbs.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that was typed; an unknown one is answered with those that look like it."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            near = _near(args[0], known)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"there is no command {clean(args[0])!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


class ListingGroup(click.Group):
    """A noun's group: without a verb it lists, so that `rbee jobs --json` is `rbee jobs list --json`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` in front where no verb was typed."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that was typed; an unknown one is answered with those that look like it."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            near = _near(args[0], self.commands) or list(self.commands)
            raise click.UsageError(
                f"{ctx.info_name} has no command {clean(args[0])!r}; did you mean {' or '.join(near)}?", ctx
            )
        return super().resolve_command(ctx, args)


def _near(word: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415 - for a verb that is not there alone

    return get_close_matches(word, list(known))
