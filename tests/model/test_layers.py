"""Norms and activation functions by their formulas; the roles of parameters as declared."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.support.settings import SMALL, lively, random
from tinylm.errors import ConfigError
from tinylm.model.layers import MLP, Role, make_norm, parameter_roles

B, T, C = 2, 5, 7


def test_norm_is_gpt2s_where_the_numbers_are_as_small_as_epsilon():
    x = 1e-3 * random(B, T, SMALL.n_embd)
    layer, rms = (make_norm(replace(SMALL, norm=kind)).double() for kind in ("layernorm", "rmsnorm"))
    assert_close(layer(x), (x - x.mean(-1, keepdim=True)) / (x.var(-1, False, keepdim=True) + 1e-5).sqrt())
    assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt())


def test_activation_relu2_is_the_squared_relu():
    """GELU is GPT-2's: test_gpt."""
    inputs, mlp = random(B, T, SMALL.n_embd), lively(MLP(replace(SMALL, activation="relu2"))).double()
    assert_close(mlp(inputs), mlp.down(mlp.up(inputs).clamp(min=0) ** 2), rtol=1e-12, atol=1e-14)


class Experts(nn.Module):
    """A router and stacked experts, as a mixture of experts has them."""

    def __init__(self):
        super().__init__()
        self.router = nn.Parameter(torch.ones(3, C))
        self.up = nn.Parameter(torch.ones(3, 4 * C, C))
        self.bias = nn.Parameter(torch.ones(3))
        self.gate = nn.Linear(C, 1)


class DeclaredExperts(Experts):
    def parameter_roles(self):
        return {"router": Role(), "up": Role(muon=True, splits=3, decay=True)}


class Around(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = DeclaredExperts()

    def parameter_roles(self):
        return {"inside.router": Role(muon=True), "inside.gate.weight": Role()}


def test_roles_of_what_nobody_declares_or_has_are_refused_with_what_to_write():
    with pytest.raises(ConfigError) as refusal:
        parameter_roles(nn.Sequential(nn.Linear(C, C), Experts()))
    assert str(refusal.value) == (
        "1.router has 2 dimensions and nobody says how to train it: give its module "
        "a method parameter_roles(self) that returns {'router': Role(decay=True)}"
    )
    model = DeclaredExperts()
    del model.router
    with pytest.raises(ConfigError, match="names router, which is none of 4 parameters"):
        parameter_roles(model)


def test_roles_are_what_the_outermost_module_declares_and_torchs_layers_are_known():
    roles = parameter_roles(nn.Sequential(nn.Embedding(C, C), DeclaredExperts(), nn.LayerNorm(C), Around()))
    assert roles == {
        "0.weight": Role(decay=True),
        "1.router": Role(),
        "1.up": Role(muon=True, splits=3, decay=True),
        "1.bias": Role(init="keep"),
        "1.gate.weight": Role(decay=True),
        "1.gate.bias": Role(init="zero"),
        "2.weight": Role(init="keep"),
        "2.bias": Role(init="keep"),
        "3.inside.router": Role(muon=True),
        "3.inside.up": Role(muon=True, splits=3, decay=True),
        "3.inside.bias": Role(init="keep"),
        "3.inside.gate.weight": Role(),
        "3.inside.gate.bias": Role(init="zero"),
    }
