"""Bundles and programs: what may be in them, and for which platform they are."""

import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest

from rbee_tui.engine.artifacts import Requirement, this_platform
from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.listing import binaries, bundle
from tests.engine.listing.support import make_bundle
from tests.engine.workers.test_install import make_wheel

WHEEL = "xllamacpp-9.9.1-py3-none-any.whl"


def archive(*members: tuple[str, bytes, bytes], compressed: str = "") -> io.BytesIO:
    """A tar file with these names, types and contents."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=f"w{compressed}") as made:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "elsewhere"
            made.addfile(member, io.BytesIO(content))
    raw.seek(0)
    return raw


class TestUnpack:
    def test_what_was_packed_comes_out(self, tmp_path: Path):
        """And the same wheels make the same bytes, whenever and by whomever."""
        digest = make_wheel(tmp_path, "9.9.1")
        one, other = tmp_path / "one.tar", tmp_path / "other.tar"
        bundle.pack([tmp_path / WHEEL], one)
        (tmp_path / WHEEL).touch(0o600)
        bundle.pack([tmp_path / WHEEL], other)
        assert one.read_bytes() == other.read_bytes()
        target = tmp_path / "target"
        target.mkdir()
        with one.open("rb") as file:
            (found,) = bundle.unpack(file, "one", target)
        assert f"sha256:{hashlib.sha256(found.read_bytes()).hexdigest()}" == digest

    @pytest.mark.parametrize(
        ("name", "kind", "reason"),
        [
            (WHEEL, tarfile.SYMTYPE, "is a link to 'elsewhere'"),
            (WHEEL, tarfile.LNKTYPE, "is a link to 'elsewhere'"),
            (WHEEL, tarfile.FIFOTYPE, "is no plain file"),
            (WHEEL, tarfile.CHRTYPE, "is no plain file"),
            ("folder", tarfile.DIRTYPE, "is no plain file"),
            (f"../{WHEEL}", tarfile.REGTYPE, "is not the name of a wheel"),
            (f"/tmp/{WHEEL}", tarfile.REGTYPE, "is not the name of a wheel"),
            ("setup.py", tarfile.REGTYPE, "is not the name of a wheel"),
            (".whl", tarfile.REGTYPE, "is not the name of a wheel"),
        ],
    )
    def test_all_else_is_refused(self, tmp_path: Path, name: str, kind: bytes, reason: str):
        """Nothing of it is written."""
        with pytest.raises(RefusedError, match=f"the bundle b is refused: .*{reason}"):
            bundle.unpack(archive((name, kind, b"")), "b", tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_file_twice(self, tmp_path: Path):
        """The second could hide the first."""
        twice = archive((WHEEL, tarfile.REGTYPE, b"1"), (WHEEL, tarfile.REGTYPE, b"2"))
        with pytest.raises(RefusedError, match="has a file twice"):
            bundle.unpack(twice, "b", tmp_path)

    def test_too_many(self, tmp_path: Path, monkeypatch):
        """A bundle is one worker's packages."""
        monkeypatch.setattr(bundle, "MOST_WHEELS", 1)
        many = archive(*((f"p{n}-1-py3-none-any.whl", tarfile.REGTYPE, b"") for n in range(2)))
        with pytest.raises(RefusedError, match="too many files"):
            bundle.unpack(many, "b", tmp_path)

    @pytest.mark.parametrize("content", [b"no tar file", b"\x1f\x8b" + bytes(100)])
    def test_what_is_no_tar_file(self, tmp_path: Path, content: bytes):
        """A compressed one neither: it could be small and grow without end."""
        with pytest.raises(RefusedError, match="it is no tar file"):
            bundle.unpack(io.BytesIO(content), "b", tmp_path)
        with pytest.raises(RefusedError, match="it is no tar file"):
            bundle.unpack(archive((WHEEL, tarfile.REGTYPE, b""), compressed=":gz"), "b", tmp_path)

    def test_one_that_was_cut_off(self, tmp_path: Path):
        """Its hash was compared before; this is the second line."""
        whole = make_bundle(tmp_path / "wheels").read_bytes()
        with pytest.raises(RefusedError, match="it is no tar file"):
            bundle.unpack(io.BytesIO(whole[:700]), "b", tmp_path)


class TestPlatforms:
    @pytest.mark.parametrize(
        ("tag", "platforms"),
        [
            ("any", {"any"}),
            ("manylinux2014_x86_64.manylinux_2_17_x86_64", {"linux-x86_64"}),
            ("musllinux_1_2_aarch64", {"linux-aarch64"}),
            ("linux_x86_64", {"linux-x86_64"}),
            ("macosx_11_0_arm64", {"macos-aarch64"}),
            ("macosx_10_9_universal2", {"macos-aarch64", "macos-x86_64"}),
            ("win_amd64", set()),
        ],
    )
    def test_of_a_wheel(self, tag: str, platforms: set[str]):
        """As its name says."""
        assert bundle.platforms_of(f"xllamacpp-9.9.1-cp310-abi3-{tag}.whl") == platforms

    def test_each_package_needs_one_for_this_machine(self):
        """Those for others may be there too."""
        here = Path("a-1-py3-none-any.whl")
        other = Path("a-1-cp310-abi3-manylinux_2_17_riscv64.whl")
        wanted = [Requirement(name="a", version="1", hashes=())]
        assert bundle.require_wheels_for([other, here], "linux-x86_64", "b") == wanted
        with pytest.raises(RefusedError, match="offered for linux-x86_64, and has a-1-cp310"):
            bundle.require_wheels_for([other], "linux-x86_64", "b")

    @pytest.mark.parametrize(
        ("head", "platform"),
        [
            (b"\x7fELF\x02\x01" + bytes(12) + b"\x3e\x00", "linux-x86_64"),
            (b"\x7fELF\x02\x01" + bytes(12) + b"\xb7\x00", "linux-aarch64"),
            (b"\x7fELF\x01\x02" + bytes(12) + b"\x00\x08", "linux-machine8"),
            (b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01", "macos-aarch64"),
            (b"\xcf\xfa\xed\xfe\x07\x00\x00\x01", "macos-x86_64"),
            (b"#!/bin/sh\n", None),
            (b"\x7fELF", None),
            (b"", None),
        ],
    )
    def test_of_a_program(self, head: bytes, platform: str | None):
        """As its first bytes say."""
        assert binaries.platform_in(head) == platform

    def test_of_this_very_interpreter(self):
        """A real program."""
        assert binaries.platform_of(Path(sys.executable)) == this_platform()
