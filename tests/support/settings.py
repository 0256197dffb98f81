"""The small model of the model floor's tests, and choices of a layer's settings: every three in every way."""

import itertools

import pytest
import torch

from tinylm.model.config import ModelConfig

SMALL = ModelConfig(vocab_size=67, context_length=23, n_layer=3, n_head=5, n_embd=30)
CHOICES = {  # GPT-2's own come first
    "position": ("learned", "rotary"),
    "norm": ("layernorm", "rmsnorm"),
    "activation": ("gelu", "relu2"),
    "qk_norm": (False, True),
    "tied_head": (True, False),
    "bias": (True, False),
    "token_shift": (False, True),
    "n_kv_head": (0, 1),
}
WAYS = [  # 16 of 256: the last four are parities of the first four, so that any three take all eight values
    (a, b, c, d, a ^ b ^ c, b ^ c ^ d, a ^ c ^ d, a ^ b ^ d)
    for a, b, c, d in itertools.product((0, 1), repeat=4)
]
EVERY_CHOICE = [{name: CHOICES[name][i] for name, i in zip(CHOICES, way, strict=True)} for way in WAYS]
GPT2S, OTHERS = EVERY_CHOICE[0], EVERY_CHOICE[-1]
LLAMAS = {"position": "rotary", "norm": "rmsnorm", "activation": "swiglu", "bias": False, "norm_eps": 1e-3}
LLAMAS |= {"n_head": 6, "n_embd": 36, "n_kv_head": 2, "n_inner": 29}  # groups of three, an odd width
EVERY_CHOICE += [LLAMAS, {"activation": "swiglu", "bias": True, "qk_norm": True, "rope_base": 500.0}]
EXPERTS = LLAMAS | {"n_expert": 7, "n_expert_active": 3, "n_shared_expert": 2, "router": "sigmoid"}
EXPERTS |= {"router_bias": True, "n_embd": 48, "n_inner": 16}  # what the grouped product takes
EVERY_CHOICE += [EXPERTS, {"n_expert": 5, "n_inner": 17}]  # softmax, two of five, GPT-2's otherwise
ONE_AT_A_TIME = [GPT2S, *(GPT2S | {name: OTHERS[name]} for name in CHOICES), OTHERS, LLAMAS, EXPERTS]


def _in_words(choice):
    words = {name: value if isinstance(value, str) else f"{name}={value}" for name, value in choice.items()}
    return "-".join(words.values())


every_choice = pytest.mark.parametrize("choice", EVERY_CHOICE, ids=_in_words)
one_choice_at_a_time = pytest.mark.parametrize("choice", ONE_AT_A_TIME, ids=_in_words)
tied_and_untied = pytest.mark.parametrize("choice", [GPT2S, OTHERS], ids=["tied", "untied"])
each_attention = pytest.mark.parametrize("attention", ["fused", "explicit"])


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_tokens(config=SMALL, *, batch=2, length=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, length), generator=generator)


def lively(model, scale=0.2):
    """Redraw every parameter, biases and gains too, so that no part of the model can be left out unseen."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, scale, generator=generator)
    return model
