"""Weights: a checkpoint is a folder with three files that prove they belong together.

    model.safetensors   every parameter by name, a tied matrix once
    tokenizer.json      how text becomes ids, handed in as data
    tinylm.json         the config, the notes, and the size and sha256 of the other two

Refuses to know optimisers and text, to run code out of a file, and to load anything that fits only partly.
Taught in notebook 04_training."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tinylm.errors import CheckpointError, ConfigError
from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.model.gpt import GPT
from tinylm.storage.atomic import atomic_directory, file_digests, json_text, read_json, settled, verify

FORMAT, VERSION = "tinylm checkpoint", 2
ADDED = {
    1: {"residual_init": "scaled", "token_shift": False},
    2: {},
}  # what a checkpoint of each version does not say yet
WEIGHTS, TOKENIZER, ABOUT = "model.safetensors", "tokenizer.json", "tinylm.json"


@dataclass(frozen=True)
class Checkpoint:
    """What load returns."""

    model: GPT
    config: ModelConfig
    tokenizer: dict[str, Any]
    notes: dict[str, Any]


def save(folder: str | Path, model: GPT, *, tokenizer: dict[str, Any], notes: dict[str, Any]) -> None:
    """Write the checkpoint folder, replacing an earlier checkpoint of that name but nothing else.

    All is written and flushed to disk beside `folder`, then renamed. Whenever this is cut short, `load` finds
    either the earlier checkpoint or the new one, whole."""
    home = Path(folder).resolve()
    check(model, tokenizer=tokenizer, notes=notes)
    _check_replaceable(home, folder)
    with atomic_directory(home) as beside:
        write(beside, model, tokenizer=tokenizer, notes=notes)


def check(model: GPT, *, tokenizer: dict[str, Any], notes: dict[str, Any]) -> None:
    """Raises CheckpointError for what `write` could not write, before anything is."""
    if not isinstance(model, GPT):
        raise CheckpointError(
            f"a checkpoint holds a GPT, not a {type(model).__name__}: pass the GPT inside it"
        )
    _check_vocabulary(tokenizer, model.config)
    json_text("the tokenizer", tokenizer)
    json_text("the notes", notes)


def write(folder: Path, model: GPT, *, tokenizer: dict[str, Any], notes: dict[str, Any]) -> None:
    """Write the three files into a folder that is there; the caller sees to it that they appear together."""
    write_tensors(_tensors(model), folder / WEIGHTS)
    (folder / TOKENIZER).write_text(json_text("the tokenizer", tokenizer), encoding="utf-8", newline="\n")
    (folder / WEIGHTS).chmod((folder / TOKENIZER).stat().st_mode)  # safetensors lets nobody else read it
    about = {
        "format": FORMAT,
        "version": VERSION,
        "config": model.config.to_json(),
        "notes": notes,
        "files": file_digests(folder, (WEIGHTS, TOKENIZER)),
    }
    (folder / ABOUT).write_text(json_text("the notes", about), encoding="utf-8", newline="\n")


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write one .safetensors file. Raises OSError when the disk refuses, as every other write does."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # it says in words alone what the system answered
        if said := re.search(r"I/O error: (.+) \(os error (\d+)\)", str(error)):
            raise OSError(int(said[2]), said[1], str(path)) from error
        raise


def load(folder: str | Path, *, device: torch.device | str = "cpu") -> Checkpoint:
    """Read and verify a checkpoint. The model comes back in float32, in evaluation mode, on `device`.

    Raises CheckpointError naming the file or the tensor that is missing, altered or does not fit."""
    home = settled(Path(folder).resolve())
    about = read_json(home, ABOUT, folder)
    version = about.get("version")
    if about.get("format") != FORMAT or type(version) is not int or version not in ADDED:
        raise CheckpointError(
            f"{folder}/{ABOUT} is {about.get('format')!r} version {version!r}, "
            f"this tinylm reads {FORMAT!r} version 1 to {VERSION}: use the tinylm that wrote it"
        )
    if missing := [name for name in ("config", "notes", "files") if not isinstance(about.get(name), dict)]:
        raise CheckpointError(f"{folder}/{ABOUT} has no {missing[0]}: copy or download the checkpoint again")
    for name in (WEIGHTS, TOKENIZER):
        verify(home, name, about["files"].get(name, {}), folder)
    try:
        config = ModelConfig.from_json(ADDED[version] | about["config"])
        tensors = load_file(home / WEIGHTS)
    except (ConfigError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be read: {error}") from error
    tokenizer = read_json(home, TOKENIZER, folder)
    _check_vocabulary(tokenizer, config)
    _check_size(tensors, config, folder)

    try:
        model = GPT(config)
    except (RuntimeError, OverflowError) as error:  # such as a context for which there is no memory
        raise CheckpointError(f"{folder} asks for a model that cannot be built here: {error}") from error
    _check_fit(tensors, _tensors(model), folder)
    if config.tied_head:
        tensors["head.weight"] = tensors["token_embedding.weight"]
    model.load_state_dict(tensors, strict=True)
    return Checkpoint(model.to(device).eval(), config, tokenizer, about["notes"])


def _tensors(model: GPT) -> dict[str, Tensor]:
    """What a checkpoint of this model holds: its state, without the second name of a tied matrix."""
    tied = {"head.weight"} if model.config.tied_head else set()
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}


def _check_size(found: dict[str, Tensor], config: ModelConfig, folder: str | Path) -> None:
    """An altered config may ask for a model that no machine can build: it is refused before it is built."""
    held, asked = sum(tensor.numel() for tensor in found.values()), parameter_counts(config)["total"]
    if asked > 2 * held:
        raise CheckpointError(
            f"{folder} holds {held:,} parameters, and its config asks for {asked:,}: "
            "copy or download the checkpoint again"
        )


def _check_fit(found: dict[str, Tensor], expected: dict[str, Tensor], folder: str | Path) -> None:
    for name, tensor in expected.items():
        if name not in found:
            raise CheckpointError(f"{folder} lacks the tensor {name} that its config asks for")
        if found[name].shape != tensor.shape:
            shapes = f"{tuple(found[name].shape)}, its config asks for {tuple(tensor.shape)}"
            raise CheckpointError(f"{folder} holds the tensor {name} with shape {shapes}")
    if unexpected := sorted(found.keys() - expected.keys()):
        raise CheckpointError(f"{folder} holds the tensor {unexpected[0]}, for which its config has no place")


def _check_vocabulary(tokenizer: dict[str, Any], config: ModelConfig) -> None:
    characters = tokenizer.get("characters")
    size = len(characters) if isinstance(characters, str) else tokenizer.get("vocab_size")
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
