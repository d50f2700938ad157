"""Models that other programs have on this disk: whose, where they lie, which of them are here already."""

from rbee_tui.engine.elsewhere.found import Found, FoundFile
from rbee_tui.engine.elsewhere.look import look, mark_here
from rbee_tui.engine.elsewhere.places import Place, places

__all__ = ["Found", "FoundFile", "Place", "look", "mark_here", "places"]
