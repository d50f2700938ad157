"""What a start is to be like: each option looked at, changed, and saved for the model's next starts."""

from typing import TYPE_CHECKING, Any

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.spans import seconds_of, span
from rbee_tui.engine.text import clean
from rbee_tui.engine.workers import wishes
from rbee_tui.engine.workers.wishes import Wishes
from rbee_tui.ui.lines import Cell, Column
from rbee_tui.ui.screens.line import LineScreen
from rbee_tui.ui.screens.pick import Choice, PickScreen, Pressed

if TYPE_CHECKING:
    from rbee_tui.ui.app import RbeeApp

_COLUMNS = (Column("OPTION", 12), Column("VALUE", 12, weight=1))
_ABOUT = {
    "worker_id": ("worker", "its id; the one that fits best without"),
    "context": ("context", "tokens of all slots together"),
    "device": ("device", "GPU0, all (GPUs together) or CPU; the one that fits best without"),
    "gpu_layers": ("GPU layers", "how many on the GPU; 0 is none, without it as many as fit"),
    "threads": ("threads", "all cores but one without"),
    "slots": ("slots", "requests at once; they share the context"),
    "host": ("address", "where it listens: this machine alone without; 0.0.0.0 is every interface"),
    "key": ("key", "no: programs and web pages on this machine may ask it; on loopback alone"),
    "port": ("port", "the one that the model had before without"),
    "idle_seconds": ("idle", "unload it when nobody asks for so long: 30m, 2h or never"),
    "embeddings": ("embeddings", "yes: it answers with embeddings, too"),
    "projector": ("projector", "no: it serves text only, where it could see or hear, and takes less memory"),
    "restart": ("restart", "no: it is not started again when it crashes"),
    "pinned": ("pin", "yes: it stays, however long nobody asks"),
}
_YES_OR_NO = frozenset({"key", "embeddings", "projector", "restart", "pinned"})
_WORDS = frozenset({"worker_id", "device", "host"})


async def change(app: "RbeeApp", model_id: str, said: dict[str, Any]) -> dict[str, Any] | None:
    """Change options one after the other; what is said then, None where nothing was changed."""
    changed, at = dict(said), None
    while True:
        saved = await app.bridge.ask(lambda engine: engine.processes.presets.read(model_id))
        picked = await app.push_screen_wait(
            PickScreen(
                f"Start {clean(model_id)}: options",
                _COLUMNS,
                [_choice(name, wishes.of(changed), saved) for name in _ABOUT],
                app.glyphs,
                about=2,
                enter="Change",
                also={"s": "Done", "p": "Save for the model", "f": "Forget what is saved"},
                at=at,
            )
        )
        if picked is None:
            return None
        at = picked.value if isinstance(picked, Pressed) else picked
        if not isinstance(picked, Pressed):
            await _ask(app, picked, changed)
            continue
        if picked.key == "s":
            return changed
        if picked.key == "p":
            await app.bridge.ask(lambda engine: engine.processes.save(model_id, **changed))
            app.narrate(f"the options of {clean(model_id)} are saved for its next starts", "ok")
        else:
            await app.bridge.ask(lambda engine: engine.processes.presets.save(model_id, wishes.NOTHING))
            app.narrate(f"what was saved for {clean(model_id)} is forgotten", "quiet")


def _choice(name: str, said: Wishes, saved: Wishes) -> Choice:
    word, about = _ABOUT[name]
    value = getattr(said, name)
    shown, style = (
        (_shown(name, value), "accent") if value is not None else (_shown(name, getattr(saved, name)), "")
    )
    origin = "" if value is not None or getattr(saved, name) is None else " (saved)"
    return Choice(
        name, (Cell(word), Cell(f"{shown}{origin}", style if shown != "-" else "quiet")), name, about
    )


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "idle_seconds":
        return span(value)
    return {True: "yes", False: "no"}[value] if name in _YES_OR_NO else clean(str(value))


async def _ask(app: "RbeeApp", name: str, changed: dict[str, Any]) -> None:
    """Ask for one option's value, and take it up where it makes sense; a dash leaves it to be chosen."""
    word, about = _ABOUT[name]

    def check(text: str) -> None:
        wishes.of(changed | {name: _read(name, text)})

    text = await app.push_screen_wait(LineScreen(word, f"{about}; - leaves it open", "Take", check=check))
    if text is not None:
        changed[name] = _read(name, text)


def _read(name: str, text: str) -> Any:
    """The value that a text means; raises UsageError."""
    if text == "-":
        return None
    if name == "idle_seconds":
        return seconds_of(text)
    if name in _YES_OR_NO:
        if text.lower() not in ("yes", "no", "y", "n"):
            raise UsageError(f"{clean(text)[:40]!r} is neither yes nor no")
        return text.lower().startswith("y")
    if name in _WORDS:
        return text
    if not text.isdecimal():
        raise UsageError(f"{clean(text)[:40]!r} is no whole number")
    return int(text)
