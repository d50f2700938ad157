"""What a user told pip counts for uv too, where uv was told nothing: indexes, find-links, certificates."""

import configparser
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

_SETTINGS = ("index-url", "extra-index-url", "find-links", "cert", "no-index")
_INDEX_NAMES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_NO_INDEX")


def uv_environment(environment: Mapping[str, str], files: Iterable[Path] | None = None) -> dict[str, str]:
    """The environment for uv; `files` are pip's configuration files, the strongest last."""
    made = dict(environment)
    told = _pip_settings(environment, config_files(environment) if files is None else files)
    if not any(environment.get(name) for name in _INDEX_NAMES):
        _pass_on(made, "UV_DEFAULT_INDEX", told.get("index-url", ""))
        _pass_on(made, "UV_INDEX", told.get("extra-index-url", ""))
        if told.get("no-index", "").lower() in ("1", "true", "yes", "on"):
            made["UV_NO_INDEX"] = "1"
    if not environment.get("UV_FIND_LINKS"):
        # uv separates them by commas, pip by blanks.
        _pass_on(made, "UV_FIND_LINKS", ",".join(told.get("find-links", "").split()))
    if not environment.get("SSL_CERT_FILE"):
        _pass_on(made, "SSL_CERT_FILE", told.get("cert", ""))
    return made


def config_files(environment: Mapping[str, str]) -> list[Path]:
    """Where pip would look for its configuration, the strongest last (pip's own order)."""
    named = environment.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = Path(environment.get("HOME") or Path.home())
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    if sys.platform == "darwin":
        everyone = [Path("/Library/Application Support/pip/pip.conf")]
        library = home / "Library" / "Application Support" / "pip"
        own = (library if library.is_dir() else config / "pip") / "pip.conf"
    else:
        shared = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        everyone = [Path(each) / "pip" / "pip.conf" for each in shared.split(":") if each]
        everyone.append(Path("/etc/pip.conf"))
        own = config / "pip" / "pip.conf"
    found = [*everyone, home / ".pip" / "pip.conf", own, Path(sys.prefix) / "pip.conf"]
    return [*found, Path(named)] if named else found


def _pip_settings(environment: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    """What pip was told for `pip install`, by files and variables; what is empty is left out."""
    everywhere: dict[str, str] = {}
    installing: dict[str, str] = {}
    for path in files:
        parser = _read(path)
        for section, found in (("global", everywhere), ("install", installing)):
            if parser.has_section(section):
                found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    variables = {name: environment.get(f"PIP_{name.upper().replace('-', '_')}", "") for name in _SETTINGS}
    # What is for `install` alone is stronger than what is for everything, whichever file it is in.
    strongest_first = (variables, installing, everywhere)
    told = {name: next((v for f in strongest_first if (v := f.get(name))), "") for name in _SETTINGS}
    return {name: value for name, value in told.items() if value}


def _read(path: Path) -> configparser.RawConfigParser:
    """A configuration file; one that cannot be read says nothing."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, UnicodeError, configparser.Error):
        return configparser.RawConfigParser()
    return parser


def _pass_on(environment: dict[str, str], name: str, value: str) -> None:
    if value:
        environment[name] = " ".join(value.split())
