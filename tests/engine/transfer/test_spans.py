"""Which bytes are there: sets of byte ranges against a plain set of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.engine.transfer.spans import Gap, Spans

SIZE = 24
RANGES = st.lists(
    st.tuples(st.booleans(), st.integers(0, SIZE), st.integers(0, SIZE)),
    max_size=12,
)


class TestSpans:
    """Ranges that are added and removed in any order."""

    @given(RANGES)
    def test_like_a_set_of_bytes(self, steps: list[tuple[bool, int, int]]) -> None:
        """Prefix, total, gap and cover agree with a set, whatever the order and the overlaps."""
        spans, model = Spans(), set[int]()
        for adding, start, end in steps:
            if adding:
                spans.add(start, end)
                model |= set(range(start, end))
            else:
                spans.remove(start, end)
                model -= set(range(start, end))
        missing = [at for at in range(SIZE) if at not in model]
        assert spans.total() == len(model)
        assert spans.prefix() == (missing[0] if missing else SIZE)
        for start in range(SIZE):
            assert spans.covers(start, start + 3) == ({start, start + 1, start + 2} <= model)
        if not missing:
            assert spans.first_gap(SIZE) is None
        else:
            end = next((at for at in range(missing[0], SIZE) if at in model), SIZE)
            assert spans.first_gap(SIZE) == Gap(missing[0], end)
