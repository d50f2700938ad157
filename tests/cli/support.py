"""The command as a process of its own, for the tests of its verbs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]


class Command:
    """`rbee` on one root; every verb is a process."""

    def __init__(self, home: Path, endpoint: str = "http://127.0.0.1:9", **environment: str) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
        self.environment = {
            **kept,
            "RBEE_HOME": str(home),
            "HF_ENDPOINT": endpoint,
            "PYTHONPATH": str(CHECKOUT),
            "LANG": "C.UTF-8",
            **environment,
        }

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a verb and do not wait."""
        settings: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": self.environment,
            "cwd": "/",
        }
        return subprocess.Popen([sys.executable, "-m", "rbee_tui", *words], **(settings | options))

    def ended(self, *words: str, text: str | None = None) -> tuple[int, str, str]:
        """Run a verb to its end, `text` at its standard input: its exit code and both outputs."""
        stdin = subprocess.DEVNULL if text is None else subprocess.PIPE
        with self.start(*words, stdin=stdin) as process:
            out, err = process.communicate(text, timeout=100)
        assert "Traceback" not in err + out
        return process.returncode, out, err

    def run(self, *words: str, text: str | None = None) -> str:
        """Run a verb that succeeds: its standard output."""
        code, out, err = self.ended(*words, text=text)
        assert code == 0, f"rbee {' '.join(words)}: {code}\n{out}\n{err}"
        return out

    def json(self, *words: str) -> Any:
        """What a verb that succeeds says with --json."""
        return json.loads(self.run(*words, "--json"))

    def fails(self, *words: str, code: int, saying: str) -> str:
        """Run a verb that fails so: its standard error, whose sentence holds `saying`."""
        ended, out, err = self.ended(*words)
        assert ended == code, f"rbee {' '.join(words)}: {ended}\n{out}\n{err}"
        assert out == ""
        assert err.splitlines()[-1 if "  -> " not in err else -2].startswith("rbee: "), err
        assert saying in err
        return err


def model_entry(model_id: str, **changes: Any) -> dict[str, Any]:
    """A model's metadata.json in the specification's form."""
    return {
        "artifact": {
            "id": model_id,
            "name": model_id,
            "version": "1.0",
            "size_bytes": 1000,
            "source_url": "https://example.org/model",
            "status": "Available",
            **changes,
        },
        "created_at": "2025-11-08T15:30:00Z",
        "updated_at": "2025-11-08T15:35:00Z",
    }


def put_model(home: Path, directory: str, **changes: Any) -> Path:
    """Put a model's metadata into a root by hand, as `scp` would; returns its directory."""
    place = home / "models" / directory
    place.mkdir(parents=True)
    entry = model_entry(changes.pop("id", directory), **changes)
    (place / "metadata.json").write_text(json.dumps(entry))
    return place
