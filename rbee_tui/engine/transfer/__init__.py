"""Bytes from the Hub to a verified file: `fetch()` resumes, verifies and publishes one file."""

from rbee_tui.engine.transfer.fetch import already_there, discard, fetch
from rbee_tui.engine.transfer.naming import blocks_path, journal_path, part_name
from rbee_tui.engine.transfer.source import Fetched, Limits, Progress, Source, Stopped
from rbee_tui.engine.transfer.traffic import Traffic

__all__ = [
    "Fetched",
    "Limits",
    "Progress",
    "Source",
    "Stopped",
    "Traffic",
    "already_there",
    "blocks_path",
    "discard",
    "fetch",
    "journal_path",
    "part_name",
]
