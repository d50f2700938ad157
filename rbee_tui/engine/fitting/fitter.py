"""The fit of models here, at the Hub and in a file, on this machine or an imagined one."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rbee_tui.engine import choices, gguf, hardware
from rbee_tui.engine.choices import Choice, RemoteFile, quantization_of
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.fitting import weighing
from rbee_tui.engine.fitting.choice import ChoiceFit, fit_of_choice
from rbee_tui.engine.fitting.learned import Learned
from rbee_tui.engine.fitting.machine import Machine, Pool, imagine, machine_of
from rbee_tui.engine.fitting.matrix import Candidate, Matrix, Question, matrix
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.paths import Root
from rbee_tui.engine.transfer.source import Source

if TYPE_CHECKING:
    from rbee_tui.engine.catalog import ModelCatalog
    from rbee_tui.engine.hub import Hub, Repository
    from rbee_tui.engine.planning import Plan

PLAN_SECONDS = 6.0
"""How long a question before a download waits for a header."""
Promised = Callable[[], Mapping[Pool, int]]


class Fitter:
    """Answers what fits; every method blocks."""

    def __init__(self, root: Root, hub: "Hub", models: "ModelCatalog", promised: Promised) -> None:
        self._root = root
        self._hub = hub
        self._models = models
        self._promised = promised
        self._learned = Learned(root)
        self._read: dict[tuple[str, str, str], Header] = {}

    def machine(self, question: Question | None = None) -> Machine:
        """This machine with what is promised to loading workers taken off, or the one that was described."""
        reading = hardware.read(self._root.path)
        asked = question or Question()
        if asked.gpus or asked.ram is not None:
            return imagine(reading, asked.gpus, asked.ram)
        return machine_of(reading, self._promised())

    def header(self, repository: "Repository", choice: Choice) -> Header:
        """The header of a choice at the Hub, with the bytes of all its tensors; read once by this object."""
        complete = self._hub.complete(repository, choice.files[:1])
        choice = msgspec.structs.replace(choice, files=[*complete, *choice.files[1:]])
        return self._header(repository.id, repository.commit, choice)

    def known(self, repository: "Repository") -> Header | None:
        """A header of this repository that was read already; its weights are those of one choice."""
        at = (repository.id, repository.commit)
        return next((each for key, each in self._read.items() if key[:2] == at), None)

    def _header(self, repo: str, commit: str, choice: Choice, seconds: float = 120.0) -> Header:
        first = choice.files[0]
        key = (repo, commit, first.path)
        if key not in self._read:
            from rbee_tui.engine.fitting import remote  # noqa: PLC0415 - files here need no wire

            source = Source(
                self._hub.endpoint,
                repo,
                commit,
                first.path,
                first.size_bytes or 0,
                first.sha256,
                first.blob_id,
            )
            found = remote.read_remote(source, self._hub.token, seconds)
            self._read[key] = weighing.of_choice(found, choice)
        return self._read[key]

    def of_plan(self, plan: "Plan", seconds: float = PLAN_SECONDS) -> ChoiceFit:
        """How a planned download fits this machine; from its size alone where no header comes in time."""
        choice = Choice(
            name=plan.model.name,
            quantization=plan.model.quantization,
            files=[
                RemoteFile(path=f.path, size_bytes=f.size_bytes, sha256=f.sha256, blob_id=f.blob_id)
                for f in plan.files
            ],
            format="gguf" if plan.model.format == "gguf" else "other",
            file=plan.files[0].path,
        )
        header = None
        if choice.format == "gguf":
            # Whatever is wrong with the header, the download is asked about all the same.
            with suppress(RbeeError):
                header = self._header(plan.repo, plan.revision, choice, seconds)
        return fit_of_choice(choice, self.machine(), header)

    def of_repository(self, repo: str, file: str | None = None, question: Question | None = None) -> Matrix:
        """The matrix of a repository's GGUF choices, or of the one that `file` names; reads one header."""
        repository = self._hub.repository(repo)
        found = [each for each in choices.group(repository.files) if each.format == "gguf"]
        if file is not None:
            found = [choices.pick(repository.id, repository.files, file)]
        found = [each for each in found if each.format == "gguf"]
        return self.of_choices(repository, found, question)

    def of_choices(
        self, repository: "Repository", found: list[Choice], question: Question | None = None
    ) -> Matrix:
        """The matrix of these choices of a repository; one header tells the shape of all."""
        asked = question or Question()
        if not found:
            return matrix(repository.id, [], self.machine(asked), asked)
        first = min(found, key=lambda each: each.size_bytes)
        header = self.header(repository, first)
        candidates = [
            Candidate(
                name=each.name,
                file=each.file,
                quantization=each.quantization,
                size_bytes=each.size_bytes,
                header=header if each is first else weighing.alike(header, each),
            )
            for each in found
        ]
        return self._matrix(repository.id, candidates, asked)

    def of_model(self, model_id: str, question: Question | None = None) -> Matrix:
        """The matrix of a model that is here; raises NotFoundError, RefusedError."""
        entry = self._models.get(model_id)
        header = weighing.of_entry(self._models, entry)
        return self._of_here(entry.id, self._models.weights(entry), header, question)

    def of_file(self, path: Path, question: Question | None = None) -> Matrix:
        """The matrix of a GGUF file, with its other shards."""
        return self._of_here(path.name, path, gguf.read_whole(path), question)

    def _of_here(self, subject: str, path: Path, header: Header, question: Question | None) -> Matrix:
        asked = question or Question()
        candidate = Candidate(
            name=path.name,
            file=path.name,
            quantization=header.quantization or quantization_of(path.name),
            size_bytes=sum(each.stat().st_size for each in gguf.shards(path)) + header.projector_bytes,
            header=header,
        )
        return self._matrix(subject, [candidate], asked)

    def _matrix(self, subject: str, candidates: list[Candidate], asked: Question) -> Matrix:
        """The matrix, with what was learnt on this machine; an imagined one is taken by its figures alone."""
        machine = self.machine(asked)
        learnt = 0 if machine.imagined else self._learned.correction(candidates[0].header.learnt_as)
        return matrix(subject, candidates, machine, asked, learnt)
