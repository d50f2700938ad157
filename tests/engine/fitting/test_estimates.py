"""Estimates against what llama.cpp plans by itself, on models of every family."""

from collections import Counter
from pathlib import Path

import pytest

from rbee_tui.engine import gguf
from rbee_tui.engine.fit import Estimate, estimate
from tests.engine.fitting.configurations import COVERED, UNCOVERED, Configuration, chance
from tests.engine.fitting.judge import measure
from tests.engine.fitting.synthetic import write

pytest.importorskip("xllamacpp", reason="needs xllamacpp")
WORST = 0.03


def weigh(at: Path, each: Configuration) -> tuple[Estimate, int]:
    """The estimate, and the bytes that llama.cpp plans for weights, cache and compute, with our output."""
    header = gguf.read(write(at / "model.gguf", each.shape))
    asked = {"parallel": each.parallel, "kv_type": each.kv_type, "unified": each.unified}
    found = estimate(header, each.context, **asked)
    truth = measure(at / "model.gguf", each.context, **asked)
    return found, header.tensor_bytes + truth.kv + truth.compute + found.output


def naive(at: Path, each: Configuration) -> int:
    """What who knows neither windows nor experts would say: the mutant that these tests must catch."""
    header = gguf.read(at / "model.gguf")
    cells = each.context * sum(header.kv_heads or (header.n_head,) * header.n_layers)
    return header.tensor_bytes + cells * (header.head_k + header.head_v) * 2


class TestCovered:
    """Within 3 %, each of them."""

    @pytest.mark.parametrize("number", range(len(COVERED)))
    def test_a_configuration(self, number: int, tmp_path: Path):
        """Also where it was held out of finding the terms."""
        found, truth = weigh(tmp_path, COVERED[number])
        assert found.covered
        assert found.low == found.high == found.total
        assert abs(found.total - truth) <= WORST * truth

    def test_there_are_enough(self):
        """24, four of each family, one of each held out."""
        assert len(COVERED) >= 24
        assert min(Counter(each.family for each in COVERED if not each.held_out).values()) >= 4
        assert {each.family for each in COVERED if each.held_out} == {each.family for each in COVERED}

    def test_a_naive_formula_is_caught(self, tmp_path: Path):
        """One that lets a windowed layer keep everything is wrong by far more than that."""
        each = next(one for one in COVERED if one.shape.arch == "gemma3" and one.context > 100_000)
        _, truth = weigh(tmp_path, each)
        assert abs(naive(tmp_path, each) - truth) > 10 * WORST * truth

    def test_by_chance(self, tmp_path: Path, request: pytest.FixtureRequest):
        """As many as `--rounds` asks for."""
        for seed in range(request.config.getoption("--rounds") or 3):
            each = chance(seed)
            found, truth = weigh(tmp_path, each)
            assert abs(found.total - truth) <= WORST * truth, (seed, each)


class TestUncovered:
    """An interval that holds the truth, and says that it is one."""

    @pytest.mark.parametrize("number", range(len(UNCOVERED)))
    def test_a_configuration(self, number: int, tmp_path: Path):
        """Recurrent, latent and hybrid ones."""
        found, truth = weigh(tmp_path, UNCOVERED[number])
        assert not found.covered
        assert found.high is not None
        assert found.low <= truth <= found.high
        assert found.total == found.high
