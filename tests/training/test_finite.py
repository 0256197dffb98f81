"""What is not finite is found and named; test_step and test_loop hold what is done about it."""

import math

import pytest
import torch

from tests.support.tiny import Tiny
from tinylm.errors import Divergence
from tinylm.training.finite import check_finite, first_nonfinite

NAN, INF, GRADIENT = math.nan, math.inf, "the gradient is not finite"
LAST, INNER = "the gradient of head.bias holds nan", "the gradient of norm.bias holds infinity"


def test_first_nonfinite_tensor_is_named_with_what_it_holds():
    good, whole = torch.ones(2), torch.tensor([3])
    infinite, not_a_number = torch.tensor([1, -INF]), torch.tensor([INF, NAN])
    assert first_nonfinite({"a": good, "b": whole}) is None
    assert first_nonfinite({"a": good, "b": infinite, "c": not_a_number}) == "b holds infinity"
    assert first_nonfinite({"c": not_a_number, "b": infinite}) == "c holds nan"


@pytest.mark.parametrize(
    "loss, gradients, weights, said",
    [
        (1.5, {"head.bias": NAN, "embedding.weight": NAN}, {}, f"{GRADIENT} (by now {LAST})"),
        (1.5, {"norm.bias": INF, "norm.weight": NAN}, {}, f"{GRADIENT} (by now {INNER})"),
        (1.5, {}, {}, GRADIENT),  # each is finite, their squares are not
        (NAN, {"head.bias": NAN}, {"norm.bias": NAN}, "the loss is nan (by now norm.bias holds nan)"),
    ],
)
def test_divergence_names_a_weight_before_the_gradient_met_first(loss, gradients, weights, said):
    model = Tiny()
    for name, p in model.named_parameters():
        p.grad = torch.ones_like(p)
        p.grad.view(-1)[-1] = gradients.get(name, 1.0)
        p.data.view(-1)[-1] = weights.get(name, 1.0)
    with pytest.raises(Divergence) as raised:
        check_finite(model, [(7, 0.125, torch.tensor([loss, INF]))])
    assert str(raised.value) == f"{said} at step 7 with learning rate 0.125"


def test_check_finite_names_the_first_bad_step_and_forgets_good_ones():
    steps = [(step, 0.5, torch.tensor([1.5, 1.5])) for step in (1, 2)]
    check_finite(Tiny(), steps)
    assert steps == []
    check_finite(Tiny(), steps)
    for step, loss, norm in ((3, 1.0, 1.0), (4, 1.0, NAN), (5, NAN, NAN)):
        steps.append((step, step / 2, torch.tensor([loss, norm])))
    with pytest.raises(Divergence, match=r"the gradient is not finite at step 4 with learning rate 2$"):
        check_finite(Tiny(), steps)
