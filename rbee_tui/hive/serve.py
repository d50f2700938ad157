"""The hive as a process: its start, said line by line as the specification has it, its work, its end."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rbee_tui.engine import addresses
from rbee_tui.engine.errors import BusyError, UsageError
from rbee_tui.engine.paths import Root
from rbee_tui.hive import hosts, presence, token
from rbee_tui.hive.limits import Limits
from rbee_tui.hive.log import Log
from rbee_tui.hive.options import Options

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine

Say = Callable[[str, str], None]
"""Takes an emoji and a sentence."""

_BACKLOG = 128
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def listen(options: Options) -> socket.socket:
    """The socket; raises BusyError for a port that is taken, UsageError for an address that is not here."""
    family = socket.AF_INET if options.address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((str(options.address), options.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        where = f"{addresses.written(options.address)}:{options.port}"
        if error.errno in _NOT_HERE:
            raise UsageError(
                f"{where} is no address of this machine", hint="--bind 0.0.0.0 is every interface"
            ) from None
        raise BusyError(
            f"the hive cannot listen on {where}: {error.strerror}", hint="--port takes another port"
        ) from None
    return listening


def open_warning(options: Options, port: int) -> str:
    """What another address than loopback opens; empty on loopback."""
    if options.address.is_loopback:
        return ""
    return (
        f"{addresses.written(options.address)}:{port} is open to other machines: whoever has the token can "
        "download, start, stop and delete here\n"
        "  -> the token travels in clear text: let ssh -L or a proxy with TLS stand before it"
    )


def own_url(options: Options, port: int) -> str:
    """Where others find this hive."""
    if options.names:
        return f"http://{options.names[0]}:{port}"
    return addresses.url(str(options.address), port, os.uname().nodename)


async def serve(
    root: Root, options: Options, *, stop: asyncio.Event, say: Say, warn: Callable[[str], None]
) -> None:
    """Be the hive of a root until `stop`; raises BusyError where there is one, or the port is taken."""
    lock = presence.hive_lock(root)
    if not lock.try_acquire():
        raise BusyError(lock.busy_text(), hint="one hive serves a root: rbee hive status says where")
    with lock, listen(options) as listening:
        port = listening.getsockname()[1]
        say("🐝", f"Starting rbee-hive on port {port}")
        token.ensure(root)
        from rbee_tui.engine.engine import Engine  # noqa: PLC0415 - the first line does not wait for it

        engine = Engine(root, verb=presence.VERB)
        say("📚", f"Model catalog initialized ({len(engine.models.list())} models)")
        say("🔧", f"Worker catalog initialized ({len(engine.workers.list())} binaries)")
        say("📥", "Model provisioner initialized (HuggingFace)")
        if warning := open_warning(options, port):
            warn(warning)
        log = Log(root.logs / "hive.log")
        try:
            with log.taking_warnings():
                async with engine:
                    await _Hive(engine, options, listening, stop, say, log).run()
        finally:
            presence.clear(root)


class _Hive:
    """One running hive: its tasks, of which none may end before the others."""

    def __init__(
        self,
        engine: "Engine",
        options: Options,
        listening: socket.socket,
        stop: asyncio.Event,
        say: Say,
        log: Log,
    ) -> None:
        from rbee_tui.hive.jobs import Jobs  # noqa: PLC0415 - as the engine
        from rbee_tui.hive.telemetry import Telemetry  # noqa: PLC0415 - as above

        self.engine = engine
        self.options = options
        self.limits = Limits()
        self.log = log
        self.jobs = Jobs(engine, self.limits)
        self.telemetry = Telemetry(engine, options.hive_id, self.limits)
        self._listening = listening
        self._port: int = listening.getsockname()[1]
        self._stop = stop
        self._say = say
        self._ready = asyncio.Event()

    async def run(self) -> None:
        """Serve until asked to stop; a part that fails ends all, with its error."""
        from rbee_tui.hive.server import Server  # noqa: PLC0415 - as the engine

        server = Server(self._app(), self.limits)
        tasks = [asyncio.create_task(each, name=name) for name, each in self._parts().items()]
        serving = asyncio.create_task(server.serve([self._listening]), name="server")
        try:
            await server.ready(serving)
            self._tell_ready()
            stopping = asyncio.create_task(self._stop.wait(), name="stop")
            done, _ = await asyncio.wait([*tasks, serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            self.log.write("ending", asked=stopping in done)
            stopping.cancel()
        finally:
            self.jobs.close()
            self.telemetry.stream.close()
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if not task.cancelled() and (error := task.exception()):
                raise error

    def _app(self) -> Any:
        from rbee_tui.hive.endpoints import Api, Dispatch  # noqa: PLC0415 - as the engine
        from rbee_tui.hive.guard import Guard  # noqa: PLC0415 - as above

        api = Api(self.engine, self.jobs, self.telemetry, self.limits, self._stop.set)
        address = self.options.address
        machine = [] if address.is_loopback else hosts.of_this_machine()
        allowed = hosts.allowed(address, self._port, machine, self.options.names)
        root = self.engine.root
        return Guard(Dispatch(api), allowed, lambda given: token.matches(root, given), self.limits, self.log)

    def _parts(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What goes on beside the server."""
        always = {"follow": self.jobs.follow(), "runner": self._take_up(), "autostart": self._autostart()}
        return always | ({"queen": self._announce()} if self.options.queen_url else {})

    async def _autostart(self) -> None:
        from rbee_tui.engine import autostart  # noqa: PLC0415 - as the engine

        await self._ready.wait()
        await autostart.start_marked(self.engine, lambda text: self.log.write("autostart", text=text))
        await self._stop.wait()

    async def _take_up(self) -> None:
        from rbee_tui.engine import runner  # noqa: PLC0415 - as the engine

        await self._ready.wait()
        await runner.stand_in(
            self.engine, presence.VERB, stop=self._stop, say=lambda text: self.log.write("runner", text=text)
        )

    async def _announce(self) -> None:
        from rbee_tui.hive import queen  # noqa: PLC0415 - as the engine

        await self._ready.wait()
        url = own_url(self.options, self._port)
        await queen.announce(self.options.queen_url, self.options.hive_id, url, self.log)

    def _tell_ready(self) -> None:
        url = f"http://{addresses.written(self.options.address)}:{self._port}"
        reached = own_url(self.options, self._port)
        presence.write(self.engine.root, reached, self.options.hive_id, self.options.queen_url)
        self._say("", f"Listening on {url}")
        self._say("", "Hive ready")
        if self.options.queen_url:
            self._say("💓", f"Heartbeat task started (sending to {self.options.queen_url})")
        self.log.write("ready", url=url, hive_id=self.options.hive_id, pid=os.getpid())
        self._ready.set()
        notify("READY=1")


def notify(state: str) -> None:
    """Tell systemd, where it started this process and wants to know (sd_notify(3)); nothing elsewhere."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
