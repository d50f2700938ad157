"""Hostile and tired servers: each ends with the right file or with a clear sentence, within its time."""

import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.transfer import Fetched, Stopped, answers, hashing, patience, plan, wire
from tests.engine.transfer.server import FAST, MANY, Behaviour, Hub, Place, content
from tests.faults.transfer.behaviours import (
    BEHAVIOURS,
    attack,
    first_signature_expired,
    stall_in_body,
    to,
    verdict,
    wrong,
)

SEEDS = 10


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    """Ten, or as many as `--rounds` says."""
    return range(request.config.getoption("--rounds", default=None) or SEEDS)


class TestHostileServers:
    """Whatever a server does: the right file or a sentence, in time, and not a byte elsewhere."""

    @pytest.mark.timeout(0)
    @pytest.mark.parametrize("name", BEHAVIOURS)
    def test_once(self, name: str, seeds: range, tmp_path: Path) -> None:
        """It happens once: what may pass is got over."""
        row = BEHAVIOURS[name]
        assert wrong(row, row.once, seeds, tmp_path, once=True) == []

    @pytest.mark.timeout(0)
    @pytest.mark.parametrize("name", BEHAVIOURS)
    def test_for_ever(self, name: str, seeds: range, tmp_path: Path) -> None:
        """It happens every time: an end comes."""
        row = BEHAVIOURS[name]
        assert wrong(row, row.always, seeds, tmp_path, once=False) == []

    def test_what_is_there_stays_where_a_whole_file_comes(self, tmp_path: Path) -> None:
        """A 200 for a Range is read from the place on at which the file goes on."""
        place = Place(tmp_path).prepare()
        result, _, _ = attack(BEHAVIOURS["200 for a Range"], place, 0, once=False)
        assert isinstance(result, Fetched)
        assert result.kept_bytes > 0

    @pytest.mark.parametrize("name", ["redirect to itself", "redirect circle"])
    def test_a_circle_is_left_after_a_few_steps(self, name: str, place: Place) -> None:
        """It is not followed until patience ends."""
        result, hub, _ = attack(BEHAVIOURS[name], place, 0, once=False)
        assert "in a circle" in str(result)
        assert len(hub.requests) == FAST.redirects + 1

    @pytest.mark.parametrize("longer", [-7, 7])
    def test_another_size_is_said_before_a_byte_is_read(self, longer: int, place: Place) -> None:
        """The sentence has both sizes."""
        row = replace(BEHAVIOURS["HEAD size larger than GET's"], longer=longer)
        result, hub, _ = attack(row, place, 0, once=False)
        assert f"has {len(hub.data)} bytes; its listing says {len(hub.data) + longer}" in str(result)

    @pytest.mark.parametrize("etag", ["", 'W/"weak"', "bare", '"strong"'])
    def test_a_range_hangs_on_a_strong_etag_only(self, etag: str, place: Place) -> None:
        """Any other must not be sent in If-Range."""
        with Hub(content(3), etag=etag) as hub:
            place.fetch(hub.source(), limits=MANY)
            sent = {x.headers.get("if-range") for x in hub.requests if x.span and x.at == "cdn"}
        assert sent - {None} == ({etag} if etag == '"strong"' else set())

    def test_refused_then_back(self, place: Place) -> None:
        """The storage is away when the redirect leads there, and back a moment later."""
        with Hub(content(5)) as gone:
            dead = gone.url("cdn")
        with Hub(content(5)) as hub:
            hub.behaviour = Behaviour(to(lambda _: f"{dead}/blob"), at="hub", times=2)
            place.fetch(hub.source())
            assert place.target.read_bytes() == hub.data

    @pytest.mark.parametrize(
        "name", ["206 with other bytes", "one flipped bit", "200 for a Range with other bytes"]
    )
    def test_without_verification_a_wrong_file_comes_out(
        self, name: str, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mutant: with the comparison of the hash removed, these very tests find a wrong file."""
        monkeypatch.setattr(hashing, "matches", lambda *_: True)
        result, hub, _ = attack(BEHAVIOURS[name], place, 0, once=False)
        assert verdict(place, hub, result) == "a wrong file"

    @pytest.mark.parametrize(
        "name", ["206 with a wrong start", "206 that overlaps", "206 with another total"]
    )
    def test_without_a_look_at_the_range_it_is_noticed(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mutant: where a range is believed unseen, these rows do not end as they must."""
        monkeypatch.setattr(answers, "_partial", lambda *_: answers.Proceed())
        monkeypatch.setattr(answers, "_unsatisfied", lambda *_: answers.Proceed())
        row = BEHAVIOURS[name]
        assert wrong(row, row.always, range(2), tmp_path, once=False) != []

    def test_with_an_unasked_encoding_taken_it_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mutant: gzip that nobody asked for, taken as the file's bytes."""
        monkeypatch.setattr(answers, "_body", lambda answer, asked: answers.Proceed())
        row = BEHAVIOURS["gzip"]
        assert wrong(row, row.once, range(1), tmp_path, once=True) != []

    def test_with_the_end_of_a_body_unseen_it_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mutant: a file that has no hash is cut at the size that a HEAD told."""
        real = wire.Body.__init__
        monkeypatch.setattr(
            wire.Body, "__init__", lambda *words, whole, **_: real(*words, whole=whole, most=None)
        )
        row = BEHAVIOURS["HEAD size smaller than GET's, chunked"]
        (text,) = wrong(row, row.once, range(1), tmp_path, once=True)
        assert "a wrong file" in text

    def test_with_another_commit_taken_it_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mutant: neither the hash that a redirect tells is looked at, nor the file's."""
        monkeypatch.setattr(answers, "_changed", lambda *_: None)
        monkeypatch.setattr(hashing, "matches", lambda *_: True)
        row = BEHAVIOURS["a new commit midway"]
        assert wrong(row, row.once, range(1), tmp_path, once=True) != []

    def test_an_expired_signature_is_signed_again(self, place: Place) -> None:
        """The storage never takes the first address again; the Hub is asked for another."""
        with Hub(content(6)) as hub:
            hub.behaviour = Behaviour(first_signature_expired)
            place.fetch(hub.source())
            assert place.target.read_bytes() == hub.data

    def test_an_address_that_is_kept_for_ever_is_noticed(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mutant: what was signed once is asked again and again."""
        monkeypatch.setattr(wire.Wire, "open", lambda self, gap, link: self._walk(gap, link, self._known))
        behaviour = Behaviour(first_signature_expired)
        with Hub(content(6), behaviour=behaviour) as hub, pytest.raises(RbeeError):
            place.fetch(hub.source())

    def test_a_stall_that_is_never_cut_is_noticed(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mutant: a connection that brings nothing is waited for."""
        monkeypatch.setattr(plan.Pace, "stalled", lambda *_, **__: False)
        monkeypatch.setattr(patience.Patience, "exhausted", lambda *_: False)
        stop = threading.Event()
        threading.Timer(2.0, stop.set).start()
        slow = msgspec.structs.replace(FAST, stall=60.0)
        with Hub(content(1), behaviour=Behaviour(stall_in_body)) as hub, pytest.raises(Stopped):
            place.fetch(hub.source(), stop=stop, limits=slow)

    def test_a_token_that_leaks_is_noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The mutant: a token for whoever is asked."""
        real = wire.Wire._headers
        monkeypatch.setattr(
            wire.Wire, "_headers", lambda self, gap, etag, with_token: real(self, gap, etag, with_token=True)
        )
        row = BEHAVIOURS["redirect to a foreign host"]
        (text,) = wrong(row, row.always, range(1), tmp_path, once=False)
        assert "the token at a storage" in text

    def test_patience_without_an_end_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mutant: where failures are not counted, a server that always fails is never given up."""
        monkeypatch.setattr(patience.Patience, "exhausted", lambda *_: False)
        monkeypatch.setattr(patience.Patience, "give_up", lambda *_: patience.Delay(0.1, "for ever"))
        stop = threading.Event()
        threading.Timer(2.0, stop.set).start()
        place = Place(tmp_path).prepare()
        with (
            Hub(content(1), behaviour=Behaviour(BEHAVIOURS["500"].act, at="hub")) as hub,
            pytest.raises(Stopped),
        ):
            place.fetch(hub.source(), stop=stop)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty place for one file."""
    return Place(tmp_path / "root").prepare()
