"""The Hub: a repository at one commit, from the real one or a mirror that tells less; every way to fail."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo, Fault
from rbee_tui.engine import hub as room
from rbee_tui.engine.choices import RemoteFile
from rbee_tui.engine.errors import (
    AccessError,
    HubError,
    NetworkError,
    NotFoundError,
    RateLimitedError,
    RbeeError,
    UsageError,
)
from rbee_tui.engine.hub import Hub, Repository, check_endpoint, origin, rate_limited
from rbee_tui.engine.repository import Filters

COMMIT = "c" * 40
LATER = "2026-05-01T00:00:00.000Z"
SHA = "a" * 64
BLOB = "b" * 40
Page = tuple[int, dict[str, str], Any]


class Mirror:
    """Serves pages by path; a mirror of the Hub as simple as one may be."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.seen: list[tuple[str, str, str]] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                path = self.path.partition("?")[0]
                mirror.seen.append((self.command, path, self.headers.get("Authorization", "")))
                status, headers, body = mirror.pages.get(path, (404, {}, {"error": "nothing here"}))
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(raw)

            do_GET = do_HEAD = answer  # noqa: N815 - the library's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def has(self, **information: Any) -> None:
        """A repository `acme/tiny` with this information."""
        body = {"id": "acme/tiny", "sha": COMMIT, "siblings": [], **information}
        self.pages["/api/models/acme/tiny/revision/main"] = (200, {}, body)

    def has_tree(self, *entries: Any) -> None:
        """Its tree."""
        self.pages[f"/api/models/acme/tiny/tree/{COMMIT}"] = (200, {}, list(entries))

    def has_file(self, path: str, status: int = 200, **headers: str) -> None:
        """A file of it, as a HEAD of it tells."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[f"/acme/tiny/resolve/{COMMIT}/{path}"] = (status, named, b"")

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """An empty mirror."""
    made = Mirror()
    yield made
    made.close()


@pytest.fixture
def small() -> DemoRepo:
    """A repository with a large and a small file."""
    files = {"big.gguf": bytes(LARGE), "folder/config.json": b"{}"}
    return DemoRepo("acme/tiny", files, license="mit", downloads=7, likes=3)


class TestSettings:
    """Which Hub, and who asks."""

    def test_the_endpoint(self, monkeypatch):
        """As given, else HF_ENDPOINT, else the Hub itself; a slash at its end is no part of it."""
        assert Hub().endpoint == "https://huggingface.co"
        monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/hf/")
        assert Hub().endpoint == "https://mirror.example/hf"
        assert Hub("http://[::1]:8080").endpoint == "http://[::1]:8080"

    @pytest.mark.parametrize(
        "endpoint",
        [
            "ftp://x",
            "huggingface.co",
            "http://",
            "http://x:0",
            "http://x:99999",
            "http://x:port",
            "http://[::1",
            "http://user:secret@x",
            "http://x?query",
            "http://x#fragment",
        ],
    )
    def test_what_is_no_address(self, endpoint):
        """It is said before anything is asked."""
        with pytest.raises(UsageError, match="is not an address"):
            check_endpoint(endpoint)

    def test_origins(self):
        """The port is part of them, said or not."""
        assert origin("https://x/path?query") == "https://x:443" == origin("https://X:443")
        assert origin("http://x") != origin("https://x")
        assert origin("other://x") == "other://x:0"

    def test_the_token(self, monkeypatch, tmp_path: Path):
        """HF_TOKEN; an empty one means none, whatever else there is."""
        monkeypatch.setenv("HF_TOKEN", "hf_environment")
        assert Hub().token == "hf_environment"
        assert Hub(token="given").token == "given"
        assert Hub(token="").token is None
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
        assert Hub().token is None


class TestSearch:
    """Models by name."""

    def test_the_most_downloaded_first(self, small: DemoRepo):
        """With what one chooses by."""
        more = DemoRepo("acme/tiny-two", {}, downloads=9, gated=True, tags=["gguf", "llama"])
        with DemoHub([small, more, DemoRepo("other/x", {})]) as served:
            found = Hub(served.url, token="").search("tiny")
            assert Hub(served.url, token="").search("tiny", limit=1) == found[:1]
        assert [each.id for each in found] == ["acme/tiny-two", "acme/tiny"]
        first, second = found
        assert (first.gated, first.license, first.tags[:2]) == (True, "apache-2.0", ["gguf", "llama"])
        assert (second.downloads, second.likes, second.license) == (7, 3, "mit")
        assert second.updated_at == "2026-01-01T00:00:00Z"

    def test_order_and_filters(self):
        """Each order, each filter; gate and date are asked for, as a listing does not tell them."""
        repos = [
            DemoRepo("acme/a-gguf", {}, downloads=3, likes=1, trending=2, gated=True, billions=70),
            DemoRepo("acme/b", {}, downloads=2, likes=3, tags=[], license="mit", task="text-to-image"),
            DemoRepo(
                "other/c-gguf", {}, downloads=1, likes=2, trending=9, modified="2026-05-01T00:00:00.000Z"
            ),
        ]
        with DemoHub(repos) as served:
            hub = Hub(served.url, token="")

            def found(**wanted: Any) -> list[str]:
                return [each.id for each in hub.search("", 20, Filters(**wanted))]

            assert [found(sort=each)[0][-6:] for each in ("downloads", "likes", "trending", "recent")] == [
                "a-gguf",
                "acme/b",
                "c-gguf",
                "c-gguf",
            ]
            assert found(gguf=True) == ["acme/a-gguf", "other/c-gguf"]
            assert found(license="mit") == found(task="text-to-image") == ["acme/b"]
            assert found(author="other") == ["other/c-gguf"]
            assert "acme/a-gguf" not in found(billions=13)
            assert hub.search("a-gguf")[0].gated
            assert hub.search("c-gguf")[0].updated_at == "2026-05-01T00:00:00Z"

    def test_revisions_and_the_card(self):
        """Branches and tags, main first; the README of a commit; each revision has files of its own."""
        repo = DemoRepo("acme/tiny", {"README.md": b"# one", "a.gguf": b"1"})
        repo.revisions["dev"] = {"README.md": b"# two"}
        repo.tagged["v1"] = repo.commit
        with DemoHub([repo]) as served:
            hub = Hub(served.url, token="")
            assert [(each.name, each.kind) for each in hub.revisions("acme/tiny")] == [
                ("main", "branch"),
                ("dev", "branch"),
                ("v1", "tag"),
            ]
            assert hub.card(hub.repository("acme/tiny", "dev")) == "# two"
            old = hub.repository("acme/tiny", "v1")
            repo.push({"README.md": b"# three"})
            assert hub.card(old) == "# one"
            assert hub.card(hub.repository("acme/tiny")) == "# three"

    def test_a_mirror_that_tells_nothing_but_names(self, mirror: Mirror):
        """What is not known is not guessed."""
        mirror.pages["/api/models"] = (200, {}, [{"id": "acme/tiny"}])
        (found,) = Hub(mirror.url, token="").search("tiny")
        assert found == room.RepoSummary(id="acme/tiny")


class TestRepository:
    """Its files at the commit that a revision names now."""

    def test_as_the_hub_tells_it(self, small: DemoRepo):
        """A large file by its SHA-256, a small one by its blob id, in two requests at most."""
        with DemoHub([small]) as served:
            found = Hub(served.url, token="").repository("acme/tiny")
            assert len(served.requests) == 1
        assert (found.id, found.commit, found.license, found.gated) == (
            "acme/tiny",
            small.commit,
            "mit",
            False,
        )
        by_path = {file.path: file for file in found.files}
        big, config = by_path["big.gguf"], by_path["folder/config.json"]
        assert (big.size_bytes, len(big.sha256 or ""), big.blob_id) == (LARGE, 64, None)
        assert (config.size_bytes, config.sha256, len(config.blob_id or "")) == (2, None, 40)

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "a/b/c",
            "../etc",
            "acme/",
            "acme/na--me",
            "acme/x.git",
            "acme/x-",
            "-acme/x",
            "acme/tiny\n",
            "é/x",
        ],
    )
    def test_a_name_that_cannot_be_one(self, mirror: Mirror, name):
        """It is said at once, and nobody is asked."""
        with pytest.raises(UsageError, match="is not a repository's name"):
            Hub(mirror.url, token="").repository(name)
        assert mirror.seen == []

    @pytest.mark.parametrize("revision", ["", "a..b", "-x", "main\n", "a b", "x" * 256])
    def test_a_revision_that_cannot_be_one(self, mirror: Mirror, revision):
        """As above."""
        with pytest.raises(UsageError, match="is not a revision"):
            Hub(mirror.url, token="").repository("acme/tiny", revision)
        assert mirror.seen == []

    def test_what_the_information_lacks_the_tree_tells(self, mirror: Mirror):
        """Folders are no files."""
        mirror.has(siblings=[{"rfilename": "a.gguf"}, {"rfilename": "b.gguf", "size": 5}, {"rfilename": "c"}])
        mirror.has_tree(
            {"type": "directory", "oid": BLOB, "path": "folder"},
            {"type": "file", "oid": BLOB, "size": 3, "path": "a.gguf"},
            {
                "type": "file",
                "oid": BLOB,
                "size": 9,
                "path": "b.gguf",
                "lfs": {"oid": SHA, "size": 9, "pointerSize": 1},
            },
        )
        found = Hub(mirror.url, token="").repository("acme/tiny")
        assert found.files == [
            RemoteFile(path="a.gguf", size_bytes=3, sha256=None, blob_id=BLOB),
            RemoteFile(path="b.gguf", size_bytes=9, sha256=SHA, blob_id=None),
            RemoteFile(path="c", size_bytes=None, sha256=None, blob_id=None),
        ]

    def test_without_a_tree_it_is_left_as_it_is(self, mirror: Mirror):
        """The file itself can still be asked; the licence may be in the card or in a tag."""
        mirror.has(siblings=[{"rfilename": "a.gguf", "size": 3}], tags=["license:mit"], gated="manual")
        found = Hub(mirror.url, token="").repository("acme/tiny")
        assert found.files == [RemoteFile(path="a.gguf", size_bytes=3, sha256=None, blob_id=None)]
        assert (found.license, found.gated) == ("mit", True)
        mirror.has(tags=["license:mit"], cardData={"license": ["one", "two"]})
        assert Hub(mirror.url, token="").repository("acme/tiny").license is None

    @pytest.mark.parametrize("status", [429, 500])
    def test_a_tree_that_fails(self, mirror: Mirror, status):
        """A limit is the answer; any other refusal leaves the file itself to be asked."""
        mirror.has(siblings=[{"rfilename": "a.gguf"}])
        mirror.pages[f"/api/models/acme/tiny/tree/{COMMIT}"] = (status, {}, {})
        ours = Hub(mirror.url, token="")
        if status == 429:
            with pytest.raises(RateLimitedError):
                ours.repository("acme/tiny")
        else:
            assert [file.path for file in ours.repository("acme/tiny").files] == ["a.gguf"]

    def test_a_tree_that_goes_on_elsewhere(self, mirror: Mirror):
        """A mirror's next page may point at what it mirrors: nobody is asked there, and the rest by name."""
        mirror.has(siblings=[{"rfilename": "a.gguf"}, {"rfilename": "b.gguf"}])
        with DemoHub([]) as upstream:
            page = [{"type": "file", "oid": BLOB, "size": 3, "path": "a.gguf"}]
            link = {"Link": f'<{upstream.url}/api/models/acme/tiny/tree/{COMMIT}?cursor=x>; rel="next"'}
            mirror.pages[f"/api/models/acme/tiny/tree/{COMMIT}"] = (200, link, page)
            mirror.has_file("b.gguf", Content_Length="5", ETag=f'"{SHA}"')
            ours = Hub(mirror.url, token="hf_secret")
            found = ours.repository("acme/tiny")
            assert [file.size_bytes for file in found.files] == [3, None]
            assert [file.size_bytes for file in ours.complete(found, found.files)] == [3, 5]
            assert upstream.requests == []

    def test_hashes_that_are_none_are_not_believed(self, mirror: Mirror):
        """Nor sizes."""
        large = {"sha256": "x" * 64, "size": 4, "pointerSize": 1}
        mirror.has(
            siblings=[
                {"rfilename": "a", "size": 1, "blobId": BLOB + "\n"},
                {"rfilename": "b", "size": 4, "blobId": BLOB, "lfs": large},
                {"rfilename": "c", "size": -1, "blobId": BLOB},
            ]
        )
        a, b, c = Hub(mirror.url, token="").repository("acme/tiny").files
        assert (a.blob_id, b.sha256, b.blob_id, c.size_bytes) == (None, None, None, None)


class TestComplete:
    """Sizes and hashes that a listing lacked, from the files themselves."""

    @pytest.fixture
    def complete(self, mirror: Mirror) -> Callable[..., RemoteFile]:
        """Asks for one file with what is known of it."""

        def ask(path: str = "a.gguf", token: str = "", **known: Any) -> RemoteFile:
            repository = Repository(id="acme/tiny", commit=COMMIT, gated=False, license=None, files=[])
            (found,) = Hub(mirror.url, token=token).complete(repository, [RemoteFile(path=path, **known)])
            return found

        return ask

    def test_what_is_whole_is_not_asked_for(self, mirror: Mirror, complete):
        """It costs no request."""
        assert complete(size_bytes=3, sha256=SHA).size_bytes == 3
        assert mirror.seen == []

    def test_a_large_one(self, mirror: Mirror, complete):
        """Told by the redirect, which is not followed: it leads elsewhere."""
        mirror.has_file(
            "a.gguf", 302, X_Linked_Size="9", X_Linked_ETag=f'"{SHA}"', Location="http://127.0.0.1:9/x"
        )
        assert complete(token="hf_x") == RemoteFile(path="a.gguf", size_bytes=9, sha256=SHA, blob_id=None)
        assert mirror.seen == [("HEAD", f"/acme/tiny/resolve/{COMMIT}/a.gguf", "Bearer hf_x")]

    def test_a_small_one(self, mirror: Mirror, complete):
        """Told by the answer itself; the tag may be a weak one, in capitals."""
        mirror.has_file("folder/a%20b", ETag=f'W/"{BLOB.upper()}"', Content_Length="7")
        found = complete("folder/a b")
        assert found == RemoteFile(path="folder/a b", size_bytes=7, sha256=None, blob_id=BLOB)
        assert mirror.seen[0][2] == ""

    def test_a_mirror_without_hashes(self, mirror: Mirror, complete):
        """What was known before stays."""
        mirror.has_file("a.gguf", ETag='"123-456"', Content_Length="7")
        assert complete(sha256=SHA) == RemoteFile(path="a.gguf", size_bytes=7, sha256=SHA, blob_id=None)

    @pytest.mark.parametrize(
        ("status", "headers"),
        [(302, {"Content_Length": "19"}), (200, {"X_Linked_Size": "many"}), (200, {"X_Linked_Size": "²"})],
    )
    def test_a_size_that_is_not_told(self, mirror: Mirror, complete, status, headers):
        """The length of a redirect is not the file's."""
        mirror.has_file("a.gguf", status, **headers)
        with pytest.raises(HubError, match=r"does not tell the size of a\.gguf in acme/tiny"):
            complete()

    def test_a_file_that_is_gone(self, complete):
        """A refusal like any other."""
        with pytest.raises(NotFoundError, match="there is no repository acme/tiny"):
            complete()


class TestRefusals:
    """Which of its reasons the Hub has."""

    @pytest.mark.parametrize(
        ("status", "code", "token", "kind", "words", "hint"),
        [
            (404, "RevisionNotFound", "", NotFoundError, "has no revision 'main'", ""),
            (401, "GatedRepo", "", AccessError, "is gated", "(or HF_TOKEN)"),
            (403, "GatedRepo", "hf_x", AccessError, "is gated", "ask for access on the page"),
            (404, "RepoNotFound", "", NotFoundError, "there is no repository acme/tiny", "rbee search"),
            (401, "RepoNotFound", "hf_x", NotFoundError, "there is no repository acme/tiny", "rbee search"),
            (401, "", "", AccessError, "or it is private", "(or HF_TOKEN)"),
            (
                401,
                "",
                "hf_x",
                AccessError,
                r"refuses this token for acme/tiny \(401\)",
                "rbee token shows which",
            ),
            (
                403,
                "",
                "hf_x",
                AccessError,
                r"refuses this token for acme/tiny \(403\)",
                "rbee token shows which",
            ),
            (503, "", "", HubError, "the Hub answered 503 for acme/tiny", "later"),
        ],
    )
    def test_each_is_a_sentence(self, mirror: Mirror, status, code, token, kind, words, hint):
        """With what to do about it."""
        page = (status, {"X-Error-Code": code}, {})
        mirror.pages["/api/models/acme/tiny/revision/main"] = page
        with pytest.raises(kind, match=words) as caught:
            Hub(mirror.url, token=token).repository("acme/tiny")
        assert type(caught.value) is kind
        assert hint in caught.value.hint

    def test_a_search_that_is_refused(self, mirror: Mirror):
        """There is no repository to name."""
        mirror.pages["/api/models"] = (503, {}, {})
        with pytest.raises(HubError, match=f"{mirror.url} answered 503"):
            Hub(mirror.url, token="").search("x")
        assert len(mirror.seen) == 1, "the library would ask again, for half a minute"

    @pytest.mark.parametrize("body", [b"<html>a captive portal</html>", [1, 2], [{"no": "id"}]])
    def test_what_is_no_hub(self, mirror: Mirror, body):
        """Another program answers there."""
        mirror.pages["/api/models"] = (200, {}, body)
        with pytest.raises(HubError, match="answers, but not as a Hub does"):
            Hub(mirror.url, token="").search("x")

    @pytest.mark.parametrize(
        ("headers", "seconds", "asks"),
        [
            ({"retry-after": "120"}, 120.0, "asks for"),
            ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, ""),
            ({"retry-after": "²"}, None, ""),
            ({"ratelimit": '"api";r=0;t=55'}, 55.0, "asks for"),
            ({"retry-after": "5", "ratelimit": '"api";r=0;t=55'}, 5.0, "asks for"),
            ({}, None, ""),
        ],
    )
    def test_a_limit_with_the_time_that_it_asks_for(self, headers, seconds, asks):
        """However it is told."""
        error = rate_limited(headers)
        assert error.retry_after == seconds
        assert asks in str(error)
        assert bool(asks) == ("asks for" in str(error))


class TestTransport:
    """What never was an answer."""

    def test_a_circle(self, mirror: Mirror):
        """It ends."""
        mirror.pages["/api/models"] = (307, {"Location": f"{mirror.url}/api/models"}, b"")
        with pytest.raises(HubError, match=r"127\.0\.0\.1 redirects in a circle"):
            Hub(mirror.url, token="").search("x")

    @pytest.mark.parametrize("asking", ["search", "repository", "complete"])
    def test_silence(self, monkeypatch, asking):
        """It is given up, whatever was asked: the library itself would wait for ever."""
        monkeypatch.setattr(room, "_TIMEOUT_SECONDS", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = Hub(f"http://127.0.0.1:{listener.getsockname()[1]}", token="")
            repository = Repository(id="acme/tiny", commit=COMMIT, gated=False, license=None, files=[])
            ask: dict[str, Callable[[], object]] = {
                "search": lambda: ours.search("x"),
                "repository": lambda: ours.repository("acme/tiny"),
                "complete": lambda: ours.complete(repository, [RemoteFile(path="x", size_bytes=None)]),
            }
            with pytest.raises(NetworkError, match="did not answer within 0 s"):
                ask[asking]()

    def test_nobody(self, mirror: Mirror):
        """With what to look at."""
        mirror.close()
        with pytest.raises(NetworkError, match=r"cannot reach 127\.0\.0\.1:\d+: \S") as caught:
            Hub(mirror.url, token="").search("x")
        assert "proxy" in caught.value.hint

    def test_offline_by_wish(self, mirror: Mirror, monkeypatch):
        """The library's own switch is honoured, and named."""
        monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
        with pytest.raises(NetworkError, match="HF_HUB_OFFLINE is set"):
            Hub(mirror.url, token="").search("x")
        assert mirror.seen == []

    def test_a_file_that_the_library_cannot_read(self, monkeypatch):
        """An error of the system is told as one."""

        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("huggingface_hub.HfApi.list_models", fail)
        with pytest.raises(NetworkError, match="No space left on device"):
            Hub("http://127.0.0.1:9", token="").search("x")

    @pytest.fixture
    def anew(self) -> Iterator[Callable[[], None]]:
        """Makes the library's client anew, as it is after a patch, and as it was after the test."""
        from huggingface_hub import close_session  # noqa: PLC0415, TID251 - one test asks

        yield close_session
        close_session()

    def test_no_origin_but_the_configured_one_is_asked(self, mirror: Mirror, anew, monkeypatch):
        """Without the guard the second would be, which is what this shows of it."""
        with DemoHub([]) as other:
            mirror.pages["/api/models"] = (307, {"Location": f"{other.url}/api/models"}, b"")
            with pytest.raises(HubError, match="which was not asked for"):
                Hub(mirror.url, token="hf_secret").search("x")
            assert other.requests == []
            monkeypatch.setattr(room, "_guard", lambda request: None)
            anew()
            Hub(mirror.url, token="hf_secret").search("x")
            assert len(other.requests) == 1

    def test_every_failure_is_ours(self, mirror: Mirror):
        """Whatever is answered, a person gets a sentence."""
        for status in (301, 400, 408, 418, 451, 500, 502, 504, 599):
            mirror.pages["/api/models/acme/tiny/revision/main"] = (status, {"X-Error-Code": "\x7fX"}, b"\xff")
            with pytest.raises(RbeeError):
                Hub(mirror.url, token="").repository("acme/tiny")

    def test_a_limit_is_no_wait(self):
        """The library would sleep as long as the server asks."""
        busy = Fault(status=429, headers={"Retry-After": "1000000"})
        with DemoHub([], fault=lambda seen: busy) as served:
            with pytest.raises(RateLimitedError):
                Hub(served.url, token="").repository("acme/tiny")
            assert len(served.requests) == 1
