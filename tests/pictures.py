"""Make the README's picture from a real run: `.venv/bin/python tests/pictures.py`."""

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
WIDTH = 110


def demo() -> str:
    """What `rbee demo --headless` shows, as SVG; figures and ports are those of this run."""
    command = [sys.executable, "-m", "rbee_tui", "demo", "--headless"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    answer = said.stdout.strip()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for line in f"$ rbee demo\n{said.stderr.rstrip()}".splitlines():
        console.print(Text(line, style="bold" if line[:2].strip().isdigit() else ""), no_wrap=True)
        if "rbee prompt" in line:
            console.print(Text(answer, style="bold green"))
    return console.export_svg(title="rbee", unique_id="rbee")


if __name__ == "__main__":
    SNAPSHOTS.mkdir(exist_ok=True)
    (SNAPSHOTS / "demo.svg").write_text(demo())
