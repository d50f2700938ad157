"""What of a repository is one thing, and which is meant."""

import pytest

from rbee_tui.engine.choices import RemoteFile, group, pick, quantization_of, safe_path
from rbee_tui.engine.errors import NotFoundError, RefusedError, UsageError


def files(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path=path, size_bytes=10, sha256="a" * 64) for path in paths]


class TestGroup:
    """Files that are loaded together are one choice."""

    def test_each_gguf_is_one(self):
        """And nothing else is."""
        found = group(files("README.md", "m-Q4_K_M.gguf", "m-Q8_0.gguf"))
        assert [choice.quantization for choice in found] == ["Q4_K_M", "Q8_0"]

    def test_shards_are_one(self):
        """Named by their first."""
        (choice,) = group(files("q/m-Q8_0-00002-of-00002.gguf", "q/m-Q8_0-00001-of-00002.gguf"))
        assert choice.file == "q/m-Q8_0-00001-of-00002.gguf"
        assert [f.target for f in choice.layout()] == [
            "m-Q8_0-00001-of-00002.gguf",
            "m-Q8_0-00002-of-00002.gguf",
        ]

    def test_a_projector_is_no_choice(self):
        """It belongs to a model."""
        assert len(group(files("m-Q4_0.gguf", "mmproj-m-F16.gguf"))) == 1

    def test_a_safetensors_repository_is_one(self):
        """With its folders as they are."""
        (choice,) = group(files("config.json", "model.safetensors", "sub/x.json", ".gitattributes"))
        assert (choice.format, choice.file) == ("safetensors", None)
        assert [f.target for f in choice.layout()] == ["config.json", "model.safetensors", "sub/x.json"]

    @pytest.mark.parametrize(
        "path", ["../x.gguf", "/x.gguf", "a//b", "a\\b", "x\0y", "a/./b", "x" * 300, "\x1b[m"]
    )
    def test_unsafe_names_are_left_out(self, path: str):
        """Nothing outside can be planned."""
        assert not safe_path(path)
        assert group(files(path)) == []

    def test_two_names_that_are_one_file_here_are_refused(self):
        """On a file system that folds case."""
        (choice,) = group(files("config.json", "Config.json"))
        with pytest.raises(RefusedError):
            choice.layout()


class TestPick:
    """Which one is meant."""

    REPO = ("m-Q4_K_M.gguf", "m-Q8_0.gguf")

    def test_sizes_are_told_where_they_are_known(self):
        """A mirror may not tell them: nothing is better than `0 B`."""
        unsized = RemoteFile(path="m-Q2_K.gguf")
        with pytest.raises(UsageError, match=r"m-Q2_K\.gguf, m-Q8_0\.gguf \(10 B\)"):
            pick("acme/m", [unsized, *files("m-Q8_0.gguf")], None)

    @pytest.mark.parametrize("wanted", ["m-Q8_0.gguf", "q8_0", "Q8_0", "m-Q8_0", "M-q8_0.GGUF"])
    def test_by_path_name_or_quantisation(self, wanted: str):
        """In any case."""
        assert pick("a/m", files(*self.REPO), wanted).file == "m-Q8_0.gguf"

    def test_without_a_word_the_usual_one(self):
        """Q4_K_M, or the only one."""
        assert pick("a/m", files(*self.REPO), None).quantization == "Q4_K_M"
        assert pick("a/m", files("only.gguf"), None).file == "only.gguf"

    def test_what_is_not_clear_is_asked(self):
        """With the choices."""
        with pytest.raises(UsageError, match=r"m-Q5_0\.gguf.*m-Q8_0\.gguf"):
            pick("a/m", files("m-Q5_0.gguf", "m-Q8_0.gguf"), None)

    def test_what_is_not_there_is_said(self):
        """With what is near."""
        with pytest.raises(NotFoundError) as caught:
            pick("a/m", files(*self.REPO), "Q4_K_S")
        assert "Q4_K_M" in caught.value.hint

    @pytest.mark.parametrize(
        ("name", "wanted"),
        [
            ("Llama-3-8B.Q4_K_M.gguf", "Q4_K_M"),
            ("x-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
            ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
            ("x-IQ2_XXS.gguf", "IQ2_XXS"),
            ("x-fp16.gguf", "F16"),
            ("plain.gguf", None),
        ],
    )
    def test_quantisations_as_people_write_them(self, name: str, wanted: str | None):
        """From the file's name."""
        assert quantization_of(name) == wanted


class TestProjectors:
    """A model that sees is downloaded with what it sees through."""

    def test_each_model_has_one(self):
        """The F16 one, of several; it names no choice, and can be had alone."""
        names = ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-F32.gguf", "mmproj-F16.gguf", "mmproj-BF16.gguf"]
        files = [RemoteFile(path=name, size_bytes=10) for name in names]
        choices = group(files)
        assert [[file.path for file in each.files] for each in choices] == [
            ["m-Q4_K_M.gguf", "mmproj-F16.gguf"],
            ["m-Q8_0.gguf", "mmproj-F16.gguf"],
        ]
        assert choices[0].file == "m-Q4_K_M.gguf"
        assert choices[0].size_bytes == 20
        assert [file.path for file in pick("a/b", files, "mmproj-F32.gguf").files] == ["mmproj-F32.gguf"]

    def test_each_its_own(self):
        """Where the names tell which is whose."""
        names = ["a-Q4_0.gguf", "b-Q4_0.gguf", "mmproj-a-f16.gguf", "mmproj-b-f16.gguf"]
        choices = group([RemoteFile(path=name, size_bytes=1) for name in names])
        assert [each.projector.path for each in choices if each.projector] == names[2:]
