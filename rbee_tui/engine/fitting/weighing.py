"""What is loaded of a model: its header with the bytes of these weights, and of the projector beside them."""

from typing import TYPE_CHECKING

import msgspec

from rbee_tui.engine import gguf
from rbee_tui.engine.choices import Choice
from rbee_tui.engine.gguf import Header

if TYPE_CHECKING:
    from rbee_tui.engine.artifacts import Entry, Model
    from rbee_tui.engine.catalog import ModelCatalog


def of_entry(models: "ModelCatalog", entry: "Entry[Model]", *, projector: bool = True) -> Header:
    """The header of a model that is here, of all its shards; `projector` says whether that is loaded, too.

    Raises RefusedError where it has no GGUF file, MetadataError for one that cannot be read.
    """
    header = gguf.read_whole(models.weights(entry))
    beside = models.projector(entry) if projector else None
    return msgspec.structs.replace(header, projector_bytes=beside.stat().st_size) if beside else header


def of_choice(header: Header, choice: Choice) -> Header:
    """The header of the file that was read, with all that is loaded of its choice. Pure."""
    told = header.tensor_bytes
    if len(choice.weights) > 1:
        told = max(told, choice.weights_bytes - header.header_bytes)
    return msgspec.structs.replace(header, tensor_bytes=told, projector_bytes=choice.projector_bytes)


def alike(header: Header, choice: Choice) -> Header:
    """The header as another choice of its repository has it: they differ in their bytes alone. Pure."""
    return msgspec.structs.replace(
        header,
        tensor_bytes=max(0, choice.weights_bytes - header.header_bytes),
        embedding_bytes=0,
        projector_bytes=choice.projector_bytes,
    )
