"""A speed-limited Hub in a process of its own: `python served.py REPOS BYTES RATE [FILES]`.

A rate of 0 is no limit; each repository has one GGUF file, or so many others. It prints its address; each
line on its standard input is answered with the bytes sent so far of each repository, as JSON; the end of its
input ends it.
"""

import json
import random
import sys

from rbee_tui.demo.hub import DemoHub, DemoRepo

FILE = "weights-q4_k_m.gguf"
BLOCK = 64 << 20  # of random bytes, over and over


def repo_name(number: int) -> str:
    """The repository with this number."""
    return f"bench/arriving-{number:02d}-GGUF"


def main(repos: int, size: int, rate: int, count: int = 1) -> None:
    """Serve until nobody asks any more; all files have the same bytes, in memory once."""
    block = random.Random(1).randbytes(min(size, BLOCK))
    content = (b"GGUF" + block * (size // len(block) + 1))[:size]
    names = [repo_name(number) for number in range(repos)]
    files = [FILE] if count == 1 else [f"part-{number}.safetensors" for number in range(count)]
    found = [
        DemoRepo(name, dict.fromkeys(files, content), commit=f"{at:040x}", tags=["gguf", "safetensors"])
        for at, name in enumerate(names)
    ]
    with DemoHub(found, rate or None) as hub:
        print(hub.url, flush=True)
        for _ in sys.stdin:
            sent = {name: sum(hub.bytes_sent(f"{name}/{file}") for file in files) for name in names}
            print(json.dumps(sent), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
