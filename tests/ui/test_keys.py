"""One table: each key, its action, its footer word, its place in help and palette."""

import inspect
import subprocess
import sys
from collections import Counter

import pytest

from rbee_tui.engine.artifacts import Health
from rbee_tui.ui.app import RbeeApp
from rbee_tui.ui.flows import FLOWS, load
from rbee_tui.ui.flows.finding import help_lines
from rbee_tui.ui.house import Activity
from rbee_tui.ui.keys import ACTIONS, BY_NAME, GROUPS, Situation, in_footer, running_model
from rbee_tui.ui.lines import ActivityLine, FileLine, JobLine, ModelLine, ProcessLine, WorkerLine
from rbee_tui.ui.screens.main import MainScreen
from rbee_tui.ui.widgets.list_pane import ListPane
from tests.ui.things import a_file, a_job, a_model, a_running, a_worker, unreadable


def shown(line, pane: str = "models") -> list[str]:
    """The names of what the footer offers."""
    return [action.name for action in in_footer(Situation(pane, line))]


def word(name: str, line, pane: str = "models") -> str | None:
    """The footer's word for an action; None where it does nothing."""
    situation = Situation(pane, line)
    action = BY_NAME[name]
    return action.word(situation) if action.applies(situation) else None


class TestTable:
    """What holds for every action."""

    def test_no_key_stands_for_two(self):
        """Among the actions, and against the keys that move the cursor."""
        keys = [key for action in ACTIONS for key in action.keys]
        moving = [key for binding in ListPane.BINDINGS for key in binding.key.split(",") if key != "enter"]
        assert [key for key, count in Counter(keys + moving).items() if count > 1] == []
        assert len(BY_NAME) == len(ACTIONS)

    @pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
    def test_each_does_something(self, action):
        """The application knows what, and the main screen listens to its keys."""
        handled = (
            action.name in FLOWS
            or action.name in RbeeApp._IMMEDIATE
            or action.name in ("pane_1", "pane_2", "pane_3")
        )
        assert handled
        bound = {binding.key: binding.action for binding in MainScreen.BINDINGS}
        if action.name != "details":  # the list says that a line was chosen
            assert all(bound[key] == f"do('{action.name}')" for key in action.keys)

    @pytest.mark.parametrize("name", [*FLOWS.values(), "batch.act"])
    def test_each_flow_is_there(self, name):
        """Under the name by which it is loaded; the application awaits it."""
        assert inspect.iscoroutinefunction(load(name))

    def test_the_first_picture_loads_no_flow(self):
        """Only what becomes of downloads at the end, which a signal may ask at any time."""
        code = "import rbee_tui.ui.app, sys; print(*(n for n in sys.modules if '.ui.flows.' in n))"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert ran.stdout.split() == ["rbee_tui.ui.flows.leaving"]

    def test_nothing_is_handled_that_has_no_key(self):
        """A flow that nobody can reach is a defect."""
        assert {*FLOWS, *RbeeApp._IMMEDIATE} <= BY_NAME.keys()

    @pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
    def test_each_is_in_the_help(self, action):
        """Once, in its group."""
        assert action.group in GROUPS
        found = [text for text, _ in help_lines() if text.strip().startswith(f"{action.shown} ")]
        assert [text for text in found if text.endswith(action.help)]

    def test_the_mark_names_every_key_that_acts_on_many(self):
        """So that its line in the help stays true."""
        named = BY_NAME["mark"].help.partition(": ")[2].partition(" then")[0]
        assert named.split() == sorted((each.shown for each in ACTIONS if each.many), key=str.casefold)

    def test_what_is_shown_is_short(self):
        """A footer's word is one or two; a help's sentence begins small and has no full stop."""
        for action in ACTIONS:
            assert len(action.label.split()) <= 2
            assert action.help[0].islower() or action.help.startswith("leave")
            assert not action.help.endswith(".")

    def test_no_letter_alone_destroys(self):
        """What deletes needs Ctrl, and asks."""
        assert BY_NAME["delete"].keys == ("ctrl+d",)
        assert not any("d" in action.keys for action in ACTIONS)


class TestFooter:
    """What does something here, in the order of its use."""

    def test_by_weight(self):
        """Help and quit last; each weight is given, and what has none is not there."""
        offered = in_footer(Situation("models", ModelLine(a_model())))
        assert [action.weight for action in offered] == sorted(action.weight for action in offered)
        assert [action.name for action in offered][-3:] == ["palette", "help", "quit"]
        assert all(action.weight for action in offered)

    def test_nothing_there(self):
        """What one can begin with."""
        assert shown(None) == ["add", "next_pane", "import", "palette", "help", "quit"]
        assert shown(None, "workers") == ["install", "next_pane", "palette", "help", "quit"]
        assert shown(None, "downloads") == ["add", "next_pane", "cap", "palette", "help", "quit"]

    def test_a_pane_that_is_alone(self):
        """The way to the others comes first, and is not left out for want of room."""
        offered = in_footer(Situation("models", ModelLine(a_model())), alone=True)
        assert offered[0].name == "next_pane"

    def test_what_is_done_to_the_most(self):
        """Of marked lines: a key for all of them comes before one for a part."""
        marked = (ModelLine(a_model("a", Health.DAMAGED)), ModelLine(a_model("b")), ModelLine(a_model("c")))
        situation = Situation("models", marked[0], marked)
        counts = [len(action.affected(situation)) for action in in_footer(situation)]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] == 3
        assert 1 in counts

    def test_a_whole_model(self):
        """It can be started; once it runs it can be tried and stopped instead, and not deleted."""
        whole = shown(ModelLine(a_model()))
        assert {"start", "verify", "delete", "why", "copy", "details"} <= set(whole)
        assert "logs" not in whole, "perhaps it never had one, though the key looks for it"
        assert BY_NAME["logs"].works(Situation("models", ModelLine(a_model())))
        runs = shown(ModelLine(a_model(), running=a_running()))
        assert {"try", "stop", "logs"} <= set(runs)
        assert not {"start", "delete"} & set(runs)
        loads = shown(ModelLine(a_model(), running=a_running(state="loading")))
        assert "try" not in loads
        assert "stop" in loads
        busy = shown(ModelLine(a_model(), activity=Activity("verifying", "tiny")))
        assert not {"start", "verify"} & set(busy)

    def test_an_ill_model(self):
        """It can be brought again, unless that is under way or nothing says from where."""
        damaged = a_model(health=Health.DAMAGED)
        assert "fetch" in shown(ModelLine(damaged))
        assert "start" not in shown(ModelLine(damaged))
        assert "fetch" not in shown(ModelLine(damaged, job=a_job()))
        assert "fetch" not in shown(ModelLine(unreadable("x")))
        assert "import" in shown(ModelLine(unreadable("x", Health.IMPORTABLE)))

    def test_a_worker(self):
        """One that runs, one that is installed, one that is being installed."""
        assert running_model(Situation("workers", ProcessLine(a_running()))) == "tiny"
        assert {"try", "stop", "logs"} <= set(shown(ProcessLine(a_running()), "workers"))
        installed = shown(WorkerLine(a_worker()), "workers")
        assert {"install", "logs", "delete"} <= set(installed)
        assert "stop" not in installed
        assert "logs" in shown(ActivityLine(Activity("installing", "w")), "workers")
        assert "delete" not in shown(ActivityLine(Activity("installing", "w")), "workers")
        assert "delete" in shown(ActivityLine(Activity("installing", "w", give_up=int)), "workers")
        assert "logs" not in shown(ActivityLine(Activity("starting", "w")), "workers")

    @pytest.mark.parametrize(
        ("state", "pause"),
        [
            ("running", "Pause"),
            ("queued", "Pause"),
            ("pausing", None),
            ("paused", "Resume"),
            ("interrupted", "Resume"),
            ("foreign", "Resume"),
            ("failed", "Retry"),
            ("not responding", "Take over"),
            ("done", None),
            ("cancelled", None),
        ],
    )
    def test_p_says_what_it_does(self, state, pause):
        """On a download, on a file of it, and on its model."""
        job = a_job(state=state)
        for line in (JobLine(job), FileLine(job, a_file()), ModelLine(a_model(), job=job)):
            assert word("pause", line) == pause

    def test_ctrl_d_says_what_it_does(self):
        """Delete, remove, cancel; nothing on what has ended or runs."""
        assert word("delete", ModelLine(a_model())) == "Delete"
        assert word("delete", WorkerLine(a_worker())) == "Remove"
        assert word("delete", JobLine(a_job())) == "Cancel"
        assert word("delete", JobLine(a_job(state="done"))) is None
        assert word("delete", ProcessLine(a_running())) is None
