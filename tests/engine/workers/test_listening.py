"""Where workers listen: on loopback, by choice elsewhere; on the stand-in and on the real xllamacpp."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import psutil
import pytest

from rbee_tui.engine import addresses
from rbee_tui.engine.errors import PortBusyError, RefusedError, UsageError
from rbee_tui.engine.workers import keeper, listening, ready
from rbee_tui.engine.workers.record import Running
from rbee_tui.engine.workers.wishes import Wishes
from tests.engine.workers.support import MODEL, House, get, of_root

pytestmark = pytest.mark.anyio


def others() -> list[str]:
    """An address of each family that is neither loopback nor a link's own, as far as this machine has one."""
    every = [each for each in addresses.of_this_machine() if not addresses.lacking(each, [each])]
    found = {":" in each: each for each in every if not addresses.is_loopback(each)}
    return list(found.values())


def has_six() -> bool:
    """Whether this machine has IPv6 at all."""
    return "::1" in addresses.of_this_machine()


SIX = pytest.mark.skipif(not has_six(), reason="this machine has no IPv6")
HOSTS = [
    "127.0.0.1",
    "127.0.0.2",
    "0.0.0.0",
    pytest.param("::1", marks=SIX),
    pytest.param("::", marks=SIX),
    *others(),
]


@contextmanager
def taken(host: str) -> Iterator[int]:
    """A port on which somebody else listens at an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as listener:
        yield listener.getsockname()[1]


class TestChecked:
    """What is refused before anything is started."""

    def test_loopback_where_nothing_is_said(self):
        """It is not opened by itself."""
        assert listening.checked(Wishes()) == "127.0.0.1"

    def test_an_address_of_nobody(self):
        """With those that there are."""
        with pytest.raises(UsageError, match=r"203\.0\.113\.7 is no address of this machine") as caught:
            listening.checked(Wishes(host="203.0.113.7"))
        assert "0.0.0.0 is every interface" in caught.value.hint

    @pytest.mark.parametrize(
        ("has", "wants"),
        [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "0.0.0.0"),
            ("0.0.0.0", "127.0.0.1"),
            pytest.param("127.0.0.1", "::", marks=SIX),
            pytest.param("::", "127.0.0.1", marks=SIX),
            pytest.param("::1", "::", marks=SIX),
        ],
    )
    def test_a_port_that_is_taken(self, has: str, wants: str):
        """A wildcard meets every address, that of IPv6 those of IPv4 as well."""
        with taken(has) as port, pytest.raises(OSError, match="in use"):
            listening.probe(wants, port)

    @pytest.mark.parametrize(
        ("has", "wants"), [("127.0.0.1", "127.0.0.2"), pytest.param("127.0.0.1", "::1", marks=SIX)]
    )
    def test_another_address_s_is_not(self, has: str, wants: str):
        """The same number there is another port."""
        with taken(has) as port:
            listening.probe(wants, port)

    def test_a_family_that_is_not_here(self, monkeypatch: pytest.MonkeyPatch):
        """IPv6 may be switched off."""

        def refuse(*_: object) -> None:
            raise OSError(97, "Address family not supported by protocol")

        monkeypatch.setattr(socket, "socket", refuse)
        with pytest.raises(UsageError, match="cannot listen on ::1 here: Address family"):
            listening.probe("::1", 0)


class TestStart:
    """A worker there is asked, shown, kept and found like any other."""

    @pytest.mark.parametrize("host", HOSTS[:1] + HOSTS[2:3] + others()[:1])
    async def test_the_stand_in(self, fake: House, host: str):
        """Ready, at its URL, and listening there and nowhere else."""
        started = await fake.supervisor.start(MODEL, host=host)
        assert (started.host, started.state) == (host, "ready")
        assert listens(started.pid) == {(host, started.port)}
        assert get(f"http://{addresses.written(addresses.asked(host))}:{started.port}/health") == {}
        assert [chunk.text async for chunk in fake.supervisor.prompt(MODEL, "x")][:2] == ["one ", "two"]
        assert fake.supervisor.get(MODEL).load is not None

    @pytest.mark.parametrize("host", HOSTS)
    async def test_a_real_one(self, house: House, host: str):
        """xllamacpp, each kind of address."""
        pytest.importorskip("xllamacpp", reason="needs xllamacpp")
        started = await house.supervisor.start(MODEL, host=host, worker_id="llm-worker-xllamacpp")
        assert {port for _, port in listens(started.pid)} == {started.port}
        said = "".join([chunk.text async for chunk in house.supervisor.prompt(MODEL, "A", max_tokens=4)])
        assert said
        assert (await house.supervisor.stop(MODEL)).host == host

    async def test_a_wildcard_s_url_is_for_others(self, fake: House, monkeypatch):
        """It has the machine's name: nobody can be sent to 0.0.0.0."""
        found = await fake.supervisor.start(MODEL, host="0.0.0.0")
        assert "0.0.0.0" not in found.url
        assert found.url.endswith(f":{found.port}")

    async def test_it_is_saved_in_one_form(self, fake: House):
        """And used untold by the next start."""
        fake.supervisor.save(MODEL, host="localhost")
        assert fake.supervisor.presets.read(MODEL).host == "127.0.0.1"
        fake.supervisor.save(MODEL, host="127.0.0.2")
        assert (await fake.supervisor.start(MODEL)).url.startswith("http://127.0.0.2:")

    async def test_a_record_of_before(self, fake: House):
        """One without an address is on loopback, and is adopted."""
        await fake.supervisor.start(MODEL)
        path = fake.records.path(MODEL, "json")
        told = msgspec.json.decode(path.read_bytes())
        assert told.pop("host") == "127.0.0.1"
        path.write_bytes(msgspec.json.encode(told))
        assert msgspec.json.decode(path.read_bytes(), type=Running).host == "127.0.0.1"
        again = House(fake.root).supervisor
        assert (again.get(MODEL).state, again.get(MODEL).host) == ("ready", "127.0.0.1")

    async def test_what_is_refused_leaves_nothing(self, fake: House):
        """An address of nobody, what is none, and a port that another one has."""
        for host in ("203.0.113.7", "gpu1"):
            with pytest.raises(UsageError):
                await fake.supervisor.start(MODEL, host=host)
        with (
            taken("0.0.0.0") as port,
            pytest.raises(PortBusyError, match=f"port {port} of 127"),
        ):
            await fake.supervisor.start(MODEL, port=port)
        assert of_root(fake.root) == []
        assert list(fake.records.all()) == []

    async def test_the_outlook_refuses_as_well(self, fake: House):
        """So that a screen says it before it starts anything."""
        found = fake.supervisor.outlook(MODEL, host="203.0.113.7")
        assert "203.0.113.7 is no address of this machine" in found.refusal
        assert fake.supervisor.outlook(MODEL, host="0.0.0.0").host == "0.0.0.0"


class TestKey:
    """Every worker needs its key, unless it was started without, on loopback."""

    async def test_it_can_do_without(self, fake: House, monkeypatch):
        """No key is given or shown, and whoever asks is answered; the next start has it again."""
        monkeypatch.setenv("LLAMA_API_KEY", "of the shell that starts it")
        before = await fake.supervisor.start(MODEL)
        await fake.supervisor.stop(MODEL)
        found = await fake.supervisor.start(MODEL, key=False)
        assert (found.needs_key, found.api_key, found.state) == (False, "", "ready")
        (child,) = psutil.Process(found.pid).children()
        assert "--api-key-file" not in child.cmdline()
        assert "LLAMA_API_KEY" not in child.environ()
        assert [chunk.text async for chunk in fake.supervisor.prompt(MODEL, "x")][:2] == ["one ", "two"]
        await fake.supervisor.stop(MODEL)
        after = await fake.supervisor.start(MODEL)
        assert (after.needs_key, after.api_key) == (True, before.api_key)

    @pytest.mark.parametrize("key", [True, False])
    async def test_a_real_one(self, house: House, *, key: bool):
        """xllamacpp: its figures, its keeper's and its answers need the key, or nothing."""
        pytest.importorskip("xllamacpp", reason="needs xllamacpp")
        found = await house.supervisor.start(MODEL, key=key, worker_id="llm-worker-xllamacpp")
        record = house.records.read(MODEL)
        assert record is not None
        assert house.supervisor.get(MODEL).load is not None
        assert keeper.activity(msgspec.to_builtins(record)) == (0, 0, 0)
        assert [chunk async for chunk in house.supervisor.prompt(MODEL, "A", max_tokens=2)]
        assert ready.status(record, "/v1/models") == (401 if key else 200)
        assert bool(found.api_key) == key

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "203.0.113.7"])
    async def test_others_need_it(self, fake: House, host: str):
        """Refused with the reason, also where a half of it was saved; the outlook says so first."""
        fake.supervisor.save(MODEL, key=False)
        assert "listens on loopback alone" in fake.supervisor.outlook(MODEL, host=host).refusal
        with pytest.raises(RefusedError, match="whoever reaches this machine could use it") as caught:
            await fake.supervisor.start(MODEL, host=host)
        assert "--key" in caught.value.hint
        assert of_root(fake.root) == []
        assert (await fake.supervisor.start(MODEL, host="127.0.0.2")).needs_key is False


def listens(pid: int) -> set[tuple[str, int]]:
    """Where a keeper's runtime listens."""
    (child,) = psutil.Process(pid).children()
    return {
        (each.laddr.ip, each.laddr.port) for each in child.net_connections("tcp") if each.status == "LISTEN"
    }
