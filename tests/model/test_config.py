"""ModelConfig refuses what cannot work, survives JSON, and counts its parameters."""

import ast
import inspect
import itertools
import json
from dataclasses import asdict, fields, replace

import pytest
import torch

from tests.support.settings import CHOICES, EVERY_CHOICE, SMALL
from tinylm.errors import ConfigError, TinyLMError
from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.model.gpt import GPT


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_embd": 100, "n_head": 12}, "n_embd 100 is not a multiple of n_head 12: use 96 or 108"),
        ({"n_embd": 5, "n_head": 7}, "n_embd 5 is not a multiple of n_head 7: use 7"),
        (
            {"n_embd": 100, "n_head": 12, "position": "rotary"},
            "n_embd 100 is not a multiple of n_head 12: use 96 or 120",
        ),
        (
            {"n_embd": 100, "n_head": 4, "position": "rotary"},
            "head_dim 25 (n_embd 100 / n_head 4) is odd, and rotary positions turn pairs: "
            "use n_embd 96 or 104",
        ),
        ({"context_length": 0}, "context_length is 0: it must be at least 1"),
        ({"n_layer": -3}, "n_layer is -3: it must be at least 1"),
        ({"n_head": 0}, "n_head is 0: it must be at least 1"),
        ({"vocab_size": 65.0}, "vocab_size is 65.0: it must be a whole number"),
        ({"n_layer": True}, "n_layer is True: it must be a whole number"),
        ({"dropout": 1.0}, "dropout is 1.0: it must be at least 0 and below 1"),
        ({"dropout": -0.1}, "dropout is -0.1: it must be at least 0 and below 1"),
        ({"dropout": "0.1"}, "dropout is '0.1': it must be at least 0 and below 1"),
        ({"rope_base": 1.0}, "rope_base is 1.0: it must be above 1 (10000.0 is usual)"),
        ({"rope_base": float("inf")}, "rope_base is inf: it must be above 1 (10000.0 is usual)"),
        ({"position": "rope"}, "position is 'rope': use 'learned' or 'rotary'"),
        ({"norm": "LayerNorm"}, "norm is 'LayerNorm': use 'layernorm' or 'rmsnorm'"),
        ({"activation": "swiglu"}, "activation is 'swiglu': use 'gelu' or 'relu2'"),
        ({"attention": True}, "attention is True: use 'fused' or 'explicit'"),
        ({"residual_init": "none"}, "residual_init is 'none': use 'scaled' or 'zero'"),
        ({"bias": 1}, "bias is 1: use True or False"),
        (
            {"n_layer": 10**400},
            "n_layer is a number of more than 80 digits: it must be at most 9223372036854775807",
        ),
        ({"context_length": 3 * 10**7}, "context_length is 30000000: it must be at most 131072"),
        ({"vocab_multiple": 10**9}, "vocab_multiple is 1000000000: it must be at most 1024"),
        ({"vocab_multiple": 0}, "vocab_multiple is 0: it must be at least 1"),
        (
            {"rope_base": 10**400},
            "rope_base is a number of more than 80 digits: it must be above 1 (10000.0 is usual)",
        ),
    ],
)
def test_config_that_cannot_work_is_refused_with_the_numbers_and_the_way_out(settings, sentence):
    with pytest.raises(ConfigError) as error:
        ModelConfig(**settings)
    assert str(error.value) == sentence
    assert isinstance(error.value, TinyLMError)


def test_suggested_widths_are_all_accepted():
    for n_embd, n_head, position in itertools.product(range(1, 60), range(1, 12), CHOICES["position"]):
        sizes = {"n_head": n_head, "position": position}
        try:
            ModelConfig(n_embd=n_embd, **sizes)
        except ConfigError as error:
            suggested = [int(word) for word in str(error).split("use")[-1].split() if word.isdigit()]
            assert suggested
            for width in suggested:
                ModelConfig(n_embd=width, **sizes)


def test_head_dim_is_the_width_of_one_head():
    assert SMALL.head_dim == 6


def test_config_survives_json():
    config = replace(SMALL, position="rotary", dropout=0.1, bias=False, rope_base=500.0)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


LATER = {"residual_init": "scaled", "token_shift": False, "vocab_multiple": 1}


@pytest.mark.parametrize("name", sorted({field.name for field in fields(ModelConfig)} - LATER.keys()))
def test_from_json_refuses_a_missing_name(name):
    data = SMALL.to_json()
    del data[name]
    with pytest.raises(ConfigError, match=f"lacks .* '{name}':"):
        ModelConfig.from_json(data)


def test_from_json_of_an_earlier_version_takes_what_its_models_were():
    config = ModelConfig.from_json({k: v for k, v in SMALL.to_json().items() if k not in LATER})
    assert {name: getattr(config, name) for name in LATER} == LATER
    assert config == SMALL
    said = SMALL.to_json() | {"residual_init": "zero", "token_shift": True, "vocab_multiple": 64}
    assert ModelConfig.from_json(said).to_json() == said


def test_from_json_refuses_an_unknown_name():
    with pytest.raises(ConfigError, match="unknown 'block_size':"):
        ModelConfig.from_json(SMALL.to_json() | {"block_size": 256})


def test_from_json_checks_the_values():
    with pytest.raises(ConfigError, match="n_layer is '3'"):
        ModelConfig.from_json(SMALL.to_json() | {"n_layer": "3"})


@pytest.mark.parametrize("settings", EVERY_CHOICE, ids=lambda settings: "-".join(map(str, settings.values())))
def test_parameter_counts_are_what_the_model_holds_part_by_part(settings):
    config = replace(SMALL, **settings)
    model = GPT(config)
    found = dict.fromkeys(parameter_counts(config), 0)
    for name, parameter in model.named_parameters():  # such as blocks.0.attn.q_norm.weight
        part = "norms" if "norm" in name else {"attn": "attention", "mlp": "mlp"}.get(name.split(".")[-3:][0])
        found[part or name.split(".")[0]] += parameter.numel()
    found["total"] = model.n_parameters()
    assert found == parameter_counts(config)


@pytest.mark.parametrize(
    ("config", "total"),
    [
        (ModelConfig(vocab_size=65, context_length=64, n_layer=4, n_head=4, n_embd=128), 809_856),
        (ModelConfig(vocab_size=50257, context_length=512, n_layer=8, n_head=8, n_embd=512), 51_213_824),
        (ModelConfig(vocab_size=50257, context_length=1024, n_layer=12, n_head=12, n_embd=768), 124_439_808),
    ],
    ids=["0.8M", "51M", "GPT-2"],
)
def test_parameter_counts_of_the_models_of_the_course_are_the_known_ones(config, total):
    assert parameter_counts(config)["total"] == total
    with torch.device("meta"):  # shapes only: nothing is allocated
        model = GPT(config)
    assert model.n_parameters() == total
    assert all(parameter.is_meta for parameter in model.parameters())


def test_settings_are_all_described_for_the_command_line():
    body = ast.parse(inspect.getsource(ModelConfig)).body[0].body
    described = {
        node.target.id
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    assert described == set(asdict(SMALL))
