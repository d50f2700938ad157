"""Control groups, read from trees as the kernel writes them, and from a real group."""

import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.hardware import cgroup, host
from rbee_tui.engine.hardware.cgroup import Limits, limits
from tests.engine.hardware.support import run_python, unified, write_tree

GIB = 1024**3
MIB = 1024**2
NOTHING = Limits()


def legacy(
    paths: Mapping[str, str], files: Mapping[str, str], tops: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The files of a machine with version 1: this process's path in each hierarchy, and what is mounted."""
    membership = "".join(
        f"{number}:{names}:{path}\n" for number, (names, path) in enumerate(paths.items(), 1)
    )
    mounts = "".join(
        f"{number} 31 0:{number} {(tops or {}).get(names, '/')} /sys/fs/cgroup/{names} rw"
        f" - cgroup cgroup rw,{names}\n"
        for number, names in enumerate(paths, 32)
    )
    return {
        "proc/self/cgroup": membership,
        "proc/self/mountinfo": mounts,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }


class TestVersionTwo:
    def test_the_smallest_limit_of_all_ancestors_counts(self, tmp_path: Path) -> None:
        """A parent's limit holds for its children, however much the child itself is allowed."""
        tree = unified(
            "/pod/app",
            {
                "pod/memory.max": f"{4 * GIB}\n",
                "pod/memory.current": f"{GIB}\n",
                "pod/app/memory.max": f"{8 * GIB}\n",
                "pod/app/memory.current": f"{GIB // 2}\n",
            },
        )
        found = limits(write_tree(tmp_path, tree))
        assert found.memory == 4 * GIB
        assert found.memory_left == 3 * GIB
        assert found.memory_by.endswith("/sys/fs/cgroup/pod")

    def test_what_is_left_may_come_from_another_group_than_the_limit(self, tmp_path: Path) -> None:
        """A wide parent that is nearly full leaves less than a narrow child that is empty."""
        tree = unified(
            "/pod/app",
            {
                "pod/memory.max": f"{8 * GIB}\n",
                "pod/memory.current": f"{8 * GIB - 100 * MIB}\n",
                "pod/app/memory.max": f"{4 * GIB}\n",
                "pod/app/memory.current": "0\n",
            },
        )
        found = limits(write_tree(tmp_path, tree))
        assert (found.memory, found.memory_left) == (4 * GIB, 100 * MIB)

    def test_throttling_counts_as_a_limit(self, tmp_path: Path) -> None:
        """memory.high slows a process to a crawl long before memory.max."""
        tree = unified("/app", {"app/memory.max": "max\n", "app/memory.high": f"{2 * GIB}\n"})
        assert limits(write_tree(tmp_path, tree)).memory == 2 * GIB

    def test_file_cache_can_be_had_back(self, tmp_path: Path) -> None:
        """Pages of files are dropped when memory is wanted: they are not in use."""
        tree = unified(
            "/app",
            {
                "app/memory.max": f"{4 * GIB}\n",
                "app/memory.current": f"{4 * GIB}\n",
                "app/memory.stat": f"anon {GIB}\nfile {3 * GIB}\ninactive_file {2 * GIB}\n"
                f"active_file {GIB // 2}\nshmem {GIB // 4}\nslab_reclaimable {GIB // 4}\n",
            },
        )
        assert limits(write_tree(tmp_path, tree)).memory_left == 2 * GIB + GIB // 2 + GIB // 4

    @pytest.mark.parametrize(
        ("text", "quota"), [("150000 100000", 1.5), ("max 100000", None), ("50000 100000", 0.5), ("", None)]
    )
    def test_a_quota_is_in_cores(self, tmp_path: Path, text: str, quota: float | None) -> None:
        """cpu.max is microseconds in each period; `max` is none."""
        assert limits(write_tree(tmp_path, unified("/app", {"app/cpu.max": text}))).quota == quota

    @pytest.mark.parametrize(("text", "count"), [("0-3,8", 5), ("7", 1), ("", None), ("what", None)])
    def test_a_cpuset_is_counted(self, tmp_path: Path, text: str, count: int | None) -> None:
        """cpuset.cpus.effective is a list of ranges."""
        found = limits(write_tree(tmp_path, unified("/app", {"app/cpuset.cpus.effective": text})))
        assert found.cpuset == count

    def test_a_namespace_shows_its_group_as_the_root(self, tmp_path: Path) -> None:
        """In a container the own group is `/`, and its files lie at the mount point."""
        tree = unified("/", {"memory.max": f"{GIB}\n", "cpu.max": "200000 100000\n"})
        found = limits(write_tree(tmp_path, tree))
        assert (found.memory, found.quota) == (GIB, 2.0)

    def test_a_mount_of_a_part_is_followed_from_that_part(self, tmp_path: Path) -> None:
        """Where only /docker/abc is mounted, /docker/abc/app lies in app beneath the mount point."""
        tree = unified("/docker/abc/app", {"app/memory.max": f"{GIB}\n"}, top="/docker/abc")
        assert limits(write_tree(tmp_path, tree)).memory == GIB

    def test_a_mount_point_with_a_space_is_found(self, tmp_path: Path) -> None:
        """Mountinfo escapes spaces."""
        tree = unified("/app", {"app/memory.max": f"{GIB}\n"}, point="/mnt/a b")
        tree["proc/self/mountinfo"] = tree["proc/self/mountinfo"].replace("a b", "a\\040b")
        assert limits(write_tree(tmp_path, tree)).memory == GIB


class TestVersionOne:
    def test_every_hierarchy_has_a_path_of_its_own(self, tmp_path: Path) -> None:
        """Memory, quota and cpuset are limited in three places, joined controllers included."""
        tree = legacy(
            {"memory": "/a", "cpu,cpuacct": "/b", "cpuset": "/c"},
            {
                "memory/a/memory.limit_in_bytes": f"{2 * GIB}\n",
                "memory/a/memory.usage_in_bytes": f"{GIB}\n",
                "memory/a/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB // 2}\n",
                "cpu,cpuacct/b/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/b/cpu.cfs_period_us": "100000\n",
                "cpuset/c/cpuset.effective_cpus": "0-1\n",
            },
        )
        found = limits(write_tree(tmp_path, tree))
        assert (found.memory, found.memory_left) == (2 * GIB, GIB + GIB // 2)
        assert (found.quota, found.cpuset) == (2.5, 2)

    def test_no_limit_is_an_absurdly_large_one(self, tmp_path: Path) -> None:
        """9223372036854771712 and -1 are how version 1 says that there is none."""
        tree = legacy(
            {"memory": "/", "cpu": "/"},
            {
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
        )
        assert limits(write_tree(tmp_path, tree)) == NOTHING

    def test_a_container_without_a_namespace_of_its_own(self, tmp_path: Path) -> None:
        """/proc/self/cgroup names the host's path, of which only the container's part is mounted."""
        tree = legacy(
            {"memory": "/docker/abc"},
            {"memory/memory.limit_in_bytes": f"{GIB}\n", "memory/memory.usage_in_bytes": "0\n"},
            {"memory": "/docker/abc"},
        )
        assert limits(write_tree(tmp_path, tree)).memory == GIB

    def test_both_versions_side_by_side(self, tmp_path: Path) -> None:
        """On a hybrid machine the tightest of both counts."""
        tree = legacy({"memory": "/a"}, {"memory/a/memory.limit_in_bytes": f"{2 * GIB}\n"})
        tree["proc/self/cgroup"] += "0::/u\n"
        tree["proc/self/mountinfo"] += "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        tree["sys/fs/cgroup/unified/u/memory.max"] = f"{GIB}\n"
        assert limits(write_tree(tmp_path, tree)).memory == GIB


class TestNothing:
    def test_a_machine_without_control_groups_has_no_limits(self, tmp_path: Path) -> None:
        """MacOS has no /proc at all."""
        assert limits(tmp_path) == NOTHING

    @pytest.mark.parametrize(
        "files",
        [
            {"proc/self/cgroup": "nonsense\n0:\n::\n", "proc/self/mountinfo": "1 2 - cgroup2\n - \n"},
            unified(
                "/app/../../etc", {"memory.max": "twelve\n", "cpu.max": "0 0\n", "memory.stat": "a b c\n"}
            ),
        ],
    )
    def test_nonsense_limits_nothing(self, tmp_path: Path, files: dict[str, str]) -> None:
        """What cannot be understood is no limit, and no error."""
        assert limits(write_tree(tmp_path, files)) == NOTHING

    def test_this_machine_can_be_read(self) -> None:
        """The real trees of the machine under the test give limits that make sense."""
        found = limits()
        assert found.memory is None or found.memory > 0
        assert found.quota is None or found.quota > 0


class TestMutants:
    def test_reading_only_the_own_group_misses_the_parents(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reader of the own group alone believes the child: the check of ancestors would see that."""
        tree = unified("/pod/app", {"pod/memory.max": f"{GIB}\n", "pod/app/memory.max": f"{8 * GIB}\n"})
        line = cgroup._line
        monkeypatch.setattr(cgroup, "_line", lambda base, parts: list(line(base, parts))[-1:])
        assert limits(write_tree(tmp_path, tree)).memory == 8 * GIB


class TestUse:
    def test_memory_is_the_smaller_of_host_and_limit(self) -> None:
        """Total and available are bounded, and what bounds them is named."""
        found = host.memory(16 * GIB, 12 * GIB, Limits(memory=4 * GIB, memory_by="/g", memory_left=3 * GIB))
        assert (found.total, found.available, found.limited_by) == (4 * GIB, 3 * GIB, "/g")

    def test_a_busy_host_bounds_a_wide_limit(self) -> None:
        """A group may leave more than the machine still has."""
        found = host.memory(16 * GIB, GIB, Limits(memory=64 * GIB, memory_by="/g", memory_left=64 * GIB))
        assert (found.total, found.available, found.limited_by) == (16 * GIB, GIB, "")

    @pytest.mark.parametrize(
        ("limit", "allowed", "available", "by"),
        [
            (NOTHING, None, 8.0, ""),
            (NOTHING, 8, 8.0, ""),
            (NOTHING, 3, 3.0, "affinity"),
            (Limits(quota=1.5, quota_by="/q"), 3, 1.5, "quota of /q"),
            (Limits(cpuset=2, cpuset_by="/c", quota=4.0, quota_by="/q"), 8, 2.0, "cpuset of /c"),
        ],
    )
    def test_cores_are_the_smallest_bound(
        self, limit: Limits, allowed: int | None, available: float, by: str
    ) -> None:
        """Affinity, cpuset and quota: the tightest counts, and is named."""
        found = host.cpu(("A CPU", ()), limit, None, 8, allowed)
        assert (found.cores_available, found.limited_by, found.cores_logical) == (available, by, 8)


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A memory group of version 1 or 2 on this machine."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root, to make a control group")
    name = f"rbee-test-{uuid.uuid4().hex[:8]}"
    for point, file in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup") / point / name
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / file).exists():
                (group / file).write_text(str(512 * MIB))
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("needs a memory control group that can be made")


@pytest.mark.root
def test_a_process_in_a_real_group_is_told_the_truth(real_group: Path) -> None:
    """In a group of 512 MiB a reading says 512 MiB, less what is in use, and names the group."""
    output = run_python(
        f"""
import os, pathlib, sys, msgspec
pathlib.Path({str(real_group / "cgroup.procs")!r}).write_text(str(os.getpid()))
from rbee_tui.engine import hardware
sys.stdout.buffer.write(msgspec.json.encode(hardware.read().memory))
""",
        os.environ,
    )
    memory = msgspec.json.decode(output)
    assert memory["total"] == 512 * MIB
    assert 0 < memory["available"] <= 512 * MIB
    assert memory["limited_by"] == str(real_group)
