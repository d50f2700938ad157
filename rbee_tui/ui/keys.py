"""The one table of keys: footer, help, palette and the README's table are made from it.

It is over 400 lines because it is that table.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rbee_tui.engine.artifacts import Health
from rbee_tui.ui.lines import (
    ActivityLine,
    DeadLine,
    FileLine,
    JobLine,
    Line,
    ModelLine,
    ProcessLine,
    WorkerLine,
)


@dataclass(frozen=True)
class Situation:
    """Where the keys go: the pane that has the focus, and the line under its cursor."""

    pane: str
    """`models`, `workers` or `downloads`."""
    line: Line | None
    marked: tuple[Line, ...] = ()
    """The lines of that pane that are marked."""

    def at(self, line: Line) -> "Situation":
        """As it were with the cursor on this line alone."""
        return Situation(self.pane, line)


Test = Callable[[Situation], bool]
Label = Callable[[Situation], str]


def _always(_: Situation) -> bool:
    return True


@dataclass(frozen=True)
class Action:
    """Something that a key does on the main screen."""

    name: str
    keys: tuple[str, ...]
    """As Textual spells them."""
    shown: str
    """As people read it: `Ctrl-D`."""
    label: str
    """One or two words for the footer."""
    help: str
    """A sentence for the help and the palette."""
    group: str
    applies: Test = _always
    """Whether it does something here: the footer shows it then."""
    weight: int = 0
    """Order in the footer, the smallest first; what has none is only in help and palette."""
    relabel: Label | None = None
    """The footer's word where it depends on the line."""
    many: bool = False
    """Whether it is done to all marked lines at once, where there are some."""

    def word(self, situation: Situation) -> str:
        """The footer's word for it here; with the number of lines where some are marked."""
        lines = self.affected(situation)
        if lines:
            return f"{self.word(situation.at(lines[0]))} {len(lines):,}"
        return self.relabel(situation) if self.relabel else self.label

    def works(self, situation: Situation) -> bool:
        """Whether it does something here: to the marked lines, else to the one under the cursor."""
        if self.many and situation.marked:
            return bool(self.affected(situation))
        return self.applies(situation)

    def affected(self, situation: Situation) -> list[Line]:
        """The marked lines to which it is done: of several words for it, those of the most frequent one.

        A file goes with its download where both are marked.
        """
        if not self.many:
            return []
        whole = {line.job.id for line in situation.marked if isinstance(line, JobLine)}
        lines = [
            line
            for line in situation.marked
            if not (isinstance(line, FileLine) and line.job.id in whole) and self.applies(situation.at(line))
        ]
        words = [self.word(situation.at(line)) for line in lines]
        common = max(words, key=words.count, default="")
        return [line for line, word in zip(lines, words, strict=True) if word == common]


def _model(situation: Situation) -> ModelLine | None:
    return situation.line if isinstance(situation.line, ModelLine) else None


def _is_whole(situation: Situation) -> bool:
    line = _model(situation)
    return line is not None and line.entry.health is Health.OK


def _can_start(situation: Situation) -> bool:
    job = _job(situation)
    if job is not None:
        return job.job.state == "done"
    if isinstance(situation.line, DeadLine):
        return True
    line = _model(situation)
    return _is_whole(situation) and line is not None and line.running is None and line.activity is None


def running_model(situation: Situation) -> str | None:
    """The model of the running worker under the cursor."""
    line = situation.line
    if isinstance(line, ProcessLine):
        return line.running.model
    return line.running.model if isinstance(line, ModelLine) and line.running else None


def _runs(situation: Situation) -> bool:
    return running_model(situation) is not None


def _is_ready(situation: Situation) -> bool:
    line = situation.line
    each = line.running if isinstance(line, ProcessLine | ModelLine) else None
    return each is not None and each.state == "ready"


def _has_log(situation: Situation) -> bool:
    if isinstance(situation.line, ActivityLine):
        return situation.line.activity.verb == "installing"
    return _runs(situation) or _is_whole(situation) or isinstance(situation.line, DeadLine | WorkerLine)


def _can_fetch_again(situation: Situation) -> bool:
    line = _model(situation)
    ill = line is not None and line.entry.health in (Health.MISSING, Health.PARTIAL, Health.DAMAGED)
    return ill and line is not None and line.entry.artifact is not None and line.job is None


def _job(situation: Situation) -> JobLine | FileLine | None:
    return situation.line if isinstance(situation.line, JobLine | FileLine) else None


def _can_pause(situation: Situation) -> bool:
    found = _job(situation) or _model(situation)
    return (
        found is not None
        and found.job is not None
        and found.job.state not in ("done", "cancelled", "pausing")
    )


def _pause_word(situation: Situation) -> str:
    found = _job(situation) or _model(situation)
    state = found.job.state if found and found.job else ""
    if isinstance(found, FileLine) and found.steered_alone:
        state = found.file.state if found.file.state in ("failed", "cancelled", "paused") else state
    if state in ("failed", "cancelled"):
        return "Retry"
    if state == "not responding":
        return "Take over"
    return "Pause" if state in ("running", "queued") else "Resume"


def _is_unfinished(situation: Situation) -> bool:
    found = _job(situation)
    return found is not None and not found.job.is_over


def _can_repair(situation: Situation) -> bool:
    line = _model(situation)
    return (
        line is not None
        and line.entry.health is Health.DAMAGED
        and line.entry.artifact is not None
        and line.job is None
    )


def _can_delete(situation: Situation) -> bool:
    line = situation.line
    if isinstance(line, JobLine | FileLine):
        return line.job.state not in ("done", "cancelled")
    if isinstance(line, ActivityLine):
        return line.activity.give_up is not None
    return isinstance(line, DeadLine | WorkerLine) or (isinstance(line, ModelLine) and line.running is None)


def _delete_word(situation: Situation) -> str:
    if isinstance(situation.line, DeadLine):
        return "Forget"
    if isinstance(situation.line, ActivityLine):
        return "Cancel"
    if isinstance(situation.line, ModelLine) and situation.line.comes:
        return "Cancel"
    return "Cancel" if _job(situation) else "Remove" if isinstance(situation.line, WorkerLine) else "Delete"


def _pin_word(situation: Situation) -> str:
    line = situation.line
    each = line.running if isinstance(line, ProcessLine | ModelLine) else None
    return "Unpin" if each is not None and each.pinned else "Pin"


def _can_mark(situation: Situation) -> bool:
    line = situation.line
    return line is not None and any(each.many and each.applies(situation.at(line)) for each in ACTIONS)


def _mark_word(situation: Situation) -> str:
    keys = {line.key for line in situation.marked}
    return "Unmark" if situation.line is not None and situation.line.key in keys else "Mark"


def _can_verify(situation: Situation) -> bool:
    line = _model(situation)
    there = line is not None and line.entry.health in (Health.OK, Health.DAMAGED)
    return there and line is not None and line.entry.artifact is not None and line.activity is None


ACTIONS = (
    Action(
        "add",
        ("a",),
        "a",
        "Add",
        "add a model: find it on the Hub, see its files, download one",
        "Models",
        lambda s: s.pane != "workers",
        10,
    ),
    Action("start", ("s",), "s", "Start", "start a worker on this model", "Workers", _can_start, 11),
    Action(
        "try",
        ("t",),
        "t",
        "Try",
        "try it out: ask the running model, and see its answer come",
        "Workers",
        _is_ready,
        12,
    ),
    Action(
        "stop", ("x",), "x", "Stop", "stop the worker of this model (asks)", "Workers", _runs, 13, many=True
    ),
    Action(
        "pin",
        ("P",),
        "P",
        "Pin",
        "let a worker stay however long nobody asks it anything, or not any more",
        "Workers",
        _is_ready,
        25,
        _pin_word,
    ),
    Action(
        "autostart",
        ("A",),
        "A",
        "Autostart",
        "start a worker on this model with the hive, as after a reboot, or not any more",
        "Workers",
        lambda s: isinstance(s.line, ModelLine | ProcessLine),
    ),
    Action(
        "fetch",
        ("f",),
        "f",
        "Fetch again",
        "download what is missing of this model",
        "Models",
        _can_fetch_again,
        14,
        many=True,
    ),
    Action(
        "newer",
        ("n",),
        "n",
        "Newer",
        "ask the Hub which models have newer files, mark them, and update one or all",
        "Models",
        lambda s: s.pane == "models" and s.line is not None,
        many=True,
    ),
    Action(
        "repair",
        ("r",),
        "r",
        "Repair",
        "fetch the bad blocks of a damaged model again, and those alone",
        "Models",
        _can_repair,
        13,
        many=True,
    ),
    Action(
        "import",
        ("u",),
        "u",
        "Take up",
        "take up a loose GGUF file, or what other programs have on this disk, without a copy",
        "Models",
        lambda s: s.pane == "models",
        25,
    ),
    Action(
        "pause",
        ("p",),
        "p",
        "Pause",
        "pause, resume or retry a download, or one file of it",
        "Downloads",
        _can_pause,
        15,
        _pause_word,
        many=True,
    ),
    Action(
        "sooner",
        ("plus", "equals_sign"),
        "+",
        "Sooner",
        "move a download up in the queue",
        "Downloads",
        _is_unfinished,
    ),
    Action(
        "later", ("minus",), "-", "Later", "move a download down in the queue", "Downloads", _is_unfinished
    ),
    Action(
        "cap",
        ("b",),
        "b",
        "Cap",
        "bound the bytes per second of all downloads, or lift the bound",
        "Downloads",
        lambda s: s.pane == "downloads",
        24,
    ),
    Action(
        "install",
        ("i",),
        "i",
        "Install",
        "install a worker: see each that there is, and why it fits or not",
        "Workers",
        lambda s: s.pane == "workers",
        16,
    ),
    Action("logs", ("l",), "l", "Log", "read a worker's log, or an install's", "Workers", _has_log, 17),
    Action(
        "details",
        ("enter",),
        "Enter",
        "Details",
        "all that is known of it",
        "Everything",
        lambda s: s.line is not None,
        18,
    ),
    Action(
        "verify",
        ("v",),
        "v",
        "Verify",
        "compare a model's files with their hashes",
        "Models",
        _can_verify,
        20,
        many=True,
    ),
    Action(
        "delete",
        ("ctrl+d",),
        "Ctrl-D",
        "Delete",
        "delete a model, remove a worker, cancel a download or install (asks); forget how a worker ended",
        "Everything",
        _can_delete,
        21,
        _delete_word,
        many=True,
    ),
    Action(
        "mark",
        ("space",),
        "Space",
        "Mark",
        "mark a line, or unmark it: Ctrl-D f n p r v x then act on all that are marked, asking once",
        "Everything",
        _can_mark,
        26,
        _mark_word,
    ),
    Action(
        "copy",
        ("y",),
        "y",
        "Copy",
        "copy an id, a path, a URL, a key, or the ssh line that forwards its port",
        "Everything",
        lambda s: s.line is not None,
        22,
    ),
    Action(
        "why",
        ("w",),
        "w",
        "Why",
        "which worker a model is started with, and why each other one is not",
        "Workers",
        _is_whole,
        23,
    ),
    Action(
        "fit",
        ("m",),
        "m",
        "Fit",
        "what of this model fits where: each GPU and the CPU, by context",
        "Models",
        _is_whole,
        24,
    ),
    Action(
        "filter", ("slash",), "/", "Filter", "show only lines with these words", "Everything", _always, 30
    ),
    Action(
        "sort",
        ("o",),
        "o",
        "Sort",
        "sort the models by the next column",
        "Models",
        lambda s: s.pane == "models",
    ),
    Action(
        "reverse",
        ("O",),
        "O",
        "Reverse",
        "turn the order of the models round",
        "Models",
        lambda s: s.pane == "models",
    ),
    Action(
        "disk",
        ("D",),
        "D",
        "Disk",
        "what takes room on the disk, what deleting it frees, and partial files",
        "Everything",
    ),
    Action(
        "events",
        ("e",),
        "e",
        "Events",
        "what happened, and each error with what to do about it",
        "Everything",
    ),
    Action(
        "settings",
        ("comma",),
        ",",
        "Settings",
        "what becomes of workers and downloads when a screen ends, and when workers are unloaded",
        "Everything",
    ),
    Action(
        "refresh",
        ("ctrl+r",),
        "Ctrl-R",
        "Refresh",
        "look at the disk now, and draw the screen again",
        "Everything",
    ),
    Action("pane_1", ("1",), "1", "Models", "go to the models", "Panes"),
    Action("pane_2", ("2",), "2", "Workers", "go to the workers", "Panes"),
    Action("pane_3", ("3",), "3", "Downloads", "go to the downloads", "Panes"),
    Action(
        "next_pane",
        ("tab",),
        "Tab",
        "Pane",
        "go to the next pane (Shift-Tab: the one before)",
        "Panes",
        weight=19,
    ),
    Action(
        "palette",
        ("colon", "ctrl+p"),
        ":",
        "Commands",
        "find a command by its words",
        "Everything",
        _always,
        40,
    ),
    Action("help", ("question_mark", "f1"), "?", "Help", "every key", "Everything", _always, 41),
    Action(
        "suspend",
        ("ctrl+z",),
        "Ctrl-Z",
        "Suspend",
        "go back to the shell for a while (fg returns)",
        "Everything",
    ),
    Action("quit", ("q", "ctrl+c"), "q", "Quit", "leave; it says what goes on", "Everything", _always, 42),
)

MOVING = (
    ("j k, arrows", "move the cursor"),
    ("g G, Home End", "to the first line, to the last"),
    ("PgUp PgDn", "by a page"),
    ("Esc", "back, or clear the marks, then the filter; never quits"),
)

BY_NAME = {action.name: action for action in ACTIONS}
GROUPS = ("Models", "Workers", "Downloads", "Panes", "Everything")


def in_footer(situation: Situation, *, alone: bool = False) -> list[Action]:
    """What the footer offers here, in its order.

    First what is done to marked lines, where there are some: to the most of them before to a few. Where a
    pane is `alone` on the screen, nothing but this says that there are others.
    """
    found = [action for action in ACTIONS if action.weight and _offered(action, situation)]

    def order(action: Action) -> tuple[bool, int, int]:
        done = len(action.affected(situation))
        beside = bool(situation.marked) and not done and action.name != "mark"
        return beside, -done, 0 if alone and action.name == "next_pane" else action.weight

    return sorted(found, key=order)


def _offered(action: Action, situation: Situation) -> bool:
    """Whether the footer has room for it: it works, and there is something that it finds."""
    if not action.works(situation):
        return False
    if action.name == "logs" and isinstance(situation.line, ModelLine):
        return situation.line.running is not None
    return action.name != "filter" or situation.line is not None
