"""Whether the Hub has something newer, and how it comes: the old stays until the new is verified."""

from pathlib import Path

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.cli.support import Command

NAME = "tiny-f16.gguf"


class TestOutdated:
    """By the files, not by the commit alone."""

    def test_a_newer_file_is_found_and_brought(self, tmp_path: Path):
        """A commit that changes something else is none; the command that is named updates the model."""
        old, new = tiny.build("the old one"), tiny.build("the new one, which is longer")
        repo = DemoRepo("acme/tiny", {NAME: old, "README.md": b"# one"})
        with DemoHub([repo]) as hub:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="")
            model = rbee.run("pull", "acme/tiny").strip()
            (found,) = rbee.json("models", "outdated")
            assert found["state"] == "current"
            repo.push({"README.md": b"# two"})
            (found,) = rbee.json("models", "outdated")
            assert found["state"] == "current"
            assert found["newest"] != found["commit"]
            repo.push({NAME: new})
            (found,) = rbee.json("models", "outdated")
            assert (found["state"], found["size_bytes"]) == ("newer", len(new))
            file = tmp_path / "home" / "models" / model / NAME
            assert file.read_bytes() == old
            assert rbee.run(*found["command"].split()[1:]).strip() == model
            assert file.read_bytes() == new
            repo.push({NAME: old})
            assert rbee.run("models", "update", "--all").strip() == model
            assert file.read_bytes() == old
            assert rbee.json("models", "update", model[:4]) == []
            (found,) = rbee.json("models", "outdated")
            assert found["state"] == "current"
            assert rbee.json("models", "verify", model)[0]["ok"]

    def test_what_is_gone_is_said(self, tmp_path: Path):
        """The model here stays as it is."""
        repo = DemoRepo("acme/tiny", {NAME: tiny.build("one")})
        with DemoHub([repo]) as hub:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="")
            rbee.run("pull", "acme/tiny")
            hub.repos.clear()
            (found,) = rbee.json("models", "outdated")
            assert found["state"] == "gone"
            assert "there is no repository acme/tiny" in found["reason"]
            rbee.fails("models", "update", "tiny-f16", code=3, saying="cannot be updated")
            rbee.fails("models", "update", code=2, saying="name one model, or --all")


class TestRenamed:
    """The Hub leads from the old name to the new one."""

    def renamed(self, hub: DemoHub, repo: DemoRepo) -> None:
        """It is called acme/better now, with all its commits."""
        repo.id = "acme/better"
        hub.repos = {repo.id: repo}
        hub.renamed = {"acme/tiny": repo.id}

    def test_it_is_followed_and_said(self, tmp_path: Path):
        """The model keeps its id; the newer files come from the new name, and so does the next question."""
        old, new = tiny.build("the old one"), tiny.build("the new one, which is longer")
        repo = DemoRepo("acme/tiny", {NAME: old})
        with DemoHub([repo]) as hub:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="")
            model = rbee.run("pull", "acme/tiny", "--id", "mine").strip()
            self.renamed(hub, repo)
            (found,) = rbee.json("models", "outdated")
            assert (found["state"], found["was"], found["repo"]) == ("current", "acme/tiny", "acme/better")
            repo.push({NAME: new})
            (found,) = rbee.json("models", "outdated")
            assert (found["state"], found["command"]) == ("newer", f"rbee pull acme/better:{NAME} --id mine")
            assert rbee.run("models", "update", "--all").strip() == model == "mine"
            assert (tmp_path / "home" / "models" / "mine" / NAME).read_bytes() == new
            artifact = rbee.json("models", "show", "mine")["artifact"]
            assert artifact["repo"] == "acme/better"
            assert "/acme/better/resolve/" in artifact["source_url"]
            hub.renamed.clear()
            (found,) = rbee.json("models", "outdated")
            assert (found["state"], found["was"]) == ("current", "")

    def test_one_without_news_is_known_by_its_new_name(self, tmp_path: Path):
        """An update brings no file then."""
        repo = DemoRepo("acme/tiny", {NAME: tiny.build("one")})
        with DemoHub([repo]) as hub:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="")
            rbee.run("pull", "acme/tiny")
            self.renamed(hub, repo)
            assert rbee.json("models", "update", "tiny-f16") == []
            assert rbee.json("models", "show", "tiny-f16")["artifact"]["repo"] == "acme/better"

    def test_another_history_is_not_followed(self, tmp_path: Path):
        """What has the place of the old one is another model, with newer files of the same name."""
        repo = DemoRepo("acme/tiny", {NAME: tiny.build("one")})
        with DemoHub([repo]) as hub:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="")
            rbee.run("pull", "acme/tiny")
            self.renamed(hub, DemoRepo("acme/tiny", {NAME: tiny.build("of somebody else")}))
            (found,) = rbee.json("models", "outdated")
            assert (found["state"], found["was"]) == ("gone", "")
            assert "acme/better, which does not have the commit that is here" in found["reason"]
            rbee.fails("models", "update", "tiny-f16", code=3, saying="rbee pull acme/better")
            assert rbee.json("models", "show", "tiny-f16")["artifact"]["repo"] == "acme/tiny"

    def test_another_origin_is_not_asked(self, tmp_path: Path):
        """Whatever the Hub says; other models are compared all the same."""
        repos = [
            DemoRepo("acme/tiny", {NAME: tiny.build("one")}),
            DemoRepo("acme/two", {"two.gguf": tiny.build("two")}),
        ]
        with DemoHub(repos) as hub, DemoHub([DemoRepo("acme/better", repos[0].files)]) as other:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="")
            rbee.run("pull", "acme/tiny")
            rbee.run("pull", "acme/two")
            hub.renamed, hub.leads_to = {"acme/tiny": "acme/better"}, other.url
            gone, well = rbee.json("models", "outdated")
            assert (gone["state"], well["state"]) == ("gone", "current")
            assert f"leads to {other.url}, which was not asked for" in gone["reason"]
            assert other.requests == []
