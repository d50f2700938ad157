"""Whether a choice of a repository fits, and which is recommended."""

import pytest

from rbee_tui.engine.fitting.choice import fit_of_choice, recommend
from rbee_tui.engine.fitting.machine import machine_of
from tests.engine.fitting.support import choice, reading


class TestFit:
    """On the best place that has the room."""

    @pytest.mark.parametrize(
        ("gib", "ram", "gpus", "word", "device"),
        [
            (5, 32, (24,), "fits", "GPU0"),
            (5, 32, (), "fits", "CPU"),
            (30, 8, (24, 24), "fits", "all GPUs"),
            (30, 64, (4,), "fits", "CPU"),
            (30, 24, (24,), "part", "GPU0"),
            (30, 16, (), "no", ""),
        ],
    )
    def test_the_place(self, gib: float, ram: float, gpus: tuple[float, ...], word: str, device: str):
        """A GPU, all of them, the CPU, both, or none."""
        fit = fit_of_choice(choice("Q4_K_M", gib), machine_of(reading(ram, *gpus)))
        assert (fit.word, fit.device) == (word, device)
        assert fit.estimate
        assert fit.text

    def test_what_no_worker_serves_is_not_judged(self):
        """The size of a safetensors repository says nothing."""
        fit = fit_of_choice(choice("F16", 1, kind="safetensors"), machine_of(reading(64)))
        assert (fit.word, fit.text) == ("unknown", "no worker here serves it")


class TestRecommended:
    """The largest that fits on the best place, up to eight bits."""

    ALL = tuple(choice(*each) for each in (("Q4_K_M", 5), ("Q6_K", 7), ("Q8_0", 9), ("F16", 16)))

    @pytest.mark.parametrize(
        ("ram", "gpus", "taken"),
        [(64, (), "Q8_0"), (64, (24,), "Q8_0"), (64, (9,), "Q4_K_M"), (8, (), "Q4_K_M"), (2, (), None)],
    )
    def test_the_choice(self, ram: float, gpus: tuple[float, ...], taken: str | None):
        """With its reason."""
        found = recommend(self.ALL, machine_of(reading(ram, *gpus)))
        assert (found.choice.quantization if found else None) == taken
        assert found is None or found.reason.startswith("the largest that fits on")

    def test_only_wide_ones(self):
        """Then the largest of them."""
        found = recommend(self.ALL[3:], machine_of(reading(64)))
        assert found
        assert found.choice.quantization == "F16"
