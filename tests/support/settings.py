"""The small model of the model floor's tests, and every combination of the settings that choose a layer."""

import itertools

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
}
EVERY_CHOICE = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]
