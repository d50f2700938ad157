"""The demo's Hub is a true stand-in: the Hub's own library, unmodified, works against it."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub  # noqa: TID251 - it is the judge here
import pytest
from huggingface_hub.errors import (  # noqa: TID251 - as above
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from rbee_tui.demo import repos, tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.errors import AccessError, HubError, NetworkError, RateLimitedError, UsageError
from rbee_tui.engine.hub import Hub, check_endpoint

NAME = "recital-f16.gguf"


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """The demo's Hub."""
    with DemoHub(repos.demo_repos(), token="right") as served:
        yield served


@pytest.fixture
def api(hub: DemoHub) -> Iterator[huggingface_hub.HfApi]:
    """The library, with a client of its own."""
    huggingface_hub.close_session()
    huggingface_hub.set_client_factory(huggingface_hub.utils._http.default_client_factory)
    yield huggingface_hub.HfApi(endpoint=hub.url, token=False)
    from rbee_tui.engine import hub as ours  # noqa: PLC0415 - it has to prepare the library anew

    ours._prepared.clear()
    huggingface_hub.close_session()


class TestLibrary:
    """huggingface_hub as it is."""

    def test_it_searches_and_lists(self, api: huggingface_hub.HfApi):
        """list_models, model_info, list_repo_tree, list_repo_refs."""
        assert [model.id for model in api.list_models(search="recital")] == [repos.REPO]
        info = api.model_info(repos.REPO, files_metadata=True)
        sizes = {each.rfilename: each.size for each in info.siblings or []}
        assert sizes[NAME] == len(tiny.build())
        tree = {entry.path for entry in api.list_repo_tree(repos.REPO, recursive=True)}
        assert tree == set(sizes)
        assert api.list_repo_refs(repos.REPO).branches[0].target_commit == info.sha

    def test_it_downloads(self, hub: DemoHub, api: huggingface_hub.HfApi, tmp_path: Path):
        """One file, and a whole repository."""
        path = api.hf_hub_download(repos.REPO, NAME, cache_dir=tmp_path)
        assert Path(path).read_bytes() == tiny.build()
        assert hub.bytes_sent(f"{repos.REPO}/{NAME}") == len(tiny.build())
        place = api.snapshot_download(repos.REPO, cache_dir=tmp_path)
        assert sorted(p.name for p in Path(place).iterdir()) == ["README.md", NAME]

    def test_it_knows_the_errors(self, api: huggingface_hub.HfApi, tmp_path: Path):
        """Gated, missing repository, revision and file."""
        with pytest.raises(GatedRepoError):
            api.hf_hub_download(f"{repos.OWNER}/gated-gguf", "gated-f16.gguf", cache_dir=tmp_path)
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("no/such")
        with pytest.raises(RevisionNotFoundError):
            api.model_info(repos.REPO, revision="nope")
        with pytest.raises(EntryNotFoundError):
            api.hf_hub_download(repos.REPO, "nope.gguf", cache_dir=tmp_path)


class TestStorage:
    """Ranges, signatures, the origin of its own."""

    def test_a_range_is_exact(self, hub: DemoHub):
        """Through the redirect to the other origin."""
        request = urllib.request.Request(f"{hub.url}/{repos.REPO}/resolve/main/{NAME}")
        request.add_header("Range", "bytes=10-19")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 206
            assert answer.headers["Content-Range"] == f"bytes 10-19/{len(tiny.build())}"
            assert answer.read() == tiny.build()[10:20]
            assert answer.url.startswith(hub.cdn_url)

    def test_an_address_without_its_signature_is_refused(self, hub: DemoHub):
        """As the real storage does."""
        commit = hub.repos[repos.REPO].commit
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(
                f"{hub.cdn_url}/{repos.REPO}/{commit}/{NAME}?Expires=9999999999&Signature=0"
            )
        assert caught.value.code == 403
        caught.value.close()


class TestOurHub:
    """What rbee makes of it."""

    def test_a_repository_at_its_commit(self, hub: DemoHub):
        """With sizes and hashes."""
        found = Hub(hub.url, token="").repository(repos.REPO)
        assert found.commit == hub.repos[repos.REPO].commit
        assert {file.path for file in found.files} == {"README.md", NAME}
        assert all(file.size_bytes and (file.sha256 or file.blob_id) for file in found.files)

    def test_errors_are_sentences(self, hub: DemoHub):
        """Missing or private, bad names, bad endpoints, nobody there."""
        ours = Hub(hub.url, token="")
        with pytest.raises(AccessError, match="or it is private"):
            ours.repository("no/such")
        with pytest.raises(UsageError):
            ours.repository("../../etc")
        with pytest.raises(UsageError):
            check_endpoint("ftp://x")
        with pytest.raises(NetworkError, match="cannot reach"):
            Hub("http://127.0.0.1:9", token="").search("x")

    def test_a_rate_limit_is_said_at_once(self):
        """However long the server asks to wait."""
        from rbee_tui.demo.hub import Fault  # noqa: PLC0415 - this test alone

        busy = Fault(status=429, headers={"Retry-After": "1000000000"})
        with DemoHub(repos.demo_repos(), fault=lambda seen: busy) as served:
            with pytest.raises(RateLimitedError) as caught:
                Hub(served.url, token="").search("x")
            assert caught.value.retry_after is not None

    def test_the_token_stays_at_its_origin(self, hub: DemoHub):
        """A redirect elsewhere is refused before anything is sent there."""
        from rbee_tui.demo.hub import Fault  # noqa: PLC0415 - as above

        away = Fault(status=307, headers={"Location": f"{hub.url}/api/models/{repos.REPO}"})
        with DemoHub([], fault=lambda seen: away) as first:
            with pytest.raises(HubError, match="was not asked for"):
                Hub(first.url, token="canary").repository(repos.REPO)
            assert first.requests[0].authorization == "Bearer canary"
        assert hub.requests == []


class TestTinyModel:
    """It recites, whatever it is asked."""

    SCRIPT = """
        import sys, json, urllib.request, xllamacpp
        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx = sys.argv[1], 4096
        params.hostnames = ["127.0.0.1"]
        server = xllamacpp.Server(params)
        for prompt in ("hello", "The bees", "zzz \\u6f22 \\u00e9"):
            body = json.dumps({"prompt": prompt, "max_tokens": 400, "temperature": 2}).encode()
            asked = urllib.request.Request(server.listening_address + "/v1/completions", body,
                                           {"Content-Type": "application/json"})
            print(json.loads(urllib.request.urlopen(asked).read())["choices"][0]["text"])
    """

    @pytest.mark.parametrize(
        "say", [tiny.SENTENCE, "the the the the", "na\u00efve \u6f22\u5b57 \U0001f41d bees"]
    )
    def test_in_the_real_engine(self, tmp_path: Path, say: str):
        """The exact sentence, at temperature 2, to known and unknown words."""
        pytest.importorskip("xllamacpp", reason="needs xllamacpp")
        import textwrap  # noqa: PLC0415 - this test alone

        model = tiny.write(tmp_path / "tiny.gguf", say)
        program = textwrap.dedent(self.SCRIPT)
        said = subprocess.run(
            [sys.executable, "-c", program, str(model.path)], capture_output=True, check=True, timeout=60
        )
        assert said.stdout.decode().splitlines() == [say] * 3

    @pytest.mark.parametrize("say", ["", " ", "a", "x" * 5000, "a\0b"])
    def test_what_cannot_be_recited_is_refused(self, say: str):
        """With a sentence."""
        with pytest.raises(UsageError):
            tiny.check_sentence(say)

    def test_pieces_are_all_different(self):
        """And make the sentence again."""
        for say in ("a a a a a a", "the the the the", "ab", tiny.SENTENCE):
            found = tiny.pieces(say)
            assert "".join(found) == say
            assert len(set(found)) == len(found)


def test_the_demo_repository_is_named():
    """DemoRepo names its commit after its content."""
    one, other = DemoRepo("a/b", {"x": b"1"}), DemoRepo("a/b", {"x": b"2"})
    assert one.commit != other.commit
