"""Checkpoint: a training state on disk, from which a run goes on as if it had never stopped.

    step_00000200/          one folder, which appears by one rename: 200 optimiser steps are finished
      model.safetensors, tokenizer.json, tinylm.json   the model, as storage.weights reads it
      training.safetensors                             the optimiser's memory
      training.json         progress, provenance, scaler, and the sha256 of the two files above and of itself

Nothing in it is code, and no run goes on from what fits only partly. Taught in notebook 04_training."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tinylm.errors import CheckpointError, ConfigError
from tinylm.storage import atomic, weights
from tinylm.training.config import TrainConfig
from tinylm.training.progress import Progress, TrainingState, check_unchanged

FORMAT, VERSION = "tinylm training", 3
TENSORS, TRAINING = "training.safetensors", "training.json"
FIELDS = {"format": (FORMAT,), "version": (VERSION,), "optimizer": str}
FIELDS |= dict.fromkeys(("progress", "provenance", "environment", "scaler", "files"), dict)
LAST = 2  # of the latest checkpoints that many are kept: one may be damaged, and there is another


@dataclasses.dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint read back: plain data, changed by nobody."""

    name: str
    progress: Progress
    provenance: dict[str, Any]
    """What must not change when the run goes on: the settings of model and training, the data, ..."""
    environment: dict[str, Any]
    model: weights.Checkpoint
    config: TrainConfig
    scaler: dict[str, Any]
    optimizer: str
    """What kind it was, such as AdamW."""
    tensors: dict[str, Tensor]
    """The optimiser's memory: PARAMETER/NAME, such as head.weight/exp_avg."""

    def restore(self, state: TrainingState) -> None:
        """Put everything into a fresh state, in place; the next step is then the one never done.

        Raises CheckpointError, and changes nothing, naming each field in which the state is another one."""
        saved = self.provenance | {"optimizer": self.optimizer}
        check_unchanged(self.name, saved, state.provenance | {"optimizer": type(state.optimizer).__name__})
        memory, scaler = self._optimizer_state(state.model, state.optimizer), state.precision.scaler
        self.model.fill(state.model)
        if self.scaler and scaler.is_enabled():
            scaler.load_state_dict(self.scaler)
        state.optimizer.load_state_dict(memory)
        state.progress = dataclasses.replace(self.progress, val_losses=list(self.progress.val_losses))

    def rounding(self, device: torch.device | str) -> str | None:
        """One sentence where a run that goes on, on this device, may differ in rounding from one never
        stopped; else None."""
        now = _environment(torch.device(device))
        changed = [
            f"{key} {self.environment.get(key)} → {is_}"
            for key, is_ in now.items()
            if self.environment.get(key) != is_
        ]
        return f"equal up to rounding, not to the bit: {', '.join(changed)}" if changed else None

    def _optimizer_state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """What the optimiser's load_state_dict takes: its groups as they are now, its memory as it was.

        A tensor of its parameter's shape also gets its parameter's order in memory: torch's fused kernels go
        through both as they lie, and mix up the numbers of two that lie differently, without an error."""
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        places = {id(p): place for place, p in enumerate(trained)}  # in torch's flat list of all groups
        parameters = {name: p for name, p in model.named_parameters() if id(p) in places}
        memory: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            parameter, _, key = name.rpartition("/")
            if (p := parameters.get(parameter)) is None:
                raise CheckpointError(
                    f"{self.name} trained {parameter}, which the optimiser does not have now"
                )
            own = torch.empty_like(p if p.shape == tensor.shape else tensor, dtype=tensor.dtype, device="cpu")
            memory.setdefault(places[id(p)], {})[key] = own.copy_(tensor)  # the optimiser writes into it
        return {"state": memory, "param_groups": optimizer.state_dict()["param_groups"]}


def save(
    folder: str | Path, state: TrainingState, *, tokenizer: dict[str, Any], notes: dict[str, Any]
) -> None:
    """Write the whole state. `notes` go to tinylm.json; state.provenance is compared by `restore`.

    Raises CheckpointError for numbers that are not finite and for what is no JSON, and OSError from the disk:
    neither leaves anything half-written, or touches an earlier checkpoint."""
    tensors = _optimizer_tensors(state.model, state.optimizer)
    with atomic.atomic_directory(Path(folder).resolve()) as beside:
        training = {
            "format": FORMAT,
            "version": VERSION,
            "progress": dataclasses.asdict(state.progress),
            "provenance": state.provenance,
            "environment": _environment(state.precision.device),
            "scaler": state.precision.scaler.state_dict(),
            "optimizer": type(state.optimizer).__name__,
            "files": {
                weights.ABOUT: weights.write(beside, state.model, tokenizer=tokenizer, notes=notes),
                TENSORS: weights.write_tensors(tensors, beside / TENSORS),
            },
        }
        atomic.write_json(beside / TRAINING, training, sealed=True)


def load(folder: str | Path) -> TrainingCheckpoint:
    """Read and verify a whole checkpoint. Raises CheckpointError naming the file that is not as it was."""
    home = atomic.recover_directory(Path(folder).resolve())
    data = atomic.read_json(home, TRAINING, folder, FIELDS)
    try:
        progress = Progress(**data["progress"])
        progress.val_losses = [(int(step), float(loss)) for step, loss in progress.val_losses]
        config = TrainConfig.from_json(dict(data["provenance"]["train"]))
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise atomic.damaged(f"{folder}/{TRAINING}", str(error)) from error
    model = weights.load(folder, expected=data["files"].get(weights.ABOUT) or {})
    atomic.verify(home, TENSORS, data["files"].get(TENSORS), folder)
    # What an earlier version could not say yet is filled in, so that it is no difference to what is now.
    settings = {"train": config.to_json(), "model": model.config.to_json()}
    return TrainingCheckpoint(
        name=Path(folder).name,
        progress=progress,
        provenance=data["provenance"] | settings,
        environment=data["environment"],
        model=model,
        config=config,
        scaler=data["scaler"],
        optimizer=data["optimizer"],
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
        folder = f"{home}/{folder_of(step)}"
        try:
            return load(folder), passed_over
        except CheckpointError as error:
            passed_over.append(str(error))
        except OSError as error:  # a bad sector, a file where a folder should be
            passed_over.append(str(atomic.damaged(folder, str(error.strerror))))
    because = passed_over[0] if passed_over else "nothing was saved yet"
    raise CheckpointError(f"there is no complete checkpoint in {home}: {because}")


def rotate(home: Path, *, step: int, best: int | None) -> None:
    """Remove the checkpoints up to `step` that are neither among the LAST ones nor the best.

    Later ones, which a resumed run has not reached again, are left alone. One that is removed loses its name
    first, so that a cut leaves no half of it there. A disk that refuses is asked again next time."""
    reached = [saved for saved in saved_steps(home) if saved <= step]
    with contextlib.suppress(OSError):
        for saved in saved_steps(home):
            path = home / folder_of(saved)
            if not path.exists():  # a cut came while it was being replaced
                atomic.set_aside(path).rename(path)
            if saved in reached[:-LAST] and saved != best:
                path.rename(home / f".{path.name}.removed")
        for rest in home.glob(".step_*"):  # what a cut left behind, too
            shutil.rmtree(rest, ignore_errors=True)


def _environment(device: torch.device) -> dict[str, Any]:
    return {"torch": torch.__version__, "device": device.type, "threads": torch.get_num_threads()}


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's memory by the names of the parameters: {PARAMETER/NAME: tensor}.

    Nothing of its groups: their settings come from the config, and torch adds keys of its own to them.
    Raises CheckpointError for an optimiser of another model, and for one that remembers anything else."""
    strangers = {p for group in optimizer.param_groups for p in group["params"]} - set(model.parameters())
    memory = {
        f"{name}/{key}": value
        for name, p in model.named_parameters()
        for key, value in optimizer.state.get(p, {}).items()
    }
    odd = [name for name, value in memory.items() if not isinstance(value, Tensor)]
    if strangers or odd:
        raise CheckpointError(
            f"{len(strangers)} of the optimiser's parameters are none of the model's, and {len(odd)} of "
            f"{len(memory)} things it remembers are no tensors: use an optimiser as build_optimizer makes it"
        )
    return memory
