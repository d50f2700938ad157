"""Whether a gentle download makes way for another on the same line, and comes back: root only, Linux.

Usage: `python tests/benchmarks/transfer/gentle.py [--mbit 40] [--senders reno,bbr] [--rounds 3]`. nginx is
behind a router that lets through so many Mbit/s and holds 300 ms of them, as those at home do; it sends under
each congestion control that is named. A download, an ordinary one and then a gentle one, has the line to
itself, then beside curl, then to itself again. Rates in MB/s.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
sys.path.insert(0, str(CHECKOUT))

from rbee_tui.engine.transfer import Progress, Source, Stopped, fetch  # noqa: E402 - it runs as a script

ROUTER, FAR, PORT = "rbee-router", "rbee-far", 8080
HERE, NEAR = "10.213.77.1", "10.213.77.2"
MIDDLE, THERE = "10.213.78.1", "10.213.78.2"
ALONE, BESIDE, AFTER = 6, 12, 30
SIZE = 1 << 30
CONFIG = """
daemon off; worker_processes 1; pid {place}/pid; error_log {place}/errors;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile on;
    client_body_temp_path {place}/1; proxy_temp_path {place}/2; fastcgi_temp_path {place}/3;
    uwsgi_temp_path {place}/4; scgi_temp_path {place}/5;
    server {{ listen {there}:{port}; root {place}/www; }}
}}
"""


@contextmanager
def line(mbit: int, senders: str) -> Iterator[None]:
    """A narrow line: a router's namespace with the queue, and the far end's behind it.

    The queue is not the sender's own: Linux keeps those short by itself.
    """

    def run(words: str) -> None:
        subprocess.run(words.split(), check=True)

    try:
        for space in (ROUTER, FAR):
            run(f"ip netns add {space}")
        for space, name, here, there, near in (
            ("", "rbee-a", HERE, NEAR, ROUTER),
            (ROUTER, "rbee-c", MIDDLE, THERE, FAR),
        ):
            inside = f"ip -n {space}" if space else "ip"
            run(f"{inside} link add {name} type veth peer name {name}2 netns {near}")
            run(f"{inside} addr add {here}/24 dev {name}")
            run(f"{inside} link set {name} up")
            run(f"ip -n {near} addr add {there}/24 dev {name}2")
            run(f"ip -n {near} link set {name}2 up")
        run(f"ip netns exec {ROUTER} sysctl -qw net.ipv4.ip_forward=1")
        run(f"ip netns exec {FAR} sysctl -qw net.ipv4.tcp_congestion_control={senders}")
        run(f"ip route add {THERE}/32 via {NEAR}")
        run(f"ip -n {FAR} route add default via {MIDDLE}")
        shape = f"tbf rate {mbit}mbit burst 64kbit latency 300ms"
        run(f"ip netns exec {ROUTER} tc qdisc add dev rbee-a2 root {shape}")
        yield
    finally:
        for space in (ROUTER, FAR):
            subprocess.run(["ip", "netns", "del", space], check=False)


@contextmanager
def storage(place: Path) -> Iterator[str]:
    """nginx at the far end with one file, and its address."""
    (place / "www").mkdir()
    with (place / "www" / "big").open("wb") as file:
        file.truncate(SIZE)
    place.chmod(0o755)
    config = place / "nginx.conf"
    config.write_text(CONFIG.format(place=place, there=THERE, port=PORT))
    words = ["ip", "netns", "exec", FAR, "nginx", "-c", str(config), "-p", str(place)]
    with subprocess.Popen(words) as process:
        try:
            while not (place / "pid").exists():
                time.sleep(0.05)
            yield f"http://{THERE}:{PORT}/big"
        finally:
            process.terminate()


@contextmanager
def hub(storage_url: str) -> Iterator[str]:
    """A Hub here that sends everybody to the storage: its address."""

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", storage_url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def measure(endpoint: str, url: str, place: Path, *, gentle: bool) -> None:
    """Run one download beside curl for a while, and print the rates."""
    progress, stop = Progress(), threading.Event()
    source = Source(endpoint, "a/b", "0" * 40, "big", SIZE, "0" * 64)
    name = "gentle" if gentle else "plain"

    def work() -> None:
        paths = {"part": place / f"{name}.part", "target": place / name, "lock": place / "lock"}
        with suppress(Stopped):
            fetch(source, **paths, token=None, stop=stop, progress=progress, gentle=gentle)

    def during(seconds: float) -> float:
        before = progress.received
        time.sleep(seconds)
        return (progress.received - before) / seconds / 1e6

    thread = threading.Thread(target=work)
    thread.start()
    try:
        during(2)
        alone = during(ALONE)
        words = ["curl", "-s", "-o", os.devnull, "-m", str(BESIDE), "-w", "%{size_download}", url]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as curl:
            beside = during(BESIDE)
            theirs = int(curl.communicate()[0]) / BESIDE / 1e6
        after = [during(AFTER / 3) for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    said = ", ".join(f"{rate:.2f}" for rate in after)
    print(
        f"{name:7} alone {alone:.2f}; beside curl {beside:.2f}, curl {theirs:.2f}; after {said} (10 s each)",
        flush=True,
    )


def main() -> None:
    """Both in one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mbit", type=int, default=40)
    parser.add_argument("--senders", default="reno,bbr")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for senders in options.senders.split(","):
        print(f"senders with {senders}", flush=True)
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(prefix="rbee-gentle-") as name:
                place = Path(name)
                with line(options.mbit, senders), storage(place) as url, hub(url) as endpoint:
                    for gentle in (False, True):
                        measure(endpoint, url, place, gentle=gentle)


if __name__ == "__main__":
    main()
