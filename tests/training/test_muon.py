"""Muon against torch's own, against the singular value decomposition, and against its own laws."""

import pytest
import torch
from torch import nn

from tinylm.training.muon import MuonAdamW, orthogonalize

SHAPES = [(11, 11), (7, 29), (29, 7), (5, 13)]


def random_matrices(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def muon(matrices, **settings):
    return MuonAdamW([{"kind": "muon", "params": matrices, "lr": 0.1} | settings])


def parameters(shapes):
    return [nn.Parameter(random_matrices(*shape, seed=i)) for i, shape in enumerate(shapes)]


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


def test_orthogonalize_ignores_the_scale_and_leaves_zero_at_zero():
    matrices = random_matrices(2, 7, 13)
    torch.testing.assert_close(orthogonalize(1e-3 * matrices), orthogonalize(1e3 * matrices))
    assert torch.equal(orthogonalize(torch.zeros(2, 7, 13)), torch.zeros(2, 7, 13))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon: 2.9 and newer do")
def test_muon_equals_torchs_over_five_steps_but_for_its_bfloat16():
    ours, theirs, start = (parameters(SHAPES) for _ in range(3))
    settings = {"lr": 0.03, "momentum": 0.9, "weight_decay": 0.2}
    optimizers = {muon(ours, **settings): ours, torch.optim.Muon(theirs, **settings): theirs}
    for step in range(5):
        for optimizer, matrices in optimizers.items():
            give_gradients(matrices, step)
            optimizer.step()
    for p, q, before in zip(ours, theirs, start, strict=True):
        moved = (q - before).norm()
        assert (p - q).norm() < 0.02 * moved and moved > 0.1


@pytest.mark.parametrize(
    "shape, splits, apart",
    [((21, 13), 3, (3, 7, 13)), ((5, 12, 6), 1, (5, 12, 6)), ((5, 12, 6), 2, (10, 6, 6))],
    ids=["heads of a matrix", "stacked experts", "both"],
)
def test_muon_moves_what_is_stacked_as_if_each_were_a_parameter_of_its_own(shape, splits, apart):
    (stacked,) = parameters([shape])
    parts = [nn.Parameter(part.clone()) for part in stacked.detach().view(apart)]
    together, alone = muon([stacked], splits=splits), muon(parts)
    for step in range(3):
        give_gradients([stacked], step)
        for part, gradient in zip(parts, stacked.grad.view(apart), strict=True):
            part.grad = gradient.clone()
        together.step()
        alone.step()
    torch.testing.assert_close(stacked.detach().view(apart), torch.stack([p.detach() for p in parts]))


def test_muon_leaves_a_parameter_without_a_gradient_as_it_is():
    moved, still = parameters([(5, 7), (5, 7)])
    before = [p.detach().clone() for p in (moved, still)]
    give_gradients([moved], 0)
    muon([moved, still], weight_decay=0.5).step()
    assert torch.equal(still, before[1]) and not torch.equal(moved, before[0])
