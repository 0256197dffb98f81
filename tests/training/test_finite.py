"""What is not a number is found and named; the loop's and the step's own tests are beside their rooms."""

import math

import pytest
import torch

from tests.support.tiny import Tiny
from tinylm.errors import Divergence
from tinylm.training.finite import DeferredFiniteCheck, check_loss_scale, first_nonfinite, refuse

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


def test_the_first_tensor_that_is_not_finite_is_named_with_what_it_holds():
    good, infinite, not_a_number = (
        torch.ones(2),
        torch.tensor([1, -math.inf]),
        torch.tensor([math.inf, math.nan]),
    )
    assert first_nonfinite({"a": good, "b": torch.tensor([3])}) is None
    assert first_nonfinite({"a": good, "b": infinite, "c": not_a_number}) == "b holds infinity"
    assert first_nonfinite([("c", not_a_number), ("b", infinite)]) == "c holds nan"


def test_finite_numbers_pass():
    refuse(with_gradients(), GOOD, GOOD, **AT)
    refuse(with_gradients(), GOOD, None, **AT)
    with pytest.raises(Divergence):
        refuse(with_gradients(), torch.tensor(math.inf), None, **AT)


@pytest.mark.parametrize(
    "bad, named",
    [
        ({"head_bias": math.nan, "embedding_weight": math.nan}, "the gradient of head.bias holds nan"),
        ({"norm_bias": math.inf, "norm_weight": math.nan}, "the gradient of norm.bias holds infinity"),
        ({}, "the length of the gradient is inf"),  # each is finite, their squares are not
    ],
)
def test_of_the_gradients_the_one_that_the_backward_pass_met_first_is_named(bad, named):
    with pytest.raises(Divergence, match=f"^{named} at step 7 with learning rate 0.125$"):
        refuse(with_gradients(**bad), GOOD, torch.tensor(math.inf), **AT)


def test_a_bad_loss_is_named_before_gradients_and_a_bad_weight_before_both():
    model = with_gradients(head_bias=math.nan)
    with pytest.raises(Divergence, match="the loss is inf at step 7"):
        refuse(model, torch.tensor(math.inf), torch.tensor(math.nan), **AT)
    model.norm.bias.data[3] = math.nan
    with pytest.raises(Divergence, match=r"norm\.bias holds nan at step 7"):
        refuse(model, torch.tensor(math.inf), torch.tensor(math.nan), **AT)


def test_the_first_bad_step_among_the_unseen_is_named_and_good_ones_are_forgotten():
    model = Tiny()
    unseen = DeferredFiniteCheck(model)
    unseen.look()
    for step in (1, 2):
        unseen.add(step, 0.5, GOOD, GOOD)
    unseen.look()
    for step, loss, norm in ((3, 1.0, 1.0), (4, 1.0, math.nan), (5, math.nan, math.nan)):
        unseen.add(step, step / 2, torch.tensor(loss), torch.tensor(norm))
    with pytest.raises(Divergence, match=r"the gradient is not finite at step 4 with learning rate 2$"):
        unseen.look()
    model.head.weight.data[0] = math.inf
    unseen.add(6, 3, torch.tensor(math.inf))
    with pytest.raises(Divergence, match=r"loss is inf \(by now head.weight holds infinity\) at step 6 with"):
        unseen.look()


def test_a_float16_scale_of_one_is_the_smallest_that_makes_sense():
    check_loss_scale(1.0, **AT)
    with pytest.raises(Divergence, match=r"fallen to 0\.5 because every gradient overflows at step 7"):
        check_loss_scale(0.5, **AT)
