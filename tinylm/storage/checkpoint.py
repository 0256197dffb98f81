"""Checkpoint: a training state on disk, from which a run goes on as if it had never stopped.

    step_00000200/          one folder, which appears by one rename: 200 optimiser steps are finished
      model.safetensors, tokenizer.json, tinylm.json   the model, as storage.weights reads it
      training.safetensors                             the optimiser's memory
      training.json         progress, provenance, scaler, and the sha256 of the two files above and of itself

Nothing in it is code, and no run goes on from what fits only partly. Taught in notebook 04_training."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tinylm.device import best_device
from tinylm.errors import CheckpointError, ConfigError, short
from tinylm.storage import atomic, weights
from tinylm.training.config import TrainConfig
from tinylm.training.finite import first_nonfinite
from tinylm.training.progress import Progress, TrainingState, check_unchanged

FORMAT, VERSION = "tinylm training", 2
TENSORS, TRAINING = "training.safetensors", "training.json"
FIELDS = {
    "format": str,
    "version": int,
    "progress": {"step": int, "tokens": int, "seconds": float, "val_losses": list},
    "provenance": dict,
    "environment": {"torch": str, "device": str, "threads": int},
    "scaler": dict,
    "optimizer": {"kind": str, "numbers": dict},
    "files": {weights.ABOUT: dict, TENSORS: dict},
}
LAST = 2  # of the latest checkpoints that many are kept: one may be damaged, and there is another


@dataclasses.dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint read back: plain data, changed by nobody."""

    name: str
    """The folder's name, for sentences."""
    progress: Progress
    provenance: dict[str, Any]
    """What must not change when the run goes on: the settings of model and training, the data, ..."""
    environment: dict[str, Any]
    """torch, device and threads: where these differ, sums may round otherwise."""
    model: weights.StoredModel
    config: TrainConfig
    scaler: dict[str, Any]
    optimizer: dict[str, Any]
    tensors: dict[str, Tensor]
    """The optimiser's memory: PARAMETER/NAME, such as head.weight/exp_avg."""

    @property
    def tokenizer(self) -> dict[str, Any]:
        """What tokenizer_from_json reads."""
        return self.model.tokenizer

    @property
    def notes(self) -> dict[str, Any]:
        """What the run said about itself."""
        return self.model.notes

    def restore(self, state: TrainingState) -> None:
        """Put everything into a fresh state, in place; the next step is then the one never done.

        Raises CheckpointError, and changes nothing, naming each field in which the state is another one."""
        saved = self.provenance | {"optimizer": self.optimizer["kind"]}
        check_unchanged(self.name, saved, state.provenance | {"optimizer": type(state.optimizer).__name__})
        self.model.check_fit(state.model, self.name)
        memory = self._optimizer_state(state.model, state.optimizer)
        scaler = state.precision.scaler
        if self.scaler and scaler.is_enabled():
            fields = {name: type(value) for name, value in scaler.state_dict().items()}
            atomic.check_fields(self.scaler, fields, f"{self.name}: scaler")
            scaler.load_state_dict(self.scaler)
        self.model.fill(state.model)
        state.optimizer.load_state_dict(memory)
        state.progress = dataclasses.replace(self.progress, val_losses=list(self.progress.val_losses))

    def rounding(self, device: torch.device | str | None = None) -> str | None:
        """One sentence where a run that goes on, on this device (by default the best one), may differ in
        rounding from one never stopped; else None."""
        now = _environment(torch.device(device) if device else best_device())
        changed = [f"{key} {was} → {now[key]}" for key, was in self.environment.items() if now[key] != was]
        return f"equal up to rounding, not to the bit: {', '.join(changed)}" if changed else None

    def _optimizer_state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """What the optimiser's load_state_dict takes: its groups as they are now, its memory as it was.

        A tensor of its parameter's shape also gets its parameter's order in memory: torch's fused kernels go
        through both as they lie, and mix up the numbers of two that lie differently, without an error."""
        parameters = dict(model.named_parameters())
        indices = {name: index for index, name in _parameter_names(model, optimizer).items()}
        numbers = self.optimizer["numbers"]
        known = numbers.keys() | {name.rpartition("/")[0] for name in self.tensors}
        if strangers := sorted(known - indices.keys()):
            raise CheckpointError(
                f"{self.name} trained {strangers[0]}, which the optimiser does not have now"
            )
        memory = {indices[name]: dict(values) for name, values in numbers.items()}
        for name, tensor in self.tensors.items():
            parameter, _, key = name.rpartition("/")
            p = parameters[parameter]
            own = torch.empty_like(p if p.shape == tensor.shape else tensor, dtype=tensor.dtype, device="cpu")
            memory.setdefault(indices[parameter], {})[key] = own.copy_(tensor)  # the optimiser writes into it
        return {"state": memory, "param_groups": optimizer.state_dict()["param_groups"]}


def save(
    folder: str | Path, state: TrainingState, *, tokenizer: dict[str, Any], notes: dict[str, Any]
) -> None:
    """Write the whole state. `notes` go to tinylm.json; state.provenance is compared by `restore`.

    Raises CheckpointError, before anything is written, for numbers that are not finite and for what is no
    JSON; and OSError from the disk, which leaves nothing half-written and no earlier checkpoint touched."""
    home = Path(folder).resolve()
    weights.check(state.model, tokenizer=tokenizer, notes=notes)
    numbers, tensors = _optimizer_data(state.model, state.optimizer)
    if bad := first_nonfinite(tensors):
        raise CheckpointError(f"{bad} after step {state.progress.step}: {home.name} was not written")
    training = {
        "format": FORMAT,
        "version": VERSION,
        "progress": dataclasses.asdict(state.progress),
        "provenance": state.provenance,
        "environment": _environment(state.precision.device),
        "scaler": state.precision.scaler.state_dict(),
        "optimizer": {"kind": type(state.optimizer).__name__, "numbers": numbers},
    }
    atomic.json_bytes("the training state", training)
    with atomic.atomic_directory(home) as beside:
        about = weights.write(beside, state.model, tokenizer=tokenizer, notes=notes)
        training["files"] = {
            weights.ABOUT: about,
            TENSORS: weights.write_tensors(tensors, beside / TENSORS),
        }
        content = atomic.json_bytes("the training state", atomic.sealed(training))
        atomic.write(beside / TRAINING, content)


def load(folder: str | Path) -> TrainingCheckpoint:
    """Read and verify a whole checkpoint. Raises CheckpointError naming the file that is not as it was."""
    home, shown = atomic.recover_directory(Path(folder).resolve()), f"{folder}/{TRAINING}"
    data = atomic.read_json(home, TRAINING, folder)
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise CheckpointError(
            f"{shown} is {short(data.get('format'))} version {short(data.get('version'))}, this tinylm goes "
            f"on from {FORMAT!r} version {VERSION}: resume with the tinylm that wrote it, or train again"
        )
    atomic.check_fields(data, FIELDS, shown)
    name, progress = Path(folder).name, data["progress"]
    if (named := re.fullmatch(r"step_(\d+)", name)) and int(named[1]) != progress["step"]:
        raise CheckpointError(
            f"{folder} was saved after {progress['step']} steps: it is not that name's checkpoint"
        )
    try:
        pairs = [(int(step), float(loss)) for step, loss in progress["val_losses"]]
        numbers = {name: dict(values) for name, values in data["optimizer"]["numbers"].items()}
        config = TrainConfig.from_json(dict(data["provenance"]["train"]))
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{shown} cannot be read: {error}") from error
    model = weights.read(folder, expected=data["files"][weights.ABOUT])
    atomic.verify(home, TENSORS, data["files"][TENSORS], folder)
    # What an earlier version could not say yet is filled in, so that it is no difference to what is now.
    settings = {"train": config.to_json(), "model": json.loads(json.dumps(model.config.to_json()))}
    return TrainingCheckpoint(
        name=name,
        progress=Progress(**progress | {"val_losses": pairs}),
        provenance=data["provenance"] | settings,
        environment=data["environment"],
        model=model,
        config=config,
        scaler=data["scaler"],
        optimizer=data["optimizer"] | {"numbers": numbers},
        tensors=weights.read_tensors(home / TENSORS, folder),
    )


def folder_of(step: int) -> str:
    """The name of the checkpoint that was saved after so many steps."""
    return f"step_{step:08d}"


def saved_steps(home: Path) -> list[int]:
    """The steps for which a checkpoint is there, rising, without drafts and what is being removed."""
    name = re.compile(r"step_(\d{8,})|\.step_(\d{8,})\.earlier")
    return sorted({int(m[1] or m[2]) for path in home.glob("*step_*") if (m := name.fullmatch(path.name))})


def load_newest(home: str | Path) -> tuple[TrainingCheckpoint, list[str]]:
    """The newest checkpoint that is complete, and one sentence for each newer one that is not.

    Sentences call the folder what it is called here. Raises CheckpointError when none is complete."""
    passed_over: list[str] = []
    for step in reversed(saved_steps(Path(home))):
        try:
            return load(f"{home}/{folder_of(step)}"), passed_over
        except CheckpointError as damaged:
            passed_over.append(str(damaged))
        except OSError as error:  # a bad sector, a file where a folder should be
            name = Path(error.filename or folder_of(step)).name
            passed_over.append(f"{home}/{folder_of(step)} cannot be read: {name}: {error.strerror}")
    if not passed_over:
        raise CheckpointError(f"there is no checkpoint in {home}: nothing was saved yet")
    raise CheckpointError(
        f"none of the {len(passed_over)} checkpoints in {home} is complete: {passed_over[0]}"
    )


def rotate(home: Path, *, step: int, best: int | None, last: int = LAST) -> None:
    """Remove the checkpoints up to `step` that are neither among the `last` ones nor the best.

    Later ones, which a resumed run has not reached again, are left alone. One that is removed loses its name
    first, so that a cut leaves no half of it there. A disk that refuses is asked again next time."""
    reached = [saved for saved in saved_steps(home) if saved <= step]
    with contextlib.suppress(OSError):
        for saved in saved_steps(home):
            path = home / folder_of(saved)
            if not path.exists():  # a cut came while it was being replaced
                atomic.set_aside(path).rename(path)
            if saved in reached[: -last or None] and saved != best:
                path.rename(home / f".{path.name}.removed")
        for rest in home.glob(".step_*"):  # what a cut left behind, too
            shutil.rmtree(rest, ignore_errors=True)


def _environment(device: torch.device) -> dict[str, Any]:
    return {"torch": torch.__version__, "device": device.type, "threads": torch.get_num_threads()}


def _optimizer_data(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
    """An optimiser's memory by the names of the parameters: {PARAMETER: {NAME: number}} and the tensors.

    Nothing of its groups: their settings come from the config, and torch adds keys of its own to them."""
    names = _parameter_names(model, optimizer)
    numbers: dict[str, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    for index, memory in optimizer.state_dict()["state"].items():
        for key, value in memory.items():
            if isinstance(value, Tensor):
                tensors[f"{names[index]}/{key}"] = value
            else:
                numbers.setdefault(names[index], {})[key] = value
    return numbers, tensors


def _parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    """The name of the parameter behind each index of torch's flat format, which counts through all groups."""
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if strangers := sum(id(p) not in named for p in parameters):
        raise CheckpointError(
            f"{strangers} of the optimiser's {len(parameters)} parameters are none of the model's: "
            f"make the optimiser from this model"
        )
    return {index: named[id(p)] for index, p in enumerate(parameters)}
