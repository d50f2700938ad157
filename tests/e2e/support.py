"""The command as a process of its own, on a root of its own, with a Hub on loopback."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[2]


class Rbee:
    """`rbee` on one root; every verb is a process."""

    def __init__(self, home: Path, endpoint: str = "http://127.0.0.1:9") -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "RBEE_HOME": str(home),
            "HF_ENDPOINT": endpoint,
            "PYTHONPATH": str(HERE),
            "NO_COLOR": "1",
        }

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a verb and do not wait."""
        return subprocess.Popen(
            [sys.executable, "-m", "rbee_tui", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *words: str, code: int = 0) -> str:
        """Run a verb to its end; its standard output. Its exit code must be `code`."""
        process = self.start(*words)
        out, err = process.communicate(timeout=100)
        assert process.returncode == code, f"rbee {' '.join(words)}: {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return out

    def json(self, *words: str) -> Any:
        """What a verb says with --json."""
        return json.loads(self.run(*words, "--json"))


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true value of `condition`; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)
    return value
