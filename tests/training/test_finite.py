"""What is not finite is found and named; test_step and test_loop hold what is done about it."""

import math

import pytest
import torch

from tests.support.tiny import Tiny
from tinylm.errors import Divergence
from tinylm.training.finite import DeferredFiniteCheck, check_finite, first_nonfinite

AT = {"step": 7, "learning_rate": 0.125}
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


def test_check_finite_passes_finite_numbers():
    check_finite(with_gradients(), GOOD, GOOD, **AT)
    check_finite(with_gradients(), GOOD, None, **AT)
    with pytest.raises(Divergence):
        check_finite(with_gradients(), torch.tensor(math.inf), None, **AT)


@pytest.mark.parametrize(
    "bad, named",
    [
        ({"head_bias": math.nan, "embedding_weight": math.nan}, "the gradient of head.bias holds nan"),
        ({"norm_bias": math.inf, "norm_weight": math.nan}, "the gradient of norm.bias holds infinity"),
        ({}, "the norm of the gradient is inf"),  # each is finite, their squares are not
    ],
)
def test_divergence_names_the_gradient_that_the_backward_pass_met_first(bad, named):
    with pytest.raises(Divergence, match=f"^{named} at step 7 with learning rate 0.125$"):
        check_finite(with_gradients(**bad), GOOD, torch.tensor(math.inf), **AT)


def test_divergence_names_a_bad_loss_before_gradients_and_a_bad_weight_before_both():
    model = with_gradients(head_bias=math.nan)
    with pytest.raises(Divergence, match="the loss is inf at step 7"):
        check_finite(model, torch.tensor(math.inf), torch.tensor(math.nan), **AT)
    model.norm.bias.data[3] = math.nan
    with pytest.raises(Divergence, match=r"norm\.bias holds nan at step 7"):
        check_finite(model, torch.tensor(math.inf), torch.tensor(math.nan), **AT)


def test_deferred_check_names_the_first_bad_step_and_forgets_good_ones():
    model = Tiny()
    deferred = DeferredFiniteCheck(model)
    deferred.flush()
    for step in (1, 2):
        deferred.push(step, 0.5, GOOD, GOOD)
    deferred.flush()
    for step, loss, norm in ((3, 1.0, 1.0), (4, 1.0, math.nan), (5, math.nan, math.nan)):
        deferred.push(step, step / 2, torch.tensor(loss), torch.tensor(norm))
    with pytest.raises(Divergence, match=r"the gradient is not finite at step 4 with learning rate 2$"):
        deferred.flush()
    model.head.weight.data[0] = math.inf
    deferred.push(6, 3, torch.tensor(math.inf))
    with pytest.raises(Divergence, match=r"loss is inf \(by now head.weight holds infinity\) at step 6 with"):
        deferred.flush()
