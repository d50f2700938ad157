"""What of a repository can be downloaded as one thing, and which of it is meant. All pure."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from rbee_tui.engine.errors import NotFoundError, RefusedError, UsageError
from rbee_tui.engine.jobs import PlannedFile
from rbee_tui.engine.text import clean, fold, size

PREFERRED = "Q4_K_M"
_QUANTIZATION = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:IQ\d_[A-Z0-9]+|Q\d(?:_\d|_K(?:_[A-Z]{1,2})?)|TQ\d_\d|MXFP4|BF16|F16|FP16|F32|FP32))"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)
SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)", re.IGNORECASE)
"""What a shard's name says: which of how many it is."""
_PROJECTORS = ("F16", "BF16", "Q8_0", "F32")
_MAX_PATH = 1000
_MAX_NAME = 240
_LISTED = 12


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a repository; the size and hashes that the Hub gives, None where it gives none."""

    path: str
    size_bytes: int | None = None
    sha256: str | None = None
    blob_id: str | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What is downloaded together and loaded together."""

    name: str
    quantization: str | None
    files: list[RemoteFile]
    format: Literal["gguf", "safetensors", "other"]
    file: str | None
    """The file that names it, the first shard of several; None for a whole repository."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files, as far as the Hub tells sizes."""
        return sum(file.size_bytes or 0 for file in self.files)

    @property
    def projector(self) -> RemoteFile | None:
        """The file that lets it see or hear."""
        return next((file for file in self.files if self.file and _is_projector(file.path)), None)

    @property
    def weights(self) -> list[RemoteFile]:
        """Its files without the projector."""
        return [file for file in self.files if file is not self.projector]

    @property
    def weights_bytes(self) -> int:
        """Bytes of those, as far as the Hub tells sizes."""
        return sum(file.size_bytes or 0 for file in self.weights)

    @property
    def projector_bytes(self) -> int:
        """Bytes of the projector; 0 where there is none."""
        return (self.projector.size_bytes or 0) if self.projector else 0

    def layout(self) -> list[PlannedFile]:
        """Where each file goes in the model's directory: by name for GGUF, by path for a whole repository.

        Raises RefusedError where two files would be one on some file system, or a name is unsafe.
        """
        planned = [
            PlannedFile(
                path=file.path,
                target=PurePosixPath(file.path).name if self.file else file.path,
                size_bytes=file.size_bytes or 0,
                sha256=file.sha256,
                blob_id=file.blob_id,
            )
            for file in self.files
        ]
        taken: dict[str, str] = {"metadata.json": "rbee's own metadata.json"}
        for file in planned:
            other = taken.setdefault(fold(file.target), file.path)
            if other != file.path:
                raise RefusedError(f"{clean(file.path)} and {clean(other)} would be one file here")
        return planned


def safe_path(path: str) -> bool:
    """Whether a repository's path may become a path here."""
    parts = path.split("/")
    return (
        0 < len(path) <= _MAX_PATH
        and "\\" not in path
        and clean(path) == path
        and all(part and part not in (".", "..") and len(part.encode()) <= _MAX_NAME for part in parts)
    )


def quantization_of(path: str) -> str | None:
    """The quantisation that a file's name tells, as people write it."""
    found = _QUANTIZATION.findall(PurePosixPath(path).name) or _QUANTIZATION.findall(path)
    return found[-1].upper().replace("FP16", "F16").replace("FP32", "F32") if found else None


def shards_missing(choice: Choice) -> bool:
    """Whether the names of its shards speak of some that are not among them."""
    said = [found for file in choice.files if (found := SHARD.search(file.path))]
    return bool(said) and len(said) != int(said[0][2])


def group(files: Sequence[RemoteFile], *, together: bool = True) -> list[Choice]:
    """The choices of a repository: each GGUF, shards as one; without any, the whole repository as one.

    A projector is no choice of its own, it comes with each model; files with unsafe names are left out.
    Where files do not belong `together`, it comes with a model after which it is named.
    """
    files = [file for file in files if safe_path(file.path)]
    weights = [file for file in files if file.path.lower().endswith(".gguf") and not _is_projector(file.path)]
    if not weights:
        return _whole(files)
    projectors = [file for file in files if file.path.lower().endswith(".gguf") and _is_projector(file.path)]
    groups: dict[str, list[RemoteFile]] = {}
    for file in weights:
        groups.setdefault(SHARD.sub("", file.path), []).append(file)
    return [
        Choice(
            name=re.sub(r"\.gguf$", "", PurePosixPath(name).name, flags=re.IGNORECASE),
            quantization=quantization_of(name),
            files=[
                *sorted(members, key=lambda file: file.path),
                *_projector_for(members[0].path, projectors, together=together),
            ],
            format="gguf",
            file=min(file.path for file in members),
        )
        for name, members in sorted(groups.items())
    ]


def _whole(files: Sequence[RemoteFile]) -> list[Choice]:
    wanted = sorted(
        (f for f in files if PurePosixPath(f.path).name != ".gitattributes"), key=lambda f: f.path
    )
    if not wanted:
        return []
    tensors = any(file.path.lower().endswith(".safetensors") for file in wanted)
    kind: Literal["safetensors", "other"] = "safetensors" if tensors else "other"
    return [Choice(name="", quantization=None, files=wanted, format=kind, file=None)]


def _is_projector(path: str) -> bool:
    return "mmproj" in PurePosixPath(path).name.lower()


def _projector_for(path: str, projectors: Sequence[RemoteFile], *, together: bool) -> list[RemoteFile]:
    """The projector that goes with a model: one beside it before others, F16 before what is larger or cruder.

    A repository that has several models of different kinds names each projector after its own.
    """

    def rank(file: RemoteFile) -> tuple[bool, int, int, str]:
        said = quantization_of(file.path) or ""
        place = _PROJECTORS.index(said) if said in _PROJECTORS else len(_PROJECTORS)
        return PurePosixPath(file.path).parent != PurePosixPath(path).parent, place, len(file.path), file.path

    named = [
        file
        for file in projectors
        if _stem_of_projector(file.path) in _stem(path) and (together or _stem_of_projector(file.path))
    ]
    return sorted(named or (projectors if together else []), key=rank)[:1]


def _stem(path: str) -> str:
    return fold(PurePosixPath(path).name)


def _stem_of_projector(path: str) -> str:
    """What a projector's name says of its model: nothing, or that model's name."""
    name = _QUANTIZATION.sub("", re.sub(r"\.gguf$", "", PurePosixPath(path).name, flags=re.IGNORECASE))
    return fold(re.sub(r"[-_.]*mmproj[-_.]*(?:model)?[-_.]*", "", name, flags=re.IGNORECASE).strip("-_."))


def pick(repo: str, files: Sequence[RemoteFile], wanted: str | None) -> Choice:
    """The choice that `wanted` names: a path, a name or a quantisation; None: the only one, else Q4_K_M.

    Raises NotFoundError with near names, UsageError with the choices where it is not clear which is meant.
    """
    choices = group(files)
    if wanted is None:
        return _default(repo, choices)
    if not safe_path(wanted):
        raise UsageError(f"{clean(wanted)!r} is not a file's name in a repository")
    for matches in (
        [c for c in choices if any(file.path == wanted and not _is_projector(wanted) for file in c.files)],
        [c for c in choices if _named(c, wanted)],
        [c for c in choices if c.quantization and fold(c.quantization) == fold(wanted)],
    ):
        if len(matches) > 1:
            raise UsageError(f"{clean(wanted)!r} names several files of {clean(repo)}: {_list(matches)}")
        if matches:
            return matches[0]
    single = [file for file in files if file.path == wanted]
    if single:
        return Choice(name=wanted, quantization=None, files=single, format="other", file=wanted)
    raise NotFoundError(f"{clean(repo)} has no {clean(wanted)!r}", hint=_near(wanted, choices))


def _named(choice: Choice, wanted: str) -> bool:
    files = [file.path for file in choice.files if not _is_projector(file.path)]
    names = {fold(choice.name), *(fold(PurePosixPath(path).name) for path in files)}
    return fold(wanted) in names or (choice.file is not None and fold(choice.file) == fold(wanted))


def _default(repo: str, choices: list[Choice]) -> Choice:
    if not choices:
        raise NotFoundError(f"{clean(repo)} has no files that could be downloaded")
    if len(choices) == 1:
        return choices[0]
    preferred = [choice for choice in choices if choice.quantization == PREFERRED]
    if len(preferred) == 1:
        return preferred[0]
    raise UsageError(
        f"{clean(repo)} has several models: {_list(choices)}",
        hint=f"name one: rbee pull {clean(repo)}:{clean(choices[0].quantization or choices[0].name)}",
    )


def _list(choices: list[Choice]) -> str:
    shown = [f"{clean(c.file or c.name)}{_size(c)}" for c in choices[:_LISTED]]
    more = f" and {len(choices) - _LISTED} more" if len(choices) > _LISTED else ""
    return ", ".join(shown) + more


def _size(choice: Choice) -> str:
    """Nothing where a mirror did not tell all sizes."""
    known = all(file.size_bytes is not None for file in choice.files)
    return f" ({size(choice.size_bytes)})" if known else ""


def _near(wanted: str, choices: list[Choice]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for a choice that is not there

    names = [name for c in choices for name in (c.quantization, c.file) if name]
    near = get_close_matches(wanted, names, n=3, cutoff=0.4)
    return f"did you mean {', '.join(map(clean, near))}?" if near else f"it has {_list(choices)}"
