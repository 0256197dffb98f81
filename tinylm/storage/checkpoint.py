"""Checkpoint: a training state on disk, from which a run goes on as if it had never stopped.

    model.safetensors, tokenizer.json, tinylm.json   the model, as model.weights reads it
    training.safetensors                             the optimiser's memory
    training.json                                    progress, scaler, what the run is made of, and the size
                                                     and sha256 of all the others, and its own

One folder, which appears by one rename. Nothing in it is code. Refuses to know which checkpoints are kept
(kept), and to go on with anything that fits only partly.
Taught in notebook 04_training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tinylm.errors import CheckpointError
from tinylm.model.config import ModelConfig
from tinylm.storage import weights
from tinylm.storage.atomic import atomic_directory, file_digests, json_text, read_json, settled, verify
from tinylm.training.config import TrainConfig
from tinylm.training.finite import first_nonfinite
from tinylm.training.progress import (
    Progress,
    TrainingState,
    check_unchanged,
    optimizer_data,
    restore_optimizer,
)

FORMAT, VERSION = "tinylm training", 1
TENSORS, TRAINING = "training.safetensors", "training.json"
SEALED = (weights.WEIGHTS, weights.TOKENIZER, weights.ABOUT, TENSORS)


@dataclasses.dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint read back: plain data, changed by nobody."""

    name: str
    """The folder's name, for sentences."""
    weights: weights.Checkpoint
    """The model, its config, the tokenizer's JSON and the notes."""
    progress: Progress
    identity: dict[str, Any]
    """The model's and the training's numbers, the batches, the optimiser: what must not change."""
    run: dict[str, Any]
    """What the caller of `save` said the run is made of besides: recipe, text, tokenizer."""
    surroundings: dict[str, Any]
    """torch, device and threads: where these differ, sums may round otherwise."""
    scaler: dict[str, Any]
    optimizer: dict[str, Any]
    tensors: dict[str, Tensor]

    def restore(self, state: TrainingState) -> None:
        """Put everything into a fresh state, in place; the next step is then the one never done.

        Raises CheckpointError naming each field, with both values, in which the state was made otherwise."""
        progress = dataclasses.replace(self.progress, losses=list(self.progress.losses))
        check_unchanged(self.name, self.identity, _identity(dataclasses.replace(state, progress=progress)))
        state.model.load_state_dict(self.weights.model.state_dict(), strict=True)
        restore_optimizer(state.model, state.optimizer, self.optimizer, self.tensors)
        if self.scaler:
            state.scaler.load_state_dict(self.scaler)
        state.progress = progress

    def rounding(self, model: nn.Module) -> str | None:
        """One sentence where a resumed run may differ in rounding from one never stopped; else None."""
        now = _surroundings(model)
        changed = [f"{key} {was} → {now[key]}" for key, was in self.surroundings.items() if now[key] != was]
        return f"equal up to rounding, not to the bit: {', '.join(changed)}" if changed else None


def save(
    folder: str | Path,
    state: TrainingState,
    *,
    tokenizer: dict[str, Any],
    notes: dict[str, Any],
    run: dict[str, Any],
) -> None:
    """Write the whole state. `notes` go to tinylm.json; `run` is compared by whoever resumes.

    Raises CheckpointError, before anything is written, for weights that are not finite and for what is no
    JSON; and OSError from the disk, which leaves nothing half-written and no earlier checkpoint touched."""
    home = Path(folder).resolve()
    weights.check(state.model, tokenizer=tokenizer, notes=notes)
    optimizer, tensors = optimizer_data(state.model, state.optimizer)
    if bad := first_nonfinite(state.model.state_dict() | tensors):
        raise CheckpointError(f"{bad} after step {state.progress.step}: {home.name} was not written")
    about = {
        "format": FORMAT,
        "version": VERSION,
        "progress": dataclasses.asdict(state.progress),
        "identity": _identity(state),
        "run": run,
        "surroundings": _surroundings(state.model),
        "scaler": state.scaler.state_dict(),
        "optimizer": optimizer,
    }
    json_text("the training state", about)
    with atomic_directory(home) as beside:
        weights.write(beside, state.model, tokenizer=tokenizer, notes=notes)
        weights.write_tensors({name: _own(tensor) for name, tensor in tensors.items()}, beside / TENSORS)
        (beside / TENSORS).chmod((beside / weights.ABOUT).stat().st_mode)
        about["files"] = file_digests(beside, SEALED)
        about["sha256"] = _sha256(about)
        (beside / TRAINING).write_text(json_text("the training state", about), encoding="utf-8", newline="\n")


def load(folder: str | Path) -> TrainingCheckpoint:
    """Read and verify a whole checkpoint. Raises CheckpointError naming the file that is not as it was."""
    home = settled(Path(folder).resolve())
    about = read_json(home, TRAINING, folder)
    if about.get("format") != FORMAT or about.get("version") != VERSION:
        raise CheckpointError(
            f"{folder}/{TRAINING} is {about.get('format')!r} version {about.get('version')!r}, "
            f"this tinylm reads {FORMAT!r} version {VERSION}: use the tinylm that wrote it"
        )
    expected = about.pop("sha256", None)
    if (found := _sha256(about)) != expected:
        raise CheckpointError(
            f"{folder}/{TRAINING} is not the file that was saved: expected content with sha256 {expected}, "
            f"found {found}; go back to an earlier checkpoint"
        )
    for name in SEALED:
        verify(home, name, about.get("files", {}).get(name, {}), folder)
    model = weights.load(folder)
    try:
        tensors = load_file(home / TENSORS)
    except SafetensorError as error:
        raise CheckpointError(f"{folder}/{TENSORS} cannot be read: {error}") from error
    progress = Progress(**about["progress"])
    progress.losses = [(step, loss) for step, loss in progress.losses]
    try:
        train = dataclasses.asdict(TrainConfig(**about["identity"]["train"]))
    except TypeError as error:
        raise CheckpointError(f"{folder} was written by another tinylm: {error}") from error
    return TrainingCheckpoint(
        name=Path(folder).name,
        weights=model,
        progress=progress,
        identity=about["identity"] | {"model": _model_numbers(model.config), "train": train},
        run=about["run"],
        surroundings=about["surroundings"],
        scaler=about["scaler"],
        optimizer=about["optimizer"],
        tensors=tensors,
    )


def _identity(state: TrainingState) -> dict[str, Any]:
    return {"model": _model_numbers(state.model.config), **state.identity()}


def _model_numbers(config: ModelConfig) -> dict[str, Any]:
    return json.loads(json.dumps(config.to_json()))  # as it is read back


def _surroundings(model: nn.Module) -> dict[str, Any]:
    device = next(model.parameters()).device.type
    return {"torch": torch.__version__, "device": device, "threads": torch.get_num_threads()}


def _own(tensor: Tensor) -> Tensor:
    """The tensor in bytes of its own: a file holds no views into something larger."""
    tensor = tensor.detach()
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor.contiguous() if whole else tensor.clone(memory_format=torch.contiguous_format)


def _sha256(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
