"""ModelConfig refuses what cannot work, reads earlier versions, and counts its parameters."""

import itertools
from dataclasses import replace

import pytest
import torch

from tests.support.settings import CHOICES, SMALL, every_choice
from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.model.gpt import GPT


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_embd": 100, "n_head": 12}, "n_embd 100 is not a multiple of n_head 12: use 96 or 108"),
        ({"n_embd": 5, "n_head": 7}, "n_embd 5 is not a multiple of n_head 7: use 7"),
        (
            {"n_embd": 100, "n_head": 4, "position": "rotary"},
            "head_dim 25 (n_embd 100 / n_head 4) is odd, and rotary positions turn pairs: "
            "use n_embd 96 or 104",
        ),
        ({"n_layer": 0}, "n_layer is 0: it must be at least 1"),
        ({"vocab_size": 65.0}, "vocab_size is 65.0: it must be a whole number"),
        ({"context_length": 3 * 10**7}, "context_length is 30000000: it must be at most 131072"),
        ({"vocab_multiple": 10**9}, "vocab_multiple is 1000000000: it must be at most 1024"),
        ({"dropout": 1.0}, "dropout is 1.0: it must be at least 0 and below 1"),
        ({"dropout": -0.1}, "dropout is -0.1: it must be at least 0 and below 1"),
        ({"rope_base": 1.0}, "rope_base is 1.0: it must be above 1 (10000.0 is usual)"),
        ({"position": "rope"}, "position is 'rope': use 'learned' or 'rotary'"),
        ({"bias": 1}, "bias is 1: use True or False"),
    ],
)
def test_config_that_cannot_work_is_refused_with_the_numbers_and_the_way_out(settings, sentence):
    with pytest.raises(ConfigError) as error:
        ModelConfig(**settings)
    assert str(error.value) == sentence


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


def test_config_of_an_earlier_version_says_what_its_models_were_and_every_other_name_is_needed():
    later = {"residual_init": "scaled", "token_shift": False, "vocab_multiple": 1}
    later |= {"activation_checkpointing": False}
    for name, value in (data := SMALL.to_json()).items():
        rest = {other: data[other] for other in data if other != name}
        if name in later:
            assert getattr(ModelConfig.from_json(rest), name) == later[name] == value
        else:
            with pytest.raises(ConfigError, match=f"lacks .*'{name}': use the tinylm that wrote it"):
                ModelConfig.from_json(rest)
    with pytest.raises(ConfigError, match="unknown 'block_size': use the tinylm that wrote it"):
        ModelConfig.from_json(data | {"block_size": 256})
    with pytest.raises(ConfigError, match="n_layer is '3'"):
        ModelConfig.from_json(data | {"n_layer": "3"})


@every_choice
def test_parameter_counts_are_what_the_model_holds_part_by_part(choice):
    config = replace(SMALL, **choice)
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
