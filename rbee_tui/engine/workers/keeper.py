"""The parent of a runtime: waits for it, and writes down how it ended, for whoever asks later.

Run as `python keeper.py EXIT_FILE COMMAND...`. Only the standard library: it runs under the base interpreter.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1


def main():
    """Run the command, pass signals on, and end as it ended."""
    exit_file, *command = sys.argv[1:]
    # The group gets the signal, the runtime ends by it, and this process stays to write that down.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    code = process.wait()
    write(
        exit_file,
        {"code": code if code >= 0 else None, "signal": -code if code < 0 else None, "at": time.time()},
    )
    os._exit(code if code >= 0 else 128 - code)


def die_with_parent():
    """Ask Linux to end this process with its parent, so that a killed keeper leaves no orphan."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def write(path, value):
    """Replace a file durably."""
    temporary = path + ".tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, json.dumps(value).encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
