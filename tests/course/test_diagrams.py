"""Laws of the diagrams: the plan of a model is read off the model."""

import re

import pytest

from tinylm.course import diagrams
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT

SIZE = {"vocab_size": 67, "context_length": 13, "n_layer": 3, "n_head": 2, "n_embd": 22}
MODERN = {"n_layer": 5, "n_embd": 44, "position": "rotary", "norm": "rmsnorm", "activation": "relu2"}
CHANGES = {"gpt-2": {}, "untied": {"tied_head": False}, "modern": {**MODERN, "qk_norm": True, "bias": False}}


def whole(text):
    return int(text.replace(",", ""))


def count(*parts):
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


@pytest.mark.parametrize("name", CHANGES)
def test_architecture_numbers_add_up_to_the_models_parameters(drawn, name):
    model = GPT(ModelConfig(**SIZE | CHANGES[name]))
    diagrams.architecture(model)
    words = drawn.words()
    blocks = [re.fullmatch(r"(\d+) × ([\d,]+) = ([\d,]+)", word) for word in words]
    ((n, each, product),) = ([whole(number) for number in match.groups()] for match in blocks if match)
    assert n * each == product == count(*model.blocks)
    alone = [model.token_embedding, model.final_norm, model.position_embedding]
    alone += [] if model.config.tied_head else [model.head]
    alone = [count(part) for part in alone if part is not None]
    assert {f"{number:,}" for number in alone} <= {*words}
    assert product + sum(alone) == model.n_parameters()
    assert f"GPT: {model.n_parameters():,} parameters" in words
    assert ("0 more" in words) == model.config.tied_head


def test_ladder_marks_where_we_are_and_only_there(drawn):
    diagrams.ladder("Characters")
    assert sum("◀ here" in word for word in drawn.words()) == 1
    assert drawn.alt.endswith("We are at Characters.")
