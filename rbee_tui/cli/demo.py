"""`rbee demo`: the main job, from the search to the answer, without touching anything of the user's."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rbee_tui.cli import output
from rbee_tui.cli.options import run
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean, size, token_rate
from rbee_tui.ui import terminal

if TYPE_CHECKING:
    from rbee_tui.demo.run import Figures
    from rbee_tui.engine.jobs import JobProgress
    from rbee_tui.engine.provisioner import ModelProvisioner

_MEGABYTE = 1_000_000


@click.command()
@click.option("--headless", is_flag=True, help="Without a screen; so it is without a terminal anyway.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Use DIR as the root and leave it there; a temporary one otherwise.",
)
@click.option("--say", metavar="WORDS", help="What the model recites.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    metavar="MB/S",
    help="The Hub's speed in megabytes per second; 0 is as fast as it goes.",
)
def demo(*, headless: bool, keep: Path | None, say: str | None, rate: float) -> None:
    """See all of it work: a small Hub on loopback, a tiny real model, a real worker.

    On a terminal it opens the screen on them. Headless it searches, downloads, verifies, installs the worker
    that fits (from the package index), starts it, asks it, stops it: the model's sentence goes to standard
    output, everything else to standard error.
    """
    if say is not None and not say.strip():
        raise UsageError("--say needs words")
    if not headless and not terminal.refusal():
        raise click.exceptions.Exit(_on_screen(say, keep, round(rate * _MEGABYTE) or None))
    from rbee_tui.demo.run import run as run_demo  # noqa: PLC0415 - the Hub is the demo's alone

    show = Steps()
    output.note(output.paint("rbee demo", "bold", sys.stderr) + "  all of it, for real, on this machine")
    figures = run(run_demo(show, say=say, keep=keep, rate=round(rate * _MEGABYTE) or None))
    show.close(figures, keep)


def _on_screen(say: str | None, keep: Path | None, rate: int | None) -> int:
    """The screen on the demo's root and Hub; what it started is stopped, its files go away unless kept."""
    import asyncio  # noqa: PLC0415 - as below
    import signal  # noqa: PLC0415 - as below

    from rbee_tui.cli import screen  # noqa: PLC0415 - the headless demo does not pay for it
    from rbee_tui.demo import run as demo_run  # noqa: PLC0415 - as above
    from rbee_tui.engine.engine import Engine  # noqa: PLC0415 - as above

    # What is ended before the screen takes the signals takes its files away, too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise_exit)
    with demo_run.stage(say=say, keep=keep, rate=rate) as (root, hub):
        before = {running.model for running in Engine(root, hub).processes.list()}
        code = screen.open_screen(
            lambda: Engine(root, hub, verb="rbee demo"),
            str(root.logs),
            temporary=keep is None,
            demo=True,
            greeting="a demo: a small Hub of its own, a tiny real model; begin with a",
        )
        asyncio.run(demo_run.strike(root, hub, before))
    said = ["the demo is over: nothing of it is left running"]
    if keep is not None:
        said.append(f"it stays there: RBEE_HOME={clean(str(root.path))} rbee models list")
    screen.say(said)
    return code


def _raise_exit(number: int, frame: object) -> None:
    del frame
    raise click.exceptions.Exit(128 + number)


class Steps:
    """Tells the demo as numbered steps, each with the command that does the same."""

    def __init__(self) -> None:
        self._number = 0

    def step(self, title: str, command: str) -> None:
        """Begin a step."""
        self._number += 1
        number = output.paint(f"{self._number}", "cyan", sys.stderr)
        typed = output.paint(f"$ {command}", "dim", sys.stderr)
        output.note(f"\n {number}  {output.paint(title.ljust(8), 'bold', sys.stderr)}  {typed}")

    def detail(self, text: str) -> None:
        """Say what a step found out."""
        output.note(f"    {text}")

    def line(self, text: str) -> None:
        """Show a line of an install."""
        output.note(output.paint(f"    | {clean(text)}", "dim", sys.stderr))

    def answer(self, text: str) -> None:
        """Print the sentence, which is the result."""
        sys.stderr.flush()
        output.result(clean(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()

    async def follow(self, provisioner: "ModelProvisioner", job_id: str) -> "JobProgress":
        """Run the download with its bars or lines."""
        from rbee_tui.cli import progress  # noqa: PLC0415 - `rbee demo --help` does not pay for it

        return await progress.follow(provisioner, job_id)

    def close(self, figures: "Figures", keep: Path | None) -> None:
        """Sum up what was measured."""
        rate = f"{size(int(figures.bytes_per_second))}/s" if figures.bytes else "nothing had to be downloaded"
        output.note(
            f"\n{output.glyph('✓', 'ok')}  download {rate}"
            f"  |  load {figures.load_seconds:.2f} s"
            f"  |  {token_rate(figures.tokens_per_second)} tok/s on {clean(figures.worker)}"
        )
        if keep is not None:
            output.note(f"   it stays there: RBEE_HOME={clean(figures.root)} rbee models list")
