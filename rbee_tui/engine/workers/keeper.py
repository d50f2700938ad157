"""The parent of a runtime: stays with it, starts a crashed one again, and writes down how it ended.

Run as `python keeper.py EXIT_FILE COMMAND...`. Only the standard library: it runs under the base interpreter.
It leads the runtime's process group, and takes what is left of the group with it when it ends. What it is to do
beyond waiting stands in the record beside EXIT_FILE, which is read again at every look: see `Running`.
One file, though it is long: it is run by its path, with nothing else of rbee to import.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PASS_ON_SECONDS = 1
SCALE = float(os.environ.get("RBEE_KEEPER_SCALE", "1"))
"""Stretches or shrinks every time below but the idle time; for tests."""
LOOK_SECONDS = 2.0
MOST_RESTARTS = 5
MOST_BACKOFF_SECONDS = 60.0
STEADY_SECONDS = 600.0
"""A runtime that lived so long begins anew with its restarts."""
END_SECONDS = 10.0
MINUTE = 60
LOG_BYTES = 16 << 20
IDLE_CPU_SHARE = 0.02
"""Of one core: what a runtime that tells no figures may use and still count as idle."""
_PR_SET_PDEATHSIG = 1


def main():
    """Keep the runtime until it is asked to end or nothing helps; exit as it did."""
    exit_file, *command = sys.argv[1:]
    Keeper(exit_file, command).run()


class Keeper:
    """One runtime, with everything that is known of its life."""

    def __init__(self, exit_file, command):
        self.exit_file = exit_file
        self.record_file = os.path.splitext(exit_file)[0] + ".json"
        self.command = command
        self.cookie = os.environ.get("RBEE_COOKIE", "")
        self.this = os.getpid()
        self.asked, self.child = [], []
        self.why = ""
        self.restarts = 0
        self.oom_kills = self.oom_seen = oom_kills()
        self.kill_at = None
        self.idle = Idleness()

    def run(self):
        """Start, wait, and start again as often as that may help."""
        self.wake = wake_at_signals()
        # A signal to the group reaches the runtime as well; one to this process alone is passed on after a while.
        signal.signal(signal.SIGALRM, lambda *_: pass_on(self.child, self.asked))
        for number in SIGNALS:
            signal.signal(number, lambda number, _: note_signal(self.asked, number))
        while True:
            begun = time.monotonic()
            code, note = self.live()
            if time.monotonic() - begun > STEADY_SECONDS * SCALE:
                self.restarts = 0
            pause = self.pause_before_restart()
            if pause is None:
                break
            self.restarts += 1
            write(self.exit_file, note | {"restarts": self.restarts})
            again = f"started again in {pause:.0f} s ({self.restarts} of {MOST_RESTARTS})"
            tell("worker.crashed", f"the worker of {model()} ended by {how(note)}: it is {again}")
            if not self.rest(pause):
                break
        write(self.exit_file, note | {"restarts": self.restarts})
        if os.getpgrp() == self.this:
            # What the runtime left behind; this process is of the group too, and has nothing more to do.
            os.killpg(self.this, signal.SIGKILL)
        os._exit(code if code >= 0 else 128 - code)

    def live(self):
        """Run the command to its end; its exit code, below 0 for a signal, and the note of it."""
        try:
            process = subprocess.Popen(
                with_port(self.command, self.record().get("port")),
                stdin=subprocess.DEVNULL,
                preexec_fn=lambda: die_with_parent(self.this),
            )
        except OSError as error:
            said = f"{self.command[0]} cannot be started: {error.strerror}"
            print(said, file=sys.stderr, flush=True)
            write(self.exit_file, {"error": said})
            os._exit(127)
        self.child.append(process.pid)
        self.oom_kills = self.oom_seen = oom_kills()
        self.idle = Idleness()
        status, usage = self.wait(process.pid)
        self.child.clear()
        code = os.waitstatus_to_exitcode(status)
        unit = 1 if sys.platform == "darwin" else 1024
        return code, {
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "why": self.why,
            "oom": -code == signal.SIGKILL and oom_kills() > self.oom_kills,
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
            "max_rss_bytes": usage.ru_maxrss * unit,
        }

    def wait(self, pid):
        """Wait for the runtime's end, and look after it meanwhile; its status and what it used."""
        while True:
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                return status, usage
            with contextlib.suppress(OSError, ValueError):
                self.look(pid)
            self.sleep(LOOK_SECONDS * SCALE)

    def sleep(self, seconds):
        """Sleep until a signal comes, at most so long."""
        if select.select([self.wake], [], [], seconds)[0]:
            os.read(self.wake, 512)

    def look(self, pid):
        """Do what the record asks for: end with a screen, end when idle, keep the log small."""
        if self.kill_at is not None:
            if time.monotonic() > self.kill_at:
                os.kill(pid, signal.SIGKILL)
            return
        record = self.record()
        if screen_is_gone(record):
            self.end(pid, "screen", "ended with the screen that had started it")
        seconds = record.get("idle_seconds") or 0
        if seconds and record.get("ready_at") and not record.get("pinned"):
            if self.idle.seconds(pid, record) > seconds:
                self.end(pid, "idle", f"unloaded: nobody asked it anything for {span(seconds)}")
        else:
            self.idle = Idleness()
        trim(record.get("log"))
        # What was counted two looks ago was somebody else: this runtime still lives.
        self.oom_kills, self.oom_seen = self.oom_seen, oom_kills()

    def end(self, pid, why, said):
        """Ask the runtime to end for a reason of its own, and make it after a while."""
        self.why = why
        self.kill_at = time.monotonic() + END_SECONDS * SCALE
        tell("worker.unloaded", f"the worker of {model()} was {said}")
        os.kill(pid, signal.SIGTERM)

    def record(self):
        """The record of this start; empty where there is none, or that of another start."""
        try:
            with open(self.record_file, "rb") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.get("cookie") == self.cookie else {}

    def pause_before_restart(self):
        """Seconds to wait before the next start; None where there must be none."""
        record = self.record()
        wanted = record.get("wanted") == "running" and record.get("ready_at") and record.get("restart", True)
        if self.asked or self.why or not wanted or self.restarts >= MOST_RESTARTS:
            return None
        return min(MOST_BACKOFF_SECONDS, 2.0 ** (self.restarts + 1)) * SCALE

    def rest(self, seconds):
        """Wait before a restart; False where it is not wanted any more."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.sleep(min(left, LOOK_SECONDS * SCALE))
            record = self.record()
            if self.asked or record.get("wanted") != "running" or screen_is_gone(record):
                return False
        return True


class Idleness:
    """How long a runtime has had nothing to do: by its own figures, else by the processor time that it takes."""

    def __init__(self):
        self.since = time.monotonic()
        self.looked = self.since
        self.last = None

    def seconds(self, pid, record):
        """Seconds since it last did something, as far as one can see at this look."""
        now = time.monotonic()
        figures = activity(record)
        if figures is None:
            used = cpu_seconds(pid)
            spent = used - self.last if isinstance(self.last, float) and used is not None else None
            idle = spent is not None and spent < IDLE_CPU_SHARE * (now - self.looked)
            figures = used
        else:
            idle = figures == self.last and not figures[-1]
        if not idle:
            self.since = now
        self.last, self.looked = figures, now
        return now - self.since


def activity(record):
    """Tokens read, tokens written and requests under way, as the runtime tells; None where it does not."""
    import http.client

    try:
        key = read_key(record["key_file"])
        connection = http.client.HTTPConnection(asked(record), record["port"], timeout=2)
        try:
            connection.request("GET", "/metrics", headers={"Authorization": "Bearer " + key} if key else {})
            answer = connection.getresponse()
            said = answer.read(1 << 20).decode(errors="replace") if answer.status == http.client.OK else ""
        finally:
            connection.close()
    except (OSError, KeyError, TypeError, http.client.HTTPException):
        return None
    told = dict(
        line.rsplit(" ", 1) for line in said.splitlines() if line.startswith("llamacpp:") and " " in line
    )
    names = ("prompt_tokens_total", "tokens_predicted_total", "requests_processing")
    try:
        return tuple(float(told["llamacpp:" + name]) for name in names)
    except (KeyError, ValueError):
        return None


def read_key(path):
    """The runtime's key; empty where it needs none."""
    if not path:
        return ""
    with open(path) as file:
        return file.read().strip()


def asked(record):
    """Where to ask the runtime: a wildcard is no destination. As `engine/addresses.py` says it."""
    host = record.get("host") or "127.0.0.1"
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def cpu_seconds(pid):
    """Processor time of a process so far; None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def screen_is_gone(record):
    """Whether the screen is gone with which a worker was to end; one that is pinned stays."""
    return not record.get("pinned") and is_gone(record.get("ends_with"))


def is_gone(who):
    """Whether a process that a record names has ended; one that nobody names has not."""
    if not who:
        return False
    try:
        with open(f"/proc/{who['pid']}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return fields[0] in "ZX" or fields[19] != who["start"]
    except (FileNotFoundError, ProcessLookupError):
        if os.path.isdir("/proc/self"):
            return True
    try:
        os.kill(who["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def oom_kills(system="/"):
    """How many processes the kernel has ended for memory in this cgroup; on the machine where no cgroup tells.

    A cgroup counts those of its own, whoever's limit was met: that of the machine as well.
    """
    for source in oom_sources(system):
        with contextlib.suppress(OSError, ValueError, IndexError), open(source) as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    return 0


def oom_sources(system):
    """The files that may count them, the nearest first: a container sees the end of its cgroup's path alone."""
    with contextlib.suppress(OSError), open(os.path.join(system, "proc/self/cgroup")) as file:
        for line in file:
            _, kinds, path = line.strip().split(":", 2)
            if kinds and "memory" not in kinds.split(","):
                continue
            # Version 2 has one hierarchy, which lies apart beside those of version 1.
            mounts, names = (
                (("memory",), ("memory.oom_control",))
                if kinds
                else (("", "unified"), ("memory.events.local", "memory.events"))
            )
            for mount in mounts:
                for above in upwards(path.strip("/")):
                    for name in names:
                        yield os.path.join(system, "sys/fs/cgroup", mount, above, name)
    yield os.path.join(system, "proc/vmstat")


def upwards(path):
    """A relative path, those above it, and at last the empty one."""
    while path:
        yield path
        path = os.path.dirname(path)
    yield ""


def trim(log):
    """Set a log aside once it is long: a copy is kept, and the runtime goes on at the beginning of its file."""
    if not log or os.path.getsize(log) <= LOG_BYTES:
        return
    import shutil

    kept = os.path.splitext(log)[0] + ".1.log"
    shutil.copyfile(log, kept + ".tmp")
    os.chmod(kept + ".tmp", 0o600)
    os.replace(kept + ".tmp", kept)
    os.truncate(log, 0)


def with_port(command, port):
    """The command with the port that its first start took: clients know it."""
    words = list(command)
    if port and "--port" in words[:-1]:
        words[words.index("--port") + 1] = str(port)
    return words


def wake_at_signals():
    """A handle that can be read once a signal has come, also that of a child that ended."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


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


def how(note):
    """How a runtime ended, in a word or two."""
    if note["signal"] is None:
        return f"exit code {note['code']}"
    try:
        return signal.Signals(note["signal"]).name
    except ValueError:
        return f"signal {note['signal']}"


def span(seconds):
    """A time span in words."""
    return f"{seconds / MINUTE:.0f} minutes" if seconds >= 2 * MINUTE else f"{seconds:.0f} s"


def model():
    """The model that is served."""
    return os.environ.get("RBEE_WORKER_ID", "")


def tell(kind, text):
    """Append a fact for every rbee on the same root, as `engine/facts.py` does."""
    state = os.environ.get("RBEE_STATE_DIR")
    if not state:
        return
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    fact = {"kind": kind, "id": model()[:500], "at": at, "pid": os.getpid(), "text": text[:1000]}
    with contextlib.suppress(OSError):
        handle = os.open(os.path.join(state, "facts.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, json.dumps(fact).encode() + b"\n")
        finally:
            os.close(handle)


def write(path, value):
    """Replace a file durably, with the cookie of the start that it tells of."""
    value = value | {"cookie": os.environ.get("RBEE_COOKIE", ""), "at": time.time()}
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
