"""Weights: a checkpoint is a folder with three files that prove they belong together.

    model.safetensors   every parameter by name, a tied matrix once
    tokenizer.json      how text becomes ids
    tinylm.json         the config, the notes, the size and sha256 of the other two, and a sha256 of itself

Nothing in them is code, and nothing is loaded that fits only partly.
Taught in notebook 04_training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor

from tinylm.errors import CheckpointError, ConfigError, DataError, short
from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.model.gpt import GPT
from tinylm.storage import atomic
from tinylm.text.tokenizers import tokenizer_from_json
from tinylm.training.finite import first_nonfinite

FORMAT, VERSION = "tinylm checkpoint", 3  # version 3 is sealed
WEIGHTS, TOKENIZER, ABOUT = "model.safetensors", "tokenizer.json", "tinylm.json"
FIELDS = {
    "format": str,
    "version": int,
    "config": dict,
    "notes": dict,
    "files": {WEIGHTS: dict, TOKENIZER: dict},
}


@dataclass(frozen=True)
class Checkpoint:
    """What load returns."""

    model: GPT
    config: ModelConfig
    tokenizer: dict[str, Any]
    notes: dict[str, Any]


@dataclass(frozen=True)
class StoredModel:
    """What the three files hold: verified, and not yet a model."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    tokenizer: dict[str, Any]
    notes: dict[str, Any]

    def check_fit(self, model: GPT, shown: str | Path) -> None:
        """Raises CheckpointError naming a tensor that the model has with another shape, or not at all."""
        found, expected = (
            {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            for tensors in (self.tensors, model_tensors(model))
        )
        for name in sorted(expected.keys() | found.keys()):
            if (was := found.get(name)) != (asked := expected.get(name)):
                raise CheckpointError(
                    f"{shown} holds the tensor {name} with shape {was}, and its config asks for {asked}"
                )

    def fill(self, model: GPT) -> None:
        """Copy the weights into a model that they fit."""
        tied = {"head.weight": self.tensors["token_embedding.weight"]} if self.config.tied_head else {}
        model.load_state_dict(self.tensors | tied, strict=True)


def save(folder: str | Path, model: GPT, *, tokenizer: dict[str, Any], notes: dict[str, Any]) -> None:
    """Write the checkpoint folder, replacing an earlier checkpoint of that name but nothing else.

    All is written and flushed to disk beside `folder`, then renamed. Whenever this is cut short, `load` finds
    either the earlier checkpoint or the new one, complete."""
    home = Path(folder).resolve()
    check(model, tokenizer=tokenizer, notes=notes)
    there = home.iterdir() if home.is_dir() else [home] if home.exists() else []
    if strangers := {p.name for p in there if p.name[0] != "."} - {WEIGHTS, TOKENIZER, ABOUT}:
        raise CheckpointError(
            f"{folder} holds {min(strangers)}, which is no part of a checkpoint: save into another folder"
        )
    with atomic.atomic_directory(home) as beside:
        write(beside, model, tokenizer=tokenizer, notes=notes)


def check(model: GPT, *, tokenizer: dict[str, Any], notes: dict[str, Any]) -> None:
    """Raises CheckpointError for what must not be written or could not be, before anything is."""
    if not isinstance(model, GPT):
        raise CheckpointError(
            f"a checkpoint holds a GPT, not a {type(model).__name__}: pass the GPT inside it"
        )
    _check_vocabulary(tokenizer, model.config)
    atomic.json_bytes("the tokenizer", tokenizer)
    atomic.json_bytes("the notes", notes)
    if bad := first_nonfinite(model.state_dict()):
        raise CheckpointError(f"{bad}: weights that are not finite are not saved")


def write(folder: Path, model: GPT, *, tokenizer: dict[str, Any], notes: dict[str, Any]) -> atomic.Digest:
    """Write the three files into a folder that is there; the caller sees to it that they appear together.

    Returns the digest of tinylm.json, which holds those of the others."""
    about = {
        "format": FORMAT,
        "version": VERSION,
        "config": model.config.to_json(),
        "notes": notes,
        "files": {
            WEIGHTS: write_tensors(model_tensors(model), folder / WEIGHTS),
            TOKENIZER: atomic.write(folder / TOKENIZER, atomic.json_bytes("the tokenizer", tokenizer)),
        },
    }
    return atomic.write(folder / ABOUT, atomic.json_bytes("the notes", atomic.sealed(about)))


def write_tensors(tensors: dict[str, Tensor], path: Path) -> atomic.Digest:
    """Write one .safetensors file. Raises OSError when the disk refuses.

    The bytes are made in memory, as safetensors itself does: so they are hashed without being read again, and
    a full disk is the system's own error, whatever version of safetensors is here."""
    return atomic.write(path, to_safetensors({name: _own(tensor) for name, tensor in tensors.items()}))


def load(folder: str | Path, *, device: torch.device | str = "cpu") -> Checkpoint:
    """Read and verify a checkpoint. The model comes back in float32, in evaluation mode, on `device`.

    Raises CheckpointError naming the file or the tensor that is missing, altered or does not fit."""
    stored = read(folder)
    try:
        model = GPT(stored.config)
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"{folder} asks for a model that cannot be built here: {error}") from error
    stored.check_fit(model, folder)
    stored.fill(model)
    return Checkpoint(model.to(device).eval(), stored.config, stored.tokenizer, stored.notes)


def read(folder: str | Path, *, expected: Any = None) -> StoredModel:
    """Read and verify the three files, each hashed once; tinylm.json against its digest where that is known.

    Raises CheckpointError naming what is missing, altered, not finite or too large for what is there."""
    home = atomic.recover_directory(Path(folder).resolve())
    if expected is not None:
        atomic.verify(home, ABOUT, expected, folder)
    about = atomic.read_json(home, ABOUT, folder)
    version = about.get("version")
    if about.get("format") != FORMAT or type(version) is not int or not 1 <= version <= VERSION:
        raise CheckpointError(
            f"{folder}/{ABOUT} is {short(about.get('format'))} version {short(version)}, "
            f"this tinylm reads {FORMAT!r} version 1 to {VERSION}: use the tinylm that wrote it"
        )
    atomic.check_fields(about, FIELDS, f"{folder}/{ABOUT}")
    for name in (WEIGHTS, TOKENIZER):
        atomic.verify(home, name, about["files"][name], folder)
    tokenizer = atomic.read_json(home, TOKENIZER, folder)
    try:
        config = ModelConfig.from_json(about["config"])
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{folder} cannot be read: {error}") from error
    _check_vocabulary(tokenizer, config)
    tensors = read_tensors(home / WEIGHTS, folder)
    _check_size(tensors, config, folder)
    if bad := first_nonfinite(tensors):
        raise CheckpointError(f"{bad} in {folder}: go back to an earlier checkpoint")
    return StoredModel(config, tensors, tokenizer, about["notes"])


def read_tensors(path: Path, shown: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file. Raises CheckpointError when it is none."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{shown}/{path.name} cannot be read: {error}") from error


def model_tensors(model: GPT) -> dict[str, Tensor]:
    """What a checkpoint of this model holds: its state, without the second name of a tied matrix."""
    tied = {"head.weight"} if model.config.tied_head else set()
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def _own(tensor: Tensor) -> Tensor:
    """The tensor by rows and in bytes of its own: a file holds no views into something larger."""
    tensor = tensor.detach().contiguous()
    is_whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if is_whole else tensor.clone()


def _check_size(found: dict[str, Tensor], config: ModelConfig, folder: str | Path) -> None:
    """An altered config may ask for a model that no machine can build: it is refused before it is built."""
    held, asked = sum(tensor.numel() for tensor in found.values()), parameter_counts(config)["total"]
    if asked > 2 * held:
        raise CheckpointError(
            f"{folder} holds {held:,} parameters, and its config asks for {asked:,}: "
            "copy or download the checkpoint again"
        )


def _check_vocabulary(tokenizer: dict[str, Any], config: ModelConfig) -> None:
    try:
        size = tokenizer_from_json(tokenizer).vocab_size
    except DataError as error:
        raise CheckpointError(f"the tokenizer cannot be read: {error}") from error
    if size != config.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {size} tokens and the model has vocab_size {config.vocab_size}: "
            "they do not belong together"
        )
