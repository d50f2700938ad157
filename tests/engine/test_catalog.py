"""The catalogs on disk: listed, changed, removed; nothing lost, nothing outside touched."""

import json
import os
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.demo import tiny
from rbee_tui.engine import metadata
from rbee_tui.engine.artifacts import Health, Model, ModelFile, Worker
from rbee_tui.engine.catalog import METADATA, ModelCatalog, WorkerCatalog
from rbee_tui.engine.errors import (
    BusyError,
    MetadataError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from rbee_tui.engine.ids import artifact_id, directory
from rbee_tui.engine.paths import Root, beneath
from rbee_tui.engine.text import fold


def a_model(name: str = "tiny", **changes) -> Model:
    """A model of one file of four bytes."""
    model = Model(id=name, name="Tiny", version="F16", size_bytes=4, source_url="http://127.0.0.1/x")
    return msgspec.structs.replace(model, **changes)


def put_file(catalog: ModelCatalog, name: str, data: bytes = b"GGUF", file: str = "x.gguf") -> Path:
    path = catalog.directory(name) / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def models(root: Root) -> ModelCatalog:
    """An empty model catalog."""
    return ModelCatalog(root)


@pytest.fixture
def workers(root: Root) -> WorkerCatalog:
    """An empty worker catalog."""
    return WorkerCatalog(root)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny, real GGUF."""
    return tiny.write(tmp_path_factory.mktemp("gguf") / "tiny-F16.gguf").path


class TestListing:
    """What is on the disk is what is listed."""

    def test_an_entry_comes_back(self, models: ModelCatalog):
        """With its times, its directory and its health."""
        put_file(models, "tiny")
        models.add_model(a_model())
        (entry,) = models.list()
        assert (entry.id, entry.health, entry.artifact) == ("tiny", Health.OK, a_model())
        assert entry.created_at
        assert models.contains("tiny")

    def test_entries_are_sorted(self, models: ModelCatalog):
        """By id."""
        for name in ("c", "a", "b"):
            models.add_model(a_model(name))
        assert [entry.id for entry in models.list()] == ["a", "b", "c"]

    def test_a_broken_entry_hides_no_other(self, models: ModelCatalog):
        """It is listed with its reason."""
        models.add_model(a_model())
        broken = models.path / "other"
        broken.mkdir()
        (broken / METADATA).write_text("{")
        found = {entry.id: entry for entry in models.list()}
        assert found["other"].health is Health.BROKEN
        assert "not JSON" in found["other"].reason
        assert "tiny" in found

    def test_two_directories_with_one_id(self, models: ModelCatalog):
        """The one that the id names counts, the other is broken."""
        models.add_model(a_model())
        twin = models.path / "twin"
        twin.mkdir()
        (twin / METADATA).write_bytes((models.path / "tiny" / METADATA).read_bytes())
        health = {Path(e.directory).name: e.health for e in models.list()}
        assert health["twin"] is Health.BROKEN
        assert health["tiny"] is not Health.BROKEN

    def test_an_unknown_one_is_a_sentence_with_near_names(self, models: ModelCatalog):
        """As a person mistypes."""
        models.add_model(a_model("llama-3-8b"))
        with pytest.raises(NotFoundError) as caught:
            models.get("lama-3-8b")
        assert "llama-3-8b" in caught.value.hint

    def test_an_edit_by_another_hand_shows(self, models: ModelCatalog):
        """At the very next look."""
        models.add_model(a_model())
        path = models.path / "tiny" / METADATA
        text = json.loads(path.read_text())
        text["artifact"]["name"] = "Edited"
        path.write_text(json.dumps(text))
        artifact = models.get("tiny").artifact
        assert artifact is not None
        assert artifact.name == "Edited"


class TestHealth:
    """What the disk says, derived at each look."""

    @pytest.mark.parametrize(
        ("sizes", "health"),
        [
            ({"a.gguf": 4, "b.gguf": 4}, Health.OK),
            ({"a.gguf": 4}, Health.PARTIAL),
            ({"a.gguf": 4, "b.gguf": 3}, Health.DAMAGED),
            ({}, Health.MISSING),
        ],
    )
    def test_health(self, models: ModelCatalog, sizes: dict[str, int], health: Health):
        """By what is there, and how long it is."""
        files = tuple(ModelFile(path=name, size_bytes=4) for name in ("a.gguf", "b.gguf"))
        models.add_model(a_model(files=files))
        for name, size in sizes.items():
            put_file(models, "tiny", b"x" * size, name)
        for path in (models.path / "tiny").iterdir():
            os.utime(path, (1, 1))
        os.utime(models.path / "tiny", (1, 1))
        assert models.get("tiny").health is health

    def test_what_changed_just_now_is_arriving(self, models: ModelCatalog):
        """Somebody copies it here."""
        models.add_model(a_model(files=(ModelFile(path="a.gguf", size_bytes=400),)))
        put_file(models, "tiny", b"x", "a.gguf")
        assert models.get("tiny").health is Health.ARRIVING

    def test_an_unknown_status_is_shown_as_it_is(self, models: ModelCatalog):
        """Another version's word does not make an entry unreadable."""
        put_file(models, "tiny")
        models.add_model(a_model(status="Shimmering"))
        assert "Shimmering" in models.get("tiny").reason


class TestChanges:
    """Durable, and careful with what they do not know."""

    def test_unknown_keys_survive(self, models: ModelCatalog):
        """At the top, in the artifact and in each file."""
        models.add_model(a_model(files=(ModelFile(path="a.gguf", size_bytes=4),)))
        path = models.path / "tiny" / METADATA
        text = json.loads(path.read_text())
        text["x"] = 1
        text["artifact"]["y"] = [2]
        text["artifact"]["files"][0]["z"] = {"deep": 3}
        path.write_text(json.dumps(text))
        models.update("tiny", name="New")
        after = json.loads(path.read_text())
        assert (after["x"], after["artifact"]["y"], after["artifact"]["files"][0]["z"]) == (
            1,
            [2],
            {"deep": 3},
        )
        assert after["artifact"]["name"] == "New"

    def test_an_id_is_taken_once(self, models: ModelCatalog):
        """Another source does not get it; the same one says anew what it is."""
        models.add_model(a_model())
        with pytest.raises(RefusedError, match="already"):
            models.add_model(a_model(source_url="http://127.0.0.1/other"))
        entry = models.add_model(a_model(version="2"))
        assert entry.artifact is not None
        assert entry.artifact.version == "2"

    def test_modes_are_exact(self, models: ModelCatalog):
        """755 and 644 under any umask."""
        before = os.umask(0o077)
        try:
            models.add_model(a_model())
        finally:
            os.umask(before)
        assert (models.path / "tiny").stat().st_mode & 0o777 == 0o755
        assert (models.path / "tiny" / METADATA).stat().st_mode & 0o777 == 0o644

    def test_removing_says_what_is_freed(self, models: ModelCatalog, tmp_path: Path):
        """A file that has another name elsewhere frees nothing."""
        put_file(models, "tiny", b"x" * 100_000)
        linked = put_file(models, "tiny", b"y" * 100_000, "linked.gguf")
        (tmp_path / "elsewhere").hardlink_to(linked)
        models.add_model(a_model())
        removed = models.remove("tiny")
        assert 100_000 <= removed.freed_bytes < 200_000
        assert not (models.path / "tiny").exists()
        assert (tmp_path / "elsewhere").read_bytes() == b"y" * 100_000

    def test_removing_follows_no_link(self, models: ModelCatalog, tmp_path: Path):
        """What a link leads to stays as it is."""
        canary = tmp_path / "canary"
        canary.mkdir()
        (canary / "file").write_text("precious")
        models.add_model(a_model())
        (models.path / "tiny" / "link").symlink_to(canary)
        models.remove("tiny")
        assert (canary / "file").read_text() == "precious"

    def test_what_is_in_use_is_not_removed(self, models: ModelCatalog):
        """A worker that starts holds the model's lock."""
        models.add_model(a_model())
        with models.lock("tiny", "start", shared=True).acquire(), pytest.raises(BusyError):
            models.remove("tiny")
        assert models.contains("tiny")


class TestVerify:
    """Reading again what is stored."""

    def test_right_and_wrong(self, models: ModelCatalog, gguf: Path):
        """A flipped bit is found, named, and stored as the status; mended, the model is available again."""
        models.import_gguf(gguf, "tiny")
        assert models.verify("tiny").ok
        path = models.path / "tiny" / gguf.name
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.write_bytes(data)
        found = models.verify("tiny")
        assert [file.result for file in found.files] == ["wrong"]
        assert models.get("tiny").health is not Health.OK
        data[1000] ^= 1
        path.write_bytes(data)
        assert models.verify("tiny").ok
        assert models.get("tiny").health is Health.OK

    def test_what_has_no_hash_is_said(self, models: ModelCatalog):
        """The specification's own format has none: only the size can be compared."""
        put_file(models, "tiny")
        models.add_model(a_model())
        found = models.verify("tiny")
        assert (found.ok, found.verified_at, [file.result for file in found.files]) == (
            True,
            None,
            ["unknown"],
        )
        assert "no hash" in found.reason

    def test_what_has_no_file_is_not_right(self, models: ModelCatalog):
        """Nor is what cannot be read; both are results, so that all models can be verified in a row."""
        models.add_model(a_model())
        (models.path / "broken").mkdir()
        for name in ("tiny", "broken"):
            found = models.verify(name)
            assert not found.ok
            assert found.reason


class TestImport:
    """A GGUF of this disk."""

    @pytest.mark.parametrize("link", [False, True])
    def test_it_is_listed_with_its_header(self, models: ModelCatalog, gguf: Path, link: bool):
        """Copied or linked, hashed, whole."""
        entry = models.import_gguf(gguf, "mine", how="link" if link else "copy")
        model = entry.artifact
        assert model is not None
        assert (entry.health, model.architecture, model.quantization) == (Health.OK, "llama", "F16")
        assert models.weights(entry).samefile(gguf) is link
        assert list((models.root.path / "tmp").iterdir()) == []

    def test_what_is_not_gguf_is_refused(self, models: ModelCatalog, tmp_path: Path):
        """And leaves nothing."""
        fake = tmp_path / "fake.gguf"
        fake.write_bytes(b"not it")
        with pytest.raises(MetadataError, match="not a GGUF"):
            models.import_gguf(fake)
        with pytest.raises(NotFoundError):
            models.import_gguf(tmp_path / "absent.gguf")
        with pytest.raises(UsageError):
            models.import_gguf(Path(__file__))
        assert models.list() == []


class TestWorkers:
    """Programs that serve models."""

    def test_a_program_is_registered(self, workers: WorkerCatalog, tmp_path: Path):
        """And found by its type; what is not there or not executable is refused."""
        program = tmp_path / "llama-server"
        worker = Worker(id="mine", name="Mine", version="1", binary_path=str(program), worker_type="cpu")
        with pytest.raises(UsageError, match="no file"):
            workers.register_worker(worker)
        program.write_text("#!/bin/sh\n")
        with pytest.raises(UsageError, match="may not be executed"):
            workers.register_worker(worker)
        program.chmod(0o755)
        workers.register_worker(worker)
        assert [entry.id for entry in workers.find("cpu")] == ["mine"]
        assert workers.find("cuda") == []
        workers.remove("mine")
        assert program.exists()


class TestMetadata:
    """Hostile text is refused with a sentence."""

    GOOD = b'{"artifact":{"id":"a","name":"a","version":"1","size_bytes":1,"source_url":"x"}}'

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (b"{", "not JSON"),
            (b"[]", "not an object"),
            (b'{"a":NaN}', "not JSON"),
            (b'{"a":1,"a":2}', "twice"),
            (b'{"a":{"b":1,"b":2}}', "twice"),
            (b'{"a":"\\ud800"}', "not JSON"),
            (b'{"a":"\\u0000"}', "NUL"),
            (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested"),
            (b" " * (metadata.MAX_BYTES + 1), "larger"),
        ],
    )
    def test_it_is_refused(self, text: bytes, reason: str):
        """By name."""
        with pytest.raises(MetadataError, match=reason):
            metadata.decode(text)

    def test_a_naive_reader_takes_a_key_twice(self):
        """The mutant: the decoder alone keeps the last of two keys and says nothing."""
        assert msgspec.json.decode(b'{"a":1,"a":2}') == {"a": 2}

    @pytest.mark.parametrize("value", [b"-1", b'"1"', b"1.5", b"null"])
    def test_a_size_is_a_whole_number(self, value: bytes):
        """Not negative, not text."""
        text = self.GOOD.replace(b'"size_bytes":1', b'"size_bytes":' + value)
        with pytest.raises(MetadataError):
            metadata.read(text, Model)

    @given(st.binary(max_size=200), st.integers(0, 80))
    def test_only_sentences_come_out(self, noise: bytes, at: int):
        """Whatever the bytes are."""
        for text in (noise, self.GOOD[:at] + noise + self.GOOD[at:]):
            with suppress(MetadataError):
                metadata.read(text, Model)


class TestIds:
    """An id and its directory."""

    @given(st.text(min_size=1, max_size=60))
    def test_there_and_back(self, name: str):
        """The directory's name tells the id."""
        try:
            place = directory(name)
        except UsageError:
            return
        assert artifact_id(place) == name
        assert place not in (".", "..")
        assert "/" not in place

    @given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
    def test_two_ids_never_share_one(self, one: str, other: str):
        """Also where the file system folds case and normalises."""
        try:
            places = directory(one), directory(other)
        except UsageError:
            return
        assert (fold(places[0]) == fold(places[1])) is (one == other)

    @pytest.mark.parametrize("path", ["..", "../x", "/etc/passwd", "a/../../b", ""])
    def test_nothing_leads_out(self, tmp_path: Path, path: str):
        """Neither dots nor absolute paths."""
        with pytest.raises(RefusedError):
            beneath(tmp_path, path)

    def test_no_link_leads_out(self, tmp_path: Path):
        """Nor a link on the way."""
        (tmp_path / "link").symlink_to("/etc")
        with pytest.raises(RefusedError, match="link"):
            beneath(tmp_path, "link/passwd")
