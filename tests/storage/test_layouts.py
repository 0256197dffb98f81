"""Layouts are data: a table splits queries, keys and values, and transformers opens what it writes."""

from pathlib import Path

import pytest
import torch

from tests.storage.test_hugging_face import WORDS, checkpoint, config_is, exported_and_opened
from tests.support.hugging_face import transformers
from tinylm.errors import CheckpointError
from tinylm.model.config import ModelConfig
from tinylm.storage import export
from tinylm.storage.export import open_hugging_face, write_hugging_face
from tinylm.storage.layouts import GPT2, read_layouts

ROTARY, MIXTURE = read_layouts(Path(__file__).with_name("layouts.toml").read_text(encoding="utf-8")).values()


@pytest.fixture
def both_layouts(monkeypatch):
    monkeypatch.setattr(export, "LAYOUTS", {"gpt2": GPT2, "starcoder2": ROTARY})


@pytest.mark.parametrize("changes", [{}, {"tied_head": False}])
def test_layout_that_splits_queries_keys_and_values_is_a_table(tmp_path, both_layouts, changes):
    original = checkpoint(WORDS, position="rotary", n_embd=44, rope_base=5000.0, **changes)
    _, again = exported_and_opened(original, tmp_path / "out", transformers.Starcoder2ForCausalLM)
    assert again.config == original.config
    for name, right in (("intermediate_size", 176), ("head_dim", 22), ("num_attention_heads", 2)):
        config_is(**{name: 11})(tmp_path / "out")
        with pytest.raises(CheckpointError, match=f"{name} is 11: use a plain gpt2 or starcoder2 model"):
            open_hugging_face(tmp_path / "out")
        config_is(**{name: right})(tmp_path / "out")
        open_hugging_face(tmp_path / "out")


def test_model_gets_the_layout_that_fits_it(tmp_path, both_layouts):
    write_hugging_face(checkpoint(WORDS), tmp_path / "out")
    assert open_hugging_face(tmp_path / "out").config.position == "learned"
    with pytest.raises(
        CheckpointError, match="here is no starcoder2 model, it has norm 'rmsnorm': export another"
    ):
        write_hugging_face(checkpoint(WORDS, position="rotary", n_embd=44, norm="rmsnorm"), tmp_path / "no")


def test_layout_that_stores_stacked_experts_one_by_one_is_a_row():
    """No model of ours has experts yet, so the row is tried on tensors alone."""
    stacked = {"blocks.5.moe.up": torch.randn(3, 4, 2)}
    made = MIXTURE.to_theirs(stacked, ModelConfig())
    assert [*made] == [f"layers.5.experts.{expert}.w1" for expert in range(3)]
    assert torch.equal(made["layers.5.experts.2.w1"], stacked["blocks.5.moe.up"][2])
    assert MIXTURE.our_name("layers.5.experts.2.w1") == "blocks.5.moe.up"
