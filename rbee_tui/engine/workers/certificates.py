"""Where death certificates lie: `state/running/<directory>.death`, until the model's next start or stop."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.workers.deaths import Death
from rbee_tui.engine.workers.record import Records

_PRIVATE = 0o600


class Certificates:
    """The last death of each model's worker, where that ended by itself."""

    def __init__(self, root: Root) -> None:
        self._running = root.running
        self._records = Records(root)

    def write(self, death: Death) -> None:
        """Keep a certificate; on a disk that takes nothing there is none, and no other harm."""
        try:
            durable.write(self._records.path(death.model, "death"), msgspec.json.encode(death), mode=_PRIVATE)
        except RbeeError:
            return

    def read(self, model_id: str) -> Death | None:
        """The certificate of a model's last worker."""
        return _read(self._records.path(model_id, "death"))

    def all(self) -> Iterator[Death]:
        """Every certificate that can be read, by its file's name."""
        for path in sorted(self._running.glob("[!.]*.death")):
            if (death := _read(path)) is not None:
                yield death

    def forget(self, model_id: str) -> None:
        """Remove the certificate of a model's last worker."""
        self._records.path(model_id, "death").unlink(missing_ok=True)


def _read(path: Path) -> Death | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Death)
    except (OSError, *UNDECODABLE):
        return None
