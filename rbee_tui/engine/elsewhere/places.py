"""Where other programs keep models, by their own variables and habits. Pure but for the user's home."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

Layout = Literal["hub", "ollama", "files"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A directory in which a program keeps models; it need not be there."""

    program: str
    path: str
    layout: Layout
    """`hub`: the Hub's own cache; `ollama`: manifests and blobs; `files`: GGUF files in directories."""


def places(environment: Mapping[str, str] = os.environ, home: Path | None = None) -> list[Place]:
    """Every place that is known, the user's own before the system's."""
    home = home or Path.home()
    found = [_place("Hugging Face", hub_cache(environment, home), "hub")]
    own = environment.get("OLLAMA_MODELS")
    ollama = [Path(own)] if own else [home / ".ollama/models", *map(Path, _SYSTEM_OLLAMA)]
    found += [_place("Ollama", path, "ollama") for path in ollama]
    cache = _cache(environment, home)
    files = [
        ("LM Studio", home / ".lmstudio/models"),
        ("LM Studio", home / ".cache/lm-studio/models"),
        ("llama.cpp", Path(environment.get("LLAMA_CACHE") or cache / "llama.cpp")),
        ("GPT4All", _data(environment, home) / "nomic.ai/GPT4All"),
        ("Jan", _data(environment, home) / "Jan/data/llamacpp/models"),
        ("Jan", home / "jan/models"),
    ]
    return found + [_place(program, path, "files") for program, path in files]


_SYSTEM_OLLAMA = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models")


def hub_cache(environment: Mapping[str, str], home: Path) -> Path:
    """The Hub's cache, as its library finds it."""
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    base = environment.get("HF_HOME") or str(
        Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface"
    )
    return Path(base).expanduser() / "hub"


def _cache(environment: Mapping[str, str], home: Path) -> Path:
    if sys.platform == "darwin":
        return home / "Library/Caches"
    return Path(environment.get("XDG_CACHE_HOME") or home / ".cache")


def _data(environment: Mapping[str, str], home: Path) -> Path:
    if sys.platform == "darwin":
        return home / "Library/Application Support"
    return Path(environment.get("XDG_DATA_HOME") or home / ".local/share")


def _place(program: str, path: Path, layout: Layout) -> Place:
    return Place(program=program, path=str(path), layout=layout)
