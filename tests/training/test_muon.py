"""Muon against torch's own, against the singular value decomposition, and against its own laws."""

import pytest
import torch
from torch import nn

from tinylm.errors import ConfigError
from tinylm.training.muon import Muon, orthogonalize

SHAPES = [(11, 11), (7, 29), (29, 7), (5, 13)]


def random_matrices(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(shapes=SHAPES, seed=0):
    return [nn.Parameter(random_matrices(*shape, seed=seed + i)) for i, shape in enumerate(shapes)]


def give_gradients(matrices, seed):
    for i, p in enumerate(matrices):
        p.grad = random_matrices(*p.shape, seed=seed * 101 + i)


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalize_keeps_the_directions_and_brings_every_stretch_near_1(shape):
    matrices = random_matrices(3, *shape)
    out = orthogonalize(matrices)
    U, _, Vh = torch.linalg.svd(matrices, full_matrices=False)
    stretches = U.mT @ out @ Vh.mT  # (3, n, n): diagonal when the directions are the same
    diagonal = stretches.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(stretches, torch.diag_embed(diagonal), atol=2e-4, rtol=0)
    wide = torch.linalg.svdvals(matrices / matrices.norm(dim=(-2, -1), keepdim=True)) > 0.01
    assert ((diagonal > 0.6) & (diagonal < 1.25))[wide].all()


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalize_is_torchs_newton_schulz_in_higher_precision(shape):
    from torch.optim import _muon

    matrices = random_matrices(2, *shape)
    theirs = [_muon._zeropower_via_newtonschulz(m, (3.4445, -4.7750, 2.0315), 5, 1e-7) for m in matrices]
    torch.testing.assert_close(orthogonalize(matrices), torch.stack(theirs).float(), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalize_equals_the_iteration_written_out_in_float64(shape):
    matrices = random_matrices(2, *shape)
    for m, out in zip(matrices, orthogonalize(matrices), strict=True):
        X = m.double() / m.double().norm()
        for _ in range(5):
            gram = X @ X.T
            X = 3.4445 * X + (-4.7750 * gram + 2.0315 * gram @ gram) @ X
        torch.testing.assert_close(out.double(), X, atol=1e-4, rtol=1e-4)


def test_orthogonalize_ignores_the_scale_and_leaves_zero_at_zero():
    matrices = random_matrices(2, 7, 13)
    torch.testing.assert_close(orthogonalize(1e-3 * matrices), orthogonalize(1e3 * matrices))
    assert torch.equal(orthogonalize(torch.zeros(2, 7, 13)), torch.zeros(2, 7, 13))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon: 2.9 and newer do")
def test_muon_equals_torchs_over_five_steps_but_for_its_bfloat16():
    ours, theirs = parameters(), parameters()
    numbers = {"lr": 0.03, "momentum": 0.9, "weight_decay": 0.2}
    mine, reference = Muon(ours, **numbers), torch.optim.Muon(theirs, **numbers)
    start = [p.detach().clone() for p in ours]
    for step in range(5):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        mine.step()
        reference.step()
    for p, q, before in zip(ours, theirs, start, strict=True):
        moved = (q - before).norm()
        assert (p - q).norm() < 0.02 * moved
        assert moved > 0.1


def test_muon_splits_move_as_if_they_were_parameters_of_their_own():
    whole = parameters([(21, 13)])
    parts = [nn.Parameter(part.clone()) for part in whole[0].detach().chunk(3)]
    together, apart = Muon(whole, lr=0.1, splits=3), Muon(parts, lr=0.1)
    for step in range(3):
        give_gradients(whole, step)
        for part, gradient in zip(parts, whole[0].grad.chunk(3), strict=True):
            part.grad = gradient.clone()
        together.step()
        apart.step()
    torch.testing.assert_close(whole[0].detach(), torch.cat([p.detach() for p in parts]))
    plain = parameters([(21, 13)])
    give_gradients(plain, 0)
    Muon(plain, lr=0.1).step()
    assert (plain[0] - parameters([(21, 13)])[0]).norm() > 0.1  # and one block is another update
    one = parameters([(21, 13)])
    give_gradients(one, 0)
    Muon(one, lr=0.1, splits=3).step()
    assert not torch.allclose(one[0], plain[0], atol=1e-3)


def test_muon_leaves_a_parameter_without_a_gradient_as_it_is():
    moved, still = parameters([(5, 7), (5, 7)])
    before = still.detach().clone()
    moved.grad = torch.ones_like(moved)
    Muon([moved, still], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(still, before)


def test_muon_refuses_what_is_no_matrix_or_cannot_be_cut():
    with pytest.raises(ConfigError, match=r"has shape \(3,\): use fewer splits, or give it to AdamW"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
    with pytest.raises(ConfigError, match=r"into 3 equal parts, and this parameter has shape \(11, 5\)"):
        Muon([nn.Parameter(torch.zeros(11, 5))], lr=0.1, splits=3)
