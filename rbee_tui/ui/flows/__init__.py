"""What the keys do: each a few questions and one call into the engine.

A flow is loaded when its key is first pressed: the first picture waits for none, and who never
installs a worker has none of what installing needs in memory.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rbee_tui.ui.keys import BY_NAME, Situation

if TYPE_CHECKING:
    from rbee_tui.ui.app import RbeeApp

FLOWS: Mapping[str, str] = {
    "add": "adding.add",
    "start": "working.start",
    "try": "working.try_out",
    "stop": "working.stop",
    "pin": "working.pin",
    "autostart": "working.autostart_with_hive",
    "settings": "settling.settle",
    "install": "installing.install",
    "logs": "working.logs",
    "why": "working.why",
    "fit": "fitting.model_matrix",
    "details": "keeping.show_details",
    "verify": "keeping.verify",
    "fetch": "keeping.fetch_again",
    "newer": "updating.newer",
    "import": "taking.take_up",
    "pause": "keeping.pause",
    "repair": "keeping.repair",
    "sooner": "keeping.move_up",
    "later": "keeping.move_down",
    "cap": "keeping.cap",
    "delete": "keeping.delete",
    "copy": "keeping.copy",
    "disk": "room.disk",
    "events": "finding.events",
    "help": "finding.help_screen",
    "palette": "finding.palette",
    "suspend": "leaving.suspend",
    "quit": "leaving.quit_screen",
}
"""By the name of an action its module here, and the function that takes the application and the situation."""


async def run(app: "RbeeApp", name: str, situation: Situation) -> None:
    """Do what an action stands for: to the marked lines, where some are marked and it can be done to many."""
    if situation.marked and BY_NAME[name].many:
        await load("batch.act")(app, situation, name)
    else:
        await load(FLOWS[name])(app, situation)


def load(flow: str) -> Any:
    """The function of a flow, as `adding.add`."""
    module, function = flow.split(".")
    return getattr(import_module(f"{__name__}.{module}"), function)
