"""The hive's log: one JSON object a line, in a file of mode 600, set aside when it has grown long."""

import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from rbee_tui.engine.durable import append_line
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.text import clean, now

LONGEST_BYTES = 4 << 20
_LONGEST_TEXT = 500


class Log:
    """Appends events; a full disk costs lines, never the hive."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: str, **fields: Any) -> None:
        """Append an event with its fields; long texts are cut, so that a line stays one write."""
        cut = {
            name: value[:_LONGEST_TEXT] if isinstance(value, str) else value for name, value in fields.items()
        }
        with suppress(RbeeError):
            self._set_aside()
            append_line(self.path, msgspec.json.encode({"at": now(), "event": event, **cut}))

    def _set_aside(self) -> None:
        with suppress(OSError):
            if self.path.stat().st_size > LONGEST_BYTES:
                self.path.replace(self.path.with_suffix(".1.log"))

    @contextmanager
    def taking_warnings(self) -> Generator[None]:
        """What libraries log goes here meanwhile, without tracebacks, and not to standard error."""
        handler = _Handler(self)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as an event."""
        self._log.write("warning", source=record.name, message=clean(record.getMessage()))
