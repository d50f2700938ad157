"""A fault that nobody foresaw: its traceback goes to a private file, and no person has to read it."""

import os
import tempfile
import traceback
from pathlib import Path

from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean


def sentence(error: BaseException) -> str:
    """What went wrong, in a sentence; a group that holds one error is that error."""
    inner: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    if len(inner) == 1:
        return sentence(inner[0])
    text = clean(f"{type(error).__name__}: {error}")
    return f"something went wrong that rbee does not know ({text[:300]})"


def keep(error: BaseException) -> str:
    """Write the traceback, without variables, to a file of mode 600; returns what to do with it."""
    text = "".join(traceback.format_exception(error))
    try:
        where = Root.find().prepare().logs
    except (RbeeError, OSError):
        where = Path(tempfile.gettempdir())
    try:
        # mkstemp makes it readable by its owner alone.
        handle, name = tempfile.mkstemp(prefix="fault-", suffix=".txt", dir=where)
        with os.fdopen(handle, "w", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return "the traceback could not be written either"
    return f"please report it with {clean(name)}"
