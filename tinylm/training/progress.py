"""State: all that the next optimiser step depends on, as live objects and as names, tensors and numbers.

Weights, the optimiser's memory, the float16 scaler, progress, the config with the schedule in it, and which
batches are read. No random state: dropout's masks and the order of the data are functions of the seed and the
step. Refuses to know files (checkpoint) and when to stop (loop).
Taught in notebook 04_training."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tinylm.errors import CheckpointError
from tinylm.text.batches import Batches
from tinylm.training.config import TrainConfig
from tinylm.training.optim import Optimizers


@dataclasses.dataclass
class Progress:
    """How far a run is. Carried over by a checkpoint, so that a resumed run counts on."""

    step: int = 0
    """Optimiser steps finished; the next one has this number."""
    tokens: int = 0
    """Tokens trained on."""
    seconds: float = 0.0
    """Time taken, evaluations included."""
    losses: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    """Every validation loss so far: (steps finished, nats per token)."""

    @property
    def best(self) -> tuple[int, float] | None:
        """The lowest validation loss and when it was: for choosing a checkpoint, never for reporting."""
        return min(self.losses, key=lambda pair: pair[1], default=None)

    @property
    def since_best(self) -> int:
        """Evaluations in a row, up to the last, that did not lower the loss: what early stopping counts."""
        return len(self.losses) - 1 - self.losses.index(self.best) if self.losses else 0


@dataclasses.dataclass
class TrainingState:
    """A run in the making. The loop changes it in place."""

    model: nn.Module
    optimizer: torch.optim.Optimizer | Optimizers
    scaler: torch.amp.GradScaler
    config: TrainConfig
    batches: Batches
    progress: Progress = dataclasses.field(default_factory=Progress)

    def evaluation_is_due(self) -> bool:
        """Every eval_every steps and after the last; one that was cut short is due when the run goes on."""
        step, every = self.progress.step, self.config.eval_every
        now = step > 0 and (step == self.config.steps or (every > 0 and step % every == 0))
        return now and not (self.progress.losses and self.progress.losses[-1][0] == step)

    def stops_early(self) -> bool:
        """Whether config.patience evaluations in a row have not lowered the best loss."""
        return 0 < self.config.patience <= self.progress.since_best

    def identity(self) -> dict[str, Any]:
        """What must not change when a run goes on, as plain data: training numbers, batches, optimiser."""
        groups = [dict(group) for group in optimizer_data(self.model, self.optimizer)[0]["groups"]]
        for group in groups:
            group.pop("lr")  # set anew at each step
        identity = {
            "train": dataclasses.asdict(self.config),
            "batches": self.batches.fingerprint(),
            "optimizer": {"kind": type(self.optimizer).__name__, "groups": dict(enumerate(groups))},
        }
        return json.loads(json.dumps(identity))  # as it will be read back


def optimizer_data(
    model: nn.Module, optimizer: torch.optim.Optimizer | Optimizers
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An optimiser's memory as JSON and tensors, by the names of the parameters.

    Takes whatever speaks torch's flat format: {"state": {index: {name: tensor or number}}, "param_groups":
    [...]}. The tensors are called PARAMETER/NAME, such as head.weight/exp_avg; numbers go to the JSON."""
    flat, names = optimizer.state_dict(), _names(model, optimizer)
    numbers: dict[str, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    for index, memory in flat["state"].items():
        for key, value in memory.items():
            if isinstance(value, Tensor):
                tensors[f"{names[index]}/{key}"] = value
            else:
                numbers.setdefault(names[index], {})[key] = value
    groups = [{**group, "params": [names[i] for i in group["params"]]} for group in flat["param_groups"]]
    return {"groups": groups, "numbers": numbers}, tensors


def restore_optimizer(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Optimizers,
    data: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """The inverse of optimizer_data, for an optimiser over the same parameters in the same groups."""
    indices = {name: index for index, name in _names(model, optimizer).items()}
    state: dict[int, dict[str, Any]] = {indices[name]: dict(n) for name, n in data["numbers"].items()}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition("/")
        state.setdefault(indices[parameter], {})[key] = tensor.clone()  # the optimiser writes into it
    now = optimizer.state_dict()["param_groups"]
    groups = [
        {key: _like(value, group.get(key)) for key, value in saved.items()} | {"params": group["params"]}
        for saved, group in zip(data["groups"], now, strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def differences(saved: Any, now: Any, name: str = "") -> Iterator[str]:
    """Each field in which two nested dicts differ, with both values: "train.seed was 5 and is 6"."""
    if isinstance(saved, dict) and isinstance(now, dict):
        keys = [*saved, *(key for key in now if key not in saved)]
        for key in keys:
            yield from differences(
                saved.get(key, "not there"), now.get(key, "not there"), f"{name}.{key}" if name else str(key)
            )
    elif saved != now:
        yield f"{name} was {_short(saved)} and is {_short(now)}"


def check_unchanged(what: str, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises CheckpointError naming every field in which what was saved differs from what is going on."""
    if found := list(differences(saved, now)):
        raise CheckpointError(
            f"{what} belongs to another run: {', '.join(found)}; go on with what was saved, "
            f"or start a new run"
        )


def _names(model: nn.Module, optimizer: torch.optim.Optimizer | Optimizers) -> dict[int, str]:
    """The name of the parameter behind each index of the flat format."""
    called = {id(parameter): name for name, parameter in model.named_parameters()}
    pairs = zip(optimizer.state_dict()["param_groups"], optimizer.param_groups, strict=True)
    indexed = [pair for flat, live in pairs for pair in zip(flat["params"], live["params"], strict=True)]
    if strangers := sum(id(parameter) not in called for _, parameter in indexed):
        raise CheckpointError(
            f"{strangers} of the optimiser's {len(indexed)} parameters are none of the model's: "
            f"make the optimiser from this model"
        )
    return {index: called[id(parameter)] for index, parameter in indexed}


def _like(value: Any, example: Any) -> Any:
    """JSON has no tuples: what is one in the optimiser becomes one again."""
    return tuple(value) if isinstance(example, tuple) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"
