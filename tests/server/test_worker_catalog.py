"""The worker catalog server: its three endpoints, ranges and tags, errors, and its end."""

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.demo.serving import Serving
from rbee_tui.engine.errors import BusyError
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.listing import signing
from rbee_tui.engine.listing.format import Published
from rbee_tui.engine.listing.signing import Signed
from rbee_tui.engine.listing.store import Store
from rbee_tui.server import worker_catalog
from tests.engine.listing.support import ID, entry, make_bundle


class Shop:
    """A served store."""

    def __init__(self, store: Store, published: Published, url: str) -> None:
        self.store = store
        self.published = published
        self.host = url.removeprefix("http://")

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """One request, its path exactly as it is: status, headers in lower case, body."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body
        finally:
            connection.close()

    def json(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """The status and what it says."""
        status, headers, body = self.ask(path, method)
        assert headers["content-type"] == "application/json"
        return status, json.loads(body)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A store with one bundle, served."""
    store = Store(tmp_path / "store").prepare()
    published = store.publish(entry(), make_bundle(tmp_path / "wheels"))
    serving = Serving(worker_catalog.application(store))
    serving.start()
    yield Shop(store, published, serving.url)
    serving.stop()


FILE = f"/workers/{ID}/download"


class TestEndpoints:
    def test_the_listing_is_the_signed_bytes(self, shop: Shop):
        """With the specification's key `workers` in it, and the signature beside it."""
        status, headers, body = shop.ask("/workers")
        assert status == 200
        assert [each["id"] for each in json.loads(body)["workers"]] == [ID]
        assert signing.genuine(Signed(body, headers["x-rbee-signature"], headers["x-rbee-key"]))
        assert headers["x-rbee-key"] == shop.store.key()

    def test_an_entry_has_all_that_the_design_names(self, shop: Shop):
        """Size and hash are the file's."""
        status, said = shop.json(f"/workers/{ID}")
        assert status == 200
        names = "id name version description license worker_type platforms architectures capabilities runtime"
        assert {*names.split(), "size_bytes", "sha256", "filename"} <= set(said)
        assert (said["size_bytes"], said["sha256"]) == (shop.published.size_bytes, shop.published.sha256)

    def test_the_file(self, shop: Shop):
        """With its size, its hash as its tag, and its name."""
        status, headers, body = shop.ask(FILE)
        assert (status, body) == (200, shop.store.file(shop.published).read_bytes())
        assert headers["etag"] == f'"{shop.published.sha256}"'
        assert headers["content-length"] == str(shop.published.size_bytes)
        assert shop.published.filename in headers["content-disposition"]
        status, headers, body = shop.ask(FILE, "HEAD")
        assert (status, headers["content-length"], body) == (200, str(shop.published.size_bytes), b"")

    @pytest.mark.parametrize(
        ("asked", "start", "end"), [("10-19", 10, 20), ("500-", 500, None), ("-7", -7, None)]
    )
    def test_a_range_of_it(self, shop: Shop, asked: str, start: int, end: int | None):
        """And all of it where the file is another meanwhile."""
        content = shop.store.file(shop.published).read_bytes()
        status, headers, body = shop.ask(FILE, Range=f"bytes={asked}")
        assert (status, body) == (206, content[start:end])
        assert headers["content-range"].endswith(f"/{len(content)}")
        tag = f'"{shop.published.sha256}"'
        assert shop.ask(FILE, Range=f"bytes={asked}", If_Range=tag)[0] == 206
        assert shop.ask(FILE, Range=f"bytes={asked}", If_Range='"another"')[::2] == (200, content)

    def test_a_range_beyond_its_end(self, shop: Shop):
        """416, with its length."""
        status, headers, _ = shop.ask(FILE, Range=f"bytes={shop.published.size_bytes}-")
        assert (status, headers["content-range"]) == (416, f"bytes */{shop.published.size_bytes}")

    @pytest.mark.parametrize("path", ["/workers", FILE])
    def test_who_has_it_already_gets_nothing(self, shop: Shop, path: str):
        """304 to its tag, and the new one once it changed."""
        tag = shop.ask(path)[1]["etag"]
        assert shop.ask(path, If_None_Match=f'"x", {tag}')[::2] == (304, b"")
        assert shop.ask(path, If_None_Match='"x"')[0] == 200

    def test_health(self, shop: Shop):
        """For whoever watches it."""
        assert shop.json("/health") == (200, {"status": "ok"})

    def test_the_listing_is_decoded_once(self, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """For however many requests, until another one is published."""
        decoded: list[bytes] = []
        decode = form.decode

        def count(body: bytes) -> form.Listing:
            decoded.append(body)
            return decode(body)

        monkeypatch.setattr(worker_catalog.form, "decode", count)
        assert [shop.ask(f"/workers/{ID}")[0] for _ in range(3)] == [200] * 3
        assert len(decoded) == 1
        shop.store.publish(entry(version="9.9.10"), make_bundle(tmp_path / "more"))
        decoded.clear()  # the store itself has read what was published before
        assert [shop.json(f"/workers/{ID}")[1]["version"] for _ in range(2)] == ["9.9.10"] * 2
        assert len(decoded) == 1

    def test_what_is_published_meanwhile_is_served(self, shop: Shop, tmp_path: Path):
        """Without a restart; and what is withdrawn is gone."""
        shop.store.publish(entry(id="another"), make_bundle(tmp_path / "more"))
        assert shop.json("/workers/another")[0] == 200
        shop.store.unpublish(ID)
        assert shop.json(f"/workers/{ID}")[0] == 404
        assert shop.json(FILE)[0] == 404


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "status", "error", "saying"),
        [
            ("/workers/UPPER", 400, "bad_request", "a-z"),
            ("/workers/" + "x" * 101, 400, "bad_request", "1 to 100"),
            ("/workers/%2e%2e", 400, "bad_request", "a-z"),
            ("/workers/..%2f..%2fkey.pem/download", 404, "not_found", "/workers/ID/download"),
            ("/workers/nope", 404, "not_found", "there is no worker nope"),
            ("/workers/nope/download", 404, "not_found", "there is no worker nope"),
            ("/nope", 404, "not_found", "there are /workers"),
            ("/../key.pem", 404, "not_found", "there are /workers"),
        ],
    )
    def test_each_is_json(self, shop: Shop, path: str, status: int, error: str, saying: str):
        """A word for programs and a sentence for people."""
        found, said = shop.json(path)
        assert (found, said["error"]) == (status, error)
        assert saying in said["message"]

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_nothing_is_changed_through_it(self, shop: Shop, method: str):
        """405, with what is allowed."""
        status, headers, body = shop.ask("/workers", method)
        assert (status, set(headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
        assert json.loads(body)["error"] == "method_not_allowed"

    def test_a_file_that_is_not_whole_is_not_sent(self, shop: Shop):
        """Its clients would refuse it."""
        shop.store.file(shop.published).write_bytes(b"cut")
        status, said = shop.json(FILE)
        assert (status, "not whole" in said["message"]) == (404, True)

    def test_a_damaged_listing(self, shop: Shop):
        """500, with the sentence."""
        (shop.store.path / "listing").write_bytes(b"nonsense")
        status, said = shop.json("/workers")
        assert (status, said["error"]) == (500, "metadata")
        assert "is damaged" in said["message"]

    def test_an_empty_store(self, tmp_path: Path):
        """It has a listing, with nothing in it."""
        serving = Serving(worker_catalog.application(Store(tmp_path / "store").prepare()))
        serving.start()
        try:
            assert Shop(Store(tmp_path), entry(), serving.url).json("/workers") == (200, {"workers": []})
        finally:
            serving.stop()


@pytest.mark.anyio
class TestServe:
    async def test_it_ends_when_it_is_asked_to(self, tmp_path: Path):
        """And says when it answers, and what it could not do."""
        store = Store(tmp_path / "store").prepare()
        store.publish(entry(), make_bundle(tmp_path / "wheels"))
        store.key_path.chmod(0o644)
        (store.path / "listing").write_bytes(b"nonsense")
        listener = worker_catalog.listen("127.0.0.1", 0)
        stop, said = asyncio.Event(), list[str]()
        serving = asyncio.create_task(
            worker_catalog.serve(
                store, listener, stop=stop, ready=lambda: said.append("ready"), say=said.append
            )
        )
        async with asyncio.timeout(20):
            while len(said) < 2:  # noqa: ASYNC110 - the server tells it through a callback
                await asyncio.sleep(0.01)
            stop.set()
            await serving
        assert "ready" in said
        assert any("could not be signed anew" in line for line in said)

    async def test_a_port_that_is_taken(self):
        """It is named, with what to do."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(BusyError, match=f"port {port} cannot be had") as caught:
                worker_catalog.listen("127.0.0.1", port)
        assert "--port" in caught.value.hint
