"""Exercises of notebook 03_transformer."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tinylm.course.checks import Check
from tinylm.course.exercises import nb02
from tinylm.course.exercises.modules import learnable, module, random
from tinylm.course.slips import Lesson
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT as PackageGPT

lesson = Lesson(__file__)
lesson.names |= {"attention": nb02.attention.given, "split_heads": nb02.split_heads.given}


def outputs(check: Check, answer: Callable[..., Any], sizes: tuple[Any, ...], *inputs: Any) -> Any:
    """Return what a module returns; no buffer may be saved with its weights."""
    try:
        mine = answer(*sizes)
        told = "that is MultiHead with its loop: bring the layer with qkv and proj"
        check.that(not hasattr(mine, "heads"), told)
        out = module(check, answer, sizes, *inputs)
    except NameError as error:
        told = f"your class uses `{error.name}`, which this notebook does not have yet: bring it too"
        if error.name in inspect.signature(answer).parameters:
            told = f"only __init__ knows `{error.name}`: keep it there, as self.{error.name}"
        check.that(not error.name, told)
        raise
    extra = min(mine.state_dict().keys() - check.given(*sizes).state_dict().keys(), default="")
    check.that(
        not extra, f"`{extra}` would be saved with the weights: register_buffer(..., persistent=False)"
    )
    return out


def part(check: Check, answer: Callable[..., Any], *case: Any) -> Any:
    """Return what a module returns, which must be one tensor."""
    out = outputs(check, answer, *case)
    check.that(isinstance(out, torch.Tensor), "return the result alone, a tensor: out, _ = attention(...)")
    return out


CausalSelfAttention = lesson.exercise(
    "CausalSelfAttention",
    run=part,
    cases=[((12, 3), random(2, 5, 12)), ((10, 2), random(3, 7, 10, seed=1))],
    rtol=1e-3,
    atol=1e-4,
)


def texts(B: int, T: int, V: int, seed: int) -> torch.Tensor:
    """Return token ids (B, T)."""
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))


embed = lesson.exercise(
    "embed",
    run=learnable,
    cases=[
        (texts(2, 5, 11, 0), random(11, 3), random(7, 3, seed=5)),
        (texts(3, 3, 5, 1), random(5, 6, seed=1), random(4, 6, seed=6)),
    ],
)

layer_norm = lesson.exercise(
    "layer_norm",
    run=learnable,
    cases=[
        (scale * random(*shape) + scale, *random(2, shape[-1], seed=8), *epsilon)
        for shape, scale, epsilon in (((5, 7), 1.0, ()), ((2, 3, 6), 0.003, ()), ((2, 5), 1.0, (0.5,)))
    ],
    forbid=("layer_norm", "LayerNorm", "batch_norm", "group_norm", "native_layer_norm"),
)

MLP = lesson.exercise(
    "MLP",
    run=part,
    cases=[((6,), random(2, 3, 6)), ((5,), random(2, 3, 5, seed=1))],
)

Block = lesson.exercise(
    "Block",
    run=part,
    cases=[((6, 2), random(2, 5, 6)), ((12, 3), random(2, 5, 12, seed=1))],
    rtol=1e-3,
    atol=1e-4,
)

ARGUMENTS = ("vocab_size", "context_length", "n_layer", "n_head", "n_embd")


def whole(check: Check, answer: Callable[..., Any], sizes: tuple[int, ...], tokens: torch.Tensor) -> Any:
    """Return a GPT's logits; it has n_layer different blocks, and its head is its token table."""
    other = next((name for name in ARGUMENTS if name not in inspect.signature(answer).parameters), "")
    check.that(not other, f"the contract calls an argument `{other}`, and so do the cells below")
    mine = answer(**dict(zip(ARGUMENTS, sizes, strict=True)))
    blocks = getattr(mine, "blocks", None)
    check.that(not isinstance(blocks, list), "a plain list hides its parameters: use nn.ModuleList")
    alone = blocks is None or len(blocks) == len({*blocks}) == sizes[2]
    check.that(alone, "as many blocks as n_layer says, and a new Block for each")
    out = part(check, lambda *sizes: answer(**dict(zip(ARGUMENTS, sizes, strict=True))), sizes, tokens)
    tied = getattr(mine.head, "weight", None) is mine.token_embedding.weight
    check.that(tied, "the head's weight is the token table itself: head.weight = token_embedding.weight")
    return out


GPT = lesson.exercise(
    "GPT",
    run=whole,
    cases=[((11, 7, 2, 2, 6), texts(2, 5, 11, 5)), ((13, 4, 3, 3, 6), texts(2, 4, 13, 4))],
    rtol=1e-3,
    atol=1e-4,
)


def package(**sizes: int) -> PackageGPT:
    """Return the package's GPT at a small size, with all its numbers drawn anew."""
    sizes = {"vocab_size": 11, "context_length": 7, "n_layer": 1, "n_head": 2, "n_embd": 6} | sizes
    model = PackageGPT(ModelConfig(**sizes)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.4, generator=generator)
    return model


def stepped(check: Check, answer: Callable[..., Any], tokens: torch.Tensor, targets: torch.Tensor) -> Any:
    """Return how far a step moves the parameters, all in one row, and the loss that it returns."""
    model = package()
    F.cross_entropy(model(targets).flatten(0, 1), tokens.flatten()).backward()  # an earlier step's gradient
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)  # it moves by the gradient itself
    loss = check.run(answer, model, sgd, tokens, targets)
    check.that(not isinstance(loss, torch.Tensor), "return a float: .item() makes one of a tensor")
    return {"move": before - nn.utils.parameters_to_vector(model.parameters()).detach(), "loss": loss}


training_step = lesson.exercise(
    "training_step",
    run=stepped,
    cases=[(texts(4, 7, 11, seed), texts(4, 7, 11, seed + 2)) for seed in (0, 1)],
    rtol=1e-3,
    atol=1e-5,
)

LAYER = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
NAMES = ["wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"] + [
    f"h.{n}.{name}.{kind}" for n in range(12) for name in LAYER for kind in ("weight", "bias")
]

gpt2_name = lesson.exercise(
    "gpt2_name",
    cases=[(name,) for name in NAMES],
)
