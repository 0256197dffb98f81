"""Checkpoint: a training state on disk, from which a run goes on as if it had never stopped.

    step_00000200/          one folder, which appears by one rename: 200 optimiser steps are finished
      model.safetensors, tokenizer.json, tinylm.json   the model, as storage.weights reads it
      training.safetensors                             the optimiser's memory
      training.json         progress, provenance, scaler, and the sha256 of the two files above and of itself

Nothing in it is code, and no run goes on from what fits only partly. Taught in notebook 04_training."""

import contextlib
import copy
import dataclasses
import re
import shutil
from pathlib import Path

import torch
from torch import Tensor

from tinylm.errors import CheckpointError, ConfigError, short
from tinylm.storage import atomic, weights
from tinylm.training.config import TrainConfig
from tinylm.training.progress import Progress, TrainingState, check_unchanged, differences

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
    provenance: atomic.JSON  # What must not change when the run goes on: the settings, the data, ...
    model: weights.Checkpoint
    config: TrainConfig
    tensors: dict[str, Tensor]  # The optimiser's memory: PARAMETER/NAME, such as head.weight/exp_avg.
    data: atomic.JSON  # training.json as it stands.

    def restore(self, state: TrainingState) -> None:
        """Put everything into a fresh state, in place; the next step is then the one never done.

        The optimiser's settings stay as they are: a run's follow from its config, which is compared. Raises
        CheckpointError, and changes nothing, naming each field in which the state is another one."""
        optimizer, parameters = state.optimizer, dict(state.model.named_parameters())
        saved = self.provenance | {"optimizer": self.data["optimizer"]}
        check_unchanged(self.name, saved, state.provenance | {"optimizer": type(optimizer).__name__})
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        places = {p: place for place, p in enumerate(trained)}  # in torch's flat list of all groups
        memory: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            parameter, _, key = name.rpartition("/")
            if (p := parameters.get(parameter)) not in places:
                raise CheckpointError(f"{self.name} trained {parameter}, which the optimiser does not have")
            # In the parameter's order in memory: torch's fused kernels go through both as they lie, and mix
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
        """One sentence where a run that goes on, on this device, so divided, may differ in its last bits."""
        was = _environment(device, self.config, 1) | self.data["environment"]  # which may know less
        changed = ", ".join(differences(was, _environment(device, config or self.config, processes)))
        but = " but for dropout's masks" if self.model.config.dropout and "micro_batch" in changed else ""
        return f"equal up to rounding{but}, not to the bit: {changed}" if changed else None


def save(folder: str | Path, state: TrainingState, *, tokenizer: atomic.JSON, notes: atomic.JSON) -> None:
    """Write the whole state. `notes` go to tinylm.json; state.provenance is compared by `restore`.

    Raises CheckpointError for an optimiser of another model, numbers that are not finite and what is no JSON,
    and OSError from the disk: none leaves anything half-written, or touches an earlier checkpoint."""
    model, optimizer = state.model, state.optimizer
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    if odd := trained - set(model.parameters()):
        raise CheckpointError(f"{len(odd)} of the optimiser's parameters are not the model's: make it anew")
    tensors = {  # nothing of its groups: their settings come from the config, and torch adds keys of its own
        f"{name}/{key}": tensor
        for name, p in model.named_parameters()
        for key, tensor in optimizer.state.get(p, {}).items()
    }
    with atomic.atomic_directory(Path(folder).resolve()) as beside:
        files = {weights.ABOUT: weights.write(beside, model, tokenizer=tokenizer, notes=notes)}
        files[TENSORS] = weights.write_tensors(tensors, beside / TENSORS)
        training = {"format": FORMAT, "version": VERSION, "optimizer": type(optimizer).__name__}
        training |= {"progress": dataclasses.asdict(state.progress), "provenance": state.provenance}
        training |= {"scaler": state.precision.scaler.state_dict(), "files": files}
        training["environment"] = _environment(state.precision.device, state.config, state.world.size)
        atomic.write_json(beside / TRAINING, training, sealed=True)


def load(folder: str | Path) -> TrainingCheckpoint:
    """Read and verify a whole checkpoint. Raises CheckpointError naming the file that is not as it was."""
    home, name = atomic.recover_directory(Path(folder).resolve()), Path(folder).name
    data = atomic.read_json(home, TRAINING, folder, FIELDS)
    try:
        progress = Progress(**data["progress"])
        progress.val_losses = [(int(step), float(loss)) for step, loss in progress.val_losses]
        config = TrainConfig.from_json(dict(data["provenance"]["train"]))
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise atomic.damaged(f"{folder}/{TRAINING}", str(error)) from error
    if (named := re.fullmatch(r"step_(\d+)", name)) and int(named[1]) != progress.step:
        raise atomic.damaged(f"{folder}/{TRAINING}", f"it was saved after {short(progress.step)} steps")
    for file in (weights.ABOUT, TENSORS):
        atomic.verify(home, file, data["files"].get(file), folder)
    model, tensors = weights.load(folder), weights.read_tensors(home / TENSORS, folder)
    # What an earlier version could not say yet is filled in, so that it is no difference to what is now.
    provenance = data["provenance"] | {"train": config.to_json(), "model": model.config.to_json()}
    for divided in ("batch_size", "world_size"):  # and what it need not say is left out
        provenance.get("batches", {}).pop(divided, None)
    return TrainingCheckpoint(name, progress, provenance, model, config, tensors, data)


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
            atomic.recover_directory(path).rename(path)  # a cut may have come while it was being replaced
            if saved in reached[:-LAST] and saved != best:
                path.rename(home / f".{path.name}.removed")
        for rest in home.glob(".step_*"):  # what a cut left behind, too
            shutil.rmtree(rest, ignore_errors=True)


def _environment(device: str | torch.device, config: TrainConfig, processes: int) -> atomic.JSON:
    here = {"torch": torch.__version__, "threads": torch.get_num_threads(), "processes": processes}
    return here | {"device": torch.device(device).type, "micro_batch_size": config.micro_batch_size}
