"""Addresses to listen on: read, refused with what there is, asked and shown so that somebody answers."""

import pytest

from rbee_tui.engine import addresses
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.workers import keeper

OURS = ["127.0.0.1", "192.0.2.2", "::1", "fd00::2", "fe80::fc:ff:fe00:1"]


class TestRead:
    """What is an address."""

    @pytest.mark.parametrize(
        ("said", "found"),
        [
            ("127.0.0.1", "127.0.0.1"),
            ("localhost", "127.0.0.1"),
            ("[::1]", "::1"),
            ("FD00:0::2", "fd00::2"),
            ("::ffff:192.0.2.2", "192.0.2.2"),
        ],
    )
    def test_each_has_one_form(self, said: str, found: str):
        """Whatever it was written as: it is compared later."""
        assert str(addresses.address(said)) == found

    @pytest.mark.parametrize("said", ["", "gpu1", "127.1", "192.0.2.256", "192.0.2.2:80", "::1\x1b[31m", "*"])
    def test_what_is_none(self, said: str):
        """Said, inert, with what to write instead."""
        with pytest.raises(UsageError, match="is not an address to listen on") as caught:
            addresses.address(said)
        assert "0.0.0.0" in caught.value.hint
        assert "\x1b" not in str(caught.value)


class TestHere:
    """What a machine can listen on."""

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "127.0.0.9", "::1", "0.0.0.0", "::", "192.0.2.2", "fd00::2"]
    )
    def test_its_own(self, host: str):
        """Loopback and wildcards stand on no interface."""
        assert addresses.lacking(host, OURS) == ""

    @pytest.mark.parametrize(
        ("host", "why"),
        [
            ("192.0.2.3", "192.0.2.3 is no address of this machine"),
            ("192.0.2.255", "no address of this machine"),
            ("224.0.0.1", "no address of this machine"),
            ("255.255.255.255", "no address of this machine"),
            ("fd00::3", "no address of this machine"),
            ("fe80::fc:ff:fe00:1", "one link alone"),
        ],
    )
    def test_others(self, host: str, why: str):
        """Also those that the system would bind and nobody could reach: a broadcast, a link's own."""
        assert why in addresses.lacking(host, OURS)

    def test_what_there_is(self):
        """Named, less those that need no naming."""
        assert addresses.choices(OURS).endswith("; it has 192.0.2.2, fd00::2")
        assert addresses.choices(["127.0.0.1"]) == addresses.EVERY_INTERFACE

    def test_this_machine(self):
        """It has loopback at least, and nothing with a zone."""
        found = addresses.of_this_machine()
        assert "127.0.0.1" in found
        assert not any("%" in each for each in found)


class TestUrl:
    """Where clients are sent, and where this machine itself asks."""

    @pytest.mark.parametrize(
        ("host", "url", "asked"),
        [
            ("127.0.0.1", "http://127.0.0.1:80", "127.0.0.1"),
            ("0.0.0.0", "http://gpu1:80", "127.0.0.1"),
            ("::", "http://gpu1:80", "::1"),
            ("::1", "http://[::1]:80", "::1"),
            ("192.0.2.2", "http://192.0.2.2:80", "192.0.2.2"),
            ("fd00::2", "http://[fd00::2]:80", "fd00::2"),
        ],
    )
    def test_each(self, host: str, url: str, asked: str):
        """A wildcard is neither; the keeper, which cannot import this, says the same."""
        assert addresses.url(host, 80, "gpu1") == url
        assert addresses.asked(host) == keeper.asked({"host": host}) == asked

    def test_a_record_of_before(self):
        """Loopback."""
        assert keeper.asked({}) == addresses.LOOPBACK

    @pytest.mark.parametrize(
        ("host", "alone"), [("127.0.0.2", True), ("::1", True), ("::", False), ("10.0.0.1", False)]
    )
    def test_who_reaches_it(self, host: str, *, alone: bool):
        """This machine alone, or others."""
        assert addresses.is_loopback(host) == alone
