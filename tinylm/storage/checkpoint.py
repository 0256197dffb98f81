"""Checkpoint: a training state on disk. A run resumes from it as if it had never stopped.

    step_00000200/          one folder, which appears by one rename: 200 optimiser steps are finished
      model.safetensors, tokenizer.json, tinylm.json   the model and its provenance (storage.weights)
      training.safetensors                             the optimiser's state
      training.json                                    progress, scaler, environment, and the sha256 of the
                                                       two files above and of itself

Nothing in it is code, and no run resumes from a checkpoint that fits only partly.
Taught in notebook 04_training."""

import contextlib
import copy
import dataclasses
import math
import re
import shutil
from pathlib import Path

import torch
from torch import Tensor

from tinylm.errors import CheckpointError, ConfigError, require_count, short
from tinylm.storage import atomic, weights
from tinylm.training.config import TrainConfig
from tinylm.training.progress import Progress, TrainingState
from tinylm.training.provenance import check_unchanged, differences

FORMAT, VERSION = "tinylm training", 3
TENSORS, TRAINING = "training.safetensors", "training.json"
FIELDS = {"format": (FORMAT,), "version": (VERSION,), "optimizer": str}
FIELDS |= {"progress": dict, "environment": dict, "scaler": dict, "files": dict}
LAST = 2  # this many of the latest checkpoints are kept: if one is damaged, there is another


@dataclasses.dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint that was read: plain data, which nobody changes."""

    name: str
    progress: Progress
    model: weights.Checkpoint
    config: TrainConfig
    tensors: dict[str, Tensor]  # The optimiser's state: PARAMETER/NAME, such as head.weight/exp_avg.
    data: atomic.JSON  # What training.json holds.

    @property
    def provenance(self) -> atomic.JSON:
        """What must not change when the run is resumed: the settings, the data, ..."""
        return self.model.provenance

    def restore(self, state: TrainingState) -> None:
        """Put everything into a fresh state, in place. The next step is then the first that was never done.

        The optimiser's settings stay as they are: they follow from the run's config, which is compared.
        Raises CheckpointError naming each field in which the state differs, and then changes nothing."""
        optimizer, parameters = state.optimizer, dict(state.model.named_parameters())
        saved = self.provenance | {"optimizer": self.data["optimizer"]}
        check_unchanged(self.name, saved, state.provenance | {"optimizer": type(optimizer).__name__})
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        places = {p: place for place, p in enumerate(trained)}  # in torch's flat list of all groups
        memory: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            parameter, _, key = name.rpartition("/")
            p = parameters.get(parameter)
            if p not in places:
                raise CheckpointError(f"{self.name} trained {parameter}, which the optimiser does not have")
            # In the parameter's memory order: torch's fused kernels read both as they lie in memory, and mix
            # up the numbers of two that lie differently, without an error.
            own = torch.empty_like(p if p.shape == tensor.shape else tensor, dtype=tensor.dtype, device="cpu")
            memory.setdefault(places[p], {})[key] = own.copy_(tensor)  # the optimiser writes into it
        self.model.fill(state.model)
        if self.data["scaler"] and state.precision.scaler.is_enabled():
            state.precision.scaler.load_state_dict(self.data["scaler"])
        groups = optimizer.state_dict()["param_groups"]  # as they are now
        optimizer.load_state_dict({"state": memory, "param_groups": groups})
        state.progress = copy.deepcopy(self.progress)

    def rounding(self, device: str, config: TrainConfig | None = None, processes: int = 1) -> str | None:
        """Return one sentence if a run resumed on this device, so divided, may differ in its last bits."""
        now = _environment(device, config or self.config, processes)
        changed = ", ".join(differences(self.data["environment"], now))
        but = " except for dropout's masks" if self.model.config.dropout and "micro_batch" in changed else ""
        return f"equal up to rounding{but}, not bit for bit: {changed}" if changed else None


def save(folder: str | Path, state: TrainingState, *, tokenizer: atomic.JSON, notes: atomic.JSON) -> None:
    """Write the whole state. `notes` and state.provenance go to tinylm.json.

    Raises CheckpointError for an optimiser of another model, for numbers that are not finite and for what
    JSON cannot hold, and OSError from the disk. Nothing half-written is left, and no earlier checkpoint is
    touched."""
    model, optimizer = state.model, state.optimizer
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    if odd := trained - set(model.parameters()):
        raise CheckpointError(f"{len(odd)} of the optimiser's parameters are not the model's: make it anew")
    tensors = {  # nothing of its groups: their settings come from the config, and torch adds keys of its own
        f"{name}/{key}": tensor
        for name, p in model.named_parameters()
        for key, tensor in optimizer.state.get(p, {}).items()
    }
    ours = {weights.WEIGHTS, weights.TOKENIZER, weights.ABOUT, TENSORS, TRAINING}
    with atomic.atomic_directory(folder, ours) as beside:
        about = weights.write(beside, model, tokenizer=tokenizer, notes=notes, provenance=state.provenance)
        training = {
            "format": FORMAT,
            "version": VERSION,
            "optimizer": type(optimizer).__name__,
            "progress": dataclasses.asdict(state.progress),
            "scaler": state.precision.scaler.state_dict(),
            "environment": _environment(state.precision.device, state.config, state.world.size),
            "files": {weights.ABOUT: about, TENSORS: weights.write_tensors(tensors, beside / TENSORS)},
        }
        atomic.write_json(beside / TRAINING, training, sealed=True)


def load(folder: str | Path) -> TrainingCheckpoint:
    """Read and verify a whole checkpoint. Raises CheckpointError naming a file that is not as it was."""
    home, name = atomic.recover_directory(Path(folder).resolve()), Path(folder).name
    data = atomic.read_json(home, TRAINING, folder, FIELDS)
    for file in (weights.ABOUT, TENSORS):
        atomic.verify(home, file, data["files"].get(file), folder)
    model, tensors = weights.load(folder), weights.read_tensors(home / TENSORS, folder)
    try:
        progress = _progress(data["progress"])
        config = TrainConfig.from_json(model.provenance["train"])
    except (AttributeError, ConfigError, KeyError, TypeError, ValueError) as error:
        raise atomic.damaged(f"{folder}/{TRAINING}", str(error)) from error
    if (named := re.fullmatch(r"step_(\d+)", name)) and int(named[1]) != progress.step:
        raise atomic.damaged(f"{folder}/{TRAINING}", f"it was saved after {short(progress.step)} steps")
    return TrainingCheckpoint(name, progress, model, config, tensors, data)


def folder_of(step: int) -> str:
    """Return the name of the checkpoint that is saved after so many steps."""
    return f"step_{step:08d}"


def saved_steps(home: Path) -> list[int]:
    """Return the steps for which there is a checkpoint, rising, without drafts and what is being removed."""
    name = re.compile(r"step_(\d{8,})|\.step_(\d{8,})\.earlier")
    return sorted({int(m[1] or m[2]) for path in home.glob("*step_*") if (m := name.fullmatch(path.name))})


def load_newest(home: str | Path) -> tuple[TrainingCheckpoint, list[str]]:
    """Return the newest complete checkpoint, and one sentence for each newer one that is damaged.

    Sentences call the folder `home`, as it is given. Raises CheckpointError if none is complete."""
    passed_over: list[str] = []
    for step in reversed(saved_steps(Path(home))):
        folder = f"{home}/{folder_of(step)}"
        try:
            return load(folder), passed_over
        except CheckpointError as error:
            passed_over.append(str(error))
        except (OSError, RuntimeError) as error:  # a bad sector, a file instead of a folder, a link to itself
            why = getattr(error, "strerror", None) or "it cannot be followed"
            passed_over.append(str(atomic.damaged(folder, why)))
    because = passed_over[0] if passed_over else "nothing was saved yet"
    raise CheckpointError(f"there is no complete checkpoint in {home}: {because}")


def rotate(home: Path, *, step: int, best: int | None) -> None:
    """Remove the checkpoints up to `step` that are neither among the LAST ones nor the best.

    Later ones, which a resumed run has not reached again, are left alone. A checkpoint that is removed loses
    its name first, so no crash leaves half of one under its name. If the disk refuses, the next call tries
    again."""
    reached = [saved for saved in saved_steps(home) if saved <= step]
    with contextlib.suppress(OSError):
        for saved in saved_steps(home):
            path = home / folder_of(saved)
            atomic.recover_directory(path).rename(path)  # a crash may have come while it was being replaced
            if saved in reached[:-LAST] and saved != best:
                path.rename(home / f".{path.name}.removed")
        for rest in home.glob(".step_*"):  # what a crash left behind, too
            shutil.rmtree(rest, ignore_errors=True)


def _progress(data: atomic.JSON) -> Progress:
    """Return the progress that a file holds. Raises ConfigError, TypeError or ValueError for other data."""
    progress = Progress(**data)
    for name in ("step", "skipped", "tokens"):
        require_count(name, getattr(progress, name), least=0)
    if not 0 <= float(progress.seconds) < math.inf:
        raise ConfigError(f"seconds is {progress.seconds}: it must be at least 0")
    progress.val_losses = [(int(step), float(loss)) for step, loss in progress.val_losses]
    return progress


def _environment(device: str | torch.device, config: TrainConfig, processes: int) -> atomic.JSON:
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "device": torch.device(device).type,
        "micro_batch_size": config.micro_batch_size,
    }
