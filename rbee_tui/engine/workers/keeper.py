"""The parent of a runtime: waits for it, and writes down how it ended, for whoever asks later.

Run as `python keeper.py EXIT_FILE COMMAND...`. Only the standard library: it runs under the base interpreter.
It leads the runtime's process group, and takes what is left of the group with it when it ends.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PASS_ON_SECONDS = 1
_PR_SET_PDEATHSIG = 1


def main():
    """Run the command, stay through signals, write down how it ended, and end the rest of the group."""
    exit_file, *command = sys.argv[1:]
    asked, child, this = [], [], os.getpid()
    # A signal to the group reaches the runtime as well; one to this process alone is passed on after a while.
    signal.signal(signal.SIGALRM, lambda *_: pass_on(child, asked))
    for number in SIGNALS:
        signal.signal(number, lambda number, _: note_signal(asked, number))
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, preexec_fn=lambda: die_with_parent(this)
        )
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr, flush=True)
        write(exit_file, {"error": f"{command[0]} cannot be started: {error.strerror}"})
        os._exit(127)
    child.append(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    child.clear()
    code = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    write(
        exit_file,
        {
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
            "max_rss_bytes": usage.ru_maxrss * unit,
        },
    )
    if os.getpgrp() == this:
        # What the runtime left behind; this process is of the group too, and has nothing more to do.
        os.killpg(this, signal.SIGKILL)
    os._exit(code if code >= 0 else 128 - code)


def note_signal(asked, number):
    """Remember a signal, and look in a moment whether the runtime has heard it too."""
    asked.append(number)
    signal.alarm(PASS_ON_SECONDS)


def pass_on(child, asked):
    """Send the runtime the last signal that came; while there is none yet, look again later."""
    if child:
        with contextlib.suppress(ProcessLookupError):  # it has just ended, and its end is yet to be noted
            os.kill(child[0], asked[-1])
    else:
        signal.alarm(PASS_ON_SECONDS)


def die_with_parent(parent):
    """Ask Linux to end this process with its parent, so that a killed keeper leaves no orphan."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def write(path, value):
    """Replace a file durably, with the cookie of the start that it tells of."""
    value.update(cookie=os.environ.get("RBEE_COOKIE", ""), at=time.time())
    temporary = path + ".tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, json.dumps(value).encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
        directory = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        print(f"the exit cannot be written down: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
