"""Sizes and times as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.engine.text import counted, duration, memory, size, size_as, token_rate


class TestSizes:
    """Files in decimal units, memory in binary ones."""

    @pytest.mark.parametrize(
        ("count", "said"),
        [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (4_900_000_000, "4.9 GB"),
            (10**18, "1000.0 PB"),
        ],
    )
    def test_files(self, count, said):
        """No number ever has four digits before its point, but the largest of all."""
        assert size(count) == said

    @pytest.mark.parametrize(("count", "said"), [(1023, "1023 B"), (1024, "1.0 KiB"), (24 << 30, "24.0 GiB")])
    def test_memory(self, count, said):
        """As the kernel counts it."""
        assert memory(count) == said

    @pytest.mark.parametrize(
        ("part", "whole", "said"),
        [
            (12_100_000_000, 19_800_000_000, "12.1"),
            (5_000_000, 19_800_000_000, "0.0"),
            (512, 900, "512"),
            (0, 0, "0"),
            (999_960, 999_960, "1.0"),
        ],
    )
    def test_a_part_in_the_whole_s_unit(self, part, whole, said):
        """So that both can be compared at one glance."""
        assert size_as(part, whole) == said

    @given(st.integers(0, 10**17))
    def test_all_of_it_reads_as_the_whole(self, whole):
        """`19.8/19.8 GB`, at every size."""
        assert size_as(whole, whole) == size(whole).partition(" ")[0]

    @given(st.integers(0, 10**15), st.integers(0, 10**15))
    def test_a_part_never_reads_as_more(self, one, other):
        """Than the whole that stands beside it."""
        part, whole = sorted((one, other))
        assert float(size_as(part, whole)) <= float(size(whole).partition(" ")[0])


class TestDuration:
    """How long it takes."""

    @pytest.mark.parametrize(
        ("seconds", "said"),
        [
            (0, "0:00"),
            (7.4, "0:07"),
            (92, "1:32"),
            (3599.6, "1:00:00"),
            (11225, "3:07:05"),
            (-3, "0:00"),
            (1e9, "11574 days"),
        ],
    )
    def test_as_a_clock_shows_it(self, seconds, said):
        """Never a unit to puzzle over."""
        assert duration(seconds) == said


class TestCounted:
    """How many of a thing."""

    @pytest.mark.parametrize(
        ("count", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1204, "1,204 files")]
    )
    def test_one_alone_has_no_s(self, count, said):
        """Thousands are told apart."""
        assert counted(count, "file") == said


@pytest.mark.parametrize(
    ("rate", "said"),
    [(0.04, "0.0"), (42.14, "42.1"), (999.96, "1,000"), (1202.64, "1,203"), (99999.4, "99,999")],
)
def test_tokens_per_second(rate, said):
    """One decimal while it says something; never wider than six columns."""
    assert token_rate(rate) == said
