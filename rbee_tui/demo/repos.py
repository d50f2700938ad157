"""What the demo's Hub has: a tiny real model in two quantisations, and a repository that is gated."""

from functools import cache

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoRepo

OWNER = "rbee-demo"
REPO = f"{OWNER}/recital-gguf"
_CARD = b"""---
license: apache-2.0
library_name: gguf
---
# Recital

A tiny model that recites one sentence. It is made on the spot, and it is real: llama.cpp runs it.
"""


def sentence(say: str | None) -> str:
    """What the demo's model recites; raises UsageError for words that cannot be recited."""
    return tiny.check_sentence(say or tiny.SENTENCE)


def demo_repos(say: str | None = None) -> list[DemoRepo]:
    """The repositories, their model reciting `say`."""
    recital = _model(sentence(say), False)
    return [
        DemoRepo(
            REPO,
            {"README.md": _CARD, "recital-f16.gguf": recital},
            downloads=1200,
            likes=12,
            tags=["gguf", "text-generation", "recital"],
        ),
        DemoRepo(
            f"{OWNER}/endless-gguf",
            {"README.md": _CARD, "endless-f16.gguf": _model("and so on, and", True)},
            downloads=300,
            likes=3,
            tags=["gguf", "text-generation"],
        ),
        DemoRepo(
            f"{OWNER}/gated-gguf", {"README.md": _CARD, "gated-f16.gguf": recital}, gated=True, downloads=20
        ),
    ]


@cache
def _model(say: str, loop: bool) -> bytes:  # noqa: FBT001 - a cache's key
    return tiny.build(say, loop=loop)
