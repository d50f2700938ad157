"""Models whose worker is started when a hive starts, as after a reboot; marked in the root's settings."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rbee_tui.engine import settings
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine


def marked(root: Root) -> tuple[str, ...]:
    """The ids of the marked models, in the order in which they are started."""
    return settings.read(root).autostart


def mark(root: Root, model_id: str, *, on: bool) -> tuple[str, ...]:
    """Mark a model, as the last in order, or take its mark away; returns the ids that are marked then."""
    before = marked(root)

    def anew(before: tuple[str, ...]) -> tuple[str, ...]:
        if on:
            return before if model_id in before else (*before, model_id)
        return tuple(each for each in before if each != model_id)

    found = settings.revise(root, lambda settled: {"autostart": anew(settled.autostart)}).autostart
    if found != before:
        told = "a worker starts" if on else "no worker starts any more"
        Facts(root.facts).tell("setting.autostart", model_id, f"{told} on {clean(model_id)} with the hive")
    return found


async def start_marked(engine: "Engine", say: Callable[[str], None]) -> None:
    """Start a worker on every marked model that has none, one after another; a failure is only said."""
    for model_id in marked(engine.root):
        try:
            running = await engine.processes.start(model_id)
            say(f"{clean(model_id)} is {running.state} on {clean(running.worker)}")
        except RbeeError as error:
            say(f"{clean(model_id)} was not started: {error}")
