"""From a repository's listing to a job's record: pure decisions."""

import msgspec
import pytest

from rbee_tui.engine.artifacts import Entry, Health, Model, ModelFile
from rbee_tui.engine.errors import NoSpaceError, RefusedError
from rbee_tui.engine.planning import Plan, Room, already_here, require_room, room_needed, settle_id
from tests.engine.support_jobs import a_file, a_record

CHOSEN = Plan(
    endpoint="http://127.0.0.1:1",
    repo="acme/tiny",
    revision="c" * 40,
    model=Model(
        id="tiny", name="Tiny", version="F16", size_bytes=1000, source_url="http://127.0.0.1:1/acme/tiny/x"
    ),
    files=[a_file()],
)


def an_entry(**changes) -> Entry[Model]:
    """A healthy, verified entry of the file that CHOSEN asks for."""
    model = msgspec.structs.replace(
        CHOSEN.model,
        repo="acme/tiny",
        files=(ModelFile(path="tiny.gguf", size_bytes=1000, sha256="a" * 64),),
    )
    model = msgspec.structs.replace(model, **changes)
    return Entry(id=model.id, artifact=model, health=Health.OK)


class TestIds:
    """Every source has an id of its own."""

    def test_a_free_id_is_taken_as_it_is(self):
        """The file's stem, when nobody has it."""
        assert settle_id(CHOSEN, {}.get, [], named=False)[0].model.id == "tiny"

    def test_the_same_source_keeps_its_id(self):
        """Downloading again what is listed replaces it."""
        assert settle_id(CHOSEN, {"tiny": an_entry()}.get, [], named=False)[0].model.id == "tiny"

    def test_another_source_gets_its_owner_behind_it(self):
        """Two files of one name from two repositories live side by side."""
        entries = {"tiny": an_entry(repo="other/tiny")}
        assert settle_id(CHOSEN, entries.get, [], named=False)[0].model.id == "tiny--acme"

    def test_a_download_that_is_under_way_has_its_id_already(self):
        """Also before its entry is in the catalog."""
        records = [a_record(repo="other/tiny")]
        assert settle_id(CHOSEN, {}.get, records, named=False)[0].model.id == "tiny--acme"

    def test_a_named_id_that_is_taken_is_refused(self):
        """What the user named is never changed silently."""
        with pytest.raises(RefusedError, match="belongs to another model"):
            settle_id(CHOSEN, {"tiny": an_entry(repo="other/tiny")}.get, [], named=True)

    def test_an_entry_in_the_specification_s_own_format_is_known_by_its_url(self):
        """It has no `repo`; its source_url says where it came from."""
        entry = an_entry(repo=None)
        settled, found = settle_id(CHOSEN, {"tiny": entry}.get, [], named=True)
        assert (settled.model.id, found) == ("tiny", entry)


class TestAlreadyHere:
    """What is here, whole and verified, is not downloaded again."""

    def test_the_same_bytes_are_here(self):
        """Same path, size and hash."""
        assert already_here(an_entry(), CHOSEN.files)

    @pytest.mark.parametrize("health", [h for h in Health if h is not Health.OK])
    def test_only_a_healthy_one_counts(self, health: Health):
        """Missing, partial and damaged files are fetched."""
        entry = an_entry()
        entry.health = health
        assert not already_here(entry, CHOSEN.files)

    def test_another_hash_is_another_file(self):
        """The repository's file has changed."""
        assert not already_here(an_entry(), [a_file(sha256="b" * 64)])

    @pytest.mark.parametrize("status", ["Downloading", {"Failed": {"error": "x"}}])
    def test_an_unfinished_one_does_not_count(self, status: object):
        """An entry that is downloading or failed is not here."""
        assert not already_here(an_entry(status=status), CHOSEN.files)


class TestRoom:
    """No gigabyte is promised twice."""

    def test_what_fits_is_let_through(self):
        """To the last byte."""
        require_room(Room(needed=100, free=300, promised=200))

    def test_what_does_not_fit_says_the_figures(self):
        """What it needs, what is free, what others were promised."""
        with pytest.raises(NoSpaceError, match=r"needs 2\.0 GB.* 3\.0 GB free.*1\.5 GB are promised"):
            require_room(Room(needed=2_000_000_000, free=3_000_000_000, promised=1_500_000_000))

    def test_what_is_here_is_counted_once(self):
        """A file of the model that is a twin by its hash, too, does not make room for another."""
        files = [a_file("tiny.gguf"), a_file("other.gguf", sha256="c" * 64)]
        assert room_needed(None, files) == 2000
        assert room_needed(an_entry(), files) == 1000
        assert room_needed(an_entry(), files, {"tiny.gguf"}) == 1000
        assert room_needed(None, files, {"tiny.gguf", "other.gguf"}) == 0
