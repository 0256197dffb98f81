"""Layouts are data: a table splits queries, keys and values, and transformers opens what it writes."""

import pytest
import torch

from tests.storage.test_hugging_face import (
    WORDS,
    assert_same_logits_and_greedy_ids,
    checkpoint,
    config_is,
)
from tests.support.hugging_face import transformers
from tests.support.tiny import same
from tinylm.errors import CheckpointError
from tinylm.model.config import ModelConfig
from tinylm.storage import export
from tinylm.storage.export import open_hugging_face, write_hugging_face
from tinylm.storage.layouts import GPT2, read_layouts

# StarCoder 2 is GPT-2 with rotary positions, and stores attention's three matrices one by one.
TABLE = """
[starcoder2]
architecture = "Starcoder2ForCausalLM"
prefix = "model."
rows = [
    { ours = "token_embedding.weight", theirs = ["model.embed_tokens.weight"] },
    { ours = "blocks.{layer}.attn_norm.{kind}", theirs = ["model.layers.{layer}.input_layernorm.{kind}"] },
    { ours = "blocks.{layer}.attn.qkv.{kind}", theirs = [
        "model.layers.{layer}.self_attn.q_proj.{kind}",
        "model.layers.{layer}.self_attn.k_proj.{kind}",
        "model.layers.{layer}.self_attn.v_proj.{kind}",
    ], sizes = "qkv_sizes" },
    { ours = "blocks.{layer}.attn.proj.{kind}", theirs = ["model.layers.{layer}.self_attn.o_proj.{kind}"] },
    { ours = "blocks.{layer}.mlp_norm.{kind}", theirs = [
        "model.layers.{layer}.post_attention_layernorm.{kind}",
    ] },
    { ours = "blocks.{layer}.mlp.up.{kind}", theirs = ["model.layers.{layer}.mlp.c_fc.{kind}"] },
    { ours = "blocks.{layer}.mlp.down.{kind}", theirs = ["model.layers.{layer}.mlp.c_proj.{kind}"] },
    { ours = "final_norm.{kind}", theirs = ["model.norm.{kind}"] },
    { ours = "head.weight", theirs = ["lm_head.weight"] },
]
ours = { position = "rotary" }
checked = { head_dim = "head_dim" }

[starcoder2.settings]
vocab_size = "vocab_size"
num_hidden_layers = "n_layer"
num_attention_heads = "n_head"
num_key_value_heads = "n_head"
hidden_size = "n_embd"
intermediate_size = "mlp_hidden"
max_position_embeddings = "context_length"
rope_theta = "rope_base"
tie_word_embeddings = "tied_head"

[starcoder2.fixed]
hidden_act = ["gelu_pytorch_tanh"]
norm_epsilon = [1e-5]
use_bias = [true]

[mixture]
architecture = "None"
settings = {}
fixed = {}
rows = [
    { ours = "blocks.{layer}.moe.up", theirs = ["layers.{layer}.experts.{expert}.w1"] },
]
"""
ROTARY, MIXTURE = read_layouts(TABLE).values()


@pytest.fixture
def both_layouts(monkeypatch):
    monkeypatch.setattr(export, "LAYOUTS", {"gpt2": GPT2, "starcoder2": ROTARY})


@pytest.mark.parametrize("changes", [{}, {"tied_head": False}])
def test_layout_that_splits_queries_keys_and_values_is_a_table(tmp_path, both_layouts, changes):
    original = checkpoint(WORDS, position="rotary", n_embd=44, rope_base=5000.0, **changes)
    write_hugging_face(original, tmp_path / "out")
    theirs, loaded = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert isinstance(theirs, transformers.Starcoder2ForCausalLM) and not any(loaded.values())
    assert_same_logits_and_greedy_ids(original.model, theirs.eval())
    again = open_hugging_face(tmp_path / "out")
    assert again.config == original.config and same(again.tensors, original.tensors)
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
