"""Norms and the MLP, against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from tinylm.model.attention import TokenShift
from torch.nn import LayerNorm
from tinylm.model.layers import MLP, RMSNorm, activate, make_norm

B, T, C = 2, 5, 7


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (LayerNorm(C), nn.LayerNorm(C)),
        (LayerNorm(C, bias=False), nn.LayerNorm(C, bias=False)),
        (RMSNorm(C), nn.RMSNorm(C, eps=1e-5)),
    ],
    ids=["layernorm", "layernorm-no-bias", "rmsnorm"],
)
def test_a_norm_equals_torchs_with_the_same_parameters(ours, reference):
    ours, reference = ours.double(), reference.double()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.copy_(random(C, seed=1))
    ours.load_state_dict(reference.state_dict(), strict=True)
    x = 1e-3 * random(B, T, C)  # small, so that a misplaced epsilon shows
    assert_close(ours(x), reference(x), rtol=1e-12, atol=0)


def test_layernorm_forgets_shift_and_scale_and_rmsnorm_only_scale():
    x = 100 * random(B, T, C)
    layer, rms = LayerNorm(C).double(), RMSNorm(C).double()
    assert_close(layer(3 * x + 5), layer(x), rtol=1e-5, atol=1e-6)
    assert_close(rms(3 * x), rms(x), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(rms(x + 500), rms(x), atol=0.1)
    assert_close(rms(x).square().mean(-1), torch.ones(B, T, dtype=torch.float64), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_a_norm_keeps_the_dtype_of_its_input(kind, dtype):
    norm = make_norm(kind, C, True)
    if kind == "layernorm":
        norm = norm.to(dtype)
    assert norm(random(B, T, C).to(dtype)).dtype == dtype


def test_make_norm_gives_a_bias_only_where_it_is_asked_for_and_known():
    names = {
        (kind, bias): [name for name, _ in make_norm(kind, C, bias).named_parameters()]
        for kind in ("layernorm", "rmsnorm")
        for bias in (True, False)
    }
    assert names.pop(("layernorm", True)) == ["weight", "bias"]
    assert all(rest == ["weight"] for rest in names.values())


def test_gelu_is_the_tanh_approximation_and_relu2_the_squared_relu():
    x = random(B, T, C)
    expected = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    assert_close(activate("gelu", x), expected, rtol=1e-12, atol=1e-15)
    assert_close(activate("relu2", x), x.clamp(min=0) ** 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "relu2"])
def test_the_mlp_works_on_each_position_by_itself(activation, bias):
    mlp = MLP(C, 53, activation=activation, bias=bias, dropout=0.0).double()
    x = random(B, T, C)
    assert_close(mlp(x)[:, 3], mlp(x[:, 3]), rtol=1e-12, atol=1e-15)
    assert (mlp.up.bias is not None) == (mlp.down.bias is not None) == bias
    assert mlp.up.weight.shape == (53, C)
    assert mlp.down.weight.shape == (C, 53)


def test_the_mlp_drops_out_while_training_only():
    mlp = MLP(C, 53, activation="gelu", bias=True, dropout=0.5)
    x = torch.ones(1, 211, C)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        zeros = (mlp(x) == 0).double().mean().item()
    assert 0.4 < zeros < 0.6
    assert not (mlp.eval()(x) == 0).any()


def test_the_gradient_of_relu2_is_that_of_the_formula_and_at_0_it_is_0():
    x = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: activate("relu2", x), x)
    upstream = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (ours,) = torch.autograd.grad(activate("relu2", x), x, upstream)
    (autograds,) = torch.autograd.grad(F.relu(x).square(), x, upstream)
    assert_close(ours, autograds)
    zero = torch.zeros(3, requires_grad=True)
    activate("relu2", zero).sum().backward()
    assert torch.equal(zero.grad, torch.zeros(3))


def test_a_token_shift_starts_as_nothing_and_is_a_causal_convolution_of_width_2():
    x = random(B, T, C)
    shift = TokenShift(C).double()
    assert torch.equal(shift(x), x)
    with torch.no_grad():
        shift.weight.copy_(random(C, seed=3))
    kernel = torch.stack((shift.weight, torch.ones(C, dtype=torch.float64)), dim=-1).unsqueeze(1)  # (C, 1, 2)
    theirs = F.conv1d(F.pad(x.mT, (1, 0)), kernel, groups=C).mT  # (B, T, C)
    assert_close(shift(x), theirs)
    assert_close(shift(x[:, 1:], before=x[:, :-1]), theirs[:, 1:])
