"""A rate from a polled counter."""

from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.engine.meter import Meter


class TestMeter:
    """Smooth, and honest about stalls."""

    def test_a_steady_stream_has_its_rate(self):
        """100 bytes a second are 100 bytes a second."""
        meter = Meter()
        for second in range(20):
            rate = meter.update(second * 100, float(second))
        assert abs(rate - 100) < 0.01

    def test_a_stall_fades(self):
        """Ten seconds without a byte leave almost nothing of the rate."""
        meter = Meter()
        meter.update(0, 0.0)
        meter.update(1000, 1.0)
        for second in range(2, 12):
            rate = meter.update(1000, float(second))
        assert 0 < rate < 50

    def test_a_first_burst_is_soon_put_right(self):
        """What a short first moment brought says little: after half a second the average counts."""
        meter = Meter()
        meter.update(0, 0.0)
        meter.update(1000, 0.001)
        for tick in range(1, 26):
            rate = meter.update(1000 + 100 * tick, 0.02 * tick)
        assert 5000 <= rate < 8000

    def test_waiting_for_the_first_byte_is_no_part_of_it(self):
        """The rate is right as soon as something comes."""
        meter = Meter()
        for second in range(10):
            meter.update(0, float(second))
        assert meter.update(100, 10.0) == 100.0

    def test_a_counter_that_starts_again_starts_the_rate_again(self):
        """A file that begins at zero once more does not show a negative rate."""
        meter = Meter()
        meter.update(1000, 0.0)
        assert meter.update(10, 1.0) == 0.0

    @given(st.lists(st.tuples(st.integers(0, 1 << 40), st.floats(0, 1e6)), max_size=50))
    def test_never_negative(self, samples):
        """Whatever is polled, in whatever order."""
        meter = Meter()
        assert all(meter.update(count, at) >= 0 for count, at in samples)
