"""The fourteen attacks of a hostile worker catalog: each is refused with its reason, and installs nothing.

Each has a twin in which the one protection that is meant for it is taken away: there the refusal is missing,
and where the rest does not hold it up by chance, the attack succeeds.
"""

import hashlib
import io
import re
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urljoin

import pytest

from rbee_tui.engine import http
from rbee_tui.engine.errors import IntegrityError, RbeeError, RefusedError
from rbee_tui.engine.listing import bundle, signing, trust
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.listing.signing import Signed
from rbee_tui.engine.transfer import wire
from rbee_tui.engine.workers import bringing, filling
from tests.engine.listing.support import ID, Answer, Catalog, in_days, make_bundle
from tests.engine.workers.support import House

FOREIGN_ELF = b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xf3\x00" + bytes(44)
"""The head of a program for RISC-V."""


def unsigned(catalog: Catalog) -> None:
    """A listing without a signature."""
    catalog.answers["/workers"].headers.clear()


def wrong_key(catalog: Catalog) -> None:
    """A listing that somebody else signed, rightly."""
    key = catalog.store.path / "other.pem"
    signing.make_key(key)
    catalog.show(catalog.sign(catalog.changed(), key))


def altered(catalog: Catalog) -> None:
    """The signature of another listing."""
    signed = catalog.sign(catalog.listing)
    body = signed.body.replace(b'"LAN worker"', b'"LAN Worker"')
    assert body != signed.body
    catalog.show(Signed(body, signed.signature, signed.key))


def older(catalog: Catalog) -> None:
    """Version 1, after version 2 was seen."""
    catalog.show(catalog.sign(catalog.changed(version=1)))


def other_of_that_version(catalog: Catalog) -> None:
    """Another listing with the version that was seen."""
    catalog.show(catalog.sign(catalog.changed(version=2, expires_at=in_days(3))))


def expired(catalog: Catalog) -> None:
    """A listing that nobody renewed."""
    catalog.show(catalog.sign(catalog.changed(version=9, expires_at=in_days(-0.01))))


def replayed(catalog: Catalog) -> None:
    """A listing that the same key signed for another catalog."""
    catalog.show(catalog.sign(catalog.changed(version=9, catalog="tests")))


def other_file(catalog: Catalog) -> None:
    """Bytes with the right length and another hash: another version of the same package."""
    content = bytearray(make_bundle(catalog.store.path.parent / "evil", "9.9.2").read_bytes())
    assert len(content) == catalog.published.size_bytes
    catalog.send(bytes(content))


def size_lie(catalog: Catalog) -> None:
    """A listing that says another size than the file has."""
    catalog.offer(size_bytes=catalog.published.size_bytes + 512)


def path_in_id(catalog: Catalog) -> None:
    """An id that would leave the workers' directory."""
    catalog.offer(id="../../escaped")


def path_in_filename(catalog: Catalog) -> None:
    """A file name that would leave it."""
    content = b"#!/bin/sh\n"
    catalog.offer(
        filename="../../escaped",
        kind="binary",
        runtime="llama-server",
        size_bytes=len(content),
        sha256=_sha256(content),
    )
    catalog.send(content)


def link_in_bundle(catalog: Catalog) -> None:
    """A bundle with a link out of it under the name of a wheel."""
    catalog.send_bundle(_tar(_member("xllamacpp-9.9.1-py3-none-any.whl", tarfile.SYMTYPE, "/etc/passwd")))


def platform_lie(catalog: Catalog) -> None:
    """A program for another processor, offered for this one."""
    catalog.send(FOREIGN_ELF)
    catalog.offer(
        kind="binary", runtime="llama-server", size_bytes=len(FOREIGN_ELF), sha256=_sha256(FOREIGN_ELF)
    )


def platform_lie_of_a_bundle(catalog: Catalog) -> None:
    """A wheel for another processor, offered for this one."""
    content = b"not even a wheel"
    member = _member("xllamacpp-9.9.1-py3-none-manylinux_2_17_riscv64.whl", size=len(content))
    catalog.send_bundle(_tar(member, content))


def file_from_elsewhere(catalog: Catalog) -> None:
    """The file comes from another server."""
    catalog.answers["/file"] = catalog.answers[f"/workers/{ID}/download"]
    elsewhere = catalog.url.replace("127.0.0.1", "localhost")
    catalog.answers[f"/workers/{ID}/download"] = Answer(302, {"Location": f"{elsewhere}/file"})


def listing_from_elsewhere(catalog: Catalog) -> None:
    """The listing comes from another server."""
    catalog.answers["/elsewhere"] = catalog.answers["/workers"]
    elsewhere = catalog.url.replace("127.0.0.1", "localhost")
    catalog.answers["/workers"] = Answer(301, {"Location": f"{elsewhere}/elsewhere"})


def endless_listing(catalog: Catalog) -> None:
    """A listing of 1 GB."""
    headers = catalog.answers["/workers"].headers
    catalog.answers["/workers"] = Answer(headers=headers, endless=1 << 30)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


def _tar(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


# What an unprotected client does in the place of each protection.


def without(*checks: Callable[[trust.Case], None]) -> tuple[ModuleType, str, Any]:
    """The listing's checks but these."""
    return trust, "CHECKS", tuple(each for each in trust.CHECKS if each not in checks)


def naive_fetch(source: Any, *, target: Path, **_: Any) -> None:
    """Takes whatever comes."""
    with urllib.request.urlopen(source.url) as answer:
        target.write_bytes(answer.read())


async def naive_get(url: str, most: int, seconds: float) -> http.Small:
    """Goes where it is sent."""
    del most, seconds
    with urllib.request.urlopen(url) as answer:  # noqa: ASYNC210 - its server has a thread of its own
        return http.Small(200, {name.lower(): value for name, value in answer.headers.items()}, answer.read())


NAIVE_FETCH = (bringing.transfer, "fetch", naive_fetch)
NAIVE_PROOF = (filling, "proven", lambda path, file: path.open("rb"))
NAIVE_TARGET = (wire.Wire, "_target", lambda self, url, here, location: urljoin(url, location))


def naive_wheels(wheels: Any, platform: str, name: str) -> list[Any]:
    """Looks at no platform."""
    del platform, name
    return [filling.bundle.Requirement(name="xllamacpp", version="9.9.1", hashes=())]


class Attack(NamedTuple):
    """An attack, the reason with which it is refused, its protection, and what comes of it without that."""

    make: Callable[[Catalog], None]
    kind: type[RbeeError]
    reason: str
    mutants: tuple[tuple[Any, str, Any], ...]
    succeeds: bool


ATTACKS = [
    Attack(
        unsigned,
        RefusedError,
        "its listing is not signed",
        (without(trust.require_signature, trust.require_pinned_key, trust.require_genuine),),
        succeeds=True,
    ),
    Attack(
        wrong_key, RefusedError, "by another key than", (without(trust.require_pinned_key),), succeeds=True
    ),
    Attack(
        altered,
        RefusedError,
        "its signature does not belong to its listing",
        (without(trust.require_genuine, trust.require_not_older),),
        succeeds=True,
    ),
    Attack(
        older,
        RefusedError,
        "is of version 1, and version 2 was seen before",
        (without(trust.require_not_older),),
        succeeds=True,
    ),
    Attack(
        other_of_that_version,
        RefusedError,
        "another listing of version 2 than",
        (without(trust.require_not_older),),
        succeeds=True,
    ),
    # What has expired is not offered either, so it takes more than one fault.
    Attack(
        expired, RefusedError, "its listing expired on 20", (without(trust.require_fresh),), succeeds=False
    ),
    Attack(
        replayed,
        RefusedError,
        "the listing of another catalog .'tests'.",
        (without(trust.require_same_catalog),),
        succeeds=True,
    ),
    Attack(
        other_file,
        IntegrityError,
        "does not match the sha256 that the server lists",
        (NAIVE_FETCH, NAIVE_PROOF),
        succeeds=True,
    ),
    # A client that fetches without comparing is stopped by the hash of the opened file.
    Attack(
        other_file,
        IntegrityError,
        "does not match the sha256 that the server lists",
        (NAIVE_FETCH,),
        succeeds=False,
    ),
    Attack(size_lie, IntegrityError, "bytes; its listing says", (NAIVE_FETCH,), succeeds=True),
    Attack(
        path_in_id,
        RefusedError,
        "whose id is '../../escaped', which could lead elsewhere",
        (without(trust.require_plain_entries),),
        succeeds=False,
    ),
    Attack(
        path_in_filename,
        RefusedError,
        f"gives {ID} the file name '../../escaped', which could lead elsewhere",
        (without(trust.require_plain_entries),),
        succeeds=False,
    ),
    Attack(
        link_in_bundle,
        RefusedError,
        "in it is a link to '/etc/passwd'",
        ((bundle, "require_plain", lambda member, name: None),),
        succeeds=False,
    ),
    Attack(
        platform_lie,
        RefusedError,
        "it is offered for .*, and it is for linux-riscv64",
        ((filling.binaries, "platform_in", lambda head: None),),
        succeeds=False,
    ),
    Attack(
        platform_lie_of_a_bundle,
        RefusedError,
        "it is offered for .*, and has xllamacpp-9.9.1-py3-none-manylinux_2_17_riscv64.whl",
        ((filling.bundle, "require_wheels_for", naive_wheels),),
        succeeds=False,
    ),
    Attack(
        file_from_elsewhere,
        RefusedError,
        r"127.0.0.1 sends us to another server \(localhost\)",
        (NAIVE_TARGET,),
        succeeds=True,
    ),
    Attack(
        listing_from_elsewhere,
        RefusedError,
        r"it sends us to another server \(http://localhost:\d+/elsewhere\)",
        ((http, "get_small", naive_get),),
        succeeds=True,
    ),
    Attack(
        endless_listing,
        RefusedError,
        "its listing is longer than 4 MiB",
        ((form, "MAX_BYTES", 1 << 40),),
        succeeds=False,
    ),
]


async def prepared(attack: Attack, catalog: Catalog, house: House) -> str:
    """Let the house see an honest listing of version 2, then begin the attack; the id to install."""
    catalog.show(catalog.sign(catalog.changed(version=2)))
    await house.installer.catalogs.refresh(catalog.url)
    attack.make(catalog)
    return "../../escaped" if attack.make is path_in_id else ID


@pytest.mark.anyio
class TestAttacks:
    async def test_the_honest_catalog_is_used(self, trusting: House, catalog: Catalog):
        """The worker says where it came from and who signed for it."""
        entry = await trusting.installer.install(ID)
        worker = entry.artifact
        assert worker
        assert (worker.version, worker.devices, worker.catalog) == ("9.9.1", ["CPU: a fake"], catalog.url)
        assert (worker.sha256, worker.signed_by) == (catalog.published.sha256, catalog.key)
        assert list(trusting.root.tmp.iterdir()) == []

    @pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.make.__name__)
    async def test_each_is_refused(self, trusting: House, catalog: Catalog, attack: Attack):
        """With its own reason and what to do; nothing is installed, nothing is written elsewhere."""
        worker_id = await prepared(attack, catalog, trusting)
        with pytest.raises(attack.kind, match=attack.reason) as caught:
            await trusting.installer.install(worker_id)
        assert caught.value.hint or attack.make is link_in_bundle
        assert list(trusting.root.workers.iterdir()) == []
        assert not list(trusting.root.path.parent.rglob("escaped*"))
        assert catalog.sent < 64 << 20

    @pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.make.__name__)
    async def test_without_its_protection_it_is_not(
        self, trusting: House, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, attack: Attack
    ):
        """The test above would see an unprotected client."""
        worker_id = await prepared(attack, catalog, trusting)
        if attack.make is endless_listing:
            catalog.answers["/workers"].endless = 16 << 20
        for home, name, mutant in attack.mutants:
            monkeypatch.setattr(home, name, mutant)
        said = ""
        try:
            await trusting.installer.install(worker_id)
        except Exception as error:  # noqa: BLE001 - whatever it ends with, it must not be the refusal
            said = str(error) or type(error).__name__
        assert not re.search(attack.reason, said)
        assert (said == "") == attack.succeeds
        if attack.make is path_in_filename:
            assert (trusting.root.path / "escaped").exists()
