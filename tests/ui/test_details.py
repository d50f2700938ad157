"""All that is known of a line, and what of it can be copied."""

import msgspec
import pytest

from rbee_tui.engine.about import About
from rbee_tui.engine.artifacts import Health, ModelFile, failed
from rbee_tui.ui import details
from rbee_tui.ui.house import Activity
from rbee_tui.ui.lines import ActivityLine, FileLine, JobLine, ModelLine, ProcessLine, WorkerLine
from tests.ui.payloads import PAYLOADS, RAW
from tests.ui.things import MB, a_file, a_job, a_model, a_running, a_worker, unreadable


def said(line) -> str:
    title, found = details.of(line)
    return "\n".join([title, *(text for text, _ in found)])


class TestText:
    """Fields that hold nothing are left out; names stand in a column of their own."""

    def test_a_model(self):
        """With each of its files."""
        files = (ModelFile(path="a.gguf", size_bytes=4 * MB, sha256="ab" * 32),)
        text = said(ModelLine(a_model(files=files, license="mit", repo="acme/tiny")))
        for part in ("Model tiny", "4.9 GB (4,900,000,000 bytes)", "131,072 tokens", "mit", "acme/tiny"):
            assert part in text
        assert "4.0 MB  weights    a.gguf" in text
        assert max(len(line) for line in text.splitlines() if "ab" * 32 in line) <= 76  # of 80 columns
        assert "architecture" not in text

    def test_what_lies_beyond_its_entry(self):
        """What its header says, where it fits, whose the bytes are and who serves it."""
        more = About(header={"layers": "2, 256 wide"}, fit={"CPU": "fits up to 4,096 tokens"}, held="linked")
        text = "\n".join(text for text, _ in details.of(ModelLine(a_model()), more)[1])
        for part in ("layers  2, 256 wide", "CPU  fits up to 4,096 tokens", "bytes  linked"):
            assert part in text
        assert "served by" not in text

    def test_an_ill_one(self):
        """With the reason, and the error of its last download."""
        text = said(ModelLine(a_model(health=Health.DAMAGED, reason="it is short", status=failed("no room"))))
        assert "damaged: it is short" in text
        assert "Failed: no room" in text
        assert "broken: its metadata.json is not JSON" in said(ModelLine(unreadable("odd")))

    def test_a_worker_that_runs(self):
        """Its key is there to be copied, not to be read over somebody's shoulder."""
        running = a_running()
        text = said(ProcessLine(running))
        assert running.url in text
        assert running.api_key not in text
        assert "y copies it" in text

    def test_a_worker_that_loads(self):
        """How much it has read, as far as that is known; afterwards nothing."""
        assert "read  46 % of the model" in said(ProcessLine(a_running(state="loading", load_share=0.469)))
        assert "it sets itself up" in said(ProcessLine(a_running(state="loading", load_share=1.0)))
        assert " read " not in said(ProcessLine(a_running()))

    def test_a_worker_without_a_key(self):
        """It says so, and there is none to copy."""
        line = ProcessLine(a_running(api_key="", needs_key=False))
        assert "API key  none: programs and web pages on this machine may ask it" in said(line)
        assert "API key" not in dict(details.copyable(line, "h"))

    def test_the_others(self):
        """An installed worker, an activity, a download and its files."""
        assert "version  1.2" in said(WorkerLine(a_worker()))
        assert said(ActivityLine(Activity("installing", "w"))) == "installing w\nit is under way"
        job = a_job(state="failed", error="it is gone", hint="do this", holder=7, holder_verb="rbee pull")
        for line in (JobLine(job), FileLine(job, a_file())):
            text = said(line)
            for part in ("61.0 MB of 100.0 MB", "it is gone", "do this", "pid 7 (rbee pull)", "1 file"):
                assert part in text

    @pytest.mark.parametrize("payload", PAYLOADS)
    def test_it_is_inert(self, payload):
        """Wherever a string from outside stands."""
        files = (ModelFile(path=payload, size_bytes=1, role=payload, sha256=payload),)
        job = msgspec.structs.replace(
            a_job(model_id=payload, error=payload, hint=payload, repo=payload), files=[a_file(payload)]
        )
        for line in (
            ModelLine(a_model(payload, name=payload, license=payload, status=payload, files=files)),
            ModelLine(a_model(status=failed(payload), reason=payload, directory=payload)),
            ProcessLine(a_running(payload, reason=payload, devices=(payload,))),
            WorkerLine(a_worker(payload, version=payload, capabilities=[payload])),
            ActivityLine(Activity("starting", payload)),
            JobLine(job),
        ):
            title, found = details.of(line)
            assert not any(RAW.search(text) for text, _ in [(title, ""), *found])


class TestCopy:
    """What one wants elsewhere."""

    def test_of_a_worker(self):
        """Its URL as clients want it, its key, and the line that forwards its port."""
        found = dict(details.copyable(ProcessLine(a_running()), "bee@gpu1"))
        assert found["URL"] == "http://127.0.0.1:4242/v1"
        assert found["API key"] == "k" * 20
        assert found["ssh line"] == "ssh -N -L 4242:127.0.0.1:4242 bee@gpu1"
        assert "URL" not in dict(details.copyable(ProcessLine(a_running(port=0)), "h"))

    @pytest.mark.parametrize(
        ("host", "line"),
        [("127.0.0.2", "127.0.0.2:4242"), ("::1", "[::1]:4242"), ("0.0.0.0", None), ("fd00::2", None)],
    )
    def test_a_port_is_forwarded_where_nothing_else_brings_it(self, host: str, line: str | None):
        """One that others reach needs no ssh, and its details say that they do."""
        running = a_running(host=host)
        found = dict(details.copyable(ProcessLine(running), "gpu1")).get("ssh line")
        assert found == (line and f"ssh -N -L 4242:{line} gpu1")
        assert (line is None) == ("open to other machines" in said(ProcessLine(running)))

    def test_of_a_model(self):
        """And of the worker that runs on it."""
        assert [what for what, _ in details.copyable(ModelLine(a_model()), "h")] == [
            "id",
            "directory",
            "source",
        ]
        running = ModelLine(a_model(), running=a_running())
        assert "ssh line" in dict(details.copyable(running, "h"))
        assert [what for what, _ in details.copyable(ModelLine(unreadable("x")), "h")] == ["id", "directory"]

    def test_of_the_others(self):
        """Never nothing."""
        assert dict(details.copyable(JobLine(a_job()), "h"))["repository"] == "acme/tiny"
        assert dict(details.copyable(WorkerLine(a_worker()), "h"))["id"] == "llm-worker-cpu"
        assert details.copyable(ActivityLine(Activity("starting", "t")), "h") == [("id", "t")]


class TestSource:
    """Where a model came from."""

    @pytest.mark.parametrize(
        ("url", "repo", "found"),
        [
            ("https://hub.test/acme/tiny/resolve/abc/q/t.gguf", None, ("acme/tiny", "q/t.gguf")),
            ("https://hub.test/acme/tiny/resolve/abc/t.gguf", "other/name", ("other/name", "t.gguf")),
            ("file:///t.gguf", "acme/tiny", ("acme/tiny", None)),
            ("file:///t.gguf", None, None),
            ("", None, None),
        ],
    )
    def test_from_its_url(self, url, repo, found):
        """Or from what it says of its repository."""
        assert details.source(a_model(source_url=url, repo=repo).artifact) == found
