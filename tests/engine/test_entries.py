"""What a listing of many models costs, and what it settles."""

import json
from pathlib import Path
from typing import Any

from rbee_tui.engine.artifacts import Model
from rbee_tui.engine.catalog import METADATA, ModelCatalog
from rbee_tui.engine.paths import Root

STAMP = "2025-11-08T15:35:00Z"


def put(root: Root, name: str, **said: Any) -> Path:
    """A model with one file, put there by hand; `said` goes into its metadata."""
    place = root.models / name
    place.mkdir()
    file = {"path": "m.gguf", "size_bytes": 5000, "role": "weights of mine", "verified_at": STAMP}
    artifact = {
        "id": name,
        "name": name,
        "version": "Q4_K_M",
        "size_bytes": 5000,
        "source_url": f"x/{name}",
        "status": "Available",
        "repo": "acme/tiny",
        "revision": "0123456789abcdef",
        "files": [file],
        "context_length": 8192,
        "license": "apache-2.0",
        "verified_at": STAMP,
        **said,
    }
    (place / METADATA).write_text(json.dumps({"artifact": artifact, "updated_at": STAMP}))
    return place


class TestSharing:
    """Equal values of a listing are the same object: thousands of models say the same of much."""

    def test_what_models_have_in_common(self, root: Root):
        """What is of one kind or one repository; what each has alone stays."""
        put(root, "one")
        put(root, "other", repo="acme/other")
        one, other = (entry.artifact for entry in ModelCatalog(root).list())
        assert isinstance(one, Model)
        assert isinstance(other, Model)
        for field in ("version", "context_length", "license", "revision", "requested_revision"):
            assert getattr(one, field) is getattr(other, field)
        assert one.files[0].role is other.files[0].role
        assert (one.source_url, one.repo) == ("x/one", "acme/tiny")
        assert (other.source_url, other.repo) == ("x/other", "acme/other")

    def test_what_a_model_says_twice(self, root: Root):
        """Its size is its file's, and the moments are one."""
        put(root, "one")
        [entry] = ModelCatalog(root).list()
        assert entry.artifact is not None
        [file] = entry.artifact.files
        assert file.size_bytes is entry.artifact.size_bytes
        assert entry.artifact.verified_at is entry.updated_at
        assert entry.artifact.verified_at is file.verified_at

    def test_a_file_of_another_size_keeps_it(self, root: Root):
        """Of several files none has the size of all."""
        put(root, "one", size_bytes=9000)
        [entry] = ModelCatalog(root).list()
        assert entry.artifact is not None
        assert (entry.artifact.size_bytes, entry.artifact.files[0].size_bytes) == (9000, 5000)


class TestSettling:
    """Each entry goes by an id of its own, and its id leads to its own directory."""

    def test_sorted_by_id(self, root: Root):
        """Whatever the directories are called."""
        put(root, "b", id="z")
        put(root, "c")
        put(root, "z-name", id="a")
        assert [entry.id for entry in ModelCatalog(root).list()] == ["a", "c", "z"]

    def test_of_twins_each_leads_to_its_own_directory(self, root: Root):
        """The one that lost says to whom, and what is done to it is done to it alone."""
        put(root, "model-x")
        put(root, "twin", id="model-x")
        models = ModelCatalog(root)
        assert "the directory model-x" in models.get("twin").reason
        models.remove("twin")
        assert [entry.id for entry in models.list()] == ["model-x"]

    def test_an_id_from_elsewhere_leads_to_its_directory(self, root: Root):
        """What has another name than its id would give it is found, and removed, by its id."""
        place = put(root, "some-name", id="Model X")
        models = ModelCatalog(root)
        assert models.directory("Model X") == place
        models.remove("Model X")
        assert not place.exists()
