"""What other programs have on this disk: found, named, taken up without harm to them."""

from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.engine import elsewhere, fit, gguf
from rbee_tui.engine.artifacts import Health
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.elsewhere import Found, Place
from rbee_tui.engine.errors import IntegrityError, MetadataError, RefusedError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.removal import weigh
from tests.engine.others import hub_cache, ollama, tree

MODEL, OTHER = tiny.build("theirs"), tiny.build("another of theirs")
PROJECTOR = b"GGUF" + bytes(100)


@pytest.fixture
def hub(tmp_path: Path) -> Place:
    """The Hub's cache with a model that sees, and a later commit that nothing of it has changed in."""
    files = {"tiny-Q8_0.gguf": MODEL, "mmproj-F16.gguf": PROJECTOR, "README.md": b"# x"}
    hub_cache(tmp_path / "hub", "acme/tiny", files, "a" * 40, "old")
    hub_cache(tmp_path / "hub", "acme/tiny", files)
    return Place(program="Hugging Face", path=str(tmp_path / "hub"), layout="hub")


@pytest.fixture
def models(root: Root) -> ModelCatalog:
    """An empty catalog."""
    return ModelCatalog(root)


def found_in(place: Place, models: ModelCatalog) -> list[Found]:
    """What a place has, and what of it is here."""
    return elsewhere.mark_here(elsewhere.look([place]), models.list())


class TestPlaces:
    """Where programs keep models."""

    def test_the_user_s_own_settings_are_heeded(self, tmp_path: Path):
        """Of the Hub's library, of Ollama and of llama.cpp; without them their habits."""
        home = tmp_path / "home"
        usual = {place.path for place in elsewhere.places({}, home)}
        assert {str(home / ".cache/huggingface/hub"), str(home / ".ollama/models")} <= usual
        assert str(home / ".lmstudio/models") in usual
        own = {"HF_HUB_CACHE": "/h", "OLLAMA_MODELS": "/o", "LLAMA_CACHE": "/l"}
        told = [place.path for place in elsewhere.places(own, home)]
        assert {"/h", "/o", "/l"} <= set(told)
        assert not {str(home / ".ollama/models"), "/usr/share/ollama/.ollama/models"} & set(told)
        assert elsewhere.places({"HF_HOME": "/x"}, home)[0].path == "/x/hub"


class TestHubCache:
    """Its repositories, with what is known of them."""

    def test_repository_commit_and_branch_are_learnt(self, hub: Place, models: ModelCatalog):
        """The same blobs under two commits are one model: that of `main`."""
        (found,) = found_in(hub, models)
        assert (found.id, found.repo, found.commit) == ("acme/tiny:tiny-Q8_0.gguf", "acme/tiny", "c" * 40)
        assert [file.name for file in found.files] == ["tiny-Q8_0.gguf", "mmproj-F16.gguf"]
        entry = models.adopt(found)
        model = entry.artifact
        assert model is not None
        assert (model.repo, model.revision, model.requested_revision) == ("acme/tiny", "c" * 40, None)
        assert model.source_url.endswith(f"/acme/tiny/resolve/{'c' * 40}/tiny-Q8_0.gguf")
        assert [file.role for file in model.files] == ["weights", "projector"]
        assert models.projector(entry) == Path(entry.directory) / "mmproj-F16.gguf"
        assert found_in(hub, models)[0].here == entry.id

    def test_what_no_branch_stands_for_was_asked_for_by_commit(self, tmp_path: Path, models: ModelCatalog):
        """So that an update does not change it."""
        snapshot = hub_cache(tmp_path / "hub", "acme/tiny", {"tiny.gguf": MODEL}, "a" * 40)
        hub_cache(tmp_path / "hub", "acme/tiny", {"tiny.gguf": OTHER})
        model = models.import_gguf(snapshot / "tiny.gguf", how="link").artifact
        assert model is not None
        assert (model.revision, model.requested_revision) == ("a" * 40, "a" * 40)

    def test_shards_that_are_not_all_there_are_no_model(self, tmp_path: Path, models: ModelCatalog):
        """Nor is a blob that is gone."""
        snapshot = hub_cache(tmp_path / "hub", "acme/big", {"x-00001-of-00002.gguf": MODEL})
        place = Place(program="Hugging Face", path=str(tmp_path / "hub"), layout="hub")
        assert found_in(place, models) == []
        hub_cache(tmp_path / "hub", "acme/big", {"x-00002-of-00002.gguf": OTHER})
        assert len(found_in(place, models)[0].files) == 2
        (snapshot / "x-00002-of-00002.gguf").resolve().unlink()
        assert found_in(place, models) == []

    def test_a_blob_with_other_bytes_is_refused(self, hub: Place, models: ModelCatalog, tmp_path: Path):
        """Its name says what it has to be; nothing is left behind."""
        (found,) = found_in(hub, models)
        Path(found.path).resolve().write_bytes(MODEL[:-1] + b"!")
        for how in ("link", "in place"):
            with pytest.raises(IntegrityError, match="does not hold the bytes"):
                models.adopt(found, how=how)
        assert models.list() == []
        assert list(models.root.tmp.iterdir()) == []


class TestOllama:
    """By its manifests."""

    def test_a_model_and_its_projector(self, tmp_path: Path, models: ModelCatalog):
        """Named as Ollama names it; the blobs get names that a worker takes."""
        ollama(tmp_path / "ollama", "tiny", "latest", MODEL, PROJECTOR)
        ollama(tmp_path / "ollama", "gone", "latest", OTHER).unlink()
        place = Place(program="Ollama", path=str(tmp_path / "ollama"), layout="ollama")
        (found,) = found_in(place, models)
        assert (found.id, found.program) == ("tiny:latest", "Ollama")
        before = tree(tmp_path / "ollama")
        entry = models.adopt(found)
        assert entry.id == "tiny-latest"
        assert [path.name for path in models.files(entry)] == ["tiny-latest.gguf", "mmproj-tiny-latest.gguf"]
        assert gguf.read(models.weights(entry)).architecture == "llama"
        assert models.verify(entry.id).ok
        models.remove(entry.id)
        assert tree(tmp_path / "ollama") == before


class TestFiles:
    """Directories of GGUF files."""

    def test_a_projector_goes_with_what_lies_beside_it(self, tmp_path: Path, models: ModelCatalog):
        """In a directory of its own; in one for all models only where it is named after one."""
        base = tmp_path / "lm"
        place = Place(program="LM Studio", path=str(base), layout="files")
        for name, data in {
            "acme/eyes/eyes-Q4_0.gguf": MODEL,
            "acme/eyes/mmproj-F16.gguf": PROJECTOR,
            "blind.gguf": OTHER,
            "mmproj-F16.gguf": PROJECTOR,
            "notes.txt": b"x",
        }.items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(data)
        found = {each.id: len(each.files) for each in found_in(place, models)}
        assert found == {"acme/eyes/eyes-Q4_0.gguf": 2, "blind.gguf": 1}

    def test_the_root_itself_is_nobody_else_s(self, root: Root, models: ModelCatalog, tmp_path: Path):
        """Also where it is looked for by another way."""
        models.import_gguf(tiny.write(tmp_path / "tiny.gguf").path)
        (tmp_path / "way").symlink_to(root.path)
        place = Place(program="x", path=str(tmp_path / "way"), layout="files")
        assert elsewhere.look([place]) != []
        assert elsewhere.look([place], but=root.path) == []


class TestInPlace:
    """A file that stays where it lies."""

    @pytest.fixture
    def there(self, tmp_path: Path) -> Path:
        """Somebody's file."""
        path = tmp_path / "theirs" / "tiny.gguf"
        path.parent.mkdir()
        path.write_bytes(MODEL)
        return path

    def test_it_is_a_model_like_others(self, there: Path, models: ModelCatalog):
        """Whole, verified, startable; removing it takes nothing away."""
        before = tree(there.parent)
        entry = models.import_gguf(there, how="in place")
        assert (entry.health, entry.artifact and entry.artifact.size_bytes) == (Health.OK, len(MODEL))
        assert models.weights(models.get("tiny")) == there
        assert models.verify("tiny").ok
        assert [path.name for path in Path(entry.directory).iterdir()] == ["metadata.json"]
        assert weigh(Path(entry.directory)).freed == 0
        assert fit.estimate(gguf.read_whole(models.weights(entry)), 4096)
        models.remove("tiny")
        assert tree(there.parent) == before

    def test_what_becomes_of_it_is_seen(self, there: Path, models: ModelCatalog):
        """Gone, changed, rotten."""
        models.import_gguf(there, how="in place")
        there.write_bytes(MODEL[:-1] + b"!")
        assert not models.verify("tiny").ok
        there.write_bytes(MODEL[:100])
        assert models.get("tiny").health is Health.DAMAGED
        there.unlink()
        entry = models.get("tiny")
        assert (entry.health, entry.reason) == (Health.MISSING, f"{there} is not there any more")

    def test_a_place_has_to_be_absolute(self, there: Path, models: ModelCatalog):
        """What came from elsewhere may say anything."""
        entry = models.import_gguf(there, how="in place")
        path = Path(entry.directory) / "metadata.json"
        path.write_text(path.read_text().replace(str(there), "../../etc/passwd"))
        entry = models.get("tiny")
        assert (entry.health, entry.artifact) == (Health.BROKEN, None)
        assert "no absolute path" in entry.reason

    def test_what_is_no_model_is_refused(self, tmp_path: Path, models: ModelCatalog):
        """As with a copy."""
        (tmp_path / "x.gguf").write_bytes(b"no")
        with pytest.raises(MetadataError):
            models.import_gguf(tmp_path / "x.gguf", how="in place")
        models.import_gguf(tiny.write(tmp_path / "y.gguf").path, how="in place")
        (tmp_path / "other").mkdir()
        with pytest.raises(RefusedError, match="there is a model 'y' already"):
            models.import_gguf(tiny.write(tmp_path / "other" / "y.gguf").path, how="in place")
