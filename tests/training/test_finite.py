"""What is not finite is found and named; test_step and test_loop hold what is done about it."""

import math

import pytest
import torch

from tests.support.tiny import Tiny
from tinylm.errors import Divergence
from tinylm.training.finite import FiniteCheck, first_nonfinite

GOOD = torch.tensor(1.5)


def with_gradients(**bad):
    """A model whose gradients are 1, except for one number of each that is named."""
    model = Tiny()
    for name, p in model.named_parameters():
        p.grad = torch.ones_like(p)
        if name.replace(".", "_") in bad:
            p.grad.view(-1)[-1] = bad[name.replace(".", "_")]
    return model


def test_first_nonfinite_tensor_is_named_with_what_it_holds():
    good, infinite, not_a_number = (
        torch.ones(2),
        torch.tensor([1, -math.inf]),
        torch.tensor([math.inf, math.nan]),
    )
    assert first_nonfinite({"a": good, "b": torch.tensor([3])}) is None
    assert first_nonfinite({"a": good, "b": infinite, "c": not_a_number}) == "b holds infinity"
    assert first_nonfinite([("c", not_a_number), ("b", infinite)]) == "c holds nan"


def looked_at(model, *numbers):
    check = FiniteCheck(model)
    check.push(7, 0.125, *map(torch.tensor, numbers))
    check.flush()


@pytest.mark.parametrize(
    "bad, named",
    [
        (
            {"head_bias": math.nan, "embedding_weight": math.nan},
            r" \(by now the gradient of head.bias holds nan\)",
        ),
        (
            {"norm_bias": math.inf, "norm_weight": math.nan},
            r" \(by now the gradient of norm.bias holds infinity\)",
        ),
        ({}, ""),  # each is finite, their squares are not
    ],
)
def test_divergence_names_the_gradient_that_the_backward_pass_met_first(bad, named):
    said = f"^the gradient is not finite{named} at step 7 with learning rate 0.125$"
    with pytest.raises(Divergence, match=said):
        looked_at(with_gradients(**bad), 1.5, math.inf)


def test_divergence_names_a_bad_loss_before_gradients_and_a_bad_weight_before_theirs():
    model = with_gradients(head_bias=math.nan)
    with pytest.raises(Divergence, match=r"the loss is inf .*gradient of head\.bias holds nan"):
        looked_at(model, math.inf)
    model.norm.bias.data[3] = math.nan
    with pytest.raises(Divergence, match=r"the loss is inf \(by now norm\.bias holds nan\) at step 7"):
        looked_at(model, math.inf, math.nan)


def test_finite_check_names_the_first_bad_step_and_forgets_good_ones():
    check = FiniteCheck(Tiny())
    check.flush()
    for step in (1, 2):
        check.push(step, 0.5, GOOD, GOOD)
    check.flush()
    for step, loss, norm in ((3, 1.0, 1.0), (4, 1.0, math.nan), (5, math.nan, math.nan)):
        check.push(step, step / 2, torch.tensor(loss), torch.tensor(norm))
    with pytest.raises(Divergence, match=r"the gradient is not finite at step 4 with learning rate 2$"):
        check.flush()
    check.flush()
