"""Each operation and endpoint through curl, and each refusal."""

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.demo import repos, tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo, Fault
from rbee_tui.engine.paths import Root
from rbee_tui.hive import operations
from rbee_tui.hive.endpoints import ENDPOINTS
from tests.e2e.support import Rbee, wait_for
from tests.engine.workers.support import House, add_fake, add_model, end_all
from tests.hive.support import HiveProcess, hive

BIG = bytes(range(256)) * (8 << 12)


@pytest.fixture(scope="module")
def hub() -> Iterator[DemoHub]:
    """A Hub with a file of 8 MiB, one whose bytes are wrong, and the demo's repositories."""

    def fault(seen: Any) -> Fault | None:
        return Fault(flip=100) if "wrong.gguf" in seen.path else None

    mine = [DemoRepo("acme/big", {"big.gguf": BIG}), DemoRepo("acme/wrong", {"wrong.gguf": BIG[: 1 << 20]})]
    with DemoHub([*mine, *repos.demo_repos()], fault=fault) as served:
        yield served


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, hub: DemoHub) -> Iterator[HiveProcess]:
    """A hive with two models and a stand-in for llama-server."""
    place = tmp_path_factory.mktemp("operations")
    house = House(Root(place / "rbee").prepare())
    model = tiny.write(place / "tiny.gguf", "hello").path
    for name in ("tiny", "other"):
        add_model(house, model, name)
    add_fake(house, place)
    with hive(Rbee(place / "rbee", hub.url), FAKE_CONTROL=str(place / "loaded")) as process:
        yield process
    end_all(house.root)


def faulty(running: HiveProcess, place: Path, mode: str) -> Path:
    """The stand-in with a fault that it always has."""
    program = place / "llama-server"
    shutil.copy(running.rbee.home.parent / "llama-server", program)
    chosen = 'mode, control = os.environ.get("FAKE_MODE", "")'
    program.write_text(program.read_text().replace(chosen, f'mode, control = "{mode}"'))
    return program


class TestEndpoints:
    """What is asked without an operation."""

    def test_health(self, running: HiveProcess):
        """Two letters, for whoever asks."""
        assert running.curl("/health", token="")[::2] == (200, "ok")

    def test_capabilities(self, running: HiveProcess):
        """At least the processor."""
        devices = running.curl("/v1/capabilities").json["devices"]
        assert (devices[-1]["id"], devices[-1]["device_type"]) == ("CPU-0", "cpu")
        assert devices[-1]["vram_gb"] > 0
        keys = {"id", "name", "device_type", "vram_gb", "compute_capability"}
        assert {frozenset(each) for each in devices} == {frozenset(keys)}

    def test_the_description_has_every_route(self, running: HiveProcess):
        """And every operation with its fields."""
        said = running.curl("/openapi.json").json
        found = {(method.upper(), path) for path, methods in said["paths"].items() for method in methods}
        assert found == {(each.method, each.path) for each in ENDPOINTS}
        names = {each.__struct_config__.tag for each in operations.Operation.__subclasses__()}
        schemas = said["components"]["schemas"].values()
        assert names == {
            schema["properties"]["operation"]["enum"][0]
            for schema in schemas
            if "operation" in schema.get("properties", {})
        }
        beat = said["paths"]["/v1/heartbeats/stream"]["get"]["responses"]["200"]["content"][
            "text/event-stream"
        ]
        assert beat["x-events"]["heartbeat"]["$ref"] == "#/components/schemas/Heartbeat"
        for name in {part.split('"')[0] for part in json.dumps(said).split("#/components/schemas/")[1:]}:
            assert name in said["components"]["schemas"]

    def test_heartbeats(self, running: HiveProcess):
        """One at once, then one each second, without a worker's key."""
        pid = running.done("worker_spawn", model="tiny")["pid"]
        beats = []
        for kind, beat in running.following("/v1/heartbeats/stream"):
            assert kind == "heartbeat"
            beats.append(beat)
            if len(beats) > 1 and beat["models"] >= 2 and beat["reading"] and beat["workers"]:
                break
        assert beats[-1]["reading"]["cpu"]["name"]
        assert [(each["pid"], each["api_key"]) for each in beats[-1]["workers"]] == [(pid, "")]
        running.done("worker_process_delete", pid=pid)


class TestOperations:
    """What is asked of the engine."""

    def test_models(self, running: HiveProcess):
        """Listed, and shown alone."""
        assert {"tiny", "other"} <= {each["id"] for each in running.done("model_list")}
        assert running.done("model_get", id="tiny")["health"] == "ok"

    def test_a_model_is_deleted(self, running: HiveProcess):
        """With its files, and the command sees it at once."""
        running.house.models.import_gguf(running.rbee.home.parent / "tiny.gguf", "gone")
        assert running.done("model_delete", id="gone")["id"] == "gone"
        assert running.house.models.peek("gone") is None

    def test_workers(self, running: HiveProcess):
        """Those that are here, and those that may be, each with its reason."""
        assert "fake" in {each["id"] for each in running.done("worker_list_installed")}
        verdicts = {each["worker_id"]: each for each in running.done("worker_catalog_list")}
        assert verdicts["fake"]["installed"]
        assert not verdicts["llm-worker-cuda"]["installed"]
        assert all(each["reason"] for each in verdicts.values())

    def test_a_worker_is_removed(self, running: HiveProcess):
        """From the catalog; a program of the user's stays."""
        program = running.rbee.home.parent / "llama-server"
        running.house.installer.register(program, "mine")
        assert running.done("worker_remove", worker_id="mine")["id"] == "mine"
        assert program.is_file()

    def test_a_worker_from_start_to_stop(self, running: HiveProcess):
        """Its pid is the name under which it is shown and stopped; the command sees the same."""
        spawned = running.done("worker_spawn", model="tiny", worker="fake", device="CPU-0")
        assert (spawned["state"], spawned["worker"]) == ("ready", "fake")
        (listed,) = running.done("worker_process_list")
        assert (listed["pid"], listed["api_key"]) == (spawned["pid"], "")
        shown = running.done("worker_process_get", pid=spawned["pid"])
        assert shown["api_key"] == spawned["api_key"] != ""
        assert [each.pid for each in running.house.supervisor.list()] == [spawned["pid"]]
        assert running.done("worker_process_delete", pid=spawned["pid"])["model"] == "tiny"
        assert running.house.supervisor.list() == []

    def test_a_worker_for_other_machines(self, running: HiveProcess):
        """Whoever drives the hive from elsewhere can ask it, with its key."""
        spawned = running.done("worker_spawn", model="tiny", worker="fake", host="0.0.0.0")
        assert spawned["host"] == "0.0.0.0"
        assert spawned["api_key"]
        assert "0.0.0.0" not in spawned["url"]
        running.done("worker_process_delete", pid=spawned["pid"])

    def test_a_second_spawn_follows(self, running: HiveProcess):
        """One worker for a model."""
        first = running.done("worker_spawn", model="tiny")
        assert running.done("worker_spawn", model="tiny")["pid"] == first["pid"]
        running.done("worker_process_delete", pid=running.house.supervisor.get("tiny").pid)

    def test_a_download(self, running: HiveProcess, hub: DemoHub):
        """Progress, the model, the end; it is the job that the command lists."""
        accepted = running.submit("model_download", model=repos.REPO).json
        events = running.events(accepted["job_id"])
        assert accepted["sse_url"] == f"/v1/jobs/{accepted['job_id']}/stream"
        assert [kind for kind, _ in events[-2:]] == ["result", ""]
        assert {kind for kind, _ in events[:-2]} == {"progress"}
        assert events[-1] == ("", "[DONE]")
        assert running.jobs()[accepted["job_id"]].state == "done"
        assert running.done("model_get", id=events[-2][1]["id"])["health"] == "ok"

    def test_a_download_that_fails(self, running: HiveProcess):
        """With the sentence, the hint and the word at the end."""
        accepted = running.submit("model_download", model="acme/wrong").json
        events = running.events(accepted["job_id"])
        assert (events[-2][0], events[-2][1]["error"]) == ("failed", "integrity")
        assert events[-1] == ("", f"[ERROR] {events[-2][1]['message']}")

    def test_a_download_is_cancelled(self, running: HiveProcess, hub: DemoHub):
        """Nothing of it stays, and its readers are told."""
        hub.rate = 1 << 20
        try:
            job_id = running.submit("model_download", model="acme/big").json["job_id"]
            reading: list[Any] = []
            reader = threading.Thread(target=lambda: reading.extend(running.events(job_id)))
            reader.start()
            wait_for(lambda: hub.bytes_sent("acme/big/big.gguf") > 0)
            assert running.curl(f"/v1/jobs/{job_id}", "-X", "DELETE").json["state"] == "cancelled"
            reader.join(20)
        finally:
            hub.rate = None
        assert reading[-1] == ("", "[CANCELLED]")
        assert running.house.models.peek("big") is None
        assert running.curl(f"/v1/jobs/{job_id}", "-X", "DELETE").status == 200, "it is cancelled"

    def test_a_worker_that_does_not_come_up(self, running: HiveProcess, tmp_path: Path):
        """Its log's end comes with the failure."""
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(tiny.build())
        running.house.models.import_gguf(broken, "broken")
        running.house.installer.register(faulty(running, tmp_path, "exit"), "exits")
        job_id = running.submit("worker_spawn", model="broken", worker="exits").json["job_id"]
        events = running.events(job_id)
        assert (events[-2][0], events[-2][1]["error"]) == ("failed", "worker")
        assert "wrong shape" in events[-2][1]["log"]
        assert events[-1][1].startswith("[ERROR] exits did not come up on broken")
        running.done("worker_remove", worker_id="exits")
        running.done("model_delete", id="broken")

    def test_a_start_is_cancelled(self, running: HiveProcess, tmp_path: Path):
        """While it loads: its process ends, and nothing is left."""
        running.house.installer.register(faulty(running, tmp_path, "never"), "loads")
        job_id = running.submit("worker_spawn", model="other", worker="loads").json["job_id"]
        assert running.curl(f"/v1/jobs/{job_id}", "-X", "DELETE").json["state"] == "cancelled"
        assert running.events(job_id)[-1] == ("", "[CANCELLED]")
        assert running.house.supervisor.list() == []
        again = running.curl(f"/v1/jobs/{job_id}", "-X", "DELETE")
        assert (again.status, again.json["message"]) == (409, f"job {job_id} has ended already")
        running.done("worker_remove", worker_id="loads")


class TestRefusals:
    """Refused when it is asked, not later."""

    @pytest.mark.parametrize(
        ("asked", "status", "error", "said"),
        [
            ({"operation": "worker_spawn", "model": "nope"}, 404, "not_found", "no model 'nope'"),
            ({"operation": "worker_spawn", "model": "tiny", "device": "GPU-9"}, 404, "not_found", "GPU-9"),
            (
                {"operation": "worker_spawn", "model": "tiny", "device": "CPU-0", "worker": "nope"},
                409, "refused", "nope does not run on CPU-0",
            ),
            (
                {"operation": "worker_spawn", "model": "tiny", "worker": "fake", "host": "203.0.113.7"},
                400, "usage", "is no address of this machine",
            ),
            ({"operation": "worker_process_get", "pid": 1}, 404, "not_found", "no worker has the pid 1"),
            ({"operation": "worker_process_delete", "pid": 1}, 404, "not_found", "no worker has the pid 1"),
            ({"operation": "model_get", "id": "nope"}, 404, "not_found", "nope"),
            ({"operation": "model_delete", "id": "../.."}, 404, "not_found", "../.."),
            ({"operation": "worker_remove", "worker_id": "nope"}, 404, "not_found", "nope"),
            ({"operation": "worker_install", "worker_id": "nope"}, 404, "not_found", "nope"),
            ({"operation": "worker_install", "worker_id": "llm-worker-metal"}, 409, "refused", "for macos"),
            ({"operation": "model_download", "model": "acme/nope"}, 403, "access", "acme/nope"),
            ({"operation": "model_download", "model": "acme/big:nope"}, 404, "not_found", "nope"),
            ({"operation": "model_download", "model": "../etc"}, 400, "usage", "repository"),
            ({"operation": "model_download", "model": "acme/big:"}, 400, "usage", "REPO[:FILE]"),
            ({"operation": "nope"}, 400, "usage", "nope"),
            ({"operation": "model_get"}, 400, "usage", "id"),
            ({"operation": "model_get", "id": ""}, 400, "usage", "id"),
            ({"operation": "model_get", "id": 7}, 400, "usage", "id"),
            ({"operation": "model_list", "more": 1}, 400, "usage", "more"),
            ({"operation": "worker_process_get", "pid": "1"}, 400, "usage", "pid"),
            ([], 400, "usage", "object"),
            ("{", 400, "usage", "operation"),
            ("", 400, "usage", "operation"),
            ("[" * 9000, 400, "usage", "operation"),
        ],
    )  # fmt: skip
    def test_refusal(self, running: HiveProcess, asked: Any, status: int, error: str, said: str):
        """Its status, its word, a sentence."""
        answer = running.curl("/v1/jobs", body=asked)
        assert (answer.status, answer.json["error"]) == (status, error), answer
        assert said in answer.json["message"]

    def test_what_runs_is_not_removed(self, running: HiveProcess):
        """As by the command."""
        running.done("worker_spawn", model="tiny", worker="fake")
        for asked in (
            {"operation": "model_delete", "id": "tiny"},
            {"operation": "worker_remove", "worker_id": "fake"},
        ):
            assert running.curl("/v1/jobs", body=asked).status == 409
        running.done("worker_process_delete", pid=running.house.supervisor.get("tiny").pid)

    @pytest.mark.parametrize("job_id", ["ffffffff", "nope", "..", "%2e%2e%2fsettings"])
    def test_no_such_job(self, running: HiveProcess, job_id: str):
        """Neither followed nor cancelled."""
        assert running.curl(f"/v1/jobs/{job_id}/stream", "--path-as-is").status == 404
        assert running.curl(f"/v1/jobs/{job_id}", "-X", "DELETE", "--path-as-is").status == 404


class TestStreams:
    """A job's stream, read again."""

    def test_it_resumes(self, running: HiveProcess):
        """After the event that the reader names; one who has all is told to stay away."""
        job_id = running.submit("model_list").json["job_id"]
        answer = running.curl(f"/v1/jobs/{job_id}/stream")
        ids = [line.removeprefix("id: ") for line in answer.body.splitlines() if line.startswith("id: ")]
        assert len(ids) == 2
        assert running.events(job_id, "-H", f"Last-Event-ID: {ids[0]}") == [("", "[DONE]")]
        assert running.curl(f"/v1/jobs/{job_id}/stream", "-H", f"Last-Event-ID: {ids[1]}").status == 204
        assert len(running.events(job_id, "-H", "Last-Event-ID: 00000000-1")) == 2

    def test_a_download_that_others_began(self, running: HiveProcess, hub: DemoHub):
        """Has a stream, too."""
        running.rbee.run("pull", "acme/big")
        job_id = next(
            each.id for each in running.jobs().values() if (each.model_id, each.state) == ("big", "done")
        )
        assert running.events(job_id)[-1] == ("", "[DONE]")
        running.done("model_delete", id="big")


class TestEnding:
    """A hive ends when it is asked to, and leaves what it was doing to others."""

    def test_shutdown(self, tmp_path: Path, hub: DemoHub):
        """Readers are let go without an end, the download stays wanted."""
        hub.rate = 1 << 19
        try:
            process = HiveProcess(Rbee(tmp_path / "rbee", hub.url))
            job_id = process.submit("model_download", model="acme/big").json["job_id"]
            said: list[str] = []
            reader = threading.Thread(
                target=lambda: said.append(process.curl(f"/v1/jobs/{job_id}/stream").body)
            )
            reader.start()
            wait_for(lambda: hub.bytes_sent("acme/big/big.gguf") > 0)
            assert process.curl("/v1/shutdown", body={}).json["state"] == "ending"
            assert process.process.wait(20) == 0
            reader.join(20)
            assert process.end() == 0
        finally:
            hub.rate = None
        assert "data: [" not in said[0]
        assert process.jobs()[job_id].state == "interrupted"
        assert "no hive runs" in process.rbee.start("hive", "status").communicate()[1]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
    def test_a_signal(self, tmp_path: Path, number: signal.Signals):
        """In order, with exit code 0."""
        process = HiveProcess(Rbee(tmp_path / "rbee"))
        assert process.end(number) == 0
