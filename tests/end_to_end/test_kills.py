"""A training that is killed three times, at seeded moments, leaves the very files of one that never was."""

import pytest
from safetensors.torch import load

from tests.support import crash as kills

pytestmark = pytest.mark.slow

STEPS = 80
EXPERTS = ["--model.n-expert", "5", "--model.router-bias"]  # whose biases are no parameters, and come back


def test_kill_finds_a_complete_checkpoint_each_time_and_the_run_ends_with_the_same_bits(tmp_path):
    words = kills.typed(STEPS, "adamw")
    words[2:2] = EXPERTS
    expected = kills.finish(tmp_path / "peace", words)
    found = list(kills.killed(tmp_path / "trouble", words, kills=3, seed=3))
    assert [kill["exit_code"] for kill in found] == [-9] * 3
    assert [kill["damaged"] for kill in found] == [0] * 3
    steps = [kill["resumes_from_step"] for kill in found]
    assert steps == sorted(steps) and steps[-1] > 0
    assert kills.finish(tmp_path / "trouble", kills.RESUME) == expected
    (state,) = (load(content) for name, content in expected[0].items() if "model" in name)
    assert len(state["blocks.0.mlp.router_bias"].unique()) > 1
