"""pip's settings for uv: an install works wherever `pip install` does."""

import os
import sys
from pathlib import Path

import pytest

from rbee_tui.engine.workers.pip_settings import config_files, uv_environment


@pytest.fixture
def conf(tmp_path: Path):
    """Writes a configuration file of pip's; the last one written is the strongest."""
    made: list[Path] = []

    def write(text: str) -> list[Path]:
        path = tmp_path / f"{len(made)}.conf"
        path.write_text(text)
        made.append(path)
        return list(made)

    return write


class TestIndexes:
    """Where packages come from."""

    def test_pip_s_indexes_become_uv_s(self, conf):
        """The default one and the further ones, which pip separates by lines or blanks."""
        files = conf(
            "[global]\nindex-url = https://one/simple\n"
            "extra-index-url = https://two/simple\n    https://three/simple\n"
        )
        made = uv_environment({"HOME": "/x"}, files)
        assert made == {
            "HOME": "/x",
            "UV_DEFAULT_INDEX": "https://one/simple",
            "UV_INDEX": "https://two/simple https://three/simple",
        }

    def test_variables_are_stronger_than_files(self, conf):
        """An empty one says nothing."""
        files = conf("[global]\nindex-url = https://file/simple\nextra-index-url = https://more/simple\n")
        made = uv_environment({"PIP_INDEX_URL": "https://set/simple", "PIP_EXTRA_INDEX_URL": ""}, files)
        assert (made["UV_DEFAULT_INDEX"], made["UV_INDEX"]) == ("https://set/simple", "https://more/simple")

    def test_the_later_file_wins(self, conf):
        """A user's own over everybody's; what it leaves out stays."""
        conf("[global]\nindex-url = https://everyone/simple\nextra-index-url = https://more/simple\n")
        made = uv_environment({}, conf("[global]\nindex-url = https://own/simple\n"))
        assert (made["UV_DEFAULT_INDEX"], made["UV_INDEX"]) == ("https://own/simple", "https://more/simple")

    def test_what_is_for_install_wins_over_what_is_for_everything(self, conf):
        """Whichever file it is in, as pip has it."""
        conf("[install]\nindex-url = https://install/simple\n")
        made = uv_environment({}, conf("[global]\nindex-url = https://global/simple\n"))
        assert made["UV_DEFAULT_INDEX"] == "https://install/simple"

    def test_names_may_have_underscores(self, conf):
        """pip takes both."""
        assert uv_environment({}, conf("[global]\nindex_url = https://one/simple\n")) == {
            "UV_DEFAULT_INDEX": "https://one/simple"
        }

    @pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_NO_INDEX"])
    def test_who_told_uv_is_not_overruled(self, conf, name):
        """Not even in part: an index that uv was not told of might be asked first."""
        files = conf(
            "[global]\nindex-url = https://one/simple\nextra-index-url = https://two/simple\nno-index=1"
        )
        assert uv_environment({name: "https://mine/simple"}, files) == {name: "https://mine/simple"}

    @pytest.mark.parametrize("value", ["1", "true", "Yes", "ON"])
    def test_no_index_at_all(self, value):
        """With the folders that are looked into instead; uv separates those by commas."""
        made = uv_environment({"PIP_NO_INDEX": value, "PIP_FIND_LINKS": "/wheels  https://more/"}, [])
        assert (made["UV_NO_INDEX"], made["UV_FIND_LINKS"]) == ("1", "/wheels,https://more/")

    def test_no_is_no(self):
        """A switch that is off."""
        assert "UV_NO_INDEX" not in uv_environment({"PIP_NO_INDEX": "0"}, [])

    def test_links_that_uv_was_told_stay(self):
        """They are no index: each is asked about by itself."""
        made = uv_environment({"PIP_FIND_LINKS": "/pip", "UV_FIND_LINKS": "/uv"}, [])
        assert made["UV_FIND_LINKS"] == "/uv"


class TestCertificates:
    """A company's own."""

    def test_pip_s_are_uv_s(self, conf):
        """Unless the environment says otherwise for every program."""
        files = conf("[global]\ncert = /etc/company.pem\n")
        assert uv_environment({}, files)["SSL_CERT_FILE"] == "/etc/company.pem"
        assert uv_environment({"SSL_CERT_FILE": "/mine.pem"}, files)["SSL_CERT_FILE"] == "/mine.pem"


class TestFiles:
    """Where pip looks, the strongest last."""

    def test_a_file_that_cannot_be_read_says_nothing(self, conf, tmp_path: Path):
        """Neither one that is none, nor one that is no text, nor one that is not there."""
        (tmp_path / "bytes.conf").write_bytes(b"[global]\nindex-url = \xff\xfe\n")
        files = [*conf("no section here"), tmp_path / "bytes.conf", tmp_path / "gone.conf", tmp_path]
        assert uv_environment({}, files) == {}

    def test_the_user_s_own_home_is_read(self, tmp_path: Path, monkeypatch):
        """By its place alone."""
        place = tmp_path / ".config" / "pip"
        place.mkdir(parents=True)
        (place / "pip.conf").write_text("[global]\nindex-url = https://home/simple\n")
        named = tmp_path / "named.conf"
        monkeypatch.setattr(sys, "prefix", str(tmp_path / "nowhere"))
        made = uv_environment({"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "etc")})
        assert made["UV_DEFAULT_INDEX"] == "https://home/simple"
        named.write_text("[global]\nindex-url = https://named/simple\n")
        made = uv_environment({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(named)})
        assert made["UV_DEFAULT_INDEX"] == "https://named/simple"

    def test_on_linux(self, monkeypatch):
        """Everybody's, the user's old and new one, the environment's."""
        monkeypatch.setattr(sys, "platform", "linux")
        found = config_files({"HOME": "/h", "XDG_CONFIG_DIRS": "/a:/b:"})
        assert found == [
            Path("/a/pip/pip.conf"),
            Path("/b/pip/pip.conf"),
            Path("/etc/pip.conf"),
            Path("/h/.pip/pip.conf"),
            Path("/h/.config/pip/pip.conf"),
            Path(sys.prefix, "pip.conf"),
        ]

    def test_on_macos(self, monkeypatch, tmp_path: Path):
        """The library's place, where the user has one."""
        monkeypatch.setattr(sys, "platform", "darwin")
        everyone = Path("/Library/Application Support/pip/pip.conf")
        environment = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "/c"}
        assert config_files(environment)[:3] == [
            everyone,
            tmp_path / ".pip" / "pip.conf",
            Path("/c/pip/pip.conf"),
        ]
        library = tmp_path / "Library" / "Application Support" / "pip"
        library.mkdir(parents=True)
        assert config_files(environment)[2] == library / "pip.conf"

    def test_none_where_pip_was_told_so(self):
        """As pip's documentation says."""
        assert config_files({"PIP_CONFIG_FILE": os.devnull}) == []
