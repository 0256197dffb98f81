"""What a learner's module gives with the solution's numbers in it: how classes are marked."""

from typing import Any

import torch
from torch import nn

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.slips import call


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return numbers with a spread of 1."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def module(check: Check, answer: Any, sizes: tuple[Any, ...], *inputs: Any) -> Any:
    """Return the outputs of answer(*sizes) for these inputs, with the numbers of the solution's module.

    The names and shapes of the parameters must be the solution's, and a gradient must reach each of them."""
    mine, ours = answer(*sizes), numbered(check.given(*sizes))
    if not list(mine.parameters()):  # still the stub: nothing in it, and `...` returned
        check.run(mine, *inputs)
    same_weights(check, mine, ours)
    out = check.run(mine, *inputs)
    if isinstance(out, torch.Tensor):
        if difference(out, ours(*inputs)) is None:
            learns(check, mine, out)
        out = out.detach()
    return out


def learnable(check: Check, answer: Any, *case: Any) -> Any:
    """Return what a function returns, through which its tensors can be learned."""
    out = call(check, answer, *case)
    if difference(out, check.given(*case)) is None:
        gradients(check, answer, *case)
    return out


def gradients(check: Check, answer: Any, *case: Any) -> None:
    """Demand the solution's gradients from an answer whose results are right."""
    found = []
    for function in (answer, check.given):
        own = [
            x.clone().requires_grad_() if torch.is_tensor(x) and x.is_floating_point() else x for x in case
        ]
        out = function(*own)
        out = out[0] if isinstance(out, tuple) else out
        check.that(out.requires_grad, "nothing can be learnt through it: no detach, no no_grad, no numpy")
        leaves = [x for x in own if torch.is_tensor(x) and x.requires_grad]
        found += [torch.autograd.grad(out.square().sum(), leaves, allow_unused=True, materialize_grads=True)]
    cut_off = difference([*found[0]], [*found[1]], rtol=1e-3, atol=1e-4)
    check.that(cut_off is None, "a part of it is cut off from learning: no detach and no no_grad inside")


def numbered(module: nn.Module) -> nn.Module:
    """Give every parameter numbers that its place decides, and return the module."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(random(*parameter.shape, seed=seed))
    return module


def same_weights(check: Check, mine: nn.Module, theirs: nn.Module) -> None:
    """Give the learner's module the numbers of ours, which needs the names of the contract."""
    names = dict(mine.named_parameters(remove_duplicate=False))  # a buffer, such as a mask, is free
    shapes = {name: p.shape for name, p in theirs.named_parameters(remove_duplicate=False)}
    if extra := [name for name in names if name not in shapes]:
        check.that(not extra[0].endswith("bias"), f"{extra[0]} is one too many: bias=False")
        asked = dict.fromkeys(name.split(".")[0] for name in shapes)
        check.that(extra[0] not in asked, f"`{extra[0]}` is a tensor here: a part such as nn.Linear is asked")
        check.that(False, f"`{extra[0]}` is not in the contract, which names {', '.join(asked)}")
    for name, shape in shapes.items():
        part, _, kind = name.rpartition(".")
        without = name not in names and kind == "bias" and f"{part}.weight" in names
        check.that(not without, f"`{part}` has no bias: leave out bias=False")
        check.that(name in names, f"`{name}` is missing: set it in __init__, as self.{name.split('.')[0]}")
        has = f"{name} has the shape {tuple(names[name].shape)}, not {tuple(shape)}"
        check.that(names[name].shape == shape, has)
    mine.load_state_dict(theirs.state_dict(), strict=False)


def learns(check: Check, module: nn.Module, out: torch.Tensor) -> None:
    """Demand that a gradient reaches every parameter from this output."""
    module.zero_grad()
    told = "nothing can be learnt through it: no detach and no no_grad in forward"
    check.that(out.requires_grad, told)
    out.square().sum().backward()
    stuck = next((name for name, p in module.named_parameters() if p.grad is None), "")
    check.that(not stuck, f"no gradient reaches {stuck}: is there a detach?")
