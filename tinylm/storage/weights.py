"""Weights: a checkpoint is a folder with three files that prove they belong together.

    model.safetensors   every parameter by name, a tied matrix once
    tokenizer.json      how text becomes ids
    tinylm.json         the config, the notes, the size and sha256 of the other two, and its own sha256

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

from tinylm.errors import CheckpointError, ConfigError, DataError
from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.model.gpt import GPT
from tinylm.storage.atomic import (
    Digest,
    atomic_directory,
    check_fields,
    json_bytes,
    read_json,
    recover_directory,
    unsealed,
    verify,
    write_bytes,
    write_json,
)
from tinylm.text.tokenizers import tokenizer_from_json
from tinylm.training.finite import first_nonfinite

FORMAT, VERSION = "tinylm checkpoint", 3
ADDED = {"residual_init": "scaled", "token_shift": False}  # what version 1 did not say yet
FIRST_SEALED = 3  # earlier versions have no sha256 of their own
WEIGHTS, TOKENIZER, ABOUT = "model.safetensors", "tokenizer.json", "tinylm.json"
ABOUT_FIELDS = {"format": str, "version": int, "config": dict, "notes": dict, "files": dict}
MOST_ROTARY = 1 << 26  # numbers in tables that no file holds: 256 MiB


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
        """Raises CheckpointError naming the first tensor that the model has otherwise, or not at all."""
        expected = model_tensors(model)
        for name, tensor in expected.items():
            if name not in self.tensors:
                raise CheckpointError(f"{shown} lacks the tensor {name} that its config asks for")
            if self.tensors[name].shape != tensor.shape:
                shapes = f"{tuple(self.tensors[name].shape)}, its config asks for {tuple(tensor.shape)}"
                raise CheckpointError(f"{shown} holds the tensor {name} with shape {shapes}")
        if unexpected := sorted(self.tensors.keys() - expected.keys()):
            raise CheckpointError(
                f"{shown} holds the tensor {unexpected[0]}, for which its config has no place"
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
    _check_replaceable(home, folder)
    with atomic_directory(home) as beside:
        write(beside, model, tokenizer=tokenizer, notes=notes)


def check(model: GPT, *, tokenizer: dict[str, Any], notes: dict[str, Any]) -> None:
    """Raises CheckpointError for what must not be written or could not be, before anything is."""
    if not isinstance(model, GPT):
        raise CheckpointError(
            f"a checkpoint holds a GPT, not a {type(model).__name__}: pass the GPT inside it"
        )
    _check_vocabulary(tokenizer, model.config)
    json_bytes("the tokenizer", tokenizer)
    json_bytes("the notes", notes)
    if bad := first_nonfinite(model.state_dict()):
        raise CheckpointError(f"{bad}: weights that are not finite are not saved")


def write(folder: Path, model: GPT, *, tokenizer: dict[str, Any], notes: dict[str, Any]) -> Digest:
    """Write the three files into a folder that is there; the caller sees to it that they appear together.

    Returns the digest of tinylm.json, which holds those of the others."""
    files = {
        WEIGHTS: write_tensors(model_tensors(model), folder / WEIGHTS),
        TOKENIZER: write_bytes(folder / TOKENIZER, json_bytes("the tokenizer", tokenizer)),
    }
    config = model.config.to_json()
    about = {"format": FORMAT, "version": VERSION, "config": config, "notes": notes, "files": files}
    return write_json(folder / ABOUT, "the notes", about)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> Digest:
    """Write one .safetensors file. Raises OSError when the disk refuses.

    The bytes are made in memory, as safetensors does anyway: so they are hashed without being read again, and a
    full disk is the system's own error, whatever version of safetensors is here."""
    return write_bytes(path, to_safetensors({name: _own(tensor) for name, tensor in tensors.items()}))


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


def read(folder: str | Path, *, expected: Digest | None = None) -> StoredModel:
    """Read and verify the three files, each hashed once; tinylm.json against `expected` where that is known.

    Raises CheckpointError naming what is missing, altered, not finite or too large for what is there."""
    home = recover_directory(Path(folder).resolve())
    if expected is not None:
        verify(home, ABOUT, expected, folder)
    about = read_json(home, ABOUT, folder)
    version = about.get("version")
    if about.get("format") != FORMAT or type(version) is not int or not 1 <= version <= VERSION:
        raise CheckpointError(
            f"{folder}/{ABOUT} is {about.get('format')!r} version {version!r}, "
            f"this tinylm reads {FORMAT!r} version 1 to {VERSION}: use the tinylm that wrote it"
        )
    if version >= FIRST_SEALED:
        about = unsealed(about, ABOUT, folder)
    check_fields(about, ABOUT_FIELDS, f"{folder}/{ABOUT}")
    for name in (WEIGHTS, TOKENIZER):
        verify(home, name, about["files"].get(name), folder)
    try:
        config = ModelConfig.from_json((ADDED if version == 1 else {}) | about["config"])
        tensors = load_file(home / WEIGHTS)
    except (ConfigError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be read: {error}") from error
    tokenizer = read_json(home, TOKENIZER, folder)
    _check_vocabulary(tokenizer, config)
    _check_size(tensors, config, folder)
    if bad := first_nonfinite(tensors):
        raise CheckpointError(f"{folder} is of no use: {bad}; go back to an earlier checkpoint")
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
    tables = config.context_length * config.head_dim
    if config.position == "rotary" and tables > MOST_ROTARY + held:
        raise CheckpointError(
            f"{folder} holds {held:,} parameters, and its context_length {config.context_length:,} asks for "
            f"rotary tables of {tables:,} numbers: copy or download the checkpoint again"
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


def _check_replaceable(home: Path, folder: str | Path) -> None:
    names = (
        {path.name for path in home.iterdir()} if home.is_dir() else {home.name} if home.exists() else set()
    )
    strangers = {name for name in names if not name.startswith(".")} - {WEIGHTS, TOKENIZER, ABOUT}
    if strangers:
        raise CheckpointError(
            f"{folder} holds {min(strangers)}, which is no part of a checkpoint: save into another folder"
        )
