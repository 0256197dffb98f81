"""Laws of the diagrams: the plan of a model is read off the model."""

import re

import pytest
from torch import nn

from tinylm.course import diagrams
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT

SIZE = {"vocab_size": 67, "context_length": 13, "n_layer": 3, "n_head": 2, "n_embd": 22}
MODERN = {"n_layer": 5, "n_embd": 44, "position": "rotary", "norm": "rmsnorm", "activation": "relu2"}
CHANGES = {"gpt-2": {}, "untied": {"tied_head": False}, "modern": {**MODERN, "qk_norm": True, "bias": False}}


def whole(text):
    return int(text.replace(",", ""))


@pytest.mark.parametrize("name", CHANGES)
def test_architecture_numbers_add_up_to_the_models_parameters(drawn, name):
    model = GPT(ModelConfig(**SIZE | CHANGES[name]))
    diagrams.architecture(model)
    words = drawn.words()
    total = 0
    for text in words:
        if match := re.fullmatch(r"(\d+) × ([\d,]+) = ([\d,]+)", text):
            n, each, product = match.groups()
            assert int(n) * whole(each) == whole(product)
            total += whole(product)
    assert total == sum(p.numel() for block in model.blocks for p in block.parameters())
    alone = [model.token_embedding, model.final_norm]
    alone += [model.position_embedding] if model.position_embedding is not None else []
    alone += [] if model.config.tied_head else [model.head]
    for part in alone:
        count = sum(parameter.numel() for parameter in part.parameters())
        assert f"{count:,}" in words
        total += count
    assert total == model.n_parameters()
    assert f"GPT: {total:,} parameters" in words
    assert ("0 more" in words) == model.config.tied_head


def test_architecture_shows_each_model_with_its_own_parts(drawn):
    diagrams.architecture(GPT(ModelConfig(**SIZE)))
    words = " ".join(drawn.words())
    assert all(part in words for part in ("position embedding", "LayerNorm", "gelu", "3 ×\nblock"))
    assert "3 blocks" in drawn.alt
    diagrams.architecture(GPT(ModelConfig(**SIZE | CHANGES["modern"])))
    words = " ".join(drawn.words())
    parts = ("RMSNorm", "relu2", "5 ×\nblock", "qkv 44 → 132", "up 44 → 176", "(B, T, 44)")
    assert all(part in words for part in parts) and "position embedding" not in words


def test_architecture_draws_a_block_that_differs_by_itself(drawn):
    model = GPT(ModelConfig(**SIZE))
    model.blocks[2].mlp.up = nn.Linear(22, 88, bias=False)
    diagrams.architecture(model)
    assert [word for word in drawn.words() if word.endswith("block")] == ["2 ×\nblock", "1 ×\nblock"]


def test_ladder_marks_where_we_are_and_only_there(drawn):
    diagrams.ladder("Characters")
    assert sum("◀ here" in word for word in drawn.words()) == 1
    assert drawn.alt.endswith("We are at Characters.")
