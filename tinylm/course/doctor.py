"""The doctor: the first tensor that is not finite, and whether a run goes as healthy ones went.

It knows a run by its losses alone: a fault that does them no harm it does not see (tests/course/test_doctor).
Taught in notebook 09_precision."""

import contextlib
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from tinylm.batch import IGNORE_INDEX, Batch
from tinylm.device import Precision, seeded_rng
from tinylm.errors import ConfigError, RunError
from tinylm.model.losses import LossFn, next_token_loss
from tinylm.runs import paths
from tinylm.runs.records import Record, read_record
from tinylm.training.progress import TrainingState, differences

LARGE = 1000.0  # no weight of a GPT that learns comes near
SMOOTH = 0.8  # so much of the running mean stays at the next logged step: a mean of about nine
WIDE, FLOOR = 6.0, 0.01  # half a band: standard deviations, and at least this share of the loss
ALIKE = ("steps", "tokens_per_step", "optimizer", "schedule", "log_every")  # where curves compare


@dataclass(frozen=True)
class Finding:
    """The first tensor that is not finite, and why; as text, one sentence."""

    part: str  # weight, input, output, loss, gradient or norm
    name: str  # of the parameter or module, such as blocks.2.mlp.up; the whole one is "the model"
    holds: str  # nan or infinity
    cause: str

    def __str__(self) -> str:
        of = " " if self.part == "weight" else " of "
        return f"the {self.part}{of}{self.name} holds {self.holds}: {self.cause}"


def first_bad(
    model: nn.Module,
    tokens: Tensor,
    targets: Tensor | None = None,
    *,
    loss_fn: LossFn = next_token_loss,
    precision: Precision | None = None,
    scale: float = 1.0,
) -> Finding | None:
    """The first tensor of a forward and a backward pass that is not finite, with its cause. None where the
    weights, the loss and the gradient are finite: an infinity that masks a score harms nobody.

    tokens, targets (B, T) int64; without targets they are the tokens that come next. The backward pass is of
    the mean loss times `scale`, as a scaler has it. A module's input is named where no output before it is
    bad: what stands between the modules made it. The model and the random state stay as they were."""
    if targets is None:
        tokens, targets = tokens[:, :-1], tokens[:, 1:]
    seen = magnitudes(model, tokens, targets, loss_fn, precision, scale)
    bad = [key for key, size in seen.items() if not math.isfinite(size)]
    if not {part for part, _ in bad} & {"weight", "loss", "norm"}:
        return None
    fine = {("input", name) for (part, name), size in seen.items() if part == "output" and size < math.inf}
    found = next(key for key in bad if key not in fine)
    size, grown = max((size, name) for (part, name), size in seen.items() if part == "weight")
    most, exact = torch.finfo(torch.float16).max, math.inf
    if "float16" in (precision and precision.dtype, str(next(model.parameters()).dtype)[6:]):
        exact = magnitudes(copy.deepcopy(model).float(), tokens, targets, loss_fn, None, scale)[found]
    if found[0] == "weight":
        cause = "an update before broke it: its learning rate was too high, or its gradient was not finite"
    elif found[0] == "loss" and not (targets != IGNORE_INDEX).any():
        cause = f"a bad batch: 0 of {targets.numel():,} targets are scored, so the mean is 0/0"
    elif math.isfinite(exact):  # too large for float16 alone, here or in what was computed on the way
        cause = f"float16 overflow: {exact:,.0f} is above {most:,.0f}"
        if exact <= most:
            cause = (
                f"float16's range: it is {exact:.3g}, but comes of numbers above {most:,.0f}, or too small"
            )
        if found[0] == "gradient" and scale > 1:
            cause += f" with the loss times {scale:,.0f}; a scaler leaves such a step out, and halves that"
        if size > LARGE:
            cause += f"; {grown} holds {size:,.0f}, so perhaps the learning rate was too high"
    elif size > LARGE:
        cause = f"the learning rate was too high: {grown} holds numbers as large as {size:.3g}"
    else:
        cause = f"no weight is above {size:.3g}, so it comes of an operation such as 0/0 or the log of 0"
    return Finding(*found, "nan" if math.isnan(seen[found]) else "infinity", cause)


def magnitudes(
    model: nn.Module,
    tokens: Tensor,
    targets: Tensor,
    loss_fn: LossFn = next_token_loss,
    precision: Precision | None = None,
    scale: float = 1.0,
) -> dict[tuple[str, str], float]:
    """What first_bad looks through: each tensor's largest absolute number, nan where it holds one, in the
    order in which they are made, by the part and the name that a Finding has."""
    model = getattr(model, "_orig_mod", model)  # of a compiled one: there hooks are not asked
    seen, hooks, device = {}, [], next(model.parameters()).device
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]  # a BatchNorm writes into its own
    batch = Batch(tokens, targets).to(device)

    def look(part: str, name: str, tensors: object) -> None:
        for tensor in tensors if isinstance(tensors, tuple) else (tensors,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
                size = float(tensor.detach().abs().max())
                if math.isfinite(seen.get((part, name), 0.0)) and not math.isfinite(size):
                    seen.pop((part, name), None)  # of a module that was called before: this comes later
                seen.setdefault((part, name), size)
                if part in ("weight", "output") and tensor.requires_grad:
                    hooks.append(tensor.register_hook(lambda gradient: look("gradient", name, gradient)))

    try:
        for name, weight in model.named_parameters():
            look("weight", name, weight)
        for name, module in model.named_modules():
            at = name or "the model"
            # After the first one come masks, which may hold infinity.
            hooks.append(module.register_forward_pre_hook(lambda _, x, at=at: look("input", at, x[:1])))
            hooks.append(module.register_forward_hook(lambda _, __, made, at=at: look("output", at, made)))
        with seeded_rng(device, 0), torch.enable_grad():
            with contextlib.nullcontext() if precision is None else precision.autocast():
                nats, _ = loss_fn(model, batch)
            loss = (nats * batch.scored()).sum() / batch.scored().sum()
            look("loss", "the batch", loss)
            learned = [weight for weight in model.parameters() if weight.requires_grad]
            gradients = torch.autograd.grad(loss * scale, learned, allow_unused=True) if learned else ()
    finally:
        for hook in hooks:
            hook.remove()
        for buffer, before in buffers:
            if not torch.equal(buffer, before):
                buffer.copy_(before)
    norm = nn.utils.get_total_norm([g.float() / scale for g in gradients if g is not None])
    return seen | {("norm", "all gradients"): float(norm)}


@dataclass(frozen=True)
class Bands:
    """Where healthy runs that differ in their seed alone went: (lowest, highest) by step, for each loss."""

    n: int
    plan: dict[str, Any]  # the settings that a run must share with them
    training: dict[int, tuple[float, float]]  # smoothed
    validation: dict[int, tuple[float, float]]
    updates: dict[int, float]  # the update ratio by step, mean over the runs

    @classmethod
    def of(cls, records: Sequence[Record]) -> Self:
        """Raises RunError for fewer than three records, and where their curves do not compare."""
        if (n := len(records)) < 3 or any(_kind(record) != _kind(records[0]) for record in records):
            raise RunError(f"{n} records make no band: give 3 or more that differ in the seed alone")
        steps, seen = zip(*((record.steps, record.evaluations) for record in records), strict=True)
        training = _band(steps[0], [smooth([line["loss"] for line in run]) for run in steps], SMOOTH)
        validation = _band(seen[0], [[line["loss"] for line in run] for run in seen])
        ratios = np.mean([[line["update_ratio"] or 0.0 for line in run] for run in steps], axis=0)
        updates = {line["step"]: ratio for line, ratio in zip(steps[0], ratios.tolist(), strict=True)}
        return cls(n, _plan(records[0].header["train"]), training, validation, updates)

    @classmethod
    def like(cls, record: Record) -> Self:
        """Of the course's own records that compare with this one. Raises RunError where three lack, and for a
        record without a curve."""
        if record.what != "training" or not isinstance(record.header.get("train"), dict):
            raise RunError(f"this {record.what} record has no curve: name a run of `python -m tinylm train`")
        if not record.steps:
            raise RunError("the run has not logged a step yet: ask again when it has")
        kept = [read_record(path) for path in sorted((paths.DATA / "runs").glob("*.jsonl"))]
        same = [old for old in kept if old.what == "training" and _kind(old) == _kind(record)]
        if len(same := [old for old in same if old.header != record.header]) >= 3:
            return cls.of(same)
        few = f"the course has {len(same)} records with the text, model, steps and schedule of this run"
        raise RunError(f"{few}, and a band needs 3: train shakespeare_baseline, which has 5")


class Doctor:
    """A callback for train: says in one line, and once, that a loss leaves the band of healthy runs.

    found: what it has said, by "training" and "validation"."""

    def __init__(self, bands: Bands, say: Callable[[str], object] = tqdm.write) -> None:
        self.bands, self.say, self.found = bands, say, {}
        self._steps: list[dict[str, Any]] = []

    def __call__(self, state: TrainingState) -> None:
        """Look at what has just happened. Raises ConfigError for a run of another length or schedule."""
        if unlike := ", ".join(differences(self.bands.plan, _plan(state.config.to_json()))):
            raise ConfigError(f"the bands are of other runs, {unlike}: make bands of runs like this one")
        if state.evaluation is not None:
            step, loss = state.progress.val_losses[-1]
            self.look("validation", {"step": step, "loss": loss})
        elif state.logged:
            self.look("training", asdict(state.result))

    def look(self, which: str, line: dict[str, Any]) -> None:
        """Look at a logged step ("training") or an evaluation ("validation"), as a record has it."""
        band, step, (loss,) = getattr(self.bands, which), line["step"], smooth([line["loss"]])
        if which == "training":
            self._steps.append(line)
            loss = smooth([line["loss"] for line in self._steps])[-1]
            if self._steps[0]["step"] > min(band) and len(self._steps) < 10:
                return  # it came late, and its mean is of too few
        low, high = band.get(step, (-math.inf, math.inf))
        if which not in self.found and step in band and not low <= loss <= high:  # nan is nowhere between
            went = f"{self.bands.n} healthy runs stay between {low:.3f} and {high:.3f}"
            what = f"the {which} loss" + " (smoothed)" * (which == "training")
            self.found[which] = f"step {step:,}: {what} is {loss:.3f}, {went}: {self._why(loss < low)}"
            self.say(self.found[which])

    def _why(self, is_low: bool) -> str:
        """The first update tells the rate: later the weights have grown with it, and with them what it is
        measured by."""
        low = "better than they can, by another setting or because it sees its targets, or trained on them"
        if is_low:
            return low
        pairs = [(line["update_ratio"], self.bands.updates.get(line["step"])) for line in self._steps]
        times = next((ours / theirs for ours, theirs in pairs if ours and theirs), None)
        if times is None or 0.5 < times < 2:
            known = "" if times is None else "its first updates were as large as theirs, so "
            return f"{known}look at its data and its other settings"
        rate = "the learning rate is too " + ("high, or its warm-up too short" if times > 1 else "low")
        return f"its first updates were {times:.2g} times as large as theirs, so {rate}"


def examine(record: Record, bands: Bands | None = None) -> list[str]:
    """What the doctor would have said during the run of this record, of a healthy one nothing.

    bands: by default those of the course's records that compare with it, Bands.like(record)."""
    doctor = Doctor(bands or Bands.like(record), say=lambda line: None)
    for which, lines in (("training", record.steps), ("validation", record.evaluations)):
        for line in lines:
            doctor.look(which, line)
    return list(doctor.found.values())


def smooth(losses: Sequence[float | None]) -> list[float]:
    """A running mean, in which each value looks at no later one; None, as a record has nan, is nan."""
    means: list[float] = []
    for loss in losses:
        loss = math.nan if loss is None else loss
        means.append(SMOOTH * means[-1] + (1 - SMOOTH) * loss if means else loss)
    return means


def _band(
    lines: list[dict[str, Any]], runs: list[list[float]], kept: float = 0.0
) -> dict[int, tuple[float, float]]:
    """WIDE deviations to each side of the mean: a healthy run has to stay inside at hundreds of looks.

    runs (n, S): losses of which `kept` of the last stays in the next. A few runs say little of the deviation
    at one step, so that those of 21 steps are taken together, the first ones' larger by what they average."""
    least = (1 - kept) / (1 + kept)  # of one loss's variance, which a long running mean has
    shares = least + (1 - least) * kept ** (2.0 * np.arange(len(lines)))  # (S,)
    middle, variance = np.mean(runs, axis=0), np.var(runs, axis=0, ddof=1) * (1 + 1 / len(runs)) / shares
    pooled = shares * [variance[max(0, i - 10) : i + 11].mean() for i in range(len(lines))]
    half = np.maximum(WIDE * np.sqrt(pooled), FLOOR * middle)
    edges = zip((middle - half).tolist(), (middle + half).tolist(), strict=True)
    return {line["step"]: edge for line, edge in zip(lines, edges, strict=True)}


def _plan(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings.get(name) for name in ALIKE}


def _kind(record: Record) -> list[Any]:
    """What is equal in runs whose curves compare. The count of the parameters stands for the model."""
    names = ("recipe", "data", "tokenizer", "parameters")
    return [record.header.get(name) for name in names] + [_plan(record.header["train"])]
