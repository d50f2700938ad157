"""What the command answers before it does anything: help, versions, and requests that make no sense."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import rbee_tui
from rbee_tui.cli.command import rbee
from rbee_tui.cli.groups import LazyGroup
from tests.cli.support import Command

NOUNS = ("models", "workers", "jobs")


def every_command() -> list[tuple[str, ...]]:
    """Each verb as the words that a user types."""
    context = click.Context(rbee)
    found: list[tuple[str, ...]] = []
    for name in rbee.list_commands(context):
        command = rbee.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, verb) for verb in command.list_commands(context)]
    return found


def command_of(words: tuple[str, ...]) -> click.Command:
    """The command behind these words."""
    command: click.Command | None = rbee
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return command


class TestHelp:
    @pytest.mark.parametrize("words", every_command(), ids=" ".join)
    @pytest.mark.parametrize("option", ["-h", "--help"])
    def test_every_verb_explains_itself(self, words: tuple[str, ...], option: str):
        """Both spellings of help work after each verb, and say more than the options."""
        done = CliRunner().invoke(rbee, [*words, option])
        assert done.exit_code == 0, done.output
        assert done.output.startswith("Usage: ")
        assert command_of(words).help

    def test_the_list_of_verbs_is_made_without_importing_them(self):
        """`rbee --help` shows each verb's line, and has loaded none of them."""
        code = (
            "import sys\nfrom rbee_tui.__main__ import _run\n"
            "assert _run(['--help']) == 0\n"
            "print(sorted(m for m in sys.modules if m.startswith('rbee_tui.cli.')), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        assert done.stderr.strip() == "['rbee_tui.cli.command', 'rbee_tui.cli.groups', 'rbee_tui.cli.guard']"
        assert isinstance(rbee, LazyGroup)
        for name, (_, line) in rbee.verbs.items():
            assert f"  {name} " in done.stdout
            assert line in done.stdout

    @pytest.mark.parametrize("words", every_command(), ids=" ".join)
    def test_json_is_there_after_each_verb_that_prints(self, words: tuple[str, ...]):
        """All but those whose output is no data: the demo, the runner, a shell's script."""
        command = command_of(words)
        if isinstance(command, click.Group) or words[0] in ("demo", "completion"):
            return
        assert "as_json" in {parameter.name for parameter in command.params}

    def test_the_exit_codes_are_documented(self):
        """Each code that an error can have stands in the help's epilog."""
        from rbee_tui.engine import errors  # noqa: PLC0415 - the classes are looked at, not used

        said = CliRunner().invoke(rbee, ["--help"]).output.split("Exit codes:")[1]
        kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
        for code in {kind.exit_code for kind in kinds if issubclass(kind, errors.RbeeError)} | {0, 130}:
            assert f" {code}  " in said

    def test_the_version_is_said(self, tmp_path: Path):
        """On standard output, and nothing else."""
        assert Command(tmp_path).run("--version") == f"rbee {rbee_tui.__version__}\n"


BAD = [
    ["nosuchverb"],
    ["modles"],
    ["--nosuchoption"],
    ["pull"],
    ["pull", ""],
    ["pull", ":file.gguf"],
    ["pull", "a/b:"],
    ["pull", "a/b", "c/d"],
    ["search"],
    ["search", "x", "--limit", "0"],
    ["search", "x", "--limit", "many"],
    ["models", "lst"],
    ["models", "show"],
    ["models", "verify"],
    ["models", "verify", "x", "--all"],
    ["models", "import"],
    ["models", "remove"],
    ["models", "list", "extra"],
    ["workers", "upgrade"],
    ["workers", "register"],
    ["workers", "remove"],
    ["start"],
    ["start", "x", "--port", "0"],
    ["start", "x", "--port", "70000"],
    ["start", "x", "--context", "-1"],
    ["prompt"],
    ["prompt", "x"],
    ["prompt", "x", ""],
    ["prompt", "x", "y", "--max-tokens", "0"],
    ["logs"],
    ["logs", "x", "-n", "-1"],
    ["stop"],
    ["stop", "x", "--all"],
    ["jobs", "drop"],
    ["jobs", "take"],
    ["pause"],
    ["resume"],
    ["cancel"],
    ["retry"],
    ["hive", "--until-idle"],
    ["hive", "--port", "70000"],
    ["hive", "--bind", "nowhere"],
    ["hive", "--queen-url", "nowhere"],
    ["hive", "tokn"],
    ["completion", "tcsh"],
    ["demo", "--rate", "-1"],
    ["demo", "--say", ""],
    ["\x1b[31mred"],
]


class TestRequestsThatMakeNoSense:
    @pytest.mark.parametrize("words", BAD, ids=repr)
    def test_each_is_answered_with_one_sentence(self, words: list[str], capfd: pytest.CaptureFixture[str]):
        """Exit code 2, a sentence, a hint; no traceback, nothing on standard output, no control character."""
        from rbee_tui.cli.guard import run  # noqa: PLC0415 - it changes this process's streams

        assert run(words) == 2
        out, err = capfd.readouterr()
        assert out == ""
        sentence, hint = err.splitlines()
        assert sentence.startswith("rbee: ")
        assert hint.startswith("  -> ")
        assert "\x1b" not in err

    def test_with_json_the_answer_is_an_object(self, capfd: pytest.CaptureFixture[str]):
        """A script reads the same facts."""
        from rbee_tui.cli.guard import run  # noqa: PLC0415 - as above

        assert run(["models", "show", "--json"]) == 2
        said = json.loads(capfd.readouterr().err)
        assert said["error"] == "usage"
        assert "MODEL" in said["message"]
        assert "--help" in said["hint"]

    def test_a_misspelt_verb_is_answered_with_its_likes(self, tmp_path: Path):
        """At both levels."""
        rbee = Command(tmp_path / "rbee")
        rbee.fails("modles", code=2, saying="did you mean models?")
        rbee.fails("models", "lits", code=2, saying="did you mean list")

    def test_a_relative_home_is_refused(self, tmp_path: Path):
        """It would mean another directory for each place one stands in."""
        Command(Path("relative")).fails("models", "list", code=2, saying="RBEE_HOME")
        assert not (tmp_path / "relative").exists()

    def test_a_home_that_everybody_may_write_is_refused(self, tmp_path: Path):
        """Others may have put a model there; and its mode stays, since it may be somebody's on purpose."""
        home = tmp_path / "open"
        home.mkdir()
        home.chmod(0o1777)
        Command(home).fails("models", "list", code=4, saying="everybody may write to")
        assert home.stat().st_mode & 0o7777 == 0o1777
