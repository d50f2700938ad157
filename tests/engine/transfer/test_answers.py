"""What an answer means: status line and headers in, a verdict out."""

import pytest

from rbee_tui.engine.errors import AccessError, HubError, IntegrityError, NotFoundError, RbeeError
from rbee_tui.engine.transfer import Source
from rbee_tui.engine.transfer.answers import Answer, Asked, AskPlainly, Follow, Proceed, Verdict, judge
from rbee_tui.engine.transfer.patience import Fault
from rbee_tui.engine.transfer.spans import Gap

SOURCE = Source("https://hub.example", "owner/tiny", "c" * 40, "model.gguf", 1000, "a" * 64)
WHOLE, REST = Gap(0, 1000), Gap(400, 1000)
GOOD_RANGE = {"content-range": "bytes 400-999/1000", "content-length": "600"}


def verdict(
    status: int,
    headers: dict[str, str] | None = None,
    *,
    gap: Gap = WHOLE,
    at_hub: bool = False,
    conditional: bool = False,
    token: bool = False,
) -> Verdict:
    """Judge one answer."""
    answer = Answer(
        status, headers or {}, "hub.example" if at_hub else "cdn.example", at_hub, 1_000_000_000.0
    )
    return judge(answer, Asked(SOURCE, gap, conditional, token))


class TestBodies:
    """Which bodies are read."""

    def test_the_whole_file(self) -> None:
        """200 with the listed size, or with no size at all."""
        assert verdict(200, {"content-length": "1000"}) == Proceed()
        assert verdict(200) == Proceed()

    def test_an_exact_range(self) -> None:
        """206 with exactly the range that was asked for."""
        assert verdict(206, GOOD_RANGE, gap=REST) == Proceed()

    @pytest.mark.parametrize(
        "wrong",
        [
            "bytes 0-999/1000",
            "bytes 399-999/1000",
            "bytes 401-999/1000",
            "bytes 400-998/1000",
            "bytes 400-1000/1001",
            "bytes 400-999/*",
            "bytes 400-999/1001",
            "bytes */1000",
            "400-999/1000",
            "",
            "bytes 400-999/1000, bytes 0-1/1000",
        ],
    )
    def test_any_other_range_is_a_fault(self, wrong: str) -> None:
        """A wrong start, an overlap, another total or none: such bytes are never written."""
        assert isinstance(verdict(206, {"content-range": wrong}, gap=REST), Fault)

    def test_a_range_with_another_length(self) -> None:
        """A Content-Length that contradicts the range is a fault."""
        assert isinstance(verdict(206, {**GOOD_RANGE, "content-length": "601"}, gap=REST), Fault)

    def test_a_part_unasked(self) -> None:
        """206 for the whole file is a fault."""
        assert isinstance(verdict(206, {"content-range": "bytes 0-999/1000"}), Fault)

    def test_the_whole_instead_of_a_range(self) -> None:
        """With If-Range it is asked again without; else the bytes that are there are read past."""
        assert verdict(200, {"content-length": "1000"}, gap=REST, conditional=True) == AskPlainly()
        assert verdict(200, {"content-length": "1000"}, gap=REST) == Proceed(skip=400)

    @pytest.mark.parametrize("gap", [WHOLE, REST])
    def test_another_size_is_refused(self, gap: Gap) -> None:
        """A size unlike the listing's ends it at once, before any byte."""
        found = verdict(200, {"content-length": "1001"}, gap=gap)
        assert isinstance(found, IntegrityError)
        assert "1001" in str(found)

    @pytest.mark.parametrize("status", [200, 206])
    def test_an_encoded_body_is_refused(self, status: int) -> None:
        """gzip, though identity was asked for, would be stored as it is."""
        found = verdict(status, {**GOOD_RANGE, "content-encoding": "gzip"}, gap=REST)
        assert isinstance(found, HubError)
        assert "'gzip'" in str(found)


class TestRedirects:
    """Where a redirect leads, and what its headers say."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_followed(self, status: int) -> None:
        """Every kind is followed; the linked size and hash agree with the listing."""
        headers = {"location": "/x", "x-linked-size": "1000", "x-linked-etag": f'"{"a" * 64}"'}
        assert verdict(status, headers, at_hub=True) == Follow("/x")

    @pytest.mark.parametrize(
        "lie", [{"x-linked-size": "999"}, {"x-linked-etag": f'"{"b" * 64}"'}], ids=["size", "hash"]
    )
    def test_a_linked_lie(self, lie: dict[str, str]) -> None:
        """Another size or hash than the listing's ends it; a storage's word on it counts for nothing."""
        assert isinstance(verdict(302, {"location": "/x", **lie}, at_hub=True), IntegrityError)
        assert verdict(302, {"location": "/x", **lie}) == Follow("/x")

    def test_a_hostile_etag_is_only_a_string(self) -> None:
        """What is not a hash is ignored."""
        assert verdict(302, {"location": "/x", "x-linked-etag": '"../../x"'}, at_hub=True) == Follow("/x")

    def test_to_nowhere(self) -> None:
        """A redirect without a Location is an error."""
        assert isinstance(verdict(302, {}, at_hub=True), HubError)


class TestRefusals:
    """One clear sentence each."""

    @pytest.mark.parametrize(
        ("status", "headers", "token", "kind", "text", "hint"),
        [
            (
                401,
                {"x-error-code": "GatedRepo"},
                False,
                AccessError,
                "owner/tiny is gated",
                "then set HF_TOKEN",
            ),
            (
                403,
                {"x-error-code": "GatedRepo"},
                True,
                AccessError,
                "is gated",
                "https://hub.example/owner/tiny",
            ),
            (401, {}, False, AccessError, "does not exist, or is private", "set HF_TOKEN"),
            (401, {}, True, AccessError, "refuses this token", "check the token"),
            (404, {"x-error-code": "RepoNotFound"}, True, NotFoundError, "no repository owner/tiny", "name"),
            (404, {"x-error-code": "RevisionNotFound"}, True, NotFoundError, "no revision cccc", "name"),
            (
                404,
                {"x-error-code": "EntryNotFound"},
                True,
                NotFoundError,
                "no model.gguf in owner/tiny",
                "name",
            ),
            (410, {}, True, NotFoundError, "no model.gguf", "name"),
            (418, {}, True, HubError, "418", ""),
            (300, {}, True, HubError, "300", ""),
            (999, {}, True, HubError, "999", ""),
        ],
    )
    def test_at_the_hub(
        self,
        status: int,
        headers: dict[str, str],
        token: bool,
        kind: type[RbeeError],
        text: str,
        hint: str,
    ) -> None:
        """Gated, private, a bad token, and what does not exist."""
        found = verdict(status, headers, at_hub=True, token=token)
        assert type(found) is kind
        assert text in str(found)
        assert hint in found.hint

    def test_the_hubs_own_words_are_made_safe(self) -> None:
        """X-Error-Message is shown, without control characters, and not at any length."""
        found = verdict(404, {"x-error-message": "gone\x1b]52;c;x\x07" + "y" * 5000}, at_hub=True)
        assert isinstance(found, NotFoundError)
        assert "gone\\x1b]52" in str(found)
        assert "\x1b" not in str(found)
        assert len(str(found)) < 500

    @pytest.mark.parametrize("status", [401, 403, 404, 410])
    def test_at_the_storage(self, status: int) -> None:
        """A storage that refuses has an expired signature: the Hub is asked for a new one."""
        found = verdict(status)
        assert isinstance(found, Fault)
        assert found.kind == "expired"

    def test_no_such_range(self) -> None:
        """416 with another size ends it; with ours or none it may pass."""
        assert isinstance(verdict(416, {"content-range": "bytes */999"}, gap=REST), IntegrityError)
        assert isinstance(verdict(416, {"content-range": "bytes */1000"}, gap=REST), Fault)
        assert isinstance(verdict(416, gap=REST), Fault)


class TestPassing:
    """What may be another answer next time."""

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408, 425, 103, 100])
    def test_server_faults(self, status: int) -> None:
        """5xx, a timeout and a bare 1xx are tried again."""
        found = verdict(status)
        assert isinstance(found, Fault)
        assert found.kind == "answer"

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"retry-after": "40"}, 40.0),
            ({"retry-after": "Sun, 09 Sep 2001 01:47:40 GMT"}, 60.0),
            ({"retry-after": "Sun, 09 Sep 2001 01:00:00 GMT"}, 0.0),
            ({"retry-after": "9" * 400}, 999_999_999_999.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "-5"}, None),
            ({"ratelimit": '"api";r=0;t=55'}, 55.0),
        ],
    )
    def test_rate_limits(self, headers: dict[str, str], seconds: float | None) -> None:
        """429 with seconds, a date, nonsense or the Hub's RateLimit header."""
        found = verdict(429, headers, at_hub=True)
        assert isinstance(found, Fault)
        assert (found.kind, found.retry_after) == ("limited", seconds)
        assert found.text.startswith("rate limited by the Hub")
