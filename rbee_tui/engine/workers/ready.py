"""Whether a worker process answers: its port, its health, its memory."""

import http.client
from pathlib import Path

from rbee_tui.engine.addresses import asked
from rbee_tui.engine.process import Identity
from rbee_tui.engine.text import clean
from rbee_tui.engine.workers import profiles
from rbee_tui.engine.workers.record import Running

OK = 200
_TAIL_BYTES = 8000
_END_BYTES = 1 << 16
_TAIL_LINES = 15
_LOG_BYTES = 1 << 20


def fetch(record: Running, path: str, key: str, seconds: float) -> bytes | None:
    """What a GET answers with 200, at most 1 MiB; None where a worker does not within `seconds`."""
    found = _get(record, path, key, seconds)
    return found[1] if found and found[0] == OK else None


def status(record: Running, path: str, key: str = "", seconds: float = 1.0) -> int | None:
    """The status that a GET answers with; None when nobody does within `seconds`."""
    found = _get(record, path, key, seconds)
    return found[0] if found else None


def _get(record: Running, path: str, key: str, seconds: float) -> tuple[int, bytes] | None:
    """One plain exchange, as a start asks every few milliseconds, and listings ask where no loop may run."""
    connection = http.client.HTTPConnection(asked(record.host), record.port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        return answer.status, answer.read(_LOG_BYTES) if answer.status == OK else b""
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def answers(record: Running, key: str) -> bool:
    """Whether the record's own process says that it is ready.

    That the port is really its own is asked before the key goes there: a log may hold a model's own strings.
    """
    health = profiles.health(record.runtime)
    if not record.port or not _owns(record):
        return False
    return status(record, health, key) == OK


def find_port(record: Running) -> int:
    """The port that the record's process took, by its log and its sockets; 0 when it has none yet."""
    said = profiles.port_in(_read(Path(record.log), record.log_from))
    ports = _listening(record.who)
    if ports is None:
        return said or 0
    if said in ports:
        return said or 0
    return ports.pop() if len(ports) == 1 else 0


def memory(pid: int) -> int | None:
    """Bytes that only this process and its children have (USS): shared pages of a mapped model count once."""
    import psutil  # noqa: PLC0415 - 40 ms that only those pay who look at running workers

    try:
        keeper = psutil.Process(pid)
        return sum(each.memory_full_info().uss for each in (keeper, *keeper.children(recursive=True)))
    except (psutil.Error, AttributeError):
        return None


def family(pid: int) -> list[int]:
    """A keeper's pid, and those of all below it."""
    import psutil  # noqa: PLC0415 - as above

    try:
        return [pid, *(each.pid for each in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return [pid]


def tail(record: Running) -> str:
    """The last lines that this start wrote to its log, made safe to show."""
    lines = read_log(Path(record.log), record.log_from, _TAIL_BYTES).splitlines()
    return "\n".join(clean(line) for line in lines[-_TAIL_LINES:])


def read_log(path: Path, begin: int, most: int = _END_BYTES) -> str:
    """The end of a log, at most `most` bytes and nothing before `begin`, where that is still in the file."""
    try:
        size = path.stat().st_size
    except OSError:
        return ""
    # Its keeper sets a long log aside: then all that is in the file came after.
    return _read(path, max(begin if begin <= size else 0, size - most))


def _owns(record: Running) -> bool:
    ports = _listening(record.who)
    return ports is None or record.port in ports


def _listening(who: Identity | None) -> set[int] | None:
    """The TCP ports on which a keeper's runtime listens; None when the system does not tell."""
    import psutil  # noqa: PLC0415 - as above

    if who is None:
        return set()
    try:
        group = psutil.Process(who.pid).children(recursive=True)
    except psutil.Error:
        return set()
    found: set[int] = set()
    for each in group:
        try:
            sockets = each.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        except psutil.Error:
            return None
        found |= {s.laddr.port for s in sockets if s.status == psutil.CONN_LISTEN}
    return found


def _read(path: Path, begin: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(_LOG_BYTES).decode(errors="replace")
    except OSError:
        return ""
