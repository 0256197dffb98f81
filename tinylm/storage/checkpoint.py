"""Checkpoint: a training state on disk. A run resumes from it as if it had never stopped.

    step_00000200/          one folder, which appears by one rename: 200 optimiser steps are finished
      model.safetensors, tokenizer.json, tinylm.json   the model and its provenance (storage.weights)
      training.safetensors                             the optimiser's state
      training.json                                    progress, scaler, and the sha256 of the two files
                                                       above and of itself

Nothing in it is code, and no run resumes from a checkpoint that fits only partly. On the same machine a
resumed run is equal bit for bit; another machine, another version of torch, or another number of threads,
processes or rows at once rounds differently.
Taught in notebook 04_training."""

import contextlib
import copy
import dataclasses
import re
import shutil
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor, nn

from tinylm.device import whole
from tinylm.errors import CheckpointError, ConfigError, short
from tinylm.storage import atomic, weights
from tinylm.training.config import TrainConfig
from tinylm.training.provenance import check_unchanged
from tinylm.training.state import Progress, TrainingState

TENSORS, TRAINING = "training.safetensors", "training.json"
FIELDS = {"optimizer": str, "scaler": dict, "files": dict}  # the version of both is in tinylm.json
FIELDS |= {"step": int, "skipped": int, "tokens": int, "seconds": float, "val_losses": list}  # the progress
OURS = {weights.WEIGHTS, weights.TOKENIZER, weights.ABOUT, TENSORS, TRAINING}
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
        optimizer, named = state.optimizer, {p: name for name, p in state.model.named_parameters()}
        saved = self.provenance | {"optimizer": self.data["optimizer"]}
        check_unchanged(self.name, saved, state.provenance | {"optimizer": type(optimizer).__name__})
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        names = [named.get(p) for p in trained]  # in torch's order, a flat list of all groups
        if self.tensors or self.progress.step > self.progress.skipped:  # none before the first step
            after = _memory_after_a_step(optimizer, trained)
            expected = {f"{names[i]}/{key}": t for i, held in after.items() for key, t in held.items()}
            weights.check_fit(expected, self.tensors, f"{self.name}/{TENSORS}")
        memory: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            parameter, _, key = name.rpartition("/")
            place = names.index(parameter)
            p = trained[place]
            # In the parameter's memory order: torch's fused kernels read both as they lie in memory, and mix
            # up the numbers of two that lie differently, without an error.
            own = torch.empty_like(p if p.shape == tensor.shape else tensor, dtype=tensor.dtype, device="cpu")
            memory.setdefault(place, {})[key] = own.copy_(tensor)  # the optimiser writes into it
        self.model.fill(state.model)
        if self.data["scaler"] and state.precision.scaler.is_enabled():
            state.precision.scaler.load_state_dict(self.data["scaler"])
        groups = optimizer.state_dict()["param_groups"]  # as they are now
        optimizer.load_state_dict({"state": memory, "param_groups": groups})
        state.progress = copy.deepcopy(self.progress)


def save(folder: str | Path, state: TrainingState, *, tokenizer: atomic.JSON, notes: atomic.JSON) -> None:
    """Write the whole state. `notes` and state.provenance go to tinylm.json.

    Raises CheckpointError for an optimiser of another model and for numbers that are not finite, and OSError
    from the disk. Nothing half-written is left, and no earlier checkpoint is touched."""
    model, optimizer = state.model, state.optimizer
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    if odd := trained - set(model.parameters()):
        raise CheckpointError(f"{len(odd)} of the optimiser's parameters are not the model's: make it anew")
    tensors = {  # nothing of its groups: their settings come from the config, and torch adds keys of its own
        f"{name}/{key}": tensor
        for name, p in model.named_parameters()
        for key, tensor in optimizer.state.get(p, {}).items()
    }
    if state.world.rank > 0:  # with --fsdp rank 0 writes what all processes give it, in this order
        for tensor in (*weights.tensors_of(model).values(), *tensors.values()):
            whole(tensor)
        return
    with atomic.atomic_directory(folder, OURS) as beside:
        about = weights.write(beside, model, tokenizer=tokenizer, notes=notes, provenance=state.provenance)
        training = {
            "optimizer": type(optimizer).__name__,
            "scaler": state.precision.scaler.state_dict(),
            "files": {weights.ABOUT: about, TENSORS: weights.write_tensors(tensors, beside / TENSORS)},
        }
        training |= dataclasses.asdict(state.progress)
        atomic.write_json(beside / TRAINING, training, sealed=True)


def _memory_after_a_step(optimizer: torch.optim.Optimizer, trained: list[Tensor]) -> dict[int, dict]:
    """Return the state that an optimiser has after a step, in torch's order and without its numbers.

    A copy of the optimiser does a step with parameters that have a shape and nothing else."""
    shapes = {id(p): nn.Parameter(torch.empty_like(p, device="meta")) for p in trained}
    twin = copy.deepcopy(optimizer, shapes | {id(optimizer.state): defaultdict(dict)})
    for group in twin.param_groups:
        group["fused"] = False  # torch has no fused kernel for them, and the names are the same
        for p in group["params"]:
            p.grad = torch.empty_like(p)
    twin.step()
    return twin.state_dict()["state"]


def load(folder: str | Path) -> TrainingCheckpoint:
    """Read and verify a whole checkpoint. Raises CheckpointError naming a file that is not as it was."""
    home = Path(folder)
    data = atomic.read_sealed(home, TRAINING, folder, FIELDS, (weights.ABOUT, TENSORS))
    if home.name.startswith("step_") and home.name != folder_of(data["step"]):
        raise atomic.damaged(f"{folder}/{TRAINING}", f"step is {short(data['step'])}")
    model, tensors = weights.load(folder), weights.read_tensors(home / TENSORS, folder)
    try:
        val_losses = [(int(step), float(loss)) for step, loss in data["val_losses"]]
        config = TrainConfig.from_json(model.provenance["train"])
    except (AttributeError, ConfigError, KeyError, TypeError, ValueError) as error:
        raise atomic.damaged(f"{folder}/{TRAINING}", str(error)) from error
    progress = Progress(data["step"], data["skipped"], data["tokens"], data["seconds"], val_losses)
    return TrainingCheckpoint(home.name, progress, model, config, tensors, data)


def folder_of(step: int) -> str:
    """Return the name of the checkpoint that is saved after so many steps."""
    return f"step_{step:08d}"


def saved_steps(home: Path) -> list[int]:
    """Return the steps for which there is a checkpoint, rising. Drafts and other files do not count."""
    found = (re.fullmatch(r"step_([0-9]{8,})", path.name) for path in home.glob("step_*"))
    return sorted(int(match[1]) for match in found if match)


def load_newest(home: str | Path) -> tuple[TrainingCheckpoint, list[str]]:
    """Return the newest complete checkpoint, and one sentence for each newer one that is damaged.

    Sentences call the folder `home`, as it is given. Raises CheckpointError if none is complete."""
    passed_over: list[str] = []
    for step in reversed(saved_steps(Path(home))):
        try:
            return load(f"{home}/{folder_of(step)}"), passed_over
        except (CheckpointError, OSError) as error:  # a bad sector, a file instead of a folder
            passed_over.append(str(error))
    because = passed_over[0] if passed_over else "none was saved yet, train it again under the same name"
    raise CheckpointError(f"there is no complete checkpoint in {home}: {because}")


def is_ours(folder: Path) -> bool:
    """Return whether this is a folder with nothing in it but files of a checkpoint, whole or not."""
    return folder.is_dir() and all(path.name in OURS and not path.is_dir() for path in folder.iterdir())


def rotate(home: Path, *, step: int, best: int | None) -> None:
    """Remove the checkpoints up to `step` that are neither among the LAST ones nor the best.

    Later ones, which a resumed run has not reached again, are left alone, and so is what holds anything else.
    A checkpoint that is removed loses its name first, so no crash leaves half of one under its name. If the
    disk refuses, the next call tries again."""
    with contextlib.suppress(OSError):
        reached = [saved for saved in saved_steps(home) if saved <= step and is_ours(home / folder_of(saved))]
        for saved in reached[:-LAST]:
            if saved != best:
                (home / folder_of(saved)).rename(home / f".{folder_of(saved)}.removed")
        for rest in home.glob(".step_*"):  # also what a crash left behind
            shutil.rmtree(rest, ignore_errors=True)
