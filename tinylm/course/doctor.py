"""Doctor: find the first tensor that is not finite, and tell whether a run's losses go as healthy runs' did.

`examine` knows a run by its losses alone. It can't see a fault that leaves the losses as they were
(tests/course/test_doctor.py lists the faults that it sees, and those that it doesn't).
Taught in notebook 09_precision."""

import contextlib
import copy
import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn

from tinylm.batch import Batch
from tinylm.device import Precision, seeded_rng
from tinylm.errors import RunError
from tinylm.model.losses import LossFn, next_token_loss
from tinylm.runs import paths
from tinylm.runs.records import Record, read_record

LARGE = 1000.0  # the weights of a GPT that learns stay far below this
SMOOTH = 0.8  # the share of the running mean that is kept at each logged step: about the mean of nine
WIDE = 6.0  # half a band in standard deviations: a healthy run is compared hundreds of times
FLOOR = 0.01  # half a band is at least this share of the loss, in case a few runs agree by luck
ALIKE = ("steps", "tokens_per_step", "optimizer", "schedule", "log_every")  # equal where curves compare


def first_bad(
    model: nn.Module, batch: Batch, *, loss_fn: LossFn = next_token_loss, precision: Precision | None = None
) -> str | None:
    """Name the first tensor of a forward and a backward pass that is not finite, and the likely cause.

    A module's *input* is named when no output before it is bad: an operation between two modules made it.
    Returns a sentence, or None when weights, loss and gradients are finite: an infinity that masks a score is
    fine. The model and the random state stay as they were."""
    sizes = magnitudes(model, batch, loss_fn, precision)
    bad = [key for key, size in sizes.items() if not math.isfinite(size)]
    if not any(part in ("weight", "loss", "norm") for part, _ in bad):
        return None
    # An infinity in the input of a module whose output is finite was put there on purpose: it masks scores.
    fine = {name for (part, name), size in sizes.items() if part == "output" and size < math.inf}
    part, name = next((part, name) for part, name in bad if part != "input" or name not in fine)
    largest, where = max((size, name) for (part, name), size in sizes.items() if part == "weight")
    exact = math.inf
    if precision is not None and precision.dtype == "float16":
        exact = magnitudes(model, batch, loss_fn, None)[part, name]
    if part == "weight":
        cause = "an update before broke it: its learning rate was too high, or its gradient was not finite"
    elif part == "loss" and not batch.scored().any():
        cause = f"a bad batch: 0 of {batch.targets.numel():,} targets are scored, so the mean is 0/0"
    elif math.isfinite(exact):
        cause = f"float16's range is too small: float32 gives {exact:,.6g} here, and float16 ends at 65,504"
    elif largest > LARGE:
        cause = f"the learning rate was too high: {where} holds numbers as large as {largest:.3g}"
    else:
        cause = f"no weight is above {largest:.3g}, so an operation such as 0/0 or the log of 0 made it"
    holds = "nan" if math.isnan(sizes[part, name]) else "infinity"
    return f"the {part}{' ' if part == 'weight' else ' of '}{name} holds {holds}: {cause}"


def magnitudes(
    model: nn.Module, batch: Batch, loss_fn: LossFn, precision: Precision | None
) -> dict[tuple[str, str], float]:
    """Return each tensor's largest absolute number (nan where it holds one), in the order of computation.

    The keys are (part, name): the part is weight, input, output, loss, gradient or norm, the name that of the
    parameter or module, such as blocks.2.mlp.up. The pass runs on a copy of the model."""
    model = copy.deepcopy(getattr(model, "_orig_mod", model))  # a compiled model does not call hooks
    model.zero_grad()
    device, sizes = next(model.parameters()).device, {}
    batch = batch.to(device)

    def look(part: str, name: str, tensors: object) -> None:
        for tensor in tensors if isinstance(tensors, tuple) else (tensors,):
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or not tensor.numel():
                continue
            size = float(tensor.detach().abs().max())
            if not math.isfinite(size) and math.isfinite(sizes.get((part, name), 0.0)):
                sizes.pop((part, name), None)  # an earlier call of this module was fine: this one comes later
            sizes.setdefault((part, name), size)
            if part in ("weight", "output") and tensor.requires_grad:
                tensor.register_hook(lambda gradient: look("gradient", name, gradient))

    for name, weight in model.named_parameters():
        look("weight", name, weight)
    for name, module in model.named_modules():
        at = name or "the model"
        # Only the first input: masks come after it, and may hold infinity.
        module.register_forward_pre_hook(lambda _, inputs, at=at: look("input", at, inputs[:1]))
        module.register_forward_hook(lambda _, __, output, at=at: look("output", at, output))
    with seeded_rng(device, 0), torch.enable_grad():
        with precision.autocast() if precision else contextlib.nullcontext():
            nats, _ = loss_fn(model, batch)  # (B, T)
        loss = (nats * batch.scored()).sum() / batch.scored().sum()
        look("loss", "the batch", loss)
        if loss.requires_grad:
            loss.backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return sizes | {("norm", "all gradients"): float(nn.utils.get_total_norm(gradients))}


def examine(record: Record, others: Sequence[Record] | None = None) -> list[str]:
    """Say where the training and the validation loss of a run first leave the band of healthy runs.

    others: records of healthy runs that differ in their seed alone; by default the course's records that
    compare with this one. Returns a sentence for each loss that leaves its band, and none for a healthy run.
    Raises RunError for fewer than three others, and for curves that don't compare."""
    others = comparable(record) if others is None else others
    if len(others) < 3 or any(_kind(other) != _kind(record) for other in others):
        raise RunError(f"{len(others)} records make no band: give 3 or more that differ in the seed alone")
    said = []
    for which, curve in (("training loss (smoothed)", training_curve), ("validation loss", validation_curve)):
        band = healthy_band([curve(other) for other in others])
        for step, loss in curve(record).items():
            low, high = band.get(step, (-math.inf, math.inf))
            if not low <= loss <= high:  # nan is never between
                went = f"{loss:.3f}, {len(others)} healthy runs stay between {low:.3f} and {high:.3f}"
                said.append(f"step {step:,}: the {which} is {went}: {_cause(record, others, loss < low)}")
                break
    return said


def comparable(record: Record) -> list[Record]:
    """Return the course's records of the same text, model and plan. Raises RunError for fewer than three."""
    if not record.steps:
        raise RunError("the run has not logged a step yet: try again when it has")
    kept = map(read_record, sorted((paths.DATA / "runs").glob("*.jsonl")))
    others = [old for old in kept if old.what == "training" and old.header != record.header]
    same = [old for old in others if _kind(old) == _kind(record)]
    if len(same) < 3:
        here = f"of {record.header['recipe']} with these settings the course ships {len(same)}"
        way_out = "type `python -m tinylm train shakespeare_baseline`, then ask about that run"
        raise RunError(f"the doctor compares a run with 3 or more healthy ones, and {here}: {way_out}")
    return same


def training_curve(record: Record) -> dict[int, float]:
    """Return the smoothed training loss by step: a running mean, in which no value depends on a later one."""
    losses = {line["step"]: _number(line["loss"]) for line in record.steps}
    means = accumulate(losses.values(), lambda mean, loss: SMOOTH * mean + (1 - SMOOTH) * loss)
    return dict(zip(losses, means, strict=True))


def validation_curve(record: Record) -> dict[int, float]:
    """Return the validation loss by step."""
    return {line["step"]: _number(line["loss"]) for line in record.evaluations}


def healthy_band(curves: Sequence[dict[int, float]]) -> dict[int, tuple[float, float]]:
    """Return (lowest, highest) by step: the mean of the curves, and WIDE standard deviations to each side.

    A few runs say little about the deviation at one step. So we take one deviation, as a share of the loss,
    over all steps together. The 1 + 1/n is there because the mean of n runs has an error of its own."""
    steps = [step for step in curves[0] if all(step in curve for curve in curves)]
    if not steps:
        return {}
    losses = np.array([[curve[step] for step in steps] for curve in curves])  # (n, steps)
    mean, variance = losses.mean(axis=0), losses.var(axis=0, ddof=1) * (1 + 1 / len(curves))
    half = mean * max(WIDE * np.sqrt(np.mean(variance / mean**2)), FLOOR)
    return dict(zip(steps, zip((mean - half).tolist(), (mean + half).tolist(), strict=True), strict=True))


def _cause(record: Record, others: Sequence[Record], is_low: bool) -> str:
    """Guess why a loss left its band from the first update: later ones are relative to weights that grew."""
    if is_low:
        return "lower than theirs, so a setting differs, or the model sees its targets or trained on them"
    ours, *theirs = (
        next((line["update_ratio"] for line in run.steps if line["update_ratio"]), math.nan)
        for run in (record, *others)
    )
    times = ours / float(np.mean(theirs))
    first = f"its first updates were {times:.2g} times as large as theirs, so the learning rate is too"
    if times > 2:
        return f"{first} high, or its warm-up too short"
    if times < 0.5:
        return f"{first} low"
    known = "" if math.isnan(times) else "its first updates were as large as theirs, so "
    return f"{known}look at its data and its other settings"


def _number(loss: float | None) -> float:
    return math.nan if loss is None else loss  # JSON has no nan


def _kind(record: Record) -> list[object]:
    """Return what is equal in runs whose curves compare. The parameter count stands for the model."""
    names = ("recipe", "data", "tokenizer", "parameters")
    return [record.header.get(name) for name in names] + [record.header["train"].get(name) for name in ALIKE]
