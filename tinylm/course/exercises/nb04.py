"""Checks of notebook 04_training."""

import math

import torch
from torch import nn

from tinylm.course.checks import exercise, marked
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import cross_entropy
from tinylm.training.optim import learning_rate


@marked("4.1 · when to stop")
def stop_at(check: exercise, mine) -> None:
    """The place of the patience-th evaluation in a row without a new lowest loss."""
    made = [2.9, 2.5, 3.0, 2.4, 2.45, 2.42, 2.41, 2.8]
    answers = [check.run(mine, list(made), n) for n in (1, 2, 3)]
    usual = {
        "that is the best evaluation: nobody knows it is the best before the later ones": [3, 3, 3],
        "that is the best evaluation before the stop: return where it stops": [1, 3, 3],
        "compare with the lowest so far, not with the one before": [2, 7, 7],
        "one too late: the patience-th evaluation without a new lowest ends it": [5, 6, 7],
        "one too early: that evaluation is only the one before the patience-th": [1, 4, 5],
        "a new lowest loss starts the count afresh": [2, 4, 5],
        "places count from 0": [3, 6, 7],
        "turned over: a *lower* loss is better": [1, 3, 4],
        "that is a loss: its place in the list is asked": [made[2], made[5], made[6]],
        "that is the lowest loss: the place where it stops is asked": [2.4, 2.4, 2.4],
        "the lowest loss before the stop: the place where it stops is asked": [2.5, 2.4, 2.4],
        "how many had to wait is not asked, but where it stops": [1, 2, 3],
    }
    check.close(answers, [2, 5, 6], "go through the list by hand with patience 1", usual=usual)
    last = mine(list(made), 9)
    check.that(last is not None, "it never stops with patience 9: then the last place")
    check.close(last, 7, "it never stops with patience 9: then the last place")
    check.close(check.run(mine, [3.0, 3.0, 3.0, 2.0], 2), 2, "an equal loss is not a new lowest")
    check.close(check.run(mine, [3.0, 2.0, 1.0], 1), 2, "a loss that always falls never stops the run")


@marked("4.2 · hold, then fall")
def my_wsd(check: exercise, mine) -> None:
    """Warm-up, peak up to round(0.8 · (steps - 1)), a straight line to the minimum at steps - 1."""
    numbers = {"peak": 2e-3, "minimum": 3e-4, "warmup_steps": 7, "steps": 104}
    rates = [mine(step, **numbers) for step in range(104)]
    check.attempted(*(rate for rate in rates if rate is ...), rates[0])
    gap = next((step for step, rate in enumerate(rates) if rate is None), None)
    check.that(gap is None, f"at step {gap} your function returned None: is a `return` missing?")
    right = [learning_rate(step, schedule="wsd", **numbers) for step in range(104)]
    linear = [learning_rate(step, schedule="linear", **numbers) for step in range(104)]
    hold, warm, falls = right[:83], right[7:], [(step - 82) / 21 for step in range(83, 104)]
    usual = {
        "where is the warm-up?": [2e-3] * 7 + warm,
        "step 0 already learns, as in my_cosine": [2e-3 * step / 7 for step in range(7)] + warm,
        "the warm-up is my_cosine's: (step + 1) / (warmup_steps + 1)": [2e-3 * (s + 1) / 7 for s in range(7)]
        + warm,
        "hold the peak first: the fall begins in the last fifth": linear,
        "the fall is missing": [*hold, *[2e-3] * 21],
        "the fall begins at round(0.8 * (steps - 1)): the last step is steps - 1": [*hold, 2e-3]
        + [2e-3 - 1.7e-3 * p / 20 for p in range(1, 21)],
        "it falls to 0, not to the minimum": hold + [2e-3 * (1 - p) for p in falls],
        "one step late: the last step has the minimum": hold + [2e-3 - 1.7e-3 * p * 21 / 22 for p in falls],
        "straight, not a cosine": hold + [3e-4 + 8.5e-4 * (1 + math.cos(math.pi * p)) for p in falls],
        "turned over: it falls from the peak to the minimum": hold + [3e-4 + 1.7e-3 * p for p in falls],
        "it drops to the minimum at once: a straight line is asked": hold + [3e-4] * 21,
        "the minimum is where it ends, not what it loses": hold + [2e-3 - 3e-4 * p for p in falls],
    }
    check.close(rates, right, "compare with the figure of section 3", usual=usual, atol=1e-9)
    numbers = {"peak": 1e-3, "minimum": 1e-4, "warmup_steps": 3, "steps": 103}
    check.close(mine(82, **numbers), 1e-3, "round(0.8 * 102) is 82: still the peak")
    check.close(mine(102, **numbers), 1e-4, "the last of 103 steps is 102: it has the minimum", atol=1e-9)


@marked("4.3 · mend this step")
def mended_step(check: exercise, mine) -> None:
    """The gradient of the whole batch, clipped once; the whole batch's loss."""
    config = ModelConfig(vocab_size=11, context_length=8, n_layer=1, n_head=2, n_embd=16)
    generator = torch.Generator().manual_seed(4)
    tokens, targets = torch.randint(11, (2, 12, 8), generator=generator)  # (B, T) each

    def model() -> GPT:
        return GPT(config, generator=torch.Generator().manual_seed(5))

    def gradient(n: int, clear: bool = False, divide: bool = True) -> torch.Tensor:
        own = model()
        for x, y in zip(tokens.chunk(n), targets.chunk(n), strict=True):
            if clear:
                own.zero_grad()
            (cross_entropy(own(x), y) / (n if divide else 1)).backward()
        return torch.cat([p.grad.flatten() for p in own.parameters()])  # (N,)

    def moved(n: int, limit: float) -> tuple[torch.Tensor, float]:
        own = model()
        cross_entropy(own(tokens), targets).backward()  # the slopes of an earlier step still lie there
        start = torch.cat([p.detach().flatten() for p in own.parameters()])  # (N,)
        sgd = torch.optim.SGD(own.parameters(), lr=1.0)  # it moves by the gradient itself
        loss = check.run(mine, own, sgd, list(zip(tokens.chunk(n), targets.chunk(n), strict=True)), limit)
        return start - torch.cat([p.detach().flatten() for p in own.parameters()]), loss

    whole, near = gradient(1), {"rtol": 1e-3, "atol": 1e-5}
    norm = nn.utils.get_total_norm([whole])
    for n in (4, 3):
        last, total = gradient(n, clear=True), gradient(n, divide=False)
        usual = {"only the last piece is left: clear before the loop": last}
        usual |= {"only the last piece is left, and it counts as if it were all": n * last}
        usual |= {"divide each loss by the number of pieces": total}
        usual |= {"the slopes of the step before are still there: clear them": 2 * whole}
        usual |= {"the slopes of the step before are still there, and no division": total + whole}
        usual |= {"nothing moved: is optimizer.step() there?": 0 * whole}
        usual |= {
            "divide by the number of pieces, which is not always 4": total / 4,
            "once is enough": whole / n,
        }
        (free, loss), (clipped, _) = moved(n, 1e9), moved(n, 0.1)
        check.close(free, whole, "not the gradient of the whole batch", usual=usual, **near)
        usual = {"it is not clipped: clip between the last backward and the step": whole}
        check.close(clipped, 0.1 * whole / norm, "clip once, after the last backward", usual=usual, **near)
        check.that(not isinstance(loss, torch.Tensor), "return a float: .item() makes one of a tensor")
        right = cross_entropy(model()(tokens), targets).item()
        last_loss = cross_entropy(model()(tokens.chunk(n)[-1]), targets.chunk(n)[-1]).item()
        usual = {"that is the sum of the pieces' losses: the whole batch's is their mean": n * right}
        usual |= {"that is the last piece's loss, divided": last_loss / n, "only the last piece's": last_loss}
        check.close(loss, right, "the whole batch's loss", usual=usual, rtol=1e-4)
