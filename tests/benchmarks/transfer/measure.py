"""`rbee pull` beside `hf download`, aria2c, curl and what C can do, against the same servers in the same run.

Usage: `python tests/benchmarks/transfer/measure.py [--gib 2] [--rounds 3] [--only plain,...] [--json FILE]`.
Needs nginx, openssl, aria2c, curl and gcc with libcrypto; `hf` comes with huggingface_hub, and is measured on
its plain HTTP path with its bars off. Everything is on loopback and each run writes new files. Wall clock in
seconds (median), CPU seconds per GB, and the largest resident size of the process, in MB.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
sys.path.insert(0, str(CHECKOUT))

from tests.benchmarks.transfer.servers import Hub, Listing, Paced, nginx  # noqa: E402 - it runs as a script

MIB = 1 << 20
PACE = 20 * MIB
DELAY = 0.1
FILES = 12


@dataclass
class Runs:
    """What one program took."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)

    def figures(self, size: int) -> dict[str, float]:
        """Medians; sizes in MB."""
        found = {
            "wall_s": round(statistics.median(self.wall), 2),
            "cpu_s_per_gb": round(statistics.median(self.cpu) / (size / 1e9), 2),
            "rss_mb": round(max(self.rss) / 1e6),
            "mib_per_s": round(size / MIB / statistics.median(self.wall), 1),
        }
        if self.asked:
            found["first_byte_asked_s"] = round(statistics.median(self.asked), 2)
        return found


@dataclass
class Bench:
    """The machine's side: where things lie, and which servers run."""

    scratch: Path
    hub: Hub
    listing: Listing

    def run(self, words: list[str], runs: Runs, **environment: str) -> None:
        """Run a program once from an empty directory and take its figures; raises when it fails."""
        out = self.scratch / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        os.sync()
        self.hub.aim(self.hub_storage, self.hub_delay)
        settings = {
            **os.environ,
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": str(out / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "RBEE_HOME": str(out / "rbee"),
            "PYTHONPATH": str(CHECKOUT),
            **environment,
        }
        began = time.monotonic()
        process = subprocess.Popen(
            words, cwd=out, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - began
        if process.returncode != 0:
            raise SystemExit(f"{words[0]} failed: {said.decode(errors='replace')[-2000:]}")
        runs.wall.append(took)
        runs.cpu.append(usage.ru_utime + usage.ru_stime)
        runs.rss.append(usage.ru_maxrss * 1024)
        if self.hub.first_asked:
            runs.asked.append(self.hub.first_asked - began)
        shutil.rmtree(out, ignore_errors=True)

    hub_storage: str = ""
    hub_delay: float = 0.0


Program = tuple[str, Callable[[], list[str]], dict[str, str]]


def programs(bench: Bench, repo: str, port: int, scheme: str, limit: Path) -> list[Program]:
    """Who is compared, by name, for one repository at one storage."""
    base = f"{scheme}://127.0.0.1:{port}/{repo}"
    names = list(bench.listing.repos[repo])
    cert = str(bench.scratch / "cert.pem")
    trust = {"SSL_CERT_FILE": cert} if scheme == "https" else {}
    hf = str(Path(sys.executable).with_name("hf"))
    single = names[0] if len(names) == 1 else None

    def aria2c() -> list[str]:
        listed = bench.scratch / "urls"
        listed.write_text("".join(f"{base}/{name}\n" for name in names))
        secure = [f"--ca-certificate={cert}"] if scheme == "https" else []
        common = ["-q", "-x16", "-s16", "-j4", "--file-allocation=none"]
        return ["aria2c", *common, *secure, "-i", str(listed)]

    def curl() -> list[str]:
        secure = ["--cacert", cert] if scheme == "https" else []
        each = [word for name in names for word in ("-o", name, f"{base}/{name}")]
        return ["curl", "-s", "-f", *secure, *(["-Z"] if not single else []), *each]

    def limits(*last: str) -> Callable[[], list[str]]:
        calls = [
            f"{limit} {port} /{repo}/{name} {bench.listing.repos[repo][name][0]} {name} {' '.join(last)}"
            for name in names
        ]
        return lambda: ["sh", "-c", "printf '%s\\n' \"$@\" | xargs -P2 -I@ sh -c @", "sh", *calls]

    what = f"{repo}:{single}" if single else repo
    found: list[Program] = [
        ("rbee pull", lambda: [sys.executable, "-m", "rbee_tui", "pull", what], trust),
        ("hf download", lambda: [hf, "download", repo, *names, "--local-dir", "."], trust),
        ("aria2c -x16", aria2c, {}),
        ("curl", curl, {}),
    ]
    if scheme == "http" and bench.hub_delay == 0.0:
        found += [("C, sha256", limits("hash"), {}), ("C, no hash", limits(), {})]
    return found


def measure(bench: Bench, chosen: list[Program], rounds: int) -> dict[str, Runs]:
    """Each program in turn, round after round, so that a noisy minute meets all of them."""
    found = {name: Runs() for name, _, _ in chosen}
    for turn in range(rounds):
        for name, words, environment in chosen if turn % 2 == 0 else reversed(chosen):
            bench.run(words(), found[name], **environment)
    return found


def report(title: str, found: dict[str, Runs], size: int) -> dict[str, dict[str, float]]:
    """Print one workload's table, and return its figures."""
    figures = {name: runs.figures(size) for name, runs in found.items()}
    ours = figures["rbee pull"]["wall_s"]
    print(f"\n{title}\n  {'':12} {'wall s':>8} {'/ rbee':>7} {'MiB/s':>8} {'CPU s/GB':>9} {'RSS MB':>7}")
    for name, each in figures.items():
        print(
            f"  {name:12} {each['wall_s']:8.2f} {each['wall_s'] / ours:7.2f} {each['mib_per_s']:8.1f} "
            f"{each['cpu_s_per_gb']:9.2f} {each['rss_mb']:7.0f}"
        )
    if "first_byte_asked_s" in figures["rbee pull"]:
        print(f"  rbee pull asks for the first byte after {figures['rbee pull']['first_byte_asked_s']} s")
    return figures


def prepare(www: Path, size: int) -> Listing:
    """The repositories: one big file, and the same bytes in twelve."""
    listing = Listing(www)
    for repo in ("bench/one", "bench/twelve"):
        (www / repo).mkdir(parents=True)
    pieces = [(www / "bench/twelve" / f"model-{n + 1:05d}-of-{FILES:05d}.safetensors") for n in range(FILES)]
    with (www / "bench/one/big.gguf").open("wb") as whole:
        for piece in pieces:
            with piece.open("wb") as file:
                for _ in range(size // FILES // MIB):
                    block = os.urandom(MIB)
                    file.write(block)
                    whole.write(block)
    listing.add("bench/one", "big.gguf")
    for piece in pieces:
        listing.add("bench/twelve", piece.name)
    return listing


def compile_limit(scratch: Path) -> Path:
    """What C can do, compiled."""
    limit = scratch / "limit"
    words = ["gcc", "-O2", "-D_GNU_SOURCE", "-o", limit, HERE / "limit.c", "-lcrypto", "-lpthread"]
    subprocess.run(words, check=True)
    return limit


def total(listing: Listing, repo: str) -> int:
    """Bytes of a repository."""
    return sum(size for size, _ in listing.repos[repo].values())


def workloads(
    bench: Bench, ports: tuple[int, int], limit: Path
) -> dict[str, Callable[[int], dict[str, object]]]:
    """What is measured, by name; each takes the number of rounds and returns figures."""

    def run(
        title: str, repo: str, port: int, scheme: str, rounds: int, *, only: tuple[str, ...] = ()
    ) -> dict[str, object]:
        bench.hub_storage = f"{scheme}://127.0.0.1:{port}"
        chosen = [p for p in programs(bench, repo, port, scheme, limit) if not only or p[0] in only]
        return dict(report(title, measure(bench, chosen, rounds), total(bench.listing, repo)))

    def paced(
        title: str, rounds: int, rate: float | None, delay: float, *, slow: bool = False
    ) -> dict[str, object]:
        server = Paced(bench.listing.www, rate, delay, slow=slow)
        bench.hub_delay = delay
        try:
            peers = ("rbee pull", "aria2c -x16") + (("hf download", "curl") if rate is None else ())
            return run(title, "bench/one", server.port, "http", rounds, only=peers)
        finally:
            bench.hub_delay = 0.0
            server.close()

    plain, tls = ports
    return {
        "plain": lambda n: run("one file, nginx", "bench/one", plain, "http", n),
        "repo": lambda n: run("twelve files, nginx", "bench/twelve", plain, "http", n),
        "tls": lambda n: run("one file, nginx with TLS", "bench/one", tls, "https", n),
        "limited": lambda n: paced("one file, 20 MiB/s for each connection", n, PACE, 0.0),
        "slow": lambda n: paced("the same, one connection at a quarter", n, PACE, 0.0, slow=True),
        "latency": lambda n: paced("one file, each answer 100 ms late", n, None, DELAY),
    }


def main() -> None:
    """Measure what was asked for, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="plain,repo,tls,limited,slow,latency")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    missing = [name for name in ("nginx", "openssl", "aria2c", "curl", "gcc") if not shutil.which(name)]
    if missing:
        raise SystemExit(f"needs {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="rbee-bench-") as name:
        scratch = Path(name)
        limit = compile_limit(scratch)
        listing = prepare(scratch / "www", int(options.gib * (1 << 30)))
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        when = datetime.now(UTC).strftime("%Y-%m-%d")
        print(f"{when}, {machine}, load {os.getloadavg()[0]:.1f}, medians of {options.rounds}")
        with nginx(scratch / "www", scratch) as ports:
            bench = Bench(scratch, Hub(listing), listing)
            known = workloads(bench, ports, limit)
            results = {word: known[word](options.rounds) for word in options.only.split(",")}
        if options.json:
            content = {"date": when, "machine": machine, "rounds": options.rounds, "results": results}
            options.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
