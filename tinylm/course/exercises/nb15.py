"""Exercises of notebook 15_optimizers."""

import inspect
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from tinylm.course.checks import Check
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson

lesson = Lesson(__file__)

SETTINGS: dict[str, dict[str, float]] = {
    "SGD": {"rate": 0.1, "decay": 0.3},
    "momentum": {"rate": 0.5, "beta1": 0.8},
    "AdamW": {"rate": 0.1, "beta1": 0.8, "beta2": 0.9, "epsilon": 0.03, "decay": 0.2},
    "AdamW with a beta2 of 0": {"rate": 0.1, "beta2": 0.0},
    "AdamW with the usual epsilon": {"rate": 0.01, "beta1": 0.9, "beta2": 0.99},
}


def moved(check: Check, answer: Any, kind: str, steps: int, part: str = "w") -> Any:
    """Return w after some steps with one state, or what the contract asks for and the state then holds."""
    w, state = torch.tensor([1.0, -2.0, 3.0]), {}
    for t in range(steps):
        w = check.run(answer, w, random(3, seed=t), state, **SETTINGS[kind])
    return w if part == "w" else "".join(name for name in "tmv" if name in state)


update = lesson.exercise(
    "update",
    run=moved,
    cases=[*((kind, steps) for kind in SETTINGS for steps in (1, 2, 5)), ("AdamW", 1, "state")],
)

newton_schulz = lesson.exercise(
    "newton_schulz",
    cases=[
        (random(3, 5), 1),
        (random(3, 5), 5),
        (random(6, 4, seed=1),),
        (9 * random(4, 4, seed=2), 3, 1.5, -0.5, 0.0),
        (1e-3 * random(3, 4, seed=3),),
        (torch.zeros(2, 3), 2),
    ],
    rtol=1e-3,
    atol=1e-5,
)


def small_gpt(tied: bool, frozen: bool) -> nn.Module:
    """Return a module with the names of the GPT of 03_transformer, and one that only looks like a block's."""
    model = nn.Module()
    model.token_embedding, model.position_embedding = nn.Embedding(11, 4), nn.Embedding(7, 4)
    model.blocks = nn.ModuleList(nn.Module() for _ in range(2))
    for block in model.blocks:
        block.attn_norm, block.attn, block.mlp = nn.LayerNorm(4), nn.Module(), nn.Module()
        block.attn.qkv, block.attn.proj = nn.Linear(4, 12), nn.Linear(4, 4)
        block.mlp.up, block.mlp.down = nn.Linear(4, 16), nn.Linear(16, 4)
    model.final_norm, model.head = nn.LayerNorm(4), nn.Linear(4, 11, bias=False)
    if tied:
        model.head.weight = model.token_embedding.weight
    if frozen:
        model.position_embedding.requires_grad_(False)
        model.blocks[0].mlp.requires_grad_(False)
        model.after_blocks = nn.ModuleDict({"proj": nn.Linear(4, 4)})
    return model


def placed(check: Check, answer: Any, tied: bool, frozen: bool) -> Any:
    """Return for each parameter the lists in which it is, by name."""
    model = small_gpt(tied, frozen)
    names = {id(p): name for name, p in model.named_parameters()}
    found = check.run(answer, model, kept=())
    if [type(part) in (list, tuple) for part in found] != [True, True]:
        return "not two lists"
    places: dict[str, list[str]] = {name: [] for name in names.values()}
    for part, parameters in zip(("Muon", "AdamW"), found, strict=True):
        for p in parameters:
            places.setdefault(names.get(id(p), f"a {type(p).__name__}"), []).append(part)
    return {name: " and ".join(parts) or "no list" for name, parts in places.items()}


split = lesson.exercise("split", run=placed, cases=[(True, False), (False, False), (True, True)])

SHAPES = (2, 5), (6, 3), (4, 4), (4, 4)
DEFAULTS = {"momentum": 0.95, "weight_decay": 0.0}
UNLIKE = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.3}


def stepped(check: Check, answer: Any, part: str, steps: int, settings: dict[str, float]) -> Any:
    """Return where the steps lead, or whether the gradients stay, or whether zero_grad clears them.

    The rate is halved before the fourth step."""
    check.attempted(getattr(answer, "step", ...))
    check.that("__init__" in vars(answer), "your class has no __init__, with two underscores on both sides")
    known = inspect.signature(answer).parameters
    for name, value in DEFAULTS.items():
        check.that(name in known and known[name].default == value, f"the default of {name} is {value}")
    parameters = [nn.Parameter(random(*shape, seed=9)) for shape in SHAPES]
    optimizer, gradients = answer(iter(parameters), **settings), []
    for t in range(steps):
        gradients = [random(*shape, seed=10 * k + t) for k, shape in enumerate(SHAPES)]
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient.clone()
        if t == 3:
            optimizer.lr = settings["lr"] / 2
        check.attempted(optimizer.step() or True)
    stay = [p.grad is not None and torch.equal(p.grad, g) for p, g in zip(parameters, gradients, strict=True)]
    optimizer.zero_grad()
    left = ["None" if p.grad is None else "a gradient" if p.grad.any() else "zeros" for p in parameters]
    return {"weights": [p.detach() for p in parameters], "gradients": all(stay), "zero_grad": left}[part]


Muon = lesson.exercise(
    "Muon",
    run=stepped,
    cases=[
        *(("weights", steps, {"lr": 0.1}) for steps in (1, 2, 5)),
        *(("weights", steps, UNLIKE) for steps in (1, 5)),
        *((part, 1, {"lr": 0.1}) for part in ("gradients", "zero_grad")),
    ],
    rtol=1e-3,
    atol=1e-5,
)


def rates(check: Check, answer: Any, plan: dict[str, float]) -> Any:
    """Return the rate of each step, those of the warm-up apart."""
    found, W = [answer(step, **plan) for step in range(int(plan["steps"]))], int(plan["warmup_steps"])
    check.attempted(*(rate for rate in found if rate is ...))
    gap = next((step for step, rate in enumerate(found) if rate is None), None)
    check.that(gap is None, f"at step {gap} your function returned None: is a `return` missing?")
    return {"warm-up": found[:W], "after it": found[W:]}


wsd = lesson.exercise(
    "wsd",
    run=rates,
    cases=[
        ({"peak": 2e-3, "warmup_steps": 7, "steps": 107},),
        ({"peak": 1.0, "warmup_steps": 6, "steps": 40, "share": 1.0},),
        ({"peak": 0.3, "warmup_steps": 3, "steps": 51, "share": 0.45},),
    ],
    atol=1e-9,
)


class Logged(torch.optim.SGD):
    """SGD that writes down the rate and the gradient of each step."""

    def __init__(self, w: Tensor, lr: float) -> None:
        super().__init__([w], lr=lr)
        self.w, self.rates, self.gradients = w, [], []

    def step(self, closure: Any = None) -> Any:
        """Write down, and step."""
        self.rates.append(self.param_groups[0]["lr"])
        self.gradients.append([] if self.w.grad is None else self.w.grad.tolist())
        return super().step(closure)


def scheduled(check: Check, answer: Any, part: str, steps: int, pieces: int, peak: float) -> Any:
    """Return the rates or the gradients of the steps, without torch's warnings."""
    w = nn.Parameter(torch.ones(2))
    optimizer = Logged(w, peak)

    def backward(step: int, piece: int) -> None:
        (w * torch.tensor([1.0 + step, 1.0 + piece])).sum().backward()

    with warnings.catch_warnings(action="ignore"):
        given = answer(optimizer, backward, steps, pieces)
    check.attempted(given or True)
    return {"the rates of the steps": optimizer.rates, "the gradients": optimizer.gradients}[part]


mended = lesson.exercise(
    "mended",
    run=scheduled,
    cases=[
        (part, *case)
        for part in ("the rates of the steps", "the gradients")
        for case in ((24, 4, 2e-3), (33, 3, 1e-3))
    ],
)

RUNS = [(1000.0, 2.9), (2000.0, 2.5), (4000.0, 2.3), (9000.0, 2.2)]
speed_up = lesson.exercise(
    "speed_up",
    cases=[
        ((8000.0, 2.4), RUNS),
        ((20_000.0, 2.21), RUNS),
        ((5000.0, 2.6), RUNS[:3]),
        ((3000.0, 3.1), RUNS[:3]),
    ],
)
