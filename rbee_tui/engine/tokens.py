"""The Hub's token: from the environment, entered here, or the Hub's own file; never written anywhere else."""

import os
import re
from pathlib import Path

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.paths import PRIVATE_MODE, Root, make_directory
from rbee_tui.engine.plain import UNDECODABLE

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token and where it comes from; it does not show itself."""

    text: str
    source: str
    """`HF_TOKEN`, `entered`, `given` by a program, or the path of the Hub's own file."""

    def __repr__(self) -> str:
        return f"Token(source={self.source!r})"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What may be said of the token in use: the source, never the token."""

    source: str | None
    endpoint: str


class _Entered(msgspec.Struct, frozen=True):
    """A token that was entered, and the only Hub that it is for."""

    endpoint: str
    token: str


def find(root: Root | None, endpoint: str) -> Token | None:
    """The token for a Hub: HF_TOKEN, then the one entered for this very Hub, then the Hub's own file."""
    for name in _VARIABLES:
        if text := _sound(os.environ.get(name, "")):
            return Token(text=text, source=name)
    entered = _entered(root) if root else None
    if entered is not None and entered.endpoint == endpoint and (text := _sound(entered.token)):
        return Token(text=text, source="entered")
    path = hub_file()
    try:
        text = _sound(path.read_text())
    except (OSError, ValueError):
        return None
    return Token(text=text, source=str(path)) if text else None


def hub_file() -> Path:
    """The Hub's own token file, where its own command keeps it."""
    if named := os.environ.get("HF_TOKEN_PATH"):
        return Path(named).expanduser()
    return hub_home() / "token"


def hub_home() -> Path:
    """The Hub's own directory on this machine: HF_HOME, else `~/.cache/huggingface`."""
    if named := os.environ.get("HF_HOME"):
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "huggingface"


def enter(root: Root, endpoint: str, text: str) -> None:
    """Keep a token for one Hub, readable by its owner alone; raises UsageError for what is none."""
    found = _sound(text)
    if found is None:
        raise UsageError("that is not a token", hint="it is one word, as hf_ and 34 letters and digits")
    make_directory(root.state, PRIVATE_MODE)
    durable.write(_file(root), msgspec.json.encode(_Entered(endpoint, found)), mode=0o600)


def forget(root: Root) -> bool:
    """Forget the token that was entered; whether there was one."""
    path = _file(root)
    there = path.exists()
    with durable.storage("remove", path):
        path.unlink(missing_ok=True)
    return there


def told(token: Token | None, endpoint: str) -> Told:
    """What may be said."""
    return Told(source=token.source if token else None, endpoint=endpoint)


def _sound(text: str) -> str | None:
    """A token without the space around it; None for what could not stand in a header."""
    found = text.strip()
    return found if _TOKEN.fullmatch(found) else None


def _file(root: Root) -> Path:
    return root.state / "hub-token.json"


def _entered(root: Root) -> _Entered | None:
    try:
        return msgspec.json.decode(_file(root).read_bytes(), type=_Entered)
    except (OSError, *UNDECODABLE):
        return None
