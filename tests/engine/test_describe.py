"""From what was downloaded to the words that a person reads of it."""

import pytest

from rbee_tui.engine.artifacts import Model
from rbee_tui.engine.describe import pull_command

COMMIT = "c" * 40


def a_model(model_id: str, file: str | None, repo: str | None = "Acme/Tiny-GGUF") -> Model:
    """A model that was pulled; of a whole repository without a file."""
    place = f"resolve/{COMMIT}/{file}" if file else f"tree/{COMMIT}"
    url = f"https://huggingface.co/{repo}/{place}"
    return Model(
        id=model_id, name=model_id, version="1", size_bytes=1, source_url=url, repo=repo, revision=COMMIT
    )


class TestPullCommand:
    """What is typed to have a model again, under the id that it has."""

    @pytest.mark.parametrize(
        ("model", "command"),
        [
            (a_model("tiny-q8_0", "tiny-Q8_0.gguf"), "rbee pull Acme/Tiny-GGUF:tiny-Q8_0.gguf"),
            (a_model("deep", "a/deep.gguf"), "rbee pull Acme/Tiny-GGUF:a/deep.gguf"),
            (a_model("deep--acme", "deep.gguf"), "rbee pull Acme/Tiny-GGUF:deep.gguf"),
            (a_model("mine", "deep.gguf"), "rbee pull Acme/Tiny-GGUF:deep.gguf --id mine"),
            (a_model("tiny-gguf", None), "rbee pull Acme/Tiny-GGUF"),
            (a_model("x", "a b.gguf"), "rbee pull 'Acme/Tiny-GGUF:a b.gguf' --id x"),
            (a_model("imported", None, repo=None), ""),
        ],
    )
    def test_it_names_the_file_and_the_id(self, model: Model, command: str):
        """The file where there is one, the id where it is not the usual one."""
        assert pull_command(model) == command
