"""A fault that nobody foresaw: a sentence for the person, the traceback in a private file."""

import stat
from pathlib import Path

import pytest

from rbee_tui.engine import traces

SECRET = "hf_" + "s" * 34


def fault(text: str) -> Exception:
    """An error that was raised beside a secret."""

    def call(token: str) -> None:
        del token
        raise LookupError(text)

    try:
        call(SECRET)
    except LookupError as error:
        return error
    raise AssertionError


def kept_in(said: str) -> Path:
    """The file that a sentence names."""
    return Path(said.removeprefix("please report it with "))


class TestSentence:
    """What a person reads."""

    def test_it_names_the_error(self):
        """And says whose fault it is."""
        said = traces.sentence(LookupError("no such thing"))
        assert said == "something went wrong that rbee does not know (LookupError: no such thing)"

    def test_it_is_short_and_inert(self):
        """Whatever the error holds."""
        said = traces.sentence(LookupError("\x1b]52;c;AAAA\x07" + "x" * 5000))
        assert len(said) < 400
        assert said.isprintable()


class TestKeep:
    """What can be sent to those who mend it."""

    def test_the_traceback_is_kept_for_its_owner_alone(self):
        """With the lines of the code, and without what the variables held."""
        path = kept_in(traces.keep(fault("no such thing")))
        text = path.read_text()
        assert "LookupError: no such thing" in text
        assert "in call" in text
        assert SECRET not in text
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.parent.name == "logs"

    def test_each_is_another_file(self):
        """None is lost to a later one."""
        assert traces.keep(fault("one")) != traces.keep(fault("other"))

    def test_without_a_root_it_lies_in_a_temporary_directory(self, monkeypatch, tmp_path: Path):
        """A full or foreign root must not take the traceback with it."""
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("RBEE_HOME", str(tmp_path / "file" / "rbee"))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        assert kept_in(traces.keep(fault("x"))).parent == tmp_path

    @pytest.mark.parametrize("place", ["missing"])
    def test_where_nothing_can_be_written_that_is_said(self, monkeypatch, tmp_path: Path, place):
        """It raises nothing on its own."""
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("RBEE_HOME", str(tmp_path / "file" / "rbee"))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / place))
        assert traces.keep(fault("x")) == "the traceback could not be written either"

    def test_what_cannot_be_encoded_is_no_obstacle(self):
        """A name from a disk may hold anything."""
        assert "\\udcff" in kept_in(traces.keep(fault("\udcff"))).read_text()
